//! Open sessions that extra channels may join, by the token of each (wire-format.md#join-channel).
//!
//! A token is 128 random bits that only the session's sender has received; the certificate is checked as well.

use std::collections::HashMap;
use std::sync::Arc;

use quinn::Connection;
use service::lock::Lock;
use service::tls::PeerIdentity;
use tokio::sync::mpsc;
use transport::control::{ControlReader, ControlWriter};
use wire::close::{Close, CloseCode};
use wire::limits::CHANNELS_MAX;

use super::peers::Place;
use super::refusal::Refusal;

/// A peer's request to be an extra channel, in place of a hello.
pub(super) struct JoinRequest {
    pub(super) token: u128,
    /// The receiver process that issued the token.
    pub(super) receiver: u128,
    pub(super) channel: u32,
    pub(super) reader: ControlReader,
    pub(super) writer: ControlWriter,
}

pub(super) struct ExtraChannel {
    pub(super) channel: u32,
    pub(super) connection: Connection,
    pub(super) reader: ControlReader,
    pub(super) writer: ControlWriter,
    /// The channel's place among the connections of its certificate.
    pub(super) place: Place,
}

/// Open sessions by token.
#[derive(Debug, Default)]
pub struct Joinable(Lock<HashMap<u128, Entry>>);

#[derive(Debug, Clone)]
struct Entry {
    /// The name of the link's `senders` that the session's first channel has.
    sender: String,
    joins: mpsc::Sender<ExtraChannel>,
}

/// Receives the channels that join one session; dropping it makes the token invalid.
#[derive(Debug)]
pub(super) struct JoinListener {
    joinable: Arc<Joinable>,
    token: u128,
    pub(super) joins: mpsc::Receiver<ExtraChannel>,
}

impl Joinable {
    /// Lets channels of a peer with the certificate name `sender` join by `token`.
    pub(super) fn register(self: &Arc<Self>, token: u128, sender: &str) -> JoinListener {
        let (joins, joined) = mpsc::channel(usize::from(CHANNELS_MAX));
        self.0.lock().insert(token, Entry { sender: sender.to_owned(), joins });
        JoinListener { joinable: Arc::clone(self), token, joins: joined }
    }

    /// Passes a channel to its session.
    pub(super) fn join(&self, connection: &Connection, request: JoinRequest, place: Place) -> Result<(), Box<Refusal>> {
        let JoinRequest { token, channel, reader, writer, .. } = request;
        let refused = |code, detail: String, writer| Err(Box::new(Refusal::new(Close::new(code, detail), writer)));
        let Some(entry) = self.0.lock().get(&token).cloned() else {
            let detail = "no open session has this token: it has ended, or never existed".to_owned();
            return refused(CloseCode::NoSession, detail, writer);
        };
        let identity = PeerIdentity::of(connection);
        if identity.is_none_or(|identity| identity.names_any(std::slice::from_ref(&entry.sender)).is_none()) {
            let detail =
                format!("the session is that of {}, which the channel's certificate does not name", entry.sender);
            return refused(CloseCode::Unauthorized, detail, writer);
        }
        let extra = ExtraChannel { channel, connection: connection.clone(), reader, writer, place };
        entry.joins.try_send(extra).or_else(|error| {
            let (code, detail) = match &error {
                mpsc::error::TrySendError::Full(_) => (CloseCode::Busy, "too many channels are joining the session"),
                mpsc::error::TrySendError::Closed(_) => (CloseCode::NoSession, "the session has just ended"),
            };
            refused(code, detail.to_owned(), error.into_inner().writer)
        })
    }
}

impl Drop for JoinListener {
    fn drop(&mut self) {
        self.joinable.0.lock().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_invalid_once_its_session_has_ended() {
        let joinable = Arc::new(Joinable::default());
        let first = joinable.register(1, "a");
        let _second = joinable.register(2, "b");
        assert_eq!(joinable.0.lock().get(&1).map(|entry| entry.sender.clone()), Some("a".to_owned()));
        drop(first);
        assert!(joinable.0.lock().get(&1).is_none() && joinable.0.lock().len() == 1);
    }
}
