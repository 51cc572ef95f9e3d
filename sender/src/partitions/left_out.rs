//! Partitions that the receiver left out after they had joined, because the target could not write them. Sans-IO.
//!
//! Each is offered again: the receiver holds the offer until the target can write it. One that is left out again soon
//! costs its lane a failed transaction each time, so that it is offered later and later.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use wire::partition::Partition;

/// Wait before the offer of a partition that was left out twice. It doubles each time.
const WAIT_MIN: Duration = Duration::from_secs(10);
const WAIT_MAX: Duration = Duration::from_secs(5 * 60);
/// Time after which an earlier failure does not count any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    partitions: BTreeMap<Partition, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Wait before the present offer.
    wait: Duration,
    last: Instant,
    /// Time of the next offer, if it is not made yet.
    due: Option<Instant>,
}

impl LeftOut {
    /// Handles that the receiver left a partition out.
    pub(crate) fn handle_left_out(&mut self, at: &Partition, now: Instant) {
        self.partitions.retain(|_, entry| entry.due.is_some() || now - entry.last < FORGOTTEN_AFTER);
        let wait = match self.partitions.get(at) {
            None => Duration::ZERO,
            Some(entry) => (entry.wait * 2).clamp(WAIT_MIN, WAIT_MAX),
        };
        self.partitions.insert(at.clone(), Entry { wait, last: now, due: Some(now + wait) });
    }

    /// Returns the partitions to offer now.
    pub(crate) fn poll_due(&mut self, now: Instant) -> Vec<Partition> {
        let due = self.partitions.iter_mut().filter_map(|(at, entry)| {
            entry.due.take_if(|due| *due <= now)?;
            Some(at.clone())
        });
        due.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_left_out_again_and_again_is_offered_later() {
        let at = Partition::new("orders", 0);
        let mut left_out = LeftOut::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..8 {
            left_out.handle_left_out(&at, now);
            let began = now;
            while left_out.poll_due(now).is_empty() {
                now += Duration::from_secs(1);
            }
            assert!(left_out.poll_due(now + WAIT_MAX).is_empty(), "once");
            waits.push((now - began).as_secs());
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        now += FORGOTTEN_AFTER;
        left_out.handle_left_out(&at, now);
        assert_eq!(left_out.poll_due(now), [at]);
    }
}
