//! Ends of a session, and of attempts to begin one.

use quinn::{Connection, ConnectionError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use transport::control::received_close;
use transport::endpoint::ChannelFault;
use wire::close::Close;
use wire::control::Control;
use wire::error::{DecodeError, PeerMisbehaved};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionEnd {
    /// This sender drained and left.
    #[error("drained")]
    Drained,
    /// The receiver closed the session.
    #[error("receiver closed the session: {} ({})", .0.code.sentence(), .0.detail)]
    Closed(Close),
    /// The receiver broke the protocol; this end closes the session with the code and sentence.
    #[error("receiver broke the protocol: {} ({})", .0.detail, .0.code.name())]
    Misbehaved(Close),
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

    /// Returns the end of a session in which the receiver broke a rule.
    pub fn misbehaved(fault: impl Into<Close>) -> Self {
        Self::Misbehaved(fault.into())
    }

    /// Returns the code and the sentence that the receiver gets.
    pub fn last_words(&self) -> Close {
        match self {
            Self::SourceChanged(close) | Self::Misbehaved(close) => close.clone(),
            end => Close::normal(end.to_string()),
        }
    }

    /// Returns the name under which the end is counted: the name of the close code, where there was one.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Drained => "DRAINED",
            Self::Reconfigured => "RECONFIGURED",
            Self::Closed(close) | Self::SourceChanged(close) | Self::Misbehaved(close) => close.code.name(),
            Self::Lost(_) => "LOST",
            Self::Barred(_) => "BARRED",
        }
    }
}

/// Messages of the receiver, and the faults in them.
pub(super) struct Inbound<'a> {
    pub(super) incoming: mpsc::Receiver<Control>,
    /// Reads the control stream into `incoming`.
    pub(super) reading: &'a mut JoinHandle<Result<(), DecodeError>>,
    /// Messages that contradict what a lane has sent.
    pub(super) faults: mpsc::Receiver<PeerMisbehaved>,
}

impl Inbound<'_> {
    /// Returns the session's end after the last message.
    pub(super) async fn end(&mut self, connection: &Connection) -> SessionEnd {
        match (&mut *self.reading).await {
            Ok(Err(error)) => SessionEnd::misbehaved(error),
            _ => SessionEnd::of(connection, || "control stream ended".to_owned()),
        }
    }
}

impl From<PeerMisbehaved> for SessionEnd {
    fn from(fault: PeerMisbehaved) -> Self {
        Self::misbehaved(fault)
    }
}
