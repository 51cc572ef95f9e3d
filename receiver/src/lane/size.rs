//! Size limit of a lane's next transaction. Sans-IO.
//!
//! The broker aborts a transaction that outlives the transaction timeout, and a repetition of the same size would be
//! aborted again. So the size follows the measured rate of this target: at most what it commits in a quarter of the
//! timeout, half after a failure, down to one record, and double with each success.

use std::time::Duration;

/// First limit of a lane in bytes: a transaction of this size costs little, and every broker can commit it.
const START_BYTES: u64 = 4 << 20;
/// Largest limit in bytes: a larger transaction saves nothing measurable.
const MAX_BYTES: u64 = 32 << 20;
/// Bytes below which a transaction is limited to one record.
const MIN_BYTES: u64 = 1 << 10;

/// Limit on one lane's next transaction.
#[derive(Debug)]
pub struct TransactionSize {
    bytes: u64,
    timeout: Duration,
}

/// Bytes that a transaction may still take. The record that fills it may exceed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransactionRoom {
    bytes: u64,
}

impl TransactionRoom {
    /// Returns whether a lane that has appended `records` records and `bytes` bytes may append one more. The first record
    /// is always allowed.
    pub fn allows(self, records: u64, bytes: u64) -> bool {
        records == 0 || bytes < self.bytes
    }

    /// Returns an equal share for one of `lanes` lanes.
    pub fn share(self, lanes: usize) -> Self {
        Self { bytes: self.bytes / lanes.max(1) as u64 }
    }

    /// Takes what a lane has appended. Returns whether another lane may append something.
    pub fn take(&mut self, bytes: u64) -> bool {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.bytes > 0
    }
}

impl TransactionSize {
    /// Makes the limit for transactions that the broker aborts after `timeout`.
    pub fn new(timeout: Duration) -> Self {
        Self { bytes: START_BYTES, timeout }
    }

    /// Returns the room of an empty transaction.
    pub fn room(&self) -> TransactionRoom {
        TransactionRoom { bytes: if self.bytes < MIN_BYTES { 0 } else { self.bytes } }
    }

    /// Notes that a transaction of `bytes` was committed after `took`.
    pub fn handle_success(&mut self, bytes: u64, took: Duration) {
        let doubled = (self.bytes.max(MIN_BYTES / 2) * 2).min(MAX_BYTES);
        self.bytes = if took.is_zero() || bytes < MIN_BYTES {
            doubled
        } else {
            let drained = bytes as f64 / took.as_secs_f64() * self.timeout.as_secs_f64() / 4.0;
            doubled.min((drained as u64).max(MIN_BYTES))
        };
    }

    pub fn handle_failure(&mut self) {
        self.bytes /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn failures_shrink_a_transaction_and_successes_grow_it() {
        let mut size = TransactionSize::new(TIMEOUT);
        for _ in 0..40 {
            size.handle_failure();
        }
        assert!(size.room().allows(0, 0), "one record is always allowed");
        assert!(!size.room().allows(1, 1));
        for _ in 0..40 {
            size.handle_success(100, Duration::from_millis(5));
        }
        assert!(size.room().allows(1000, MAX_BYTES - 1));
        assert!(!size.room().allows(1000, MAX_BYTES));
    }

    #[test]
    fn a_slow_target_gets_at_most_a_quarter_of_the_timeout() {
        let mut size = TransactionSize::new(TIMEOUT);
        size.handle_success(1 << 20, Duration::from_secs(5));
        let quarter = (1u64 << 20) * 30 / 4 / 5;
        assert!(size.room().allows(1, quarter - 1));
        assert!(!size.room().allows(1, quarter + 1));
    }
}
