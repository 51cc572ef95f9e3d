//! A bounded queue to a thread that waits for a [`Bell`]: the async side of a session hands commands and frames to a
//! lane's own thread.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::bell::Bell;

/// A bounded queue; cloned for every writer.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: Arc<Mutex<VecDeque<T>>>,
    capacity: usize,
    bell: Bell,
}

/// The entry that a full queue returned.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue), capacity: self.capacity, bell: self.bell.clone() }
    }
}

impl<T> Mailbox<T> {
    /// Makes a queue of at most `capacity` entries whose reader waits for `bell`.
    pub fn new(capacity: usize, bell: Bell) -> Self {
        Self { queue: Arc::default(), capacity, bell }
    }

    /// Queues `entry` and wakes the reader, or returns the entry.
    pub fn push(&self, entry: T) -> Result<(), Full<T>> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= self.capacity {
            return Err(Full(entry));
        }
        queue.push_back(entry);
        drop(queue);
        self.bell.ring();
        Ok(())
    }

    /// Takes the oldest entry, if there is one.
    pub fn pop(&self) -> Option<T> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_returns_the_entry() {
        let mailbox = Mailbox::new(1, Bell::default());
        assert_eq!(mailbox.push(1), Ok(()));
        assert_eq!(mailbox.push(2), Err(Full(2)));
        assert_eq!(mailbox.pop(), Some(1));
        assert_eq!(mailbox.pop(), None);
    }
}
