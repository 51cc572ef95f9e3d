//! A transaction in preparation, as plain data.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use wire::ids::{Position, Slot};
use wire::partition::Partition;

use super::changes::Changes;
use super::claims::Claimed;
use super::forget::ForgetDraft;
use super::gone_since::Marks;
use super::handover::HandoverDraft;
use super::memory::Lease;
use super::open_lane::{Counts, LaneError};
use super::skipped_records::{LoggedSkips, SkippedRecords};
use crate::join::Offered;
use crate::link::source_ends::EndsReading;
use crate::target::Delivered;
use crate::target::map::Block;
use crate::target::state::{HaltRecord, JumpRecord};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    pub records: u64,
    /// Bytes of keys, values and headers appended.
    pub bytes: u64,
}

/// Part of a lane in a transaction, complete or not.
pub struct Prepared {
    pub draft: Draft,
    pub result: Result<(), LaneError>,
}

/// Lanes whose parts a transaction has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// Those of one lane: a failure is about this lane, or about the target as a whole.
    Alone,
    /// Those of several lanes.
    Shared,
}

impl Draft {
    #[cfg(test)]
    pub(crate) fn append_for_test(&mut self, bytes: u64) {
        self.begun = true;
        self.counts.records += 1;
        self.counts.bytes += bytes;
    }

    /// Returns whether the transaction has begun because of this lane.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Records and bytes that the lane has appended.
    pub fn size(&self) -> Committed {
        Committed { records: self.counts.records, bytes: self.counts.bytes }
    }
}

/// Everything that one transaction writes for a lane, and the answers that its commit releases.
#[derive(Default)]
pub struct Draft {
    /// True if the target's transaction has begun; it begins with the first thing to write.
    pub(super) begun: bool,
    /// Counters to add to the lane's after the commit.
    pub(super) counts: Counts,
    /// Partition records as they will be after the commit.
    pub(super) changed: Changes,
    /// Partitions that change lanes.
    pub(super) handovers: HandoverDraft,
    /// Origins of topics to store, and the claims that wait for them.
    pub(super) claimed: Claimed,
    /// Positions that are dropped, and the requests for that.
    pub(super) forgotten: ForgetDraft,
    /// Marks of topics that are gone from the source.
    pub(super) marks: Marks,
    /// Ends of the source to store.
    pub(super) source_ends: Option<EndsReading>,
    /// Offers whose initial position this transaction stores.
    pub(super) opened: Vec<Offered>,
    /// Halts lifted and positions moved by these offers.
    pub(super) jumps: Vec<JumpRecord>,
    /// Offers to refuse, once this transaction has proved that the lane is still ours.
    pub(super) refused: Vec<(Offered, HaltRecord)>,
    /// Slots whose halt this transaction stores, by the sender or because of the target.
    pub(super) halted: Vec<(Slot, HaltRecord)>,
    /// Halts by the sender, some of them of slots that have not joined.
    pub(super) sender_halts: Vec<(Slot, HaltRecord)>,
    /// Refused records that a policy leaves out, by slot.
    pub(super) skipped: BTreeMap<Slot, SkippedRecords>,
    /// The same once they are in the log of jumps, which is the last before the state is written.
    pub(super) logged: Vec<LoggedSkips>,
    /// Slots that records were appended to.
    pub(super) written: BTreeSet<Slot>,
    /// Bytes appended since the last drain.
    pub(super) undrained: u64,
    /// Records that were drained one by one.
    pub(super) alone: u32,
    pub(super) delivered: Delivered,
    /// Blocks of offset maps, in the order in which they were written.
    pub(super) blocks: Vec<(Partition, Block)>,
    /// Partitions whose records are not where they were predicted.
    pub(super) corrected: HashSet<Partition>,
    /// The records of a partition have so many gaps between them that the rest has to wait.
    pub(super) is_gapped: bool,
    /// True if this transaction stores that every matching partition was offered.
    pub(super) filter_complete: bool,
    /// Positions of the slots after the frames that are complete.
    pub(super) ends: Vec<(Slot, Position)>,
    /// Decoded frames, whose memory is in use until the transaction ends.
    pub(super) leases: Vec<Arc<Lease>>,
}
