//! Refusal of a channel, before it has or joins a session.

use quinn::Connection;
use transport::control::{ControlWriter, close};
use wire::close::Close;

pub(super) struct Refusal {
    pub(super) close: Close,
    /// The control stream, if the channel has one.
    pub(super) writer: Option<ControlWriter>,
}

impl Refusal {
    pub(super) fn new(close: impl Into<Close>, writer: impl Into<Option<ControlWriter>>) -> Self {
        Self { close: close.into(), writer: writer.into() }
    }

    /// Sends the reason to the peer and closes the connection.
    pub(super) async fn send(self, connection: &Connection) {
        if let Some(writer) = self.writer {
            writer.close(self.close.clone()).await;
        }
        close(connection, &self.close);
    }
}
