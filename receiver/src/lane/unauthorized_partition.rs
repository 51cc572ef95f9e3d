//! Search for the partition that the receiver may not write. Sans-IO.
//!
//! A missing right stops the whole transaction before any record is sent, and no delivery report names the partition.
//! So each partition of such a transaction is written in a transaction of its own, until that is committed or
//! refused.

use std::collections::BTreeSet;

use wire::ids::Slot;

/// Slots among which is one whose partition may not be written.
#[derive(Debug, Default)]
pub(super) struct UnauthorizedPartitionSearch(BTreeSet<Slot>);

impl UnauthorizedPartitionSearch {
    /// Takes the refusal of a transaction that wrote these slots. Returns the refused slot, if it was the only one.
    pub(super) fn handle_refused(&mut self, written: BTreeSet<Slot>) -> Option<Slot> {
        let mut slots = written.iter();
        if let (Some(&only), None) = (slots.next(), slots.next()) {
            self.0.remove(&only);
            return Some(only);
        }
        self.0.extend(written);
        None
    }

    /// Returns whether any slot is in doubt.
    pub(super) fn is_active(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes the commit of a transaction that wrote these slots.
    pub(super) fn handle_committed(&mut self, written: &BTreeSet<Slot>) {
        self.0.retain(|slot| !written.contains(slot));
    }

    /// Returns whether records of `slot` must wait for the next transaction, since `written` is in this one.
    pub(super) fn must_wait(&self, slot: Slot, written: &BTreeSet<Slot>) -> bool {
        let others = || written.iter().any(|&other| other != slot);
        self.is_active() && others() && (self.0.contains(&slot) || written.iter().any(|other| self.0.contains(other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(slots: impl IntoIterator<Item = u32>) -> BTreeSet<Slot> {
        slots.into_iter().map(Slot).collect()
    }

    #[test]
    fn a_refused_slot_is_found_by_writing_each_alone() {
        let mut search = UnauthorizedPartitionSearch::default();
        assert!(!search.must_wait(Slot(1), &slots([0])));
        assert_eq!(search.handle_refused(slots([0, 1])), None);
        assert!(!search.must_wait(Slot(0), &slots([])) && !search.must_wait(Slot(0), &slots([0])));
        assert!(search.must_wait(Slot(1), &slots([0])));
        assert!(search.must_wait(Slot(7), &slots([0])), "a slot that is not in doubt is not written with one that is");
        search.handle_committed(&slots([0]));
        assert!(search.must_wait(Slot(1), &slots([0])));
        assert_eq!(search.handle_refused(slots([1])), Some(Slot(1)));
        assert!(!search.must_wait(Slot(1), &slots([0])), "no slot is in doubt any more");
    }

    #[test]
    fn an_empty_transaction_blames_no_slot() {
        let mut search = UnauthorizedPartitionSearch::default();
        assert_eq!(search.handle_refused(slots([])), None);
        assert!(!search.must_wait(Slot(1), &slots([0])));
    }
}
