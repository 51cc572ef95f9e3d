//! The source cluster as a lane sees it: records of some partitions, in order, through one queue.

pub mod discovery;
pub mod kafka;
pub mod origins;

use std::sync::Arc;

use ::kafka::KafkaError;
use service::bell::Bell;
use wire::frame::RecordRef;
use wire::ids::{LaneId, Position, Slot};

/// Opens one reader per lane.
pub trait Source: Send + Sync + 'static {
    /// What reads one lane.
    type Reader: LaneReader + 'static;

    /// A reader with no partitions yet. It rings `bell` whenever [`LaneReader::peek`] has gone from
    /// nothing to something.
    fn open(&self, lane: LaneId, bell: Bell) -> Result<Self::Reader, KafkaError>;
}

/// A partition to be read from `position` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// How its events are labelled.
    pub slot: Slot,
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// The first offset wanted.
    pub position: Position,
    /// The leader epoch stored with the position (KIP-320); −1 if unknown.
    pub leader_epoch: i32,
}

/// What comes next in a lane's queue.
#[derive(Debug)]
pub enum Event<'a> {
    /// A committed record.
    Record {
        /// Which partition.
        slot: Slot,
        /// The leader epoch it was read under; −1 if unknown.
        leader_epoch: i32,
        /// The record, borrowed from the client's buffer.
        record: RecordRef<'a>,
    },
    /// Everything before `position` has been read; there is nothing more for now.
    End {
        /// Which partition.
        slot: Slot,
        /// May lie past the last record: transaction markers, aborted or compacted offsets.
        position: Position,
    },
    /// The partition delivers nothing more until it is assigned again.
    Fault {
        /// Which partition.
        slot: Slot,
        /// Why.
        fault: PartitionFault,
    },
}

/// Why a partition stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartitionFault {
    /// The wanted offset is not there (any more, or yet): retention, truncation or re-creation.
    #[error("offset {wanted} is not in the log: {detail}")]
    OutOfRange {
        /// The offset that was asked for; −1 if the client did not say.
        wanted: i64,
        /// The client's words.
        detail: String,
    },
    /// The log lost records that it had.
    #[error("log was truncated: {0}")]
    Truncated(String),
    /// A batch failed its checksum or could not be decoded.
    #[error("corrupt batch: {0}")]
    Corrupt(String),
    /// The topic or partition is gone.
    #[error("partition is gone: {0}")]
    Gone(String),
    /// Reading is not allowed.
    #[error("not authorised: {0}")]
    Unauthorized(String),
    /// Anything else the client reports for this partition.
    #[error("{0}")]
    Other(String),
}

/// Reads the partitions of one lane. A lane that is not peeked is not read: its queue fills to its
/// share of the memory and fetching stops.
pub trait LaneReader: Send {
    /// Starts to read more partitions. A slot must not be assigned twice.
    fn assign(&mut self, partitions: &[Assignment]) -> Result<(), KafkaError>;

    /// Stops reading these; no event of theirs is seen after this returns.
    fn unassign(&mut self, slots: &[Slot]) -> Result<(), KafkaError>;

    /// The next event, without waiting; the same one until [`LaneReader::advance`].
    fn peek(&mut self) -> Option<Event<'_>>;

    /// Drops the event last peeked.
    fn advance(&mut self);
}
