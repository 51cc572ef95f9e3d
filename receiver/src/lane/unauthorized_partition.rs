//! Which partition may not be written, where the client says only that one in a transaction may not. Sans-IO.
//!
//! A right that is missing stops the whole transaction before any record of it is sent, and no report names the
//! partition. So each partition of such a transaction is written in one of its own, until that goes through or is
//! refused: then it is known.

use std::collections::BTreeSet;

use wire::ids::Slot;

/// Slots among which is one that may not be written.
#[derive(Debug, Default)]
pub(super) struct Unwritable(BTreeSet<Slot>);

impl Unwritable {
    /// A transaction that wrote these was refused. Returns the one to blame, if there is no other.
    pub(super) fn handle_refused(&mut self, written: BTreeSet<Slot>) -> Option<Slot> {
        let mut slots = written.iter();
        if let (Some(&only), None) = (slots.next(), slots.next()) {
            self.0.remove(&only);
            return Some(only);
        }
        self.0.extend(written);
        None
    }

    /// A transaction that wrote these was committed.
    pub(super) fn handle_committed(&mut self, written: &BTreeSet<Slot>) {
        self.0.retain(|slot| !written.contains(slot));
    }

    /// Whether records of `slot` must wait for the next transaction, since `written` is in this one.
    pub(super) fn must_wait(&self, slot: Slot, written: &BTreeSet<Slot>) -> bool {
        let others = written.iter().any(|&other| other != slot);
        others && (self.0.contains(&slot) || written.iter().any(|other| self.0.contains(other)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(slots: impl IntoIterator<Item = u32>) -> BTreeSet<Slot> {
        slots.into_iter().map(Slot).collect()
    }

    #[test]
    fn of_several_the_one_to_blame_is_found_by_writing_each_by_itself() {
        let mut unwritable = Unwritable::default();
        assert!(!unwritable.must_wait(Slot(1), &slots([0])));
        assert_eq!(unwritable.handle_refused(slots([0, 1])), None);
        assert!(!unwritable.must_wait(Slot(0), &slots([])) && !unwritable.must_wait(Slot(0), &slots([0])));
        assert!(unwritable.must_wait(Slot(1), &slots([0])));
        assert!(unwritable.must_wait(Slot(7), &slots([0])), "who is not to blame must not be in doubt's company");
        unwritable.handle_committed(&slots([0]));
        assert!(unwritable.must_wait(Slot(1), &slots([0])));
        assert_eq!(unwritable.handle_refused(slots([1])), Some(Slot(1)));
        assert!(!unwritable.must_wait(Slot(1), &slots([0])), "nobody is in doubt any more");
    }

    #[test]
    fn a_transaction_that_wrote_nothing_blames_nobody() {
        let mut unwritable = Unwritable::default();
        assert_eq!(unwritable.handle_refused(slots([])), None);
        assert!(!unwritable.must_wait(Slot(1), &slots([0])));
    }
}
