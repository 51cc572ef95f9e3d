//! Ends of the source that wait for a lane's next transaction. Sans-IO.

use crate::link::source_ends::EndsReading;

/// Readings of a lane.
#[derive(Debug, Default)]
pub(super) struct LaneEnds {
    /// Reading that waits for the lane's next transaction.
    pub(super) waiting: Option<EndsReading>,
}

impl LaneEnds {
    pub(super) fn are_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Queues a reading again after a transaction whose outcome is unknown, unless there is a newer one.
    pub(super) fn abandon(&mut self, reading: Option<EndsReading>) {
        self.waiting = self.waiting.take().or(reading);
    }
}
