//! Turns at a writer, first come, first served: none that asks is overtaken.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Queue of those that wait for their turn.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Arc<(Mutex<Queue>, Condvar)>);

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    /// Numbers of the present turn and of those that wait.
    open: BTreeSet<u64>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Turns,
    number: u64,
}

impl Turns {
    /// Waits for a turn.
    pub(super) fn take(&self) -> Turn {
        let (queue, ended) = &*self.0;
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        let number = queue.next;
        queue.next += 1;
        queue.open.insert(number);
        let turn = Turn { turns: self.clone(), number };
        let is_later = |queue: &mut Queue| queue.open.first().is_some_and(|first| *first < number);
        drop(ended.wait_while(queue, is_later).unwrap_or_else(PoisonError::into_inner));
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (queue, ended) = &*self.turns.0;
        queue.lock().unwrap_or_else(PoisonError::into_inner).open.remove(&self.number);
        ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn turns_come_in_the_order_of_the_requests() {
        let turns = Turns::default();
        let first = turns.take();
        let (done, order) = mpsc::channel();
        for number in 0..8 {
            let turns = turns.clone();
            let done = done.clone();
            let waiting = turns.clone();
            thread::spawn(move || {
                let _turn = turns.take();
                done.send(number).unwrap();
            });
            while waiting.0.0.lock().unwrap().open.len() < number + 2 {
                thread::yield_now();
            }
        }
        assert!(order.try_recv().is_err(), "the first turn lasts");
        drop(first);
        assert_eq!(order.iter().take(8).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    }
}
