//! The sessions that further channels may join, by the token that each was given (wire-format.md#join-channel).
//!
//! A token is 128 random bits that only the sender of the session has heard; the certificate is asked all the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::Connection;
use service::tls::PeerIdentity;
use tokio::sync::mpsc;
use transport::control::{ControlReader, ControlWriter};
use wire::close::CloseCode;
use wire::limits::CHANNELS_MAX;

use crate::session::Ending;
use crate::session::peers::Place;

/// What a peer presented in place of a hello.
pub struct JoinRequest {
    /// The session's.
    pub token: u128,
    /// The receiver process that issued it.
    pub receiver: u128,
    /// The sender's number for the channel.
    pub channel: u32,
    /// Messages from the peer.
    pub reader: ControlReader,
    /// Messages to the peer.
    pub writer: ControlWriter,
}

/// A channel on its way into its session.
pub struct Further {
    /// The sender's number for it.
    pub channel: u32,
    /// The channel.
    pub connection: Connection,
    /// Its control stream: it says one thing each way.
    pub control: (ControlReader, ControlWriter),
    /// Its place among the connections of its certificate.
    pub place: Place,
}

/// The sessions that stand, by token.
#[derive(Debug, Default)]
pub struct Joinable(Mutex<HashMap<u128, Entry>>);

#[derive(Debug, Clone)]
struct Entry {
    /// The name of the link's `senders` that let channel 0 in.
    sender: String,
    joins: mpsc::Sender<Further>,
}

/// A session's place among those that may be joined; dropping it takes the token back.
#[derive(Debug)]
pub struct Registration {
    joinable: Arc<Joinable>,
    token: u128,
}

impl Joinable {
    /// From now on channels of a peer with the name `sender` may join by `token`; they come out of the receiver.
    pub fn register(self: &Arc<Self>, token: u128, sender: &str) -> (Registration, mpsc::Receiver<Further>) {
        let (joins, joined) = mpsc::channel(usize::from(CHANNELS_MAX));
        self.lock().insert(token, Entry { sender: sender.to_owned(), joins });
        (Registration { joinable: Arc::clone(self), token }, joined)
    }

    /// Hands a channel to its session. On refusal the writer comes back, to say so with.
    pub fn join(&self, connection: &Connection, request: JoinRequest, place: Place) -> Result<(), Box<Refused>> {
        let JoinRequest { token, channel, reader, writer, .. } = request;
        let refused = |code, detail: String, writer| Err(Box::new(Refused { ending: Ending { code, detail }, writer }));
        let Some(entry) = self.lock().get(&token).cloned() else {
            let detail = "the token is of no session that stands here: it has ended, or was never".to_owned();
            return refused(CloseCode::NoSession, detail, writer);
        };
        let identity = PeerIdentity::of(connection);
        if identity.is_none_or(|identity| identity.names_any(std::slice::from_ref(&entry.sender)).is_none()) {
            let detail =
                format!("the session is that of {}, which the channel's certificate does not name", entry.sender);
            return refused(CloseCode::Unauthorized, detail, writer);
        }
        let further = Further { channel, connection: connection.clone(), control: (reader, writer), place };
        entry.joins.try_send(further).or_else(|error| {
            let (code, detail) = match &error {
                mpsc::error::TrySendError::Full(_) => (CloseCode::Busy, "too many channels join the session at once"),
                mpsc::error::TrySendError::Closed(_) => (CloseCode::NoSession, "the session has just ended"),
            };
            refused(code, detail.to_owned(), error.into_inner().control.1)
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A channel that joins nothing.
pub struct Refused {
    /// Why.
    pub ending: Ending,
    /// How to say so.
    pub writer: ControlWriter,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.joinable.lock().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_worth_nothing_once_its_session_has_ended() {
        let joinable = Arc::new(Joinable::default());
        let (first, _joins) = joinable.register(1, "a");
        let (_second, _joins) = joinable.register(2, "b");
        assert_eq!(joinable.lock().get(&1).map(|entry| entry.sender.clone()), Some("a".to_owned()));
        drop(first);
        assert!(joinable.lock().get(&1).is_none() && joinable.lock().len() == 1);
    }
}
