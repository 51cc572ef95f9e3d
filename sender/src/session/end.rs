//! Ends of a session, and of attempts to begin one.

use quinn::{Connection, ConnectionError};
use transport::control::received_close;
use transport::endpoint::ChannelFault;
use wire::close::Close;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// This sender drained and left.
    #[error("drained")]
    Drained,
    /// The receiver closed the session.
    #[error("receiver closed the session: {} ({})", .0.code.sentence(), .0.detail)]
    Closed(Close),
    /// The source is another cluster than when the process started.
    #[error("{}", .0.detail)]
    SourceChanged(Close),
    /// The topic list changed, or topics are in other classes: the next session begins with that.
    #[error("the topic list or the classes changed")]
    Reconfigured,
    /// The path or the peer is gone.
    #[error("session lost: {0}")]
    Lost(String),
    /// Trust is missing between the two ends: retries fail until an operator changes a certificate or a name.
    #[error("no session: {0}")]
    Barred(String),
}

impl SessionEnd {
    /// Returns the end of a session. A close that the receiver sent says more than the stream's error, `otherwise`.
    pub fn of(connection: &Connection, otherwise: impl FnOnce() -> String) -> Self {
        match connection.close_reason() {
            Some(ConnectionError::ApplicationClosed(close)) => Self::Closed(received_close(&close)),
            Some(error) => {
                let fault = ChannelFault::of(connection.remote_address(), &error);
                if fault.may_pass() { Self::Lost(fault.to_string()) } else { Self::Barred(fault.to_string()) }
            }
            None => Self::Lost(otherwise()),
        }
    }

    /// Returns the name under which the end is counted: the name of the close code, where there was one.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Drained => "DRAINED",
            Self::Reconfigured => "RECONFIGURED",
            Self::Closed(close) | Self::SourceChanged(close) => close.code.name(),
            Self::Lost(_) => "LOST",
            Self::Barred(_) => "BARRED",
        }
    }
}
