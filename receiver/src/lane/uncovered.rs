//! Target offsets between the records of a lane's partitions, where another program may have written.
//!
//! Between two records of the link, a log has markers, records of aborted transactions, or records that are not ours; the
//! number of offsets does not tell which. One gap needs no look: a single offset between two transactions that the same
//! producer committed one after the other. The first one's marker is written after its records, and before the target
//! lets that producer write again, so that it is the one offset (decision 54). All others are passed on, to be read.

use std::collections::HashMap;

use wire::ids::Position;
use wire::partition::Partition;

use super::draft::Draft;
use super::gaps::Gaps;
use super::open_lane::{Lane, Open};
use super::slots::OpenSlot;
use crate::target::LaneTarget;
use crate::target::map::MapPart;
use crate::target::state::PartitionRecord;

/// Returns the position after the link's last record in the target; `None` if it is not known.
pub(crate) fn end(record: &PartitionRecord) -> Option<Position> {
    let end = record.map.search().as_ref().and_then(MapPart::end).map(|end| end.target);
    // Before the first record, everything after the end that was found when the partition joined is a gap.
    end.or_else(|| (record.delivered == 0).then_some(record.target_end))
}

impl<T: LaneTarget> Lane<T> {
    /// Removes the gaps that were found.
    pub fn take_gaps(&mut self) -> Gaps {
        std::mem::take(&mut self.parts.gaps)
    }
}

impl Open {
    /// Finds the gaps before and between the records of a committed transaction, while `stored` is the state before it.
    pub(super) fn find_gaps(&mut self, draft: &Draft, gaps: &mut Gaps) {
        for slot in &draft.written {
            let OpenSlot { key, continues, .. } = self.slots.joined(*slot);
            let is_proven = std::mem::replace(continues, true) && !draft.corrected.contains(key);
            let records = self.stored.partitions.get(key).zip(draft.changed.get(key)).filter(|_| !is_proven);
            let Some((before, after)) = records else { continue };
            if after.map.search().is_none_or(|map| map.end().is_none()) {
                // The target did not say where the records are.
                gaps.lose();
            } else if let Some(from) = end(before) {
                gaps.add_all(after, from, false);
            }
        }
    }

    /// Finds those of a transaction that turned out to be committed: `before` is what was stored before it.
    pub(super) fn find_gaps_of_unknown<'k>(
        &self,
        keys: impl Iterator<Item = &'k Partition>,
        before: &HashMap<Partition, PartitionRecord>,
        gaps: &mut Gaps,
    ) {
        for (before, after) in keys.filter_map(|key| before.get(key).zip(self.stored.partitions.get(key))) {
            if let Some(from) = end(before) {
                gaps.add_all(after, from, false);
            }
        }
    }

    /// Finds those between the newest records that are stored: the process that committed them may have ended before it
    /// read them. Of single offsets nothing is known any more; most are markers.
    pub(super) fn find_stored_gaps(&self, gaps: &mut Gaps) {
        for record in self.stored.partitions.values() {
            if let Some(map) = record.map.search() {
                gaps.add_all(record, map.start().target, true);
            }
        }
    }
}
