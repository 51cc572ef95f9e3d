//! Limit on log lines that others can cause, which must not fill a disk: some at first, then few, which tell how many are
//! missing.

use std::time::{Duration, Instant};

/// Number of lines that are written without a pause, and of those that follow per interval.
#[derive(Debug, Clone, Copy)]
struct Rule {
    burst: u32,
    refill: u32,
    interval: Duration,
}

/// Lines about what a peer with a session says: as many as a person reads, then one per interval.
const OF_PEERS: Rule = Rule { burst: 20, refill: 1, interval: Duration::from_secs(5) };
/// Lines about strangers.
const OF_STRANGERS: Rule = Rule { burst: 5, refill: 5, interval: Duration::from_secs(10) };

/// Limit of one kind of line.
#[derive(Debug)]
pub struct LogLimit {
    rule: Rule,
    written: u32,
    left_out: u64,
    /// Time of the last refill, or of the first line.
    since: Option<Instant>,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self::of(OF_PEERS)
    }
}

impl LogLimit {
    /// Makes the limit of lines that peers without a session cause.
    pub fn of_strangers() -> Self {
        Self::of(OF_STRANGERS)
    }

    fn of(rule: Rule) -> Self {
        Self { rule, written: 0, left_out: 0, since: None }
    }

    /// Returns whether a line may be written now: the number of those left out since the one before, or `None`.
    pub fn poll(&mut self, now: Instant) -> Option<u64> {
        let Rule { burst, refill, interval } = self.rule;
        let passed = now.saturating_duration_since(*self.since.get_or_insert(now));
        let intervals = u32::try_from(passed.as_secs() / interval.as_secs()).unwrap_or(u32::MAX);
        if intervals > 0 {
            self.written = self.written.saturating_sub(intervals.saturating_mul(refill));
            self.since = Some(now);
        }
        if self.written >= burst {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_becomes_some_and_then_one_per_interval() {
        let mut limit = LogLimit::default();
        let start = Instant::now();
        let lines = |limit: &mut LogLimit, from: u64, to: u64| {
            let times = (from..to).map(|ms| start + Duration::from_millis(ms));
            times.filter_map(|now| limit.poll(now)).collect::<Vec<_>>()
        };
        assert_eq!(lines(&mut limit, 0, 2_000), [0; OF_PEERS.burst as usize]);
        let later = lines(&mut limit, 2_000, 60_000);
        assert!((10..=12).contains(&later.len()), "{later:?}");
        assert!(later.iter().all(|left_out| *left_out > 4_000), "{later:?}");
        assert_eq!(lines(&mut limit, 600_000, 600_010).len(), 10, "it was quiet for minutes");
    }

    #[test]
    fn lines_about_strangers_are_few_and_say_how_many_were_left_out() {
        let mut limit = LogLimit::of_strangers();
        let start = Instant::now();
        let Rule { burst, interval, .. } = OF_STRANGERS;
        let first: Vec<_> = (0..1_000).filter_map(|_| limit.poll(start)).collect();
        assert_eq!(first, [0; OF_STRANGERS.burst as usize]);
        assert_eq!(limit.poll(start + interval), Some(1_000 - u64::from(burst)));
        assert_eq!(limit.poll(start + interval), Some(0));
    }
}
