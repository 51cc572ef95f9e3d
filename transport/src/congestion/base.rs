//! The round trip of an empty path: the least one seen within a window of time, so that a route that became
//! longer is learned and not taken for a queue for ever.

use std::time::{Duration, Instant};

/// How long a smallest round trip is remembered in full; then up to three times as long.
const BUCKET: Duration = Duration::from_secs(10);

/// A round trip this much above the base is still one without a queue: what a sleepy timer adds.
const NEAR: Duration = Duration::from_millis(1);

/// A minimum over the last 20 to 30 s.
#[derive(Debug, Clone, Default)]
pub(super) struct Base {
    buckets: [Option<Duration>; 3],
    /// When the first bucket began.
    began: Option<Instant>,
    /// When a round trip near the base was last seen.
    near: Option<Instant>,
}

impl Base {
    /// A round trip seen at `now`.
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

    /// A round trip seen where the base is not to be forgotten: it counts if it is the least.
    pub(super) fn observe_least(&mut self, now: Instant, rtt: Duration) {
        self.began = Some(now);
        if self.get().is_some_and(|base| rtt < base) {
            self.buckets[0] = Some(rtt);
        }
    }

    /// The least round trip in the window, once there is one.
    pub(super) fn get(&self) -> Option<Duration> {
        self.buckets.iter().flatten().min().copied()
    }

    /// Whether nothing near the base was seen for a bucket's time, so that the base rests on memory alone.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.near.is_some_and(|near| now.saturating_duration_since(near) >= BUCKET)
    }

    /// From now on the path has a queue for as long as a bucket lasts, unless somebody looks again.
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
    fn the_least_round_trip_counts_and_a_longer_route_is_learned_within_30_s() {
        let (mut base, start) = (Base::default(), Instant::now());
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
        let (mut base, start) = (Base::default(), Instant::now());
        base.observe(start, ms(100));
        base.observe(start + ms(9_000), ms(105));
        assert!(!base.is_stale(start + ms(9_000)));
        assert!(base.is_stale(start + ms(10_000)));
        base.observe(start + ms(10_500), ms(101));
        assert!(!base.is_stale(start + ms(10_500)));
    }
}
