//! The coordinator's state of a transactional id: producer id and epoch, and the phase of its transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::logs::Place;

/// Instance of a producer, which a fence excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instance {
    pub(crate) producer: u64,
    pub(crate) epoch: u32,
}

/// Coordinator's state of a transactional id.
#[derive(Default)]
pub(crate) struct TransactionalId {
    pub(crate) producer: u64,
    pub(crate) epoch: u32,
    pub(crate) phase: Phase,
    /// The coordinator cannot append to its log.
    pub(crate) hangs: bool,
    /// Request whose append to the coordinator's log hangs.
    pub(crate) pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pending {
    Fence,
    Commit,
}

#[derive(Default)]
pub(crate) enum Phase {
    #[default]
    Complete,
    Ongoing(Open),
    Ending(Ending),
}

/// Transaction that is not decided.
pub(crate) struct Open {
    pub(crate) number: u64,
    pub(crate) touched: BTreeSet<Place>,
    pub(crate) begun: Duration,
    /// A commit request is in flight whose caller has already seen a failure.
    pub(crate) commit_in_flight: bool,
}

/// Transaction that is decided.
pub(crate) struct Ending {
    pub(crate) number: u64,
    pub(crate) touched: BTreeSet<Place>,
    /// Partitions without their marker.
    pub(crate) waiting: BTreeSet<Place>,
}

impl TransactionalId {
    pub(crate) fn take_open(&mut self) -> Option<Open> {
        match std::mem::take(&mut self.phase) {
            Phase::Ongoing(open) => Some(open),
            phase => {
                self.phase = phase;
                None
            }
        }
    }

    pub(crate) fn is_fenced(&self, instance: Instance) -> bool {
        self.epoch != instance.epoch || self.pending == Some(Pending::Fence)
    }

    /// Returns whether a partition still takes entries of this transaction: its marker has not arrived there.
    pub(crate) fn takes(&self, transaction: u64, place: &Place) -> bool {
        match &self.phase {
            Phase::Complete => false,
            Phase::Ongoing(open) => open.number == transaction,
            Phase::Ending(ending) => ending.number == transaction && ending.waiting.contains(place),
        }
    }
}
