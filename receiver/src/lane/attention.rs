//! Entries of a lane's state that need an operator's action: halted partitions, orphaned positions, and the log of
//! jumps. Taken from the lane when it changes; `status` and `causeway jumps` show it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use service::status::HaltedPartition;
use wire::ids::LaneId;

use super::open_lane::Lane;
use crate::target::LaneTarget;
use crate::target::state::JumpRecord;

/// Limit on the partitions of each kind that are named; all are counted.
pub(crate) const NAMED_MAX: usize = 100;

/// Entries of one lane that need action, at one moment.
#[derive(Debug, Clone, Default)]
pub struct NeedsAction {
    revision: Revision,
    /// Partitions whose halt is stored, at most [`NAMED_MAX`] of them.
    pub halted: Vec<HaltedPartition>,
    /// The number of all halted partitions, named or not.
    pub halted_count: usize,
    /// Stored partitions that the sender does not offer, as `topic/partition`, at most [`NAMED_MAX`] of them.
    pub orphaned: Vec<String>,
    /// The number of all orphaned partitions, named or not.
    pub orphaned_count: usize,
    /// The numbers of orphaned positions of each topic.
    pub orphaned_topics: BTreeMap<Arc<str>, u32>,
    /// Topics that were switched over.
    pub switched_over: BTreeSet<Arc<str>>,
    /// The newest jumps, by their numbers.
    pub jumps: Arc<BTreeMap<u64, JumpRecord>>,
}

/// Counters of a lane that change whenever [`NeedsAction`] may have changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Revision {
    epoch: u64,
    halts: u64,
    jumps: u64,
    moves: u64,
    orphans: u64,
}

impl Revision {
    fn of<T: LaneTarget>(lane: &Lane<T>) -> Self {
        let counts = lane.counts();
        let epoch = lane.epoch().map_or(0, |epoch| epoch.0);
        let orphans = lane.orphan_changes();
        Self { epoch, halts: counts.halts, jumps: counts.jumps, moves: counts.moves, orphans }
    }
}

impl NeedsAction {
    /// Returns whether this still describes `lane`.
    pub fn is_of<T: LaneTarget>(&self, lane: &Lane<T>) -> bool {
        self.revision == Revision::of(lane)
    }

    /// Takes the present entries of `lane`.
    pub fn of<T: LaneTarget>(lane: &Lane<T>) -> Self {
        // A kept halt of a topic that is not carried stops nothing.
        let carried = lane.positions().filter(|(key, _)| !lane.is_orphaned(key));
        let switched_over = lane.positions().filter(|(_, record)| record.is_switched_over());
        let switched_over = switched_over.map(|(key, _)| Arc::clone(&key.topic)).collect();
        let halted = carried.filter(|(_, record)| !record.is_switched_over()).filter_map(|(key, record)| {
            let halt = record.halt.as_ref()?;
            Some(HaltedPartition {
                topic: key.topic.to_string(),
                partition: key.partition,
                position: record.position.0,
                reason: halt.reason.clone(),
                detail: halt.detail.clone(),
            })
        });
        let (halted, halted_count) = named(halted.collect());
        let mut orphaned_topics = BTreeMap::new();
        for key in lane.orphaned() {
            *orphaned_topics.entry(Arc::clone(&key.topic)).or_default() += 1;
        }
        let (orphaned, orphaned_count) = named(lane.orphaned().map(ToString::to_string).collect());
        Self {
            revision: Revision::of(lane),
            halted,
            halted_count,
            orphaned,
            orphaned_count,
            orphaned_topics,
            switched_over,
            jumps: lane.jumps(),
        }
    }

    /// Logs orphaned positions once, when they differ from those `before`.
    pub fn report_orphans(&self, lane: LaneId, before: &Self) {
        if self.orphaned_count > 0 && self.orphaned != before.orphaned {
            let count = self.orphaned_count;
            let first = &self.orphaned[0];
            tracing::warn!(%lane, count, first, "orphaned positions: the sender does not offer these partitions");
        }
    }
}

/// Returns the first entries in order, at most [`NAMED_MAX`], and the number of all.
fn named<T: Ord>(mut all: Vec<T>) -> (Vec<T>, usize) {
    let count = all.len();
    all.sort_unstable();
    all.truncate(NAMED_MAX);
    (all, count)
}
