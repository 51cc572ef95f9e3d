//! The transaction coordinator: producer ids and epochs, fencing, decisions.
//!
//! An id whose transaction is decided cannot be used, by the same producer or by a new one, until every partition of the
//! transaction has its marker. While the coordinator cannot append to its own log, nothing is decided: a fence raises the
//! epoch in its memory only, and is forgotten if the coordinator moves to another broker.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka::KafkaError;

use crate::cluster::{Cluster, Entry, Outcome, Place, timed_out, unavailable};
use crate::dice::Dice;

/// Instance of a producer: what fences compare.
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
    pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
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
    begun: Duration,
    /// A commit request is in flight whose caller has already seen a failure.
    commit_in_flight: bool,
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

impl Cluster {
    /// Starts a new producer of this transactional id. Ends the open transaction of an older producer first. It fails as
    /// long as the end of a transaction is not complete.
    pub(crate) fn init_producer(&mut self, name: &str, dice: &Dice) -> Result<Instance, KafkaError> {
        let concurrent = || timed_out("initialisation, which found a concurrent transaction");
        if !self.ids.contains_key(name) {
            self.producers += 1;
            self.ids.insert(name.to_owned(), TransactionalId { producer: self.producers, ..Default::default() });
        }
        let id = self.ids.get_mut(name).ok_or_else(concurrent)?;
        if id.pending.is_some() {
            return Err(concurrent());
        }
        if let Phase::Ongoing(open) = &id.phase {
            if id.hangs {
                id.pending = Some(Pending::Fence);
                return Err(concurrent());
            }
            let committed = open.commit_in_flight && dice.chance(500);
            self.decide(name, if committed { Outcome::Committed } else { Outcome::Aborted }, dice);
        }
        self.send_markers(name, |_| true);
        let id = self.ids.get_mut(name).ok_or_else(concurrent)?;
        if id.hangs || !matches!(id.phase, Phase::Complete) {
            return Err(concurrent());
        }
        id.epoch += 1;
        Ok(Instance { producer: id.producer, epoch: id.epoch })
    }

    /// Appends an entry and returns its offset; `None` if there is no report.
    pub(crate) fn append(
        &mut self,
        name: &str,
        instance: Instance,
        place: &Place,
        entry: Entry,
        dice: &Dice,
    ) -> Result<Option<usize>, KafkaError> {
        let Some(transaction) = self.register(name, instance, place)? else { return Ok(None) };
        Ok(self.push(transaction, place, entry, dice))
    }

    /// Puts the append of an entry in flight, whose report the caller never sees.
    pub(crate) fn append_later(
        &mut self,
        name: &str,
        instance: Instance,
        place: &Place,
        entry: Entry,
    ) -> Result<(), KafkaError> {
        if let Some(transaction) = self.register(name, instance, place)? {
            self.push_late(transaction, place, entry);
        }
        Ok(())
    }

    /// Adds a partition to the transaction of a producer, which begins with its first one, and returns its number.
    /// `None`: the coordinator does not answer.
    fn register(&mut self, name: &str, instance: Instance, place: &Place) -> Result<Option<u64>, KafkaError> {
        self.owned("append", name, instance)?;
        if !self.exists(place) {
            return Err(unavailable("append to a topic that does not exist"));
        }
        self.send_markers(name, |_| true);
        let number = self.open_transaction();
        let begun = self.now;
        let id = self.owned("append", name, instance)?;
        if let Phase::Ongoing(open) = &mut id.phase {
            if open.commit_in_flight || id.pending.is_some() {
                return Err(unavailable("append outside of a transaction"));
            }
            if id.hangs && !open.touched.contains(place) {
                return Ok(None);
            }
            open.touched.insert(place.clone());
            return Ok(Some(open.number));
        }
        if id.hangs || !matches!(id.phase, Phase::Complete) {
            return Ok(None);
        }
        id.phase = Phase::Ongoing(Open { number, touched: [place.clone()].into(), begun, commit_in_flight: false });
        Ok(Some(number))
    }

    pub(crate) fn commit(&mut self, name: &str, instance: Instance, dice: &Dice) -> Result<(), KafkaError> {
        let id = self.owned("commit", name, instance)?;
        if !matches!(id.phase, Phase::Ongoing(_)) || id.pending.is_some() {
            return Err(unavailable("commit without a transaction"));
        }
        if id.hangs {
            id.pending = Some(Pending::Commit);
            return Err(timed_out("commit"));
        }
        self.decide(name, Outcome::Committed, dice);
        Ok(())
    }

    /// Puts a commit request in flight, whose response the caller never sees.
    pub(crate) fn commit_later(&mut self, name: &str, instance: Instance) -> Result<(), KafkaError> {
        if let Phase::Ongoing(open) = &mut self.owned("commit", name, instance)?.phase {
            open.commit_in_flight = true;
        }
        Ok(())
    }

    /// Makes the coordinator of an id unable to append to its log.
    pub(crate) fn hang_coordinator(&mut self, name: &str) {
        self.ids.entry(name.to_owned()).and_modify(|id| id.hangs = true);
    }

    /// Ends the trouble of a coordinator: what hung is appended after all, or the coordinator has moved and forgotten it.
    pub(crate) fn resume_coordinator(&mut self, name: &str, dice: &Dice) {
        let moves = dice.chance(500);
        let Some(id) = self.ids.get_mut(name) else { return };
        id.hangs = false;
        let pending = id.pending.take();
        if !moves {
            match pending {
                Some(Pending::Fence) => self.decide(name, Outcome::Aborted, dice),
                Some(Pending::Commit) => self.decide(name, Outcome::Committed, dice),
                None => {}
            }
            return;
        }
        if let Phase::Ongoing(open) = &mut id.phase {
            // The client repeats the request, if it still lives.
            open.commit_in_flight |= pending == Some(Pending::Commit) && dice.chance(500);
        }
        self.repeat_markers(name, dice);
    }

    pub(crate) fn tick_coordinators(&mut self, dice: &Dice) {
        let names: Vec<_> = self.ids.keys().cloned().collect();
        for name in names {
            let id = &self.ids[&name];
            match &id.phase {
                Phase::Complete if !id.hangs && dice.chance(self.expiring) => drop(self.ids.remove(&name)),
                Phase::Ongoing(open) if !id.hangs => {
                    if open.commit_in_flight && dice.chance(100) {
                        self.decide(&name, Outcome::Committed, dice);
                    } else if self.now - open.begun > self.transaction_timeout {
                        self.decide(&name, Outcome::Aborted, dice);
                    }
                }
                Phase::Ending(_) => self.send_markers(&name, |_| dice.chance(300)),
                Phase::Complete | Phase::Ongoing(_) => {}
            }
        }
    }
}
