//! Memory for what the sender of a link announces: topics, their settings, offers and halts, from the control stream until
//! the lanes have answered. A link has one allowance, for all of its sessions: entries of a session that has ended count as
//! long as a lane keeps them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::close::{Close, CloseCode};

/// Most bytes that an allocation takes in addition to its contents.
const ALLOCATION_BYTES: usize = 32;

/// Memory of a text: its length, and its place.
pub(crate) fn text_bytes(text: &str) -> usize {
    size_of::<String>() + ALLOCATION_BYTES + text.len()
}

/// The allowance of one link.
#[derive(Debug, Clone)]
pub(crate) struct Announced {
    free: Arc<Semaphore>,
    limit: usize,
}

/// Memory of one entry, which is free again once the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Room {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// Rooms are no part of what an entry says.
impl PartialEq for Room {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Room {}

impl Announced {
    /// Makes an allowance of `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(limit)), limit }
    }

    /// Takes memory for an entry of `bytes` bytes. Error: the session has to end, because the sender announces too much.
    pub(crate) fn take(&self, bytes: usize) -> Result<Room, Close> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.free).try_acquire_many_owned(permits);
        permit.map(|permit| Room { _permit: Arc::new(permit) }).map_err(|_| {
            let detail = format!(
                "topics, settings and offers that wait for the target take more than {} bytes, the limit of this link: raise `memory` of the receiver",
                self.limit
            );
            Close::new(CloseCode::Busy, detail)
        })
    }

    /// Bytes in use.
    pub(crate) fn held(&self) -> u64 {
        (self.limit - self.free.available_permits()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_beyond_the_limit_are_refused_with_its_value() {
        let announced = Announced::new(1000);
        let first = announced.take(600).unwrap();
        let kept = first.clone();
        assert_eq!(announced.held(), 600);
        let refused = announced.take(401).unwrap_err();
        assert_eq!(refused.code, CloseCode::Busy);
        assert!(refused.detail.contains("more than 1000 bytes") && refused.detail.contains("raise `memory`"));
        drop(first);
        assert_eq!(announced.held(), 600, "a lane still has it");
        drop(kept);
        assert_eq!(announced.held(), 0);
        announced.take(1000).unwrap();
    }
}
