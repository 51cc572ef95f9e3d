//! Offers and halts from the control stream that wait for the lane's next transaction.

use std::collections::VecDeque;

use wire::ids::Slot;
use wire::partition::Partition;

use super::slots::Slots;
use super::stored::Stored;
use crate::join::Offered;
use crate::target::TargetPartition;
use crate::target::state::HaltRecord;

/// An entry that waits for the lane's next transaction.
pub(super) enum Pending {
    Offer(Box<Offered>),
    /// The sender halted a slot's partition.
    Halted(Slot, HaltRecord),
    /// The topic of a partition was switched over.
    SwitchedOver(Partition, HaltRecord),
    /// The lane where an offered partition would begin refuses it.
    Refused(Box<Offered>, HaltRecord),
    /// The last batch of a discovery: every partition of the filter was offered.
    Last,
}

/// The entries that wait, oldest first.
#[derive(Default)]
pub(super) struct Offers(pub(super) VecDeque<Pending>);

impl Offers {
    pub(super) fn push(&mut self, pending: Pending) {
        self.0.push_back(pending);
    }

    fn offers(&self) -> impl Iterator<Item = &Offered> {
        self.0.iter().filter_map(|pending| match pending {
            Pending::Offer(offered) => Some(&**offered),
            _ => None,
        })
    }

    /// Returns whether an offer that waits uses `slot`.
    pub(super) fn uses(&self, slot: Slot) -> bool {
        self.offers().any(|offered| offered.slot() == slot)
    }

    /// Returns whether an entry that waits is about `topic`.
    pub(super) fn concern(&self, topic: &str, slots: &Slots) -> bool {
        self.0.iter().any(|pending| match pending {
            Pending::Offer(offered) | Pending::Refused(offered, _) => offered.partition.topic == topic,
            Pending::Halted(slot, _) => slots.get(*slot).is_some_and(|slot| *slot.key.topic == *topic),
            Pending::SwitchedOver(key, _) => *key.topic == *topic,
            Pending::Last => false,
        })
    }

    /// Returns the waiting partition that is `key` itself or has the same target.
    pub(super) fn conflict(&self, key: &Partition, target: Option<&TargetPartition>) -> Option<Partition> {
        let same = |other: &&Offered| {
            other.key() == *key || other.target_partition().is_some_and(|other| Some(other) == target)
        };
        self.offers().find(same).map(Offered::key)
    }

    /// Returns the index of the first entry that can be decided now.
    ///
    /// Offers that need every lane's state delay neither frames nor later entries, except the end of a
    /// discovery: an offer before it begins at another position than one after it.
    pub(super) fn ready(&self, stored: &Stored) -> Option<usize> {
        if stored.carried_topics.is_complete() {
            return (!self.0.is_empty()).then_some(0);
        }
        let is_ready = |(index, pending): (usize, &Pending)| match pending {
            Pending::Halted(..) | Pending::Refused(..) | Pending::SwitchedOver(..) => true,
            Pending::Last => index == 0,
            Pending::Offer(offered) => {
                let key = offered.key();
                let begins = !stored.partitions.contains_key(&key) && stored.terms.home(&key) == stored.lane;
                !begins || offered.target.is_err()
            }
        };
        self.0.iter().enumerate().position(is_ready)
    }

    /// Removes the first entry that can be decided now.
    pub(super) fn take_ready(&mut self, stored: &Stored) -> Option<Pending> {
        self.ready(stored).and_then(|index| self.0.remove(index))
    }
}
