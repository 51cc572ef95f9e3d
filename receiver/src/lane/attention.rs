//! What stands in a lane's state until somebody acts: halted partitions, orphaned positions, and the log of
//! jumps. Taken from the lane when it changes, shown by `status` and `causeway jumps`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wire::ids::LaneId;

use crate::lane::Lane;
use crate::target::LaneTarget;
use crate::target::state::JumpRecord;

/// How many partitions of each kind are named; all are counted.
pub const NAMED_MAX: usize = 100;

/// One lane's, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    mark: Mark,
    /// Partitions whose halt is stored, at most [`NAMED_MAX`] of them.
    pub halted: Vec<Halted>,
    /// How many there are.
    pub halted_count: usize,
    /// Stored partitions that the sender does not offer, as `topic-partition`, at most [`NAMED_MAX`] of them.
    pub orphaned: Vec<String>,
    /// How many there are.
    pub orphaned_count: usize,
    /// The newest jumps, by their numbers.
    pub jumps: Arc<BTreeMap<u64, JumpRecord>>,
}

/// What changes whenever anything here may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    epoch: u64,
    halts: u64,
    jumps: u64,
    moves: u64,
    orphaned: usize,
}

/// A partition whose halt is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Halted {
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// Where it stands.
    pub position: i64,
    /// A word of `docs/troubleshoot.md`.
    pub reason: String,
    /// The values and the limit.
    pub detail: String,
}

impl Mark {
    fn of<T: LaneTarget>(lane: &Lane<T>) -> Self {
        let counts = lane.counts();
        let epoch = lane.epoch().map_or(0, |epoch| epoch.0);
        Self { epoch, halts: counts.halts, jumps: counts.jumps, moves: counts.moves, orphaned: lane.orphaned_count() }
    }
}

impl Standing {
    /// Whether this is still so.
    pub fn is_of<T: LaneTarget>(&self, lane: &Lane<T>) -> bool {
        self.mark == Mark::of(lane)
    }

    /// As `lane` is now.
    pub fn of<T: LaneTarget>(lane: &Lane<T>) -> Self {
        let halted = lane.positions().filter_map(|(key, record)| {
            let halt = record.halt.as_ref()?;
            let (topic, partition, position) = (key.topic.to_string(), key.partition, record.position.0);
            Some(Halted { topic, partition, position, reason: halt.reason.clone(), detail: halt.detail.clone() })
        });
        let (halted, halted_count) = named(halted.collect());
        let (orphaned, orphaned_count) = named(lane.orphaned().map(ToString::to_string).collect());
        Self { mark: Mark::of(lane), halted, halted_count, orphaned, orphaned_count, jumps: lane.jumps() }
    }

    /// Says once which positions have lost their partition.
    pub fn report_orphans(&self, lane: LaneId, before: &Self) {
        if self.orphaned_count > 0 && self.orphaned != before.orphaned {
            let (count, first) = (self.orphaned_count, &self.orphaned[0]);
            tracing::warn!(%lane, count, first, "orphaned positions: the sender does not offer these partitions");
        }
    }
}

fn named<T: Ord>(mut all: Vec<T>) -> (Vec<T>, usize) {
    let count = all.len();
    all.sort_unstable();
    all.truncate(NAMED_MAX);
    (all, count)
}
