//! The target cluster as a lane sees it: one transactional producer and one state partition.

pub mod custody;
pub(crate) mod kafka;
pub mod map;
pub mod promoted;
pub(crate) mod refused_setting;
mod stall;
pub mod state;

use std::sync::Arc;
use std::time::Duration;

use ::kafka::KafkaError;
use ::kafka::catalog::Bounds;
use ::kafka::log::{FirstSince, Seen};
use bytes::Bytes;
use service::bell::Bell;
use wire::frame::RecordRef;
use wire::ids::{Epoch, LaneId, Offset, Position};
use wire::partition::Partition;

pub use ::kafka::producer::{Appended, Offsets, Rejection, Rejections};
use custody::WriterId;

/// Clients of one target cluster.
pub trait Target: Send + Sync + 'static {
    type Writer: TargetWriter + 'static;
    type States: StateAccess + 'static;

    /// Makes a writer. No producer is initialised yet.
    fn writer(&self) -> Result<Self::Writer, KafkaError>;
    /// Returns access to the state partitions of lanes, apart from every writer.
    fn states(&self) -> Result<Self::States, KafkaError>;
    /// Returns the number of times that the credentials of the clients have changed.
    fn generation(&self) -> u64 {
        0
    }
    /// Wakes the thread that waits for `bell` whenever that number grows.
    fn ring_when_changed(&self, bell: &Bell) {
        let _ = bell;
    }
}

/// A partition of a target topic; [`Partition`] alone is one of the source.
pub type TargetPartition = Partition;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// Key bytes, a format version first.
    pub key: Vec<u8>,
    /// Value bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Time of the write in ms since the Unix epoch, if it is known.
    pub written: Option<i64>,
}

impl StateEntry {
    /// Makes an entry whose time is not known.
    pub fn new(key: Vec<u8>, value: Option<Vec<u8>>) -> Self {
        Self { key, value, written: None }
    }
}

/// Block of an offset map, as the map topic has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlock {
    pub offset: Offset,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// Delivery reports of a transaction, as of the last [`LaneTarget::drain`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Records appended to each data partition since the drain before.
    pub appended: Vec<Appended>,
    /// Offset of the last record appended to the state partition since the drain before.
    pub state_end: Option<Offset>,
    /// Offsets of the blocks appended to the map topic since the drain before.
    pub blocks: Offsets,
}

/// Extent of a reading of the state partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// To the last stable offset that the broker which answers has at the time of the call. It does not wait for an open
    /// transaction. The answer may be old: the broker may be a leader that was replaced and does not know it yet.
    LastStable,
    /// To this offset at least. It fails if committed records do not reach that far in time.
    Through(Offset),
}

/// Partition of the target that no record can be written to now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{partition}: {reason}")]
pub struct Unwritable {
    pub partition: TargetPartition,
    /// Sentence without a full stop, with the value and the limit.
    pub reason: String,
}

/// Reasons why a call to the target did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The call failed; the transaction's outcome may be unknown.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The target permanently refuses records.
    #[error("{0}")]
    Rejected(Rejections),
    /// A partition that this producer has written cannot be written now, and no delivery report arrives.
    #[error(transparent)]
    Unwritable(#[from] Unwritable),
    /// The receiver may not write one topic of the transaction; the client does not say which. Nothing was sent.
    #[error(transparent)]
    Unauthorized(KafkaError),
    /// The log that was just appended to ends before the last record that this link wrote to it.
    #[error("{partition} put a record at offset {found}, this link wrote up to {end}: it is another log")]
    Replaced { partition: TargetPartition, end: Position, found: Offset },
    #[error(
        "{0} is gone, and with it every position of this link: nothing can be written until the link begins again; see docs/troubleshoot.md#the-state-topic-is-gone"
    )]
    StateGone(String),
    /// The state topic refuses this lane's positions, so that no transaction of the lane can be committed.
    #[error(
        "{topic} refuses this lane's positions: {reason}; nothing of the lane is committed until it accepts them: check the topic's settings and rights"
    )]
    StateRejected { topic: Arc<str>, reason: String },
    /// A topic that keeps what a link remembers cannot be used.
    #[error("{topic}: {reason}")]
    OwnTopic { topic: String, reason: String },
    /// The map topic refuses a block.
    #[error("{topic} refuses a block of an offset map: {reason}")]
    MapRejected { topic: Arc<str>, reason: String },
    /// The state is older than a state that this lane has read or stored before; epochs only increase.
    #[error(
        "state partition {lane} is at epoch {found}, but epoch {known} was committed: stored positions were lost or cannot be read now; see docs/troubleshoot.md#the-state-topic-is-gone"
    )]
    StateLost { lane: LaneId, known: Epoch, found: Epoch },
    /// The state partition holds entries that this link cannot have written.
    #[error("state partition {lane}: {reason}")]
    State { lane: LaneId, reason: String },
}

impl TargetError {
    /// Returns whether no broker may have answered: a later attempt may succeed.
    pub(crate) fn is_unanswered(&self) -> bool {
        matches!(self, Self::Kafka(error) if error.is_unanswered())
    }
}

/// Target of one lane: its state partition, and a producer that it may share with other lanes.
///
/// The lanes' group commits: records and state become visible together. Every error of the commit, of `begin`,
/// `produce`, `write_state` and `drain` leaves the transaction's outcome
/// unknown. The only way to continue is [`LaneTarget::discard`], [`LaneTarget::fence`] and
/// [`LaneTarget::read_state`]. There is no abort: it would race with records that are still in flight.
pub trait LaneTarget: Send {
    /// Reads the lane's state partition, `read_committed`, and folds it: at most one entry per key, no tombstones, in the
    /// order of the log.
    fn read_state(&mut self, extent: Extent) -> Result<Vec<StateEntry>, TargetError>;
    /// Returns the transactional ids that the lane may be written through here, the one to try first before the others.
    fn ids(&self) -> Vec<WriterId>;
    /// Provides a producer with this transactional id. A new one is initialised: earlier producers of the id are fenced,
    /// and their open transactions are ended, before this returns. It fails if that takes longer than `within`: a
    /// partition of the last transaction may not be writable now. A producer that other lanes use stays.
    fn fence(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError>;
    /// Fences every producer of another id likewise, and keeps the present producer.
    fn expel(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError>;
    /// Starts a transaction, or joins one that other lanes have started.
    fn begin(&mut self) -> Result<(), TargetError>;
    /// Appends one record to a data partition. `record`'s bytes lie inside `frame`, which is held until
    /// the transaction's reports are in or the producer is dropped. Blocks while the client's queue is full.
    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, frame: &Bytes) -> Result<(), TargetError>;
    /// Appends one entry to the lane's state partition.
    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError>;
    /// Appends one block to the lane's partition of the map topic.
    fn write_block(&mut self, key: &[u8], value: &[u8]) -> Result<(), TargetError>;
    /// Waits until every record of the transaction so far is reported, and returns the lane's part of the reports. A
    /// transaction may be drained many times.
    fn drain(&mut self) -> Result<Delivered, TargetError>;
    /// Commits entries of the lane's state partition, in this order, in a transaction that may have those of other lanes.
    /// Returns the offset of the last. Not while the lane has a part in another transaction.
    fn commit_entries(&mut self, entries: Vec<StateEntry>) -> Result<Offset, TargetError>;
    /// Returns those of the partitions that cannot be written now. It asks the target, for a few seconds at most.
    fn unwritable(&mut self, partitions: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError>;
    /// Returns whether the transaction should be committed soon, because the target's brokers delay their answers.
    fn is_slow(&self) -> bool {
        false
    }
    /// Longest delay that a broker has announced within the last transaction, because the receiver exceeds a quota.
    fn delay(&self) -> Duration {
        Duration::ZERO
    }
    /// Leaves the producer. If a transaction of the lane is open, the producer is destroyed without ending it; the next
    /// [`LaneTarget::fence`] decides it.
    fn discard(&mut self);
}

/// Transactional producer, which writes any partitions of the target. Errors leave the transaction's outcome unknown, as
/// those of a [`LaneTarget`] do.
pub trait TargetWriter: Send {
    /// Makes a new producer with this id and initialises it, as [`LaneTarget::fence`] describes.
    fn fence(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError>;
    /// Returns whether the target's credentials have changed since the producer was made.
    fn is_outdated(&self) -> bool {
        false
    }
    fn begin(&mut self) -> Result<(), TargetError>;
    /// Appends one record; see [`LaneTarget::produce`].
    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, frame: &Bytes) -> Result<(), TargetError>;
    /// Appends one entry to a state partition.
    fn write_state(&mut self, state: &TargetPartition, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError>;
    /// Waits until every record of the transaction so far is reported. Returns the reports since the drain before, those
    /// of state partitions too.
    fn drain(&mut self) -> Result<Vec<Appended>, TargetError>;
    /// Returns whether the transaction should be committed soon.
    fn is_slow(&self) -> bool {
        false
    }
    /// Longest delay that a broker has announced within the last transaction.
    fn delay(&self) -> Duration {
        Duration::ZERO
    }
    /// Commits: records and state become visible together.
    fn commit(&mut self) -> Result<(), TargetError>;
    /// Destroys the producer without ending its transaction.
    fn discard(&mut self);
}

/// State partitions of lanes, and the transactional ids of other processes that may write them. It has clients of its
/// own, so that a partition that hangs delays no writer.
pub trait StateAccess: Send {
    /// Reads a state partition; see [`LaneTarget::read_state`].
    fn read(&mut self, state: &TargetPartition, extent: Extent) -> Result<Vec<StateEntry>, TargetError>;
    /// Reads the block at an offset of the map topic, and some before it; none if the offset was deleted. A target without
    /// a map topic has none.
    fn read_blocks(&mut self, map: &TargetPartition, near: Offset) -> Result<Vec<StoredBlock>, TargetError> {
        let _ = (map, near);
        Ok(Vec::new())
    }
    /// Counts the committed records of other programs and of ours within these bounds.
    fn count_records(&mut self, at: &TargetPartition, bounds: Bounds) -> Result<Seen, TargetError> {
        let doing = format!("count of the records from {} to {} in {at}", bounds.start, bounds.end);
        Err(KafkaError::misused(doing, "this target does not support it").into())
    }
    /// Looks for the first committed record at or after `from` whose timestamp is `since` (ms since the Unix epoch) or later.
    fn first_since(&mut self, at: &TargetPartition, from: Position, since: i64) -> Result<FirstSince, TargetError> {
        let doing = format!("search of a time in {at} from {from}: {since}");
        Err(KafkaError::misused(doing, "this target does not support it").into())
    }
    /// Returns the timestamp of the committed record at an offset, in ms since the Unix epoch; `None` if there is none.
    fn timestamp(&mut self, at: &TargetPartition, offset: Offset) -> Result<Option<i64>, TargetError> {
        let doing = format!("read of the time of the record at {offset} in {at}");
        Err(KafkaError::misused(doing, "this target does not support it").into())
    }
    /// Fences every producer of an id; see [`LaneTarget::fence`].
    fn expel(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError>;
    /// Returns those of the partitions that cannot be written now.
    fn unwritable(&mut self, partitions: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError>;
}
