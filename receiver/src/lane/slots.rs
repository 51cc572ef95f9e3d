//! The partitions that joined a lane in its present epoch, by slot.

use std::collections::HashMap;
use std::sync::Arc;

use wire::ids::{Position, Slot};
use wire::partition::Partition;

use super::rejected_record::RejectedRecordSearch;
use crate::join::Offered;
use crate::target::TargetPartition;

/// A partition that joined in this epoch.
pub(super) struct OpenSlot {
    pub(super) key: Partition,
    pub(super) target: TargetPartition,
    /// Position at which its next run on the wire must begin.
    pub(super) from: Position,
    /// The same after the last committed frame: a replay begins here.
    pub(super) from_committed: Position,
    /// A closed slot's runs are dropped.
    pub(super) closed: bool,
    /// The lane's present producer has committed records here: its marker is the one offset after them.
    pub(super) continues: bool,
    pub(super) search: RejectedRecordSearch,
    /// Policy that leaves out refused records; without one, the partition halts at the first.
    pub(super) skips: Option<Arc<str>>,
}

#[derive(Default)]
pub(super) struct Slots {
    by_number: HashMap<Slot, OpenSlot>,
    /// The slot that writes each target partition: never two.
    writers: HashMap<TargetPartition, Slot>,
}

impl Slots {
    /// Opens the slot of an accepted offer, which is written to `target` and whose next position is `from`.
    pub(super) fn join(&mut self, offered: &Offered, target: TargetPartition, from: Position) {
        let slot = offered.slot();
        self.writers.insert(target.clone(), slot);
        let opened = OpenSlot {
            key: offered.key(),
            target,
            from,
            from_committed: from,
            closed: false,
            continues: false,
            search: RejectedRecordSearch::default(),
            skips: offered.skips_refused.clone(),
        };
        self.by_number.insert(slot, opened);
    }

    /// Returns the number of closed slots whose target partition another slot writes.
    pub(super) fn replaced(&self) -> usize {
        self.by_number.len() - self.writers.len()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&OpenSlot> {
        self.by_number.get(&slot)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut OpenSlot> {
        self.by_number.get_mut(&slot)
    }

    /// Returns a slot that a run or a draft refers to; slots never leave within an epoch.
    pub(super) fn joined(&mut self, slot: Slot) -> &mut OpenSlot {
        self.by_number.get_mut(&slot).expect("a slot stays until the lane is opened again")
    }

    /// Returns the open slots and their target partitions, in the order of their numbers.
    pub(super) fn open(&self) -> Vec<(Slot, TargetPartition)> {
        let open = self.by_number.iter().filter(|(_, state)| !state.closed);
        let mut open: Vec<_> = open.map(|(slot, state)| (*slot, state.target.clone())).collect();
        open.sort_unstable_by_key(|(slot, _)| *slot);
        open
    }

    /// Returns the slot that writes `target`, open or closed.
    pub(super) fn writer(&self, target: &TargetPartition) -> Option<&OpenSlot> {
        self.writers.get(target).and_then(|slot| self.by_number.get(slot))
    }

    pub(super) fn writer_number(&self, target: &TargetPartition) -> Option<Slot> {
        self.writers.get(target).copied()
    }

    /// Returns the slot by which a partition is written, if one is open.
    pub(super) fn open_of(&mut self, key: &Partition) -> Option<(Slot, &mut OpenSlot)> {
        let mut slots = self.by_number.iter_mut();
        slots.find(|(_, slot)| !slot.closed && slot.key == *key).map(|(number, slot)| (*number, slot))
    }

    /// Returns whether a slot of this topic is open.
    pub(super) fn has_open(&self, topic: &str) -> bool {
        self.by_number.values().any(|slot| !slot.closed && *slot.key.topic == *topic)
    }

    /// Returns whether a partition joined in this epoch; its frames may still be in flight although it was halted.
    pub(super) fn has(&self, key: &Partition) -> bool {
        self.by_number.values().any(|slot| slot.key == *key)
    }

    /// Returns the searches of all slots for refused records.
    pub(super) fn searches(&mut self) -> impl Iterator<Item = &mut RejectedRecordSearch> {
        self.by_number.values_mut().map(|slot| &mut slot.search)
    }

    /// Returns whether a refused record of any open slot is searched for.
    pub(super) fn are_searched(&self) -> bool {
        self.by_number.values().any(|slot| !slot.closed && slot.search.is_active())
    }

    /// Takes every slot back to its last committed frame, for another producer.
    pub(super) fn rewind(&mut self) {
        for slot in self.by_number.values_mut() {
            slot.from = slot.from_committed;
            slot.continues = false;
        }
    }
}
