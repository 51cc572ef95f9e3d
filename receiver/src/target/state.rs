//! The state of a link in the target: one lane record and one record per source partition, in the lane's own
//! partition of `__causeway.<link>.state`, written in the transaction that they describe.
//!
//! Every key and value starts with a format version, so that a later version can read this one's.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bincode::{Decode, Encode};
use serde::Serialize;
use wire::control::Accepts;
use wire::halt::{HaltReason, is_word};
use wire::ids::{Epoch, LaneId, Position, TopicId};
use wire::origin::{self, Origin, StoredError};
use wire::partition::Partition;

use super::custody::{BidName, BidRecord, Custody, CustodyRecord, WriterId};
use super::map::PartitionMap;
use super::promoted::{EndsRecord, PromotedRecord, SourceEnd, StatementPart};
use crate::target::{StateEntry, TargetError, TargetPartition};

pub fn topic(link: &str) -> String {
    origin::state_topic(link)
}

/// Returns the topic that has the older ranges of a link's offset maps.
pub fn map_topic(link: &str) -> String {
    origin::map_topic(link)
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LaneRecord {
    pub link: String,
    /// Lanes of the default class; never changes.
    pub lanes: u16,
    /// The hash that maps topics to lanes; never changes.
    pub lane_hash: String,
    /// Epoch: how often the lane was opened.
    pub epoch: Epoch,
    pub source_cluster: String,
    pub target_cluster: String,
    /// Hash of the topic filter whose partitions were all offered; `None` until that was complete once.
    pub filter_hash: Option<u64>,
    pub sender: String,
    /// Classes by name, with the first and the last lane of each.
    pub classes: Vec<(String, u16, u16)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PartitionRecord {
    pub topic_id: TopicId,
    /// The next source offset to append.
    pub position: Position,
    /// The source leader epoch of the last record; −1 if unknown.
    pub leader_epoch: i32,
    pub target_topic: String,
    pub target_topic_id: TopicId,
    pub target_partition: i32,
    /// Target position after the last record appended by the transaction before this one; a log that
    /// ends below it was truncated or replaced.
    pub target_end: Position,
    /// Records appended since the link began.
    pub delivered: u64,
    /// Records that a policy left out.
    pub skipped: u64,
    /// Offsets that held no record: markers, aborted or compacted records.
    pub holes: u64,
    pub halt: Option<HaltRecord>,
    /// Number of hand-overs of the partition; the record with the highest number counts.
    pub moves: u32,
    /// Where the records went. It is the last field: earlier versions stored none.
    pub map: PartitionMap,
}

impl PartitionRecord {
    /// Returns the target partition that the partition was written to.
    pub fn target(&self) -> TargetPartition {
        TargetPartition::new(self.target_topic.as_str(), self.target_partition)
    }

    /// Returns whether the partition's topic was switched over alone.
    pub fn is_switched_over(&self) -> bool {
        self.halt.as_ref().is_some_and(|halt| halt.reason == HaltReason::SwitchedOver.word())
    }
}

/// Record of a partition that this lane has handed over: the newer of this and its partition record counts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MovedRecord {
    /// The lane that may accept the partition.
    pub to: LaneId,
    /// The partition record, with the number of this hand-over.
    pub record: PartitionRecord,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct HaltRecord {
    /// Reason, a word of [`wire::halt`].
    pub reason: String,
    /// The values and the limit, for operators.
    pub detail: String,
}

impl HaltRecord {
    pub fn new(reason: HaltReason, detail: impl Into<String>) -> Self {
        Self { reason: reason.word().to_owned(), detail: detail.into() }
    }

    /// Returns the halt with a reason that is a word: earlier versions stored any text of a sender.
    fn cleaned(self) -> Self {
        if is_word(&self.reason) { self } else { Self { reason: "unknown".to_owned(), ..self } }
    }

    /// Returns whether the halt stays until an operator lifts it; true for a newer version's words.
    pub fn is_kept(&self) -> bool {
        HaltReason::of(&self.reason).is_none_or(HaltReason::is_kept)
    }
}

/// Limit on the jumps that each lane remembers: one per day for a year.
pub const JUMPS_KEPT: u64 = 366;

/// Record of a jump: a halt that was lifted, or a position that was moved.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct JumpRecord {
    /// Number of the jump within the lane, from 0.
    pub number: u64,
    /// Time of the request by the sender's clock, in ms since the Unix epoch.
    pub asked: i64,
    /// Instance name of the requesting sender.
    pub sender: String,
    pub topic: String,
    pub partition: i32,
    /// The position before; −1 if none was stored.
    pub from: i64,
    /// The position after the jump.
    pub to: i64,
    /// Further consent of the operator, as [`accepted`] words it; empty for none.
    pub accepted: String,
    /// User and reason of the request.
    pub reason: String,
    /// Halt that was lifted, if one was stored.
    pub halt: Option<HaltRecord>,
}

/// Returns the text of [`JumpRecord::accepted`].
pub fn accepted(accepts: Accepts) -> &'static str {
    match accepts {
        Accepts::Nothing => "",
        Accepts::NewIncarnation => "another incarnation",
        Accepts::Target => "the target as it is",
        // It moves no position.
        Accepts::CarriedOnly => "",
    }
}

/// State of a lane, folded from its state partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaneState {
    /// Record of the lane; `None` if it was never opened.
    pub lane: Option<LaneRecord>,
    pub partitions: HashMap<Partition, PartitionRecord>,
    /// Time at which each partition's record was written, in ms since the Unix epoch, where it is known.
    pub written: HashMap<Partition, i64>,
    pub moved: HashMap<Partition, MovedRecord>,
    /// Origins of all topics that the lane has ever carried, by their source names.
    pub origins: HashMap<Arc<str>, Origin>,
    pub jumps: BTreeMap<u64, JumpRecord>,
    /// Topics that are gone from the source, and since when, in ms since the Unix epoch.
    pub gone: BTreeMap<Arc<str>, i64>,
    /// The process that may write the lane, and the id that it writes through.
    pub custody: Custody,
    /// Promotion of the link: the lane carries nothing any more.
    pub promoted: Option<PromotedRecord>,
    /// Ends of partitions that begin in this lane, as the sender last said.
    pub ends: BTreeMap<Partition, SourceEnd>,
    /// Parts of the statement of loss, only in lane 0.
    pub statement: BTreeMap<u32, StatementPart>,
}

#[derive(Encode, Decode)]
enum Key {
    Lane,
    Partition {
        source_cluster: String,
        topic: String,
        partition: i32,
    },
    /// Overwritten after [`JUMPS_KEPT`] jumps, so that compaction bounds the log.
    Jump {
        place: u64,
    },
    Moved {
        source_cluster: String,
        topic: String,
        partition: i32,
    },
    /// Key of a tombstone: never an entry.
    Barrier,
    Custody,
    Bid(BidName),
    /// Only in lane 0, of topics that a policy will forget.
    Gone {
        source_cluster: String,
        topic: String,
    },
    Promoted,
    Ends {
        part: u32,
    },
    /// Only in lane 0.
    Statement {
        part: u32,
    },
}

impl LaneState {
    /// Folds the entries of `lane`'s state partition, which are in the order of the log, and refuses those of another
    /// source cluster.
    pub fn fold(lane: LaneId, link: &str, source_cluster: &str, entries: &[StateEntry]) -> Result<Self, TargetError> {
        let mut state = Self::default();
        let mut custody: Option<CustodyRecord> = None;
        let mut bids: Vec<(BidName, BidRecord)> = Vec::new();
        for entry in entries {
            let Some(value) = &entry.value else { continue };
            if let Some(topic) = origin::source_topic(&entry.key).map_err(|error| refuse(lane, "key", &error))? {
                state.origins.insert(topic.into(), decode(lane, "origin record", value)?);
                continue;
            }
            match decode(lane, "key", &entry.key)? {
                // A barrier has no value.
                Key::Barrier => {}
                Key::Lane => state.lane = Some(decode(lane, "lane record", value)?),
                Key::Jump { .. } => {
                    let jump: JumpRecord = decode(lane, "jump", value)?;
                    state.jumps.insert(jump.number, jump);
                }
                Key::Partition { source_cluster: found, topic, partition } => {
                    let key = of_source(lane, source_cluster, &found, topic, partition)?;
                    let mut record: PartitionRecord = decode(lane, "partition record", value)?;
                    record.halt = record.halt.map(HaltRecord::cleaned);
                    state.written.extend(entry.written.map(|at| (key.clone(), at)));
                    state.partitions.insert(key, record);
                }
                Key::Moved { source_cluster: found, topic, partition } => {
                    let key = of_source(lane, source_cluster, &found, topic, partition)?;
                    state.moved.insert(key, decode(lane, "moved record", value)?);
                }
                Key::Custody => custody = Some(decode(lane, "custody record", value)?),
                Key::Gone { source_cluster: found, topic } => {
                    let since = decode(lane, "time since which a topic is gone", value)?;
                    // Those of a rebuilt source say nothing about the new one.
                    if found == source_cluster {
                        state.gone.insert(topic.into(), since);
                    }
                }
                Key::Bid(name) => bids.push((name, decode(lane, "bid", value)?)),
                Key::Promoted => state.promoted = Some(decode(lane, "promotion", value)?),
                Key::Ends { .. } => decode::<EndsRecord>(lane, "record of ends", value)?.add_to(&mut state.ends),
                Key::Statement { part } => drop(state.statement.insert(part, decode(lane, "statement", value)?)),
            }
        }
        let first = state.lane.is_some().then(|| WriterId::of_lane(link, lane));
        state.custody = Custody::fold(custody, &bids, first);
        let Self { partitions, moved, .. } = &mut state;
        moved.retain(|key, gone| partitions.get(key).is_none_or(|here| here.moves < gone.record.moves));
        partitions.retain(|key, _| !moved.contains_key(key));
        Ok(state)
    }

    /// Epoch of the lane; 0 if none is stored.
    pub fn epoch(&self) -> Epoch {
        self.lane.as_ref().map_or(Epoch(0), |lane| lane.epoch)
    }

    /// Refuses a state older than the `known` epoch, because everything carried since would be carried again.
    pub fn ensure_no_older_than(&self, lane: LaneId, known: Epoch) -> Result<(), TargetError> {
        let found = self.epoch();
        if found < known { Err(TargetError::StateLost { lane, known, found }) } else { Ok(()) }
    }

    /// Returns the lane record without decoding the other entries.
    pub fn lane_record(lane: LaneId, entries: &[StateEntry]) -> Result<Option<LaneRecord>, TargetError> {
        // The last entry counts: the log may still have earlier ones.
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
            format!("{topic}/{partition} was carried from cluster {found}, this link's source is {source_cluster}");
        return Err(TargetError::State { lane, reason });
    }
    Ok(Partition { topic: topic.into(), partition })
}

/// Returns the state partition of a lane: they have the same numbers.
pub fn partition(link: &str, lane: LaneId) -> TargetPartition {
    TargetPartition::new(topic(link), i32::from(lane.0))
}

/// Returns the lane's partition of the map topic.
pub fn map_partition(link: &str, lane: LaneId) -> TargetPartition {
    TargetPartition::new(map_topic(link), i32::from(lane.0))
}

pub fn lane_key() -> Vec<u8> {
    encode(&Key::Lane)
}

/// Key of the tombstone that a lane commits before the reading that decides.
pub fn barrier_key() -> Vec<u8> {
    encode(&Key::Barrier)
}

pub fn custody_key() -> Vec<u8> {
    encode(&Key::Custody)
}

pub fn bid_key(name: BidName) -> Vec<u8> {
    encode(&Key::Bid(name))
}

pub fn jump_key(number: u64) -> Vec<u8> {
    encode(&Key::Jump { place: number % JUMPS_KEPT })
}

pub fn partition_key(source_cluster: &str, key: &Partition) -> Vec<u8> {
    encode(&Key::Partition {
        source_cluster: source_cluster.to_owned(),
        topic: key.topic.to_string(),
        partition: key.partition,
    })
}

pub fn moved_key(source_cluster: &str, key: &Partition) -> Vec<u8> {
    encode(&Key::Moved {
        source_cluster: source_cluster.to_owned(),
        topic: key.topic.to_string(),
        partition: key.partition,
    })
}

pub fn gone_key(source_cluster: &str, topic: &str) -> Vec<u8> {
    encode(&Key::Gone { source_cluster: source_cluster.to_owned(), topic: topic.to_owned() })
}

pub fn promoted_key() -> Vec<u8> {
    encode(&Key::Promoted)
}

pub fn ends_key(part: u32) -> Vec<u8> {
    encode(&Key::Ends { part })
}

pub fn statement_key(part: u32) -> Vec<u8> {
    encode(&Key::Statement { part })
}

pub fn encode(record: &impl Encode) -> Vec<u8> {
    origin::encode(record)
}

fn decode<T: Decode<()>>(lane: LaneId, what: &str, bytes: &[u8]) -> Result<T, TargetError> {
    origin::decode(bytes).map_err(|error| refuse(lane, what, &error))
}

fn refuse(lane: LaneId, what: &str, error: &StoredError) -> TargetError {
    TargetError::State { lane, reason: format!("a {what} {error}") }
}
