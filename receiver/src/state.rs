//! What a link remembers in the target: one lane record and one record per source partition, in the
//! lane's own partition of `__causeway.<link>.state`, written in the transaction they describe.
//!
//! Every key and value starts with a format version, so that a later version can read this one's.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bincode::{Decode, Encode};
use wire::codec;
use wire::ids::{Epoch, LaneId, Position, TopicId};

use crate::target::{StateEntry, TargetError};

/// The format of keys and values written by this version.
const FORMAT: u8 = 1;

/// The state topic of a link.
pub fn topic(link: &str) -> String {
    format!("__causeway.{link}.state")
}

/// A source partition, by the name it has in the state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionKey {
    /// Source topic name.
    pub topic: Arc<str>,
    /// Source partition number.
    pub partition: i32,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What is remembered of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LaneRecord {
    /// The link this state belongs to.
    pub link: String,
    /// Lanes of the link; never changes.
    pub lanes: u16,
    /// The hash that maps topics to lanes; never changes.
    pub lane_hash: String,
    /// How often the lane was opened.
    pub epoch: Epoch,
    /// Kafka's id of the source cluster.
    pub source_cluster: String,
    /// Kafka's id of the target cluster.
    pub target_cluster: String,
    /// The topic filter whose partitions were all offered; `None` until that was once complete.
    pub filter_hash: Option<u64>,
    /// The sender instance the lane was opened for.
    pub sender: String,
    /// The lanes each class owns, by name: first and last lane.
    pub classes: Vec<(String, u16, u16)>,
}

/// What is remembered of a source partition.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PartitionRecord {
    /// The source topic's incarnation.
    pub topic_id: TopicId,
    /// The next source offset to append.
    pub position: Position,
    /// The source leader epoch of the last record; −1 if unknown.
    pub leader_epoch: i32,
    /// Where its records go.
    pub target_topic: String,
    /// The target topic's incarnation.
    pub target_topic_id: TopicId,
    /// Target partition number.
    pub target_partition: i32,
    /// The target position after the last record appended, as of the transaction before; a log that
    /// ends below it was truncated or replaced.
    pub target_end: Position,
    /// Records appended since the link began.
    pub delivered: u64,
    /// Records that a policy left out.
    pub skipped: u64,
    /// Offsets that held no record: markers, aborted or compacted records.
    pub holes: u64,
    /// Why the partition is halted, if it is.
    pub halt: Option<HaltRecord>,
    /// How often the partition changed lanes; the highest count wins.
    pub moves: u32,
}

/// A stored halt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HaltRecord {
    /// A stable word.
    pub reason: String,
    /// For people.
    pub detail: String,
}

/// A lane's state partition, folded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneState {
    /// The lane record; `None` in a partition nobody has opened yet.
    pub lane: Option<LaneRecord>,
    /// Every partition the lane has ever carried.
    pub partitions: HashMap<PartitionKey, PartitionRecord>,
}

#[derive(Encode, Decode)]
enum Key {
    Lane,
    Partition { source_cluster: String, topic: String, partition: i32 },
}

impl LaneState {
    /// Folds what was read from the state partition of `lane`, refusing what belongs to another source.
    pub fn fold(lane: LaneId, source_cluster: &str, entries: &[StateEntry]) -> Result<Self, TargetError> {
        let mut state = Self::default();
        for entry in entries {
            let Some(value) = &entry.value else { continue };
            match decode(lane, "key", &entry.key)? {
                Key::Lane => state.lane = Some(decode(lane, "lane record", value)?),
                Key::Partition { source_cluster: found, topic, partition } => {
                    if found != source_cluster {
                        let reason = format!(
                            "{topic}-{partition} was carried from cluster {found}, this link's source is {source_cluster}"
                        );
                        return Err(TargetError::State { lane, reason });
                    }
                    let key = PartitionKey { topic: topic.into(), partition };
                    state.partitions.insert(key, decode(lane, "partition record", value)?);
                }
            }
        }
        Ok(state)
    }
}

/// The key of the lane record.
pub fn lane_key() -> Vec<u8> {
    encode(&Key::Lane)
}

/// The key of a partition record.
pub fn partition_key(source_cluster: &str, key: &PartitionKey) -> Vec<u8> {
    encode(&Key::Partition {
        source_cluster: source_cluster.to_owned(),
        topic: key.topic.to_string(),
        partition: key.partition,
    })
}

/// The bytes of a lane or partition record.
pub fn encode(record: &impl Encode) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend(codec::to_bytes(record));
    bytes
}

fn decode<T: Decode<()>>(lane: LaneId, what: &str, bytes: &[u8]) -> Result<T, TargetError> {
    let reason = match bytes.split_first() {
        Some((&FORMAT, body)) => match codec::from_bytes(body) {
            Ok(record) => return Ok(record),
            Err(error) => format!("a {what} is damaged: {error}"),
        },
        Some((format, _)) => format!("a {what} has format {format}; this version reads {FORMAT}"),
        None => format!("a {what} is empty"),
    };
    Err(TargetError::State { lane, reason })
}
