//! Slots of one lane within an epoch: the partition of each, and what the receiver has said about it. Sans-IO.
//!
//! A slot is offered, then opened or halted once, and a halted one stays closed: what a receiver says against that ends
//! its session. Of a partition that was offered several times only the last closed slot is kept, so that the memory
//! follows from the number of partitions, for any answers of the receiver.

use std::collections::HashMap;

use wire::error::PeerMisbehaved;
use wire::ids::{Slot, TopicId};
use wire::partition::Partition;

/// Slots of one epoch.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Number of the next slot.
    next: u32,
    by_number: HashMap<Slot, OfferedSlot>,
    /// Last slot of each partition.
    last: HashMap<Partition, Slot>,
    /// Open slot of each partition that is read.
    open: HashMap<Partition, Slot>,
}

#[derive(Debug)]
pub(super) struct OfferedSlot {
    pub(super) at: Partition,
    /// Id of the topic when it was offered, or when it was last compared.
    pub(super) topic_id: TopicId,
    /// True once the receiver has halted the slot for good.
    closed: bool,
}

/// Slot that the receiver has halted.
pub(super) struct HaltedSlot {
    pub(super) at: Partition,
    pub(super) was_open: bool,
}

impl Slots {
    /// Gives a partition the next slot.
    pub(super) fn offer(&mut self, at: Partition, topic_id: TopicId) -> Slot {
        let slot = Slot(self.next);
        self.next += 1;
        if let Some(before) = self.last.insert(at.clone(), slot)
            && self.by_number.get(&before).is_some_and(|before| before.closed)
        {
            self.by_number.remove(&before);
        }
        self.by_number.insert(slot, OfferedSlot { at, topic_id, closed: false });
        slot
    }

    /// Returns the slot that is offered next.
    pub(super) fn next(&self) -> Slot {
        Slot(self.next)
    }

    /// Handles that the receiver opened a slot.
    pub(super) fn open(&mut self, slot: Slot) -> Result<&Partition, PeerMisbehaved> {
        let offered = self.by_number.get(&slot).ok_or_else(|| self.unknown(slot))?;
        if offered.closed {
            return Err(PeerMisbehaved::SlotClosed(slot));
        }
        match self.open.get(&offered.at) {
            Some(open) if *open == slot => Err(PeerMisbehaved::SlotOpen(slot)),
            Some(&open) => Err(PeerMisbehaved::PartitionOpen { open, found: slot }),
            None => {
                self.open.insert(offered.at.clone(), slot);
                Ok(&offered.at)
            }
        }
    }

    /// Handles that the receiver halted a slot. One that was not open may still be opened if its offer `waits`.
    pub(super) fn halt(&mut self, slot: Slot, waits: bool) -> Result<HaltedSlot, PeerMisbehaved> {
        let Some(offered) = self.by_number.get_mut(&slot) else { return Err(self.unknown(slot)) };
        if offered.closed {
            return Err(PeerMisbehaved::SlotClosed(slot));
        }
        let at = offered.at.clone();
        let was_open = self.open.get(&at) == Some(&slot);
        if was_open {
            self.open.remove(&at);
        }
        if was_open || !waits {
            offered.closed = true;
            if self.last.get(&at) != Some(&slot) {
                self.by_number.remove(&slot);
            }
        }
        Ok(HaltedSlot { at, was_open })
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&OfferedSlot> {
        self.by_number.get(&slot)
    }

    /// Returns the open slot of a partition.
    pub(super) fn open_slot(&self, at: &Partition) -> Option<Slot> {
        self.open.get(at).copied()
    }

    /// Returns the partitions that are read, with their slots.
    pub(super) fn all_open(&self) -> impl Iterator<Item = (&Partition, Slot)> {
        self.open.iter().map(|(at, slot)| (at, *slot))
    }

    /// Returns the offered partitions, halted ones included.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.last.keys()
    }

    /// Returns the known slots; of each whether it is open.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = (Slot, &mut OfferedSlot, bool)> {
        let Self { by_number, open, .. } = self;
        by_number.iter_mut().map(|(slot, offered)| {
            let is_open = open.get(&offered.at) == Some(slot);
            (*slot, offered, is_open)
        })
    }

    /// Number of slots in memory.
    #[cfg(test)]
    fn kept(&self) -> usize {
        self.by_number.len()
    }

    fn unknown(&self, slot: Slot) -> PeerMisbehaved {
        if slot.0 < self.next { PeerMisbehaved::SlotClosed(slot) } else { PeerMisbehaved::UnknownSlot(slot) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(partitions: &[&str]) -> Slots {
        let mut slots = Slots::default();
        for topic in partitions {
            slots.offer(Partition::new(*topic, 0), TopicId::UNKNOWN);
        }
        slots
    }

    #[test]
    fn a_halted_slot_stays_closed() {
        let mut slots = offered(&["a"]);
        slots.open(Slot(0)).unwrap();
        assert_eq!(slots.open(Slot(0)), Err(PeerMisbehaved::SlotOpen(Slot(0))));
        assert!(slots.halt(Slot(0), false).unwrap().was_open);
        assert_eq!(slots.open(Slot(0)), Err(PeerMisbehaved::SlotClosed(Slot(0))));
        assert_eq!(slots.halt(Slot(0), false).err(), Some(PeerMisbehaved::SlotClosed(Slot(0))));
        assert_eq!(slots.open(Slot(1)), Err(PeerMisbehaved::UnknownSlot(Slot(1))));
    }

    #[test]
    fn an_offer_that_waits_is_answered_again() {
        let mut slots = offered(&["a"]);
        assert!(!slots.halt(Slot(0), true).unwrap().was_open);
        assert!(!slots.halt(Slot(0), true).unwrap().was_open, "for another reason");
        slots.open(Slot(0)).unwrap();
        slots.halt(Slot(0), true).unwrap();
        assert_eq!(slots.open(Slot(0)), Err(PeerMisbehaved::SlotClosed(Slot(0))), "it was open");
    }

    #[test]
    fn a_partition_is_read_under_one_slot() {
        let mut slots = offered(&["a", "a"]);
        slots.open(Slot(0)).unwrap();
        let twice = PeerMisbehaved::PartitionOpen { open: Slot(0), found: Slot(1) };
        assert_eq!(slots.open(Slot(1)), Err(twice));
        assert_eq!(slots.open_slot(&Partition::new("a", 0)), Some(Slot(0)));
    }

    #[test]
    fn endless_halts_of_a_partition_take_no_memory() {
        let mut slots = Slots::default();
        for number in 0..10_000 {
            let slot = slots.offer(Partition::new("a", 0), TopicId::UNKNOWN);
            assert_eq!(slot, Slot(number));
            slots.halt(slot, false).unwrap();
        }
        assert_eq!(slots.kept(), 1);
        assert_eq!(slots.open(Slot(7)), Err(PeerMisbehaved::SlotClosed(Slot(7))));
    }
}
