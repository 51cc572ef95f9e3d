//! A receiver-wide pace for commits: transactions, not bytes, are what a trickle costs the target
//! (about 0.4 % of a broker core each per second), so all lanes share one budget of them.
//!
//! At once while tokens last; otherwise lanes queue, longest-waiting first, and gather records meanwhile.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Names a waiting lane; unique within the process.
pub type Ticket = u64;

/// The shared budget of transactions.
pub struct CommitPace<C: Clock = DefaultClock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    waiting: Mutex<VecDeque<Ticket>>,
    gap: Duration,
}

impl CommitPace<DefaultClock> {
    /// `per_second` transactions on average, `burst` at once.
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Self::with_clock(per_second, burst, DefaultClock::default())
    }
}

impl<C: Clock + Clone> CommitPace<C> {
    /// The same on a clock of the caller's.
    pub fn with_clock(per_second: NonZeroU32, burst: NonZeroU32, clock: C) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        let gap = quota.replenish_interval();
        Self { limiter, clock, waiting: Mutex::new(VecDeque::new()), gap }
    }

    /// Takes a token for `ticket`, or says when to ask again; asking keeps the lane's place in the queue.
    pub fn take(&self, ticket: Ticket) -> Result<(), Duration> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ahead) = waiting.iter().position(|&other| other == ticket) {
            if ahead > 0 {
                return Err(self.gap * ahead as u32);
            }
        } else if !waiting.is_empty() {
            waiting.push_back(ticket);
            return Err(self.gap * (waiting.len() - 1) as u32);
        }
        match self.limiter.check() {
            Ok(()) => {
                waiting.retain(|&other| other != ticket);
                Ok(())
            }
            Err(not_until) => {
                if waiting.is_empty() {
                    waiting.push_back(ticket);
                }
                Err(not_until.wait_time_from(self.clock.now()))
            }
        }
    }

    /// Gives up the lane's place: it has nothing to commit any more.
    pub fn leave(&self, ticket: Ticket) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).retain(|&other| other != ticket);
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
        assert_eq!(pace.take(1), Ok(()));
        assert_eq!(pace.take(1), Ok(()));
        assert_eq!(pace.take(1), Err(Duration::from_millis(100)));
        clock.advance(Duration::from_millis(100));
        assert_eq!(pace.take(1), Ok(()));
    }

    #[test]
    fn the_longest_waiting_lane_is_served_first() {
        let clock = FakeRelativeClock::default();
        let pace = pace(&clock);
        assert!(pace.take(1).is_ok() && pace.take(1).is_ok());
        assert!(pace.take(7).is_err());
        assert!(pace.take(8).is_err());
        clock.advance(Duration::from_millis(100));
        assert!(pace.take(8).is_err(), "7 asked first");
        assert_eq!(pace.take(7), Ok(()));
        clock.advance(Duration::from_millis(100));
        assert_eq!(pace.take(8), Ok(()));
    }

    #[test]
    fn a_lane_that_leaves_holds_nobody_up() {
        let clock = FakeRelativeClock::default();
        let pace = pace(&clock);
        assert!(pace.take(1).is_ok() && pace.take(1).is_ok());
        assert!(pace.take(7).is_err());
        pace.leave(7);
        clock.advance(Duration::from_millis(100));
        assert_eq!(pace.take(8), Ok(()));
    }
}
