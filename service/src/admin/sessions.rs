//! Sessions of people who showed the token on the login page. A session only shows the page; every other request needs
//! the token itself. Sans-IO: the time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ring::digest::{Digest, SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// Sessions at the same time. The oldest makes room for another.
const SESSIONS_MAX: usize = 64;
/// Time after which a session ends, whether the page is open or not: a working day.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Random bytes of a session's id.
const ID_BYTES: usize = 32;

/// The sessions of one port, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Sessions(VecDeque<Session>);

/// A session. Its id is known to the browser only.
#[derive(Debug)]
struct Session {
    id: Digest,
    until: Instant,
}

impl Sessions {
    /// Begins a session and returns its id; `None` if the system has no random numbers.
    pub(super) fn begin(&mut self, now: Instant) -> Option<String> {
        let mut random = [0; ID_BYTES];
        SystemRandom::new().fill(&mut random).ok()?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        while self.0.len() >= SESSIONS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Session { id: hash(&id), until: now + LIFETIME });
        Some(id)
    }

    /// Returns whether a session has this id.
    pub(super) fn has(&mut self, id: &str, now: Instant) -> bool {
        self.0.retain(|session| session.until > now);
        let id = hash(id);
        self.0.iter().any(|session| session.id.as_ref() == id.as_ref())
    }

    pub(super) fn end(&mut self, id: &str) {
        let id = hash(id);
        self.0.retain(|session| session.id.as_ref() != id.as_ref());
    }

    /// Ends every session: the token has changed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Hash of an id. Comparing hashes does not tell how much of an id is right.
fn hash(id: &str) -> Digest {
    digest(&SHA256, id.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_with_its_time_or_at_logout() {
        let mut sessions = Sessions::default();
        let start = Instant::now();
        let first = sessions.begin(start).unwrap();
        let second = sessions.begin(start).unwrap();
        assert!(first != second && first.len() == 64);
        assert!(sessions.has(&first, start) && !sessions.has("", start) && !sessions.has(&first[1..], start));
        sessions.end(&first);
        assert!(!sessions.has(&first, start) && sessions.has(&second, start + LIFETIME - Duration::from_secs(1)));
        assert!(!sessions.has(&second, start + LIFETIME));
        assert!(sessions.0.is_empty());
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let mut sessions = Sessions::default();
        let start = Instant::now();
        let ids: Vec<_> = (0..=SESSIONS_MAX).map(|_| sessions.begin(start).unwrap()).collect();
        assert_eq!(sessions.0.len(), SESSIONS_MAX);
        assert!(!sessions.has(&ids[0], start) && ids[1..].iter().all(|id| sessions.has(id, start)));
        sessions.clear();
        assert!(!sessions.has(&ids[1], start));
    }
}
