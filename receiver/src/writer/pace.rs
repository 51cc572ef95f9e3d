//! The pace of commits, common to all lanes of a receiver. At a low rate of records, the target's cost is the number of
//! transactions (each per second about 0.4 % of a broker core), so all lanes share one budget of transactions.
//!
//! A lane commits immediately while there are tokens; otherwise lanes queue, longest-waiting first, and collect records
//! meanwhile. Lanes of strict classes have a queue of their own, which is served first, but at most every second time
//! while others wait: otherwise a critical class could use all transactions and bulk would never be acked.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use service::lock::Lock;

/// Number of a waiting lane, unique within the process.
pub(crate) type Ticket = u64;

/// The shared budget of transactions.
pub(crate) struct CommitPace<C: Clock = DefaultClock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    waiting: Lock<Waiting>,
    gap: Duration,
}

/// Lanes that wait, each queue in order of arrival.
#[derive(Default)]
struct Waiting {
    strict: VecDeque<Ticket>,
    others: VecDeque<Ticket>,
    /// True if the last transaction was of a strict class.
    strict_was_last: bool,
}

impl Waiting {
    fn queue(&mut self, strict: bool) -> &mut VecDeque<Ticket> {
        if strict { &mut self.strict } else { &mut self.others }
    }

    /// Returns the number of transactions before one of `ticket`, which joins its queue unless both are empty.
    fn ahead(&mut self, ticket: Ticket, strict: bool) -> usize {
        if self.strict.is_empty() && self.others.is_empty() {
            return 0;
        }
        let queue = self.queue(strict);
        let before = queue.iter().position(|&other| other == ticket).unwrap_or_else(|| {
            queue.push_back(ticket);
            queue.len() - 1
        });
        // The two queues take turns; an empty queue loses its turn.
        let other = self.queue(!strict).len();
        let other_is_first = strict == self.strict_was_last;
        before + other.min(before + usize::from(other_is_first))
    }

    fn leave(&mut self, ticket: Ticket) {
        self.strict.retain(|&other| other != ticket);
        self.others.retain(|&other| other != ticket);
    }
}

impl CommitPace<DefaultClock> {
    /// Permits `per_second` transactions on average, and `burst` without a wait.
    pub(crate) fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Self::with_clock(per_second, burst, DefaultClock::default())
    }
}

impl<C: Clock + Clone> CommitPace<C> {
    pub(crate) fn with_clock(per_second: NonZeroU32, burst: NonZeroU32, clock: C) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        let gap = quota.replenish_interval();
        Self { limiter, clock, waiting: Lock::default(), gap }
    }

    /// Takes a token for `ticket`, or returns how long to wait before the next attempt; an attempt keeps the lane's
    /// place in its queue. `strict` says whether the lane's class is strict.
    pub(crate) fn take(&self, ticket: Ticket, strict: bool) -> Result<(), Duration> {
        let mut waiting = self.waiting.lock();
        // A new session may have changed whether the class is strict.
        waiting.queue(!strict).retain(|&other| other != ticket);
        let ahead = waiting.ahead(ticket, strict);
        if ahead > 0 {
            return Err(self.gap * ahead as u32);
        }
        match self.limiter.check() {
            Ok(()) => {
                waiting.leave(ticket);
                waiting.strict_was_last = strict;
                Ok(())
            }
            Err(not_until) => {
                let queue = waiting.queue(strict);
                if queue.is_empty() {
                    queue.push_back(ticket);
                }
                Err(not_until.wait_time_from(self.clock.now()))
            }
        }
    }

    /// Removes a lane that has nothing to commit from its queue.
    pub(crate) fn leave(&self, ticket: Ticket) {
        self.waiting.lock().leave(ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn pace(clock: &FakeRelativeClock) -> CommitPace<FakeRelativeClock> {
        let n = |n| NonZeroU32::new(n).expect("not zero");
        CommitPace::with_clock(n(10), n(2), clock.clone())
    }

    #[test]
    fn a_burst_is_free_and_the_rest_is_paced() {
        let clock = FakeRelativeClock::default();
        let pace = pace(&clock);
        assert_eq!(pace.take(1, false), Ok(()));
        assert_eq!(pace.take(1, false), Ok(()));
        assert_eq!(pace.take(1, false), Err(Duration::from_millis(100)));
        clock.advance(Duration::from_millis(100));
        assert_eq!(pace.take(1, false), Ok(()));
    }

    #[test]
    fn the_longest_waiting_lane_is_served_first() {
        let clock = FakeRelativeClock::default();
        let pace = pace(&clock);
        assert!(pace.take(1, false).is_ok() && pace.take(1, false).is_ok());
        assert!(pace.take(7, false).is_err());
        assert!(pace.take(8, false).is_err());
        clock.advance(Duration::from_millis(100));
        assert!(pace.take(8, false).is_err(), "7 asked first");
        assert_eq!(pace.take(7, false), Ok(()));
        clock.advance(Duration::from_millis(100));
        assert_eq!(pace.take(8, false), Ok(()));
    }

    #[test]
    fn a_lane_that_leaves_delays_no_other_lane() {
        let clock = FakeRelativeClock::default();
        let pace = pace(&clock);
        assert!(pace.take(1, false).is_ok() && pace.take(1, false).is_ok());
        assert!(pace.take(7, false).is_err());
        pace.leave(7);
        clock.advance(Duration::from_millis(100));
        assert_eq!(pace.take(8, false), Ok(()));
    }

    #[test]
    fn a_strict_lane_is_served_first_but_not_twice_in_a_row() {
        let clock = FakeRelativeClock::default();
        let pace = pace(&clock);
        assert!(pace.take(1, false).is_ok() && pace.take(1, false).is_ok());
        assert!(pace.take(7, false).is_err() && pace.take(8, false).is_err());
        let order: Vec<_> = (0..4)
            .map(|_| {
                // All lanes ask repeatedly; bulk has always more to commit.
                let asked = |ticket, strict| pace.take(ticket, strict).is_ok();
                assert!(!asked(9, true), "there is no token left");
                clock.advance(Duration::from_millis(100));
                [(7, false), (8, false), (9, true)]
                    .into_iter()
                    .find(|&(ticket, strict)| asked(ticket, strict))
                    .unwrap()
                    .0
            })
            .collect();
        assert_eq!(order, [9, 7, 9, 8]);
    }
}
