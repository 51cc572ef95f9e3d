//! Limit on the bytes that a producer has in flight. Sans-IO.
//!
//! What the client has queued cannot be taken back, and a transaction ends only once all of it is reported. A broker
//! with a quota delays its answers by seconds. So only as much is queued as it takes soon: the limit begins low, grows
//! with every window that was reported without a delay, and is halved when the broker announces one.

/// Lowest limit in bytes, and the growth with each window. Answers arrive within milliseconds unless there is a quota,
/// so that the limit passes 1 MB within half a second.
const STEP: u64 = 16 << 10;
/// Least limit in bytes after a refusal: one batch.
const BATCH: u64 = 1 << 20;
/// Highest limit in bytes: more than any transaction has.
const MAX: u64 = 64 << 20;

/// Bytes of keys and values that were queued and not reported, and their limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    limit: u64,
    bytes: u64,
    /// Bytes reported since the limit last changed.
    reported: u64,
    /// The broker has announced a delay within the present window.
    delayed: bool,
}

impl Default for InFlight {
    fn default() -> Self {
        Self { limit: STEP, bytes: 0, reported: 0, delayed: false }
    }
}

impl InFlight {
    /// Returns whether a record of `bytes` may be queued. One record always may.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.bytes == 0 || self.bytes + bytes <= self.limit
    }

    pub(super) fn handle_queued(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Takes delivery reports of records with `bytes` in total.
    pub(super) fn handle_reported(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.reported += bytes;
        if self.reported >= self.limit {
            if !self.delayed {
                self.limit = (self.limit + STEP).min(MAX);
            }
            self.reported = 0;
            self.delayed = false;
        }
    }

    /// Takes the refusal of a batch. The next one should be as large as possible, because each refusal costs a transaction.
    pub(super) fn handle_refusal(&mut self) {
        if !self.delayed {
            self.limit = self.limit.max(BATCH);
        }
    }

    /// Returns the limit for the producer that replaces this one, with nothing in flight.
    pub(super) fn emptied(&self) -> Self {
        Self { limit: self.limit, ..Self::default() }
    }

    /// Takes a delay that a broker has announced: the limit is halved once per window.
    pub(super) fn handle_delay(&mut self) {
        if !self.delayed {
            self.limit = (self.limit / 2).max(STEP);
            self.reported = 0;
            self.delayed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(in_flight: &mut InFlight) -> u64 {
        let mut queued = 0;
        while in_flight.has_room(1 << 10) {
            in_flight.handle_queued(1 << 10);
            queued += 1 << 10;
        }
        queued
    }

    #[test]
    fn limit_grows_with_every_window_without_a_delay() {
        let mut in_flight = InFlight::default();
        let windows: Vec<_> = (0..4)
            .map(|_| {
                let queued = fill(&mut in_flight);
                in_flight.handle_reported(queued);
                queued / STEP
            })
            .collect();
        assert_eq!(windows, [1, 2, 3, 4]);
    }

    #[test]
    fn delays_halve_the_limit_once_per_window() {
        let mut in_flight = InFlight { limit: 8 * STEP, ..InFlight::default() };
        (0..5).for_each(|_| in_flight.handle_delay());
        let queued = fill(&mut in_flight);
        assert_eq!(queued, 4 * STEP);
        in_flight.handle_reported(queued);
        in_flight.handle_delay();
        assert_eq!(fill(&mut in_flight), 2 * STEP);
        for _ in 0..9 {
            in_flight.handle_reported(in_flight.bytes);
            in_flight.handle_reported(in_flight.limit);
            in_flight.handle_delay();
        }
        assert_eq!(in_flight.limit, STEP, "it stays useful");
    }

    #[test]
    fn a_refusal_makes_batches_larger_for_the_next_producer() {
        let mut in_flight = InFlight::default();
        in_flight.handle_queued(1);
        in_flight.handle_refusal();
        in_flight = in_flight.emptied();
        assert_eq!(fill(&mut in_flight.emptied()), BATCH);
        in_flight.handle_delay();
        in_flight.handle_refusal();
        assert_eq!(fill(&mut in_flight), BATCH / 2, "a quota decides");
    }

    #[test]
    fn a_record_above_the_limit_goes_alone() {
        let mut in_flight = InFlight::default();
        assert!(in_flight.has_room(100 * STEP));
        in_flight.handle_queued(100 * STEP);
        assert!(!in_flight.has_room(1));
    }
}
