//! Limit on log lines about what a peer says: some at first, then one per interval, which tells how many are missing.

use std::time::{Duration, Instant};

/// Lines that are written without a pause: as many as a person reads.
const BURST: u32 = 20;
/// Interval at which another line may follow.
const INTERVAL: Duration = Duration::from_secs(5);

/// Limit of one kind of line.
#[derive(Debug, Default)]
pub struct LogLimit {
    written: u32,
    left_out: u64,
    last: Option<Instant>,
}

impl LogLimit {
    /// Returns whether a line may be written now: the number of those left out since the one before, or `None`.
    pub fn poll(&mut self, now: Instant) -> Option<u64> {
        let passed = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let refilled = u32::try_from(passed.as_secs() / INTERVAL.as_secs()).unwrap_or(BURST);
        self.written = self.written.saturating_sub(refilled);
        if self.written >= BURST {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        self.last = Some(now);
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
        assert_eq!(lines(&mut limit, 0, 2_000), [0; BURST as usize]);
        let later = lines(&mut limit, 2_000, 60_000);
        assert!((10..=12).contains(&later.len()), "{later:?}");
        assert!(later.iter().all(|left_out| *left_out > 4_000), "{later:?}");
        assert_eq!(lines(&mut limit, 600_000, 600_010).len(), 10, "it was quiet for minutes");
    }
}
