//! Events of a lane's queue, and the assignment that they follow from.

use std::sync::Arc;

use wire::frame::RecordRef;
use wire::ids::{Position, Slot};

/// Assignment of one partition, to be read from `position` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Slot that labels the partition's events.
    pub slot: Slot,
    pub topic: Arc<str>,
    pub partition: i32,
    /// The first offset to read.
    pub position: Position,
    /// The leader epoch stored with the position (KIP-320); −1 if unknown.
    pub leader_epoch: i32,
    /// True if it joins after the lane's first partitions: it must not wait for a fetch of thousands of them.
    pub is_late: bool,
}

#[derive(Debug)]
pub enum LaneEvent<'a> {
    /// A committed record, borrowed from the client's buffer; `leader_epoch` is −1 if unknown.
    Record { slot: Slot, leader_epoch: i32, record: RecordRef<'a> },
    /// The end of the partition: all records before `position` have been read. It may be higher than the last record's
    /// offset + 1: transaction markers, aborted records and compacted records also have offsets.
    End { slot: Slot, position: Position },
    /// A fault: the partition delivers nothing until it is assigned again.
    Fault { slot: Slot, fault: Fault },
}

/// Reason why a partition stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The requested offset is not in the log: retention, truncation or a new topic of the same name.
    #[error("offset {wanted} is not in the log: {detail}")]
    OutOfRange { wanted: i64, detail: String },
    /// The log lost records that it had, as its leader epochs show (KIP-320).
    #[error("log was truncated: {0}")]
    Truncated(String),
    /// A batch has a wrong checksum, or a record or its headers cannot be decoded.
    #[error("corrupt batch: {0}")]
    Corrupt(String),
    /// The topic or partition does not exist.
    #[error("partition is gone: {0}")]
    Gone(String),
    /// The client has no right to read the topic.
    #[error("not authorised: {0}")]
    Unauthorized(String),
    /// Any other error that the client reports for this partition.
    #[error("{0}")]
    Other(String),
}
