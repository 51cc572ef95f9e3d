//! Base: the round trip of the empty path. It is the least one within a window of time, so that a route that became
//! longer does not count as a queue permanently.

use std::time::{Duration, Instant};

/// Duration of one of three buckets: the base is the least round trip of the last two to three of them.
const BUCKET: Duration = Duration::from_secs(10);
/// Time above the base that a late timer may add to a round trip without a queue.
const NEAR: Duration = Duration::from_millis(1);

/// Least round trip of the last 20 to 30 s.
#[derive(Debug, Clone, Default)]
pub(super) struct Base {
    buckets: [Option<Duration>; 3],
    began: Option<Instant>,
    /// Moment of the last round trip near the base.
    near: Option<Instant>,
}

impl Base {
    /// Adds a round trip measured at `now`.
    pub(super) fn observe(&mut self, now: Instant, rtt: Duration) {
        let began = *self.began.get_or_insert(now);
        let buckets = now.saturating_duration_since(began).as_nanos() / BUCKET.as_nanos();
        if buckets > 0 {
            for _ in 0..buckets.min(self.buckets.len() as u128) {
                self.buckets.rotate_right(1);
                self.buckets[0] = None;
            }
            self.began = Some(now);
        }
        let newest = &mut self.buckets[0];
        *newest = Some(newest.map_or(rtt, |least| least.min(rtt)));
        if self.get().is_some_and(|base| rtt <= base + NEAR + base / 100) {
            self.near = Some(now);
        }
    }

    /// Adds a round trip without ageing the base: it counts only if it is the least.
    pub(super) fn observe_least(&mut self, now: Instant, rtt: Duration) {
        self.began = Some(now);
        if self.get().is_some_and(|base| rtt < base) {
            self.buckets[0] = Some(rtt);
        }
    }

    /// The least round trip in the window, if there is one.
    pub(super) fn get(&self) -> Option<Duration> {
        self.buckets.iter().flatten().min().copied()
    }

    /// Returns whether no round trip near the base was measured for the duration of a bucket.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.near.is_some_and(|near| now.saturating_duration_since(near) >= BUCKET)
    }

    /// Postpones [`Base::is_stale`] by the duration of a bucket, because the base is about to be measured.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.near = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_longer_route_is_learned_within_30_s() {
        let mut base = Base::default();
        let start = Instant::now();
        assert_eq!(base.get(), None);
        for second in 0..5 {
            base.observe(start + Duration::from_secs(second), ms(100 + second));
        }
        assert_eq!(base.get(), Some(ms(100)));
        for second in 5..15 {
            base.observe(start + Duration::from_secs(second), ms(160));
        }
        assert_eq!(base.get(), Some(ms(100)), "a queue of 10 s is not a route");
        for second in 15..36 {
            base.observe(start + Duration::from_secs(second), ms(160));
        }
        assert_eq!(base.get(), Some(ms(160)));
    }

    #[test]
    fn a_base_that_was_not_seen_for_10_s_is_stale() {
        let mut base = Base::default();
        let start = Instant::now();
        base.observe(start, ms(100));
        base.observe(start + ms(9_000), ms(105));
        assert!(!base.is_stale(start + ms(9_000)));
        assert!(base.is_stale(start + ms(10_000)));
        base.observe(start + ms(10_500), ms(101));
        assert!(!base.is_stale(start + ms(10_500)));
    }
}
