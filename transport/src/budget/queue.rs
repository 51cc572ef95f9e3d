//! Queue of the channels that wait for one budget. They are served in the order of arrival, one transmit each, so that
//! none starves.
//!
//! The first one waits for the bucket, the others for their turn. One that does not ask when it is woken is passed over,
//! so that a channel that has ended but still exists cannot delay the others.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

/// Time in which a woken waiter must ask: far longer than a busy runtime needs to poll a task.
const PATIENCE: Duration = Duration::from_millis(20);

/// Id of a waiter, unique within the process.
pub(super) type WaiterId = u64;

/// Waiters of one budget, at most one per channel.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<(WaiterId, Waker)>,
    /// Moment at which the first waiter may send.
    opens: Duration,
    /// Moment at which the first waiter became the first.
    first_since: Duration,
}

/// Answer to a waiter that asks for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The waiter may send now.
    Now,
    /// The waiter must ask again at this moment, or when it is woken.
    AskAt(Duration),
}

impl Queue {
    /// Lets no waiter send before `at`.
    pub(super) fn open(&mut self, at: Duration) {
        self.opens = at;
    }

    /// Asks for the turn of `waiter`, which keeps its place if it must wait.
    pub(super) fn turn(&mut self, waiter: WaiterId, waker: &Waker, now: Duration) -> Turn {
        while self.waiting.front().is_some_and(|(first, _)| *first != waiter) && self.passed_over_at() <= now {
            self.next(now);
        }
        let place = self.waiting.iter().position(|(other, _)| *other == waiter);
        if now >= self.opens && place.unwrap_or(self.waiting.len()) == 0 {
            return Turn::Now;
        }
        let place = place.unwrap_or_else(|| {
            if self.waiting.is_empty() {
                self.first_since = now;
            }
            self.waiting.push_back((waiter, waker.clone()));
            self.waiting.len() - 1
        });
        self.waiting[place].1.clone_from(waker);
        Turn::AskAt(if place == 0 { self.opens } else { self.passed_over_at() })
    }

    /// Removes the first waiter, which has sent, and wakes the next one.
    pub(super) fn next(&mut self, now: Duration) {
        self.waiting.pop_front();
        self.call_first(now);
    }

    pub(super) fn leave(&mut self, waiter: WaiterId, now: Duration) {
        let was_first = self.waiting.front().is_some_and(|(first, _)| *first == waiter);
        self.waiting.retain(|(other, _)| *other != waiter);
        if was_first {
            self.call_first(now);
        }
    }

    pub(super) fn wake_all(&self) {
        self.waiting.iter().for_each(|(_, waker)| waker.wake_by_ref());
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn call_first(&mut self, now: Duration) {
        self.first_since = now;
        if let Some((_, waker)) = self.waiting.front() {
            waker.wake_by_ref();
        }
    }

    fn passed_over_at(&self) -> Duration {
        self.opens.max(self.first_since) + PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn queue() -> (Queue, Waker) {
        let mut queue = Queue::default();
        queue.open(5 * MS);
        (queue, Waker::noop().clone())
    }

    #[test]
    fn waiters_take_turns_in_order_of_arrival() {
        let (mut queue, waker) = queue();
        assert_eq!(queue.turn(1, &waker, MS), Turn::AskAt(5 * MS));
        assert_eq!(queue.turn(2, &waker, 2 * MS), Turn::AskAt(25 * MS));
        assert_eq!(queue.turn(2, &waker, 5 * MS), Turn::AskAt(25 * MS), "it is the other's turn");
        assert_eq!(queue.turn(1, &waker, 5 * MS), Turn::Now);
        queue.next(5 * MS);
        assert_eq!(queue.turn(1, &waker, 5 * MS), Turn::AskAt(25 * MS), "2 has waited longer");
        assert_eq!(queue.turn(2, &waker, 5 * MS), Turn::Now);
    }

    #[test]
    fn an_absent_waiter_does_not_delay_the_others() {
        let (mut queue, waker) = queue();
        for waiter in 1..=3 {
            queue.turn(waiter, &waker, MS);
        }
        queue.leave(1, 2 * MS);
        assert_eq!(queue.turn(3, &waker, 24 * MS), Turn::AskAt(25 * MS), "2 was called at 5 ms");
        assert_eq!(queue.turn(3, &waker, 25 * MS), Turn::Now);
        assert_eq!(queue.turn(2, &waker, 25 * MS), Turn::AskAt(45 * MS), "it has lost its place");
    }
}
