//! Bytes of each run in a finished frame, from which a sender shares the frame out among topics.

use crate::ids::Slot;

/// Bytes of one run in a finished frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunBytes {
    pub slot: Slot,
    pub records: u64,
    /// Bytes of keys, values and headers.
    pub record_bytes: u64,
    /// Bytes of the run outside of blocks, before compression.
    pub loose_bytes: u64,
    /// Bytes of the blocks that hold the rest, as sent. Runs of one topic share blocks; these count with one of the runs.
    pub block_bytes: u64,
}
