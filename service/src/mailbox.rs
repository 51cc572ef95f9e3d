//! A bounded queue to a thread that waits for a [`Bell`]: the async side of a session hands commands and frames to a
//! lane's own thread.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bell::Bell;
use crate::lock::Lock;

/// A bounded queue; cloned for every writer.
#[derive(Debug)]
pub struct Mailbox<T> {
    inner: Arc<Lock<Inner<T>>>,
    capacity: usize,
}

#[derive(Debug)]
struct Inner<T> {
    queue: VecDeque<T>,
    bell: Bell,
}

/// The entry that a full queue returned.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), capacity: self.capacity }
    }
}

impl<T> Mailbox<T> {
    /// Makes a queue of at most `capacity` entries whose reader waits for `bell`.
    pub fn new(capacity: usize, bell: Bell) -> Self {
        Self { inner: Arc::new(Lock::new(Inner { queue: VecDeque::new(), bell })), capacity }
    }

    /// Queues `entry` and wakes the reader, or returns the entry.
    pub fn push(&self, entry: T) -> Result<(), Full<T>> {
        let mut inner = self.inner.lock();
        if inner.queue.len() >= self.capacity {
            return Err(Full(entry));
        }
        inner.queue.push_back(entry);
        let bell = inner.bell.clone();
        drop(inner);
        bell.ring();
        Ok(())
    }

    /// Takes the oldest entry, if there is one.
    pub fn pop(&self) -> Option<T> {
        self.inner.lock().queue.pop_front()
    }

    /// Hands the queue to another reader, which waits for `bell`, and wakes it.
    pub fn hand_over(&self, bell: Bell) {
        self.inner.lock().bell = bell.clone();
        bell.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_mailbox_returns_the_entry() {
        let mailbox = Mailbox::new(1, Bell::default());
        assert_eq!(mailbox.push(1), Ok(()));
        assert_eq!(mailbox.push(2), Err(Full(2)));
        assert_eq!(mailbox.pop(), Some(1));
        assert_eq!(mailbox.pop(), None);
    }

    #[test]
    fn another_reader_is_woken_after_a_hand_over() {
        let [first, second] = [(); 2].map(|()| Bell::default());
        let mailbox = Mailbox::new(2, first.clone());
        mailbox.hand_over(second.clone());
        assert!(second.wait(Duration::ZERO), "what is in the queue may wait for it");
        assert_eq!(mailbox.push(1), Ok(()));
        assert!(second.wait(Duration::ZERO) && !first.wait(Duration::ZERO));
    }
}
