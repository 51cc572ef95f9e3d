//! What a link remembers in the target: one lane record and one record per source partition, in the
//! lane's own partition of `__causeway.<link>.state`, written in the transaction they describe.
//!
//! Every key and value starts with a format version, so that a later version can read this one's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use wire::partition::Partition;

use bincode::{Decode, Encode};
use serde::Serialize;
use wire::control::Accepts;
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Position, TopicId};
use wire::origin::{self, Origin, StoredError};

use crate::target::{StateEntry, TargetError};

/// The state topic of a link.
pub fn topic(link: &str) -> String {
    origin::state_topic(link)
}

/// What is remembered of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LaneRecord {
    /// The link this state belongs to.
    pub link: String,
    /// Lanes of the default class; never changes.
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

/// A partition that this lane has handed over to another: the newer of this and its partition record counts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MovedRecord {
    /// The lane that may take it up.
    pub to: LaneId,
    /// As it was, with the count of this move.
    pub record: PartitionRecord,
}

/// A stored halt.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct HaltRecord {
    /// A word of [`wire::halt`].
    pub reason: String,
    /// For people.
    pub detail: String,
}

impl HaltRecord {
    /// For one of this version's reasons.
    pub fn new(reason: HaltReason, detail: impl Into<String>) -> Self {
        Self { reason: reason.word().to_owned(), detail: detail.into() }
    }

    /// Whether it stands until somebody lifts it. One with a newer version's word does.
    pub fn is_kept(&self) -> bool {
        HaltReason::of(&self.reason).is_none_or(HaltReason::is_kept)
    }
}

/// How many jumps each lane remembers, the newest ones: a year of one a day.
pub const JUMPS_KEPT: u64 = 366;

/// A halt that was lifted, and a position that was moved: who, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct JumpRecord {
    /// Counts the lane's jumps from 0.
    pub number: u64,
    /// When it was asked for, in ms since the Unix epoch, by the sender's clock.
    pub asked: i64,
    /// The sender instance that asked.
    pub sender: String,
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// The position before; −1 if none was stored.
    pub from: i64,
    /// The position after.
    pub to: i64,
    /// What was accepted besides: `another incarnation`, `the target as it is`, or nothing.
    pub accepted: String,
    /// Who asked and why.
    pub reason: String,
    /// The halt that was lifted, if one was stored.
    pub halt: Option<HaltRecord>,
}

/// What a jump accepted, in words.
pub fn accepted(accepts: Accepts) -> &'static str {
    match accepts {
        Accepts::Nothing => "",
        Accepts::NewIncarnation => "another incarnation",
        Accepts::Target => "the target as it is",
    }
}

/// A lane's state partition, folded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneState {
    /// The lane record; `None` in a partition nobody has opened yet.
    pub lane: Option<LaneRecord>,
    /// Every partition that is in this lane.
    pub partitions: HashMap<Partition, PartitionRecord>,
    /// Those that it has handed over.
    pub moved: HashMap<Partition, MovedRecord>,
    /// Where the topics come from that the lane has ever carried, by their names in the source.
    pub origins: HashMap<Arc<str>, Origin>,
    /// Its newest jumps, by their numbers.
    pub jumps: BTreeMap<u64, JumpRecord>,
}

#[derive(Encode, Decode)]
enum Key {
    Lane,
    Partition {
        source_cluster: String,
        topic: String,
        partition: i32,
    },
    /// Written again every [`JUMPS_KEPT`] jumps: compaction is what bounds the log.
    Jump {
        place: u64,
    },
    Moved {
        source_cluster: String,
        topic: String,
        partition: i32,
    },
}

impl LaneState {
    /// Folds what was read from the state partition of `lane`, refusing what belongs to another source.
    pub fn fold(lane: LaneId, source_cluster: &str, entries: &[StateEntry]) -> Result<Self, TargetError> {
        let mut state = Self::default();
        for entry in entries {
            let Some(value) = &entry.value else { continue };
            if let Some(topic) = origin::source_topic(&entry.key).map_err(|error| refuse(lane, "key", &error))? {
                state.origins.insert(topic.into(), decode(lane, "origin record", value)?);
                continue;
            }
            match decode(lane, "key", &entry.key)? {
                Key::Lane => state.lane = Some(decode(lane, "lane record", value)?),
                Key::Jump { .. } => {
                    let jump: JumpRecord = decode(lane, "jump", value)?;
                    state.jumps.insert(jump.number, jump);
                }
                Key::Partition { source_cluster: found, topic, partition } => {
                    let key = of_source(lane, source_cluster, &found, topic, partition)?;
                    state.partitions.insert(key, decode(lane, "partition record", value)?);
                }
                Key::Moved { source_cluster: found, topic, partition } => {
                    let key = of_source(lane, source_cluster, &found, topic, partition)?;
                    state.moved.insert(key, decode(lane, "moved record", value)?);
                }
            }
        }
        let Self { partitions, moved, .. } = &mut state;
        moved.retain(|key, gone| partitions.get(key).is_none_or(|here| here.moves < gone.record.moves));
        partitions.retain(|key, _| !moved.contains_key(key));
        Ok(state)
    }

    /// How often the lane was opened; 0 if that is not stored.
    pub fn epoch(&self) -> Epoch {
        self.lane.as_ref().map_or(Epoch(0), |lane| lane.epoch)
    }

    /// Refuses a state from before what was `known` of it: all that was carried since would be carried again.
    pub fn ensure_no_older_than(&self, lane: LaneId, known: Epoch) -> Result<(), TargetError> {
        let found = self.epoch();
        if found < known { Err(TargetError::StateLost { lane, known, found }) } else { Ok(()) }
    }

    /// The lane's own record, whatever else is stored.
    pub fn lane_record(lane: LaneId, entries: &[StateEntry]) -> Result<Option<LaneRecord>, TargetError> {
        // The log may still hold what a later entry replaced.
        let found = entries.iter().rev().find(|entry| entry.key == lane_key());
        let value = found.and_then(|entry| entry.value.as_ref());
        value.map(|value| decode(lane, "lane record", value)).transpose()
    }
}

fn of_source(
    lane: LaneId,
    source_cluster: &str,
    found: &str,
    topic: String,
    partition: i32,
) -> Result<Partition, TargetError> {
    if found != source_cluster {
        let reason =
            format!("{topic}-{partition} was carried from cluster {found}, this link's source is {source_cluster}");
        return Err(TargetError::State { lane, reason });
    }
    Ok(Partition { topic: topic.into(), partition })
}

/// The key of the lane record.
pub fn lane_key() -> Vec<u8> {
    encode(&Key::Lane)
}

/// The key of a jump.
pub fn jump_key(number: u64) -> Vec<u8> {
    encode(&Key::Jump { place: number % JUMPS_KEPT })
}

/// The key of a partition record.
pub fn partition_key(source_cluster: &str, key: &Partition) -> Vec<u8> {
    encode(&Key::Partition {
        source_cluster: source_cluster.to_owned(),
        topic: key.topic.to_string(),
        partition: key.partition,
    })
}

/// The key of what is remembered of a partition that was handed over.
pub fn moved_key(source_cluster: &str, key: &Partition) -> Vec<u8> {
    encode(&Key::Moved {
        source_cluster: source_cluster.to_owned(),
        topic: key.topic.to_string(),
        partition: key.partition,
    })
}

/// The bytes of a lane or partition record.
pub fn encode(record: &impl Encode) -> Vec<u8> {
    origin::encode(record)
}

fn decode<T: Decode<()>>(lane: LaneId, what: &str, bytes: &[u8]) -> Result<T, TargetError> {
    origin::decode(bytes).map_err(|error| refuse(lane, what, &error))
}

fn refuse(lane: LaneId, what: &str, error: &StoredError) -> TargetError {
    TargetError::State { lane, reason: format!("a {what} {error}") }
}
