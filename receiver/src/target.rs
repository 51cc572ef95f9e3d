//! The target cluster as a lane sees it: one transactional producer and one state partition.

pub mod kafka;
pub mod state;

use std::sync::Arc;

use ::kafka::{KafkaError, Refusal};
use bytes::Bytes;
use wire::frame::RecordRef;
use wire::ids::{Epoch, LaneId, Offset, Position};

/// Opens one target per lane of a link.
pub trait Target: Send + Sync + 'static {
    /// What writes one lane.
    type Lane: LaneTarget + 'static;

    /// A writer for one lane that has not fenced anybody yet.
    fn open(&self, link: &str, lane: LaneId) -> Result<Self::Lane, KafkaError>;
}

/// A partition of a target topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetPartition {
    /// Target topic name.
    pub topic: Arc<str>,
    /// Target partition number.
    pub partition: i32,
}

/// One entry of a state partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateEntry {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// What became of the records of a transaction, once every delivery report so far is in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delivered {
    /// What was appended to each data partition since the last drain.
    pub appended: Vec<Appended>,
    /// Records of the transaction whose timestamp of 0 had to be written as 1: the client takes 0 for "now".
    pub timestamps_altered: u64,
}

/// What was appended to one data partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Which.
    pub partition: TargetPartition,
    /// The lowest target offset; −1 where the target does not say.
    pub first: Offset,
    /// The highest.
    pub last: Offset,
}

/// Records that the target refuses for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Where they were to go.
    pub partition: TargetPartition,
    /// What is refused.
    pub refusal: Refusal,
    /// The source offsets, first and last, among which the refused record is. The same: it is that one.
    pub offsets: (Offset, Offset),
    /// The broker's or the client's words.
    pub reason: String,
}

/// Why a call to the target did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The call failed; the transaction's outcome may be unknown.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The target refuses a record of a partition for good.
    #[error("{}-{} refuses a record: {}", .0.partition.topic, .0.partition.partition, .0.reason)]
    Rejected(Rejected),
    /// A topic of the transaction may not be written, and the client does not say which; nothing of it was sent.
    #[error(transparent)]
    Unwritable(KafkaError),
    /// The log that was just appended to ends before what this link wrote to it.
    #[error("{}-{} put a record at offset {found}, this link wrote up to {end}: it is another log", partition.topic, partition.partition)]
    Replaced {
        /// Which.
        partition: TargetPartition,
        /// The position after the last record that this link knows to be there.
        end: Position,
        /// Where the target put a record.
        found: Offset,
    },
    /// The state topic is not there any more.
    #[error(
        "{0} is gone, and with it every position of this link: nothing can be written until the link begins again; see \"state topic\" in the operators' page"
    )]
    StateGone(String),
    /// The state topic does not take what is to be stored: no transaction of the lane can be committed.
    #[error(
        "{topic} refuses this lane's positions: {reason}; nothing of the lane is committed until it takes them: look at the topic's settings and rights"
    )]
    StateRejected {
        /// The state topic.
        topic: Arc<str>,
        /// The broker's or the client's words.
        reason: String,
    },
    /// The state is older than what this lane has read or stored before: epochs only rise.
    #[error(
        "state partition {lane} holds epoch {found}, and this lane had {known}: what was committed is gone, or not to be had now; see \"state topic\" in the operators' page"
    )]
    StateLost {
        /// Which.
        lane: LaneId,
        /// The epoch that was there.
        known: Epoch,
        /// The epoch that is; 0 if there is none.
        found: Epoch,
    },
    /// The state partition cannot be trusted.
    #[error("state partition {lane}: {reason}")]
    State {
        /// Which.
        lane: LaneId,
        /// What is wrong.
        reason: String,
    },
}

/// Writes one lane. Every error of `begin`, `produce`, `write_state`, `drain` and `commit` leaves the
/// transaction's outcome unknown: the only way on is [`LaneTarget::discard`], [`LaneTarget::fence`] and
/// [`LaneTarget::read_state`]. There is no abort: it races with the records that are still under way.
pub trait LaneTarget: Send {
    /// Reads the lane's state partition, `read_committed`, and folds it: at most one entry per key,
    /// tombstones left out.
    ///
    /// After [`LaneTarget::fence`] up to the high watermark at the time of the call; fails where the last
    /// stable offset stays below that watermark, because somebody else writes there. Before it, or after
    /// [`LaneTarget::discard`], only what is decided so far: a dead owner's open transaction, which the
    /// fence is about to end, must not hold the opening up.
    fn read_state(&mut self) -> Result<Vec<StateEntry>, TargetError>;

    /// Makes a new producer with the lane's transactional id and initialises it: earlier owners are
    /// fenced and whatever they left open is decided before this returns.
    fn fence(&mut self) -> Result<(), TargetError>;

    /// Starts a transaction.
    fn begin(&mut self) -> Result<(), TargetError>;

    /// Appends one record to a data partition. `record`'s bytes lie inside `frame`, which is held until
    /// the transaction's reports are in or the producer is gone. Blocks while the client's queue is full.
    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, frame: &Bytes) -> Result<(), TargetError>;

    /// Appends one entry to the lane's state partition.
    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError>;

    /// Waits until every record of the transaction so far is reported; any number of times in one.
    fn drain(&mut self) -> Result<Delivered, TargetError>;

    /// Commits: records and state become visible together.
    fn commit(&mut self) -> Result<(), TargetError>;

    /// Destroys the producer without ending its transaction; the next [`LaneTarget::fence`] decides it.
    fn discard(&mut self);
}
