//! The target cluster in memory: transactions, producer epochs and fencing, as in Kafka's coordinator.
//!
//! A transaction is decided when the coordinator says so, and its markers come later. Its id cannot be used, by the same
//! producer or by a new one, until every partition of the transaction has its marker. While the coordinator cannot append
//! to its own log, nothing is decided: a fence raises the epoch in its memory only, and is forgotten if the coordinator
//! moves to another broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka::{KafkaError, KafkaFault};
use receiver::Gap;

use crate::dice::Dice;
use crate::logs::{Committed, Entry, Late, Logs, Outcome, Place};
use crate::transactional_id::{Ending, Instance, Open, Pending, Phase, TransactionalId};

/// State of the target cluster.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) logs: Logs,
    ids: BTreeMap<String, TransactionalId>,
    /// Number of producer ids that were ever given out.
    producers: u64,
    /// Initialisations in flight, whose caller has already seen a failure.
    late_initialisations: Vec<String>,
    /// Transactions committed since the oracle last asked, in the order of the decisions.
    decided: Vec<Vec<Committed>>,
    /// Gaps that lanes have passed on since the oracle last asked.
    pub(crate) gaps: Vec<Gap>,
    /// Age at which the coordinator aborts an open transaction.
    pub(crate) transaction_timeout: Duration,
    /// Steps per thousand in which an unused transactional id expires.
    pub(crate) expiring: u64,
    now: Duration,
}

pub(crate) type SharedCluster = Arc<Mutex<Cluster>>;

pub(crate) fn unavailable(doing: &str) -> KafkaError {
    KafkaError { doing: doing.to_owned(), reason: "simulated".to_owned(), fault: KafkaFault::Unavailable }
}

pub(crate) fn timed_out(doing: &str) -> KafkaError {
    let fault = KafkaFault::TimedOut(Duration::from_secs(1));
    KafkaError { doing: doing.to_owned(), reason: "simulated".to_owned(), fault }
}

impl Cluster {
    /// Returns a random transactional id.
    pub(crate) fn any_id(&self, dice: &Dice) -> Option<String> {
        let index = dice.below(self.ids.len().max(1) as u64) as usize;
        self.ids.keys().nth(index).cloned()
    }

    /// Ends all trouble of partitions and of coordinators.
    pub(crate) fn heal(&mut self, dice: &Dice) {
        self.late_initialisations.clear();
        self.logs.heal();
        self.expiring = 0;
        let names: Vec<_> = self.ids.keys().cloned().collect();
        names.iter().for_each(|name| self.resume_coordinator(name, dice));
    }

    /// Returns the transactions committed since the last call, in the order of the decisions.
    pub(crate) fn take_decided(&mut self) -> Vec<Vec<Committed>> {
        std::mem::take(&mut self.decided)
    }

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

    /// Puts an initialisation in flight, whose response the caller never sees.
    pub(crate) fn init_producer_later(&mut self, name: &str) {
        self.late_initialisations.push(name.to_owned());
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
        Ok(self.logs.push(transaction, place, entry, dice))
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
            self.logs.push_late(transaction, place, entry);
        }
        Ok(())
    }

    /// Adds a partition to the transaction of a producer, which begins with its first one, and returns its number.
    /// `None`: the coordinator does not answer.
    fn register(&mut self, name: &str, instance: Instance, place: &Place) -> Result<Option<u64>, KafkaError> {
        self.owned("append", name, instance)?;
        if !self.logs.exists(place) {
            return Err(unavailable("append to a topic that does not exist"));
        }
        self.send_markers(name, |_| true);
        let number = self.logs.open_transaction();
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

    /// Stores the outcome of a transaction, and sends its markers.
    fn decide(&mut self, name: &str, outcome: Outcome, dice: &Dice) {
        let Some(id) = self.ids.get_mut(name) else { return };
        let Some(Open { number, touched, .. }) = id.take_open() else { return };
        let committed = self.logs.decide(number, outcome, &touched);
        id.phase = Phase::Ending(Ending { number, waiting: touched.clone(), touched });
        if outcome == Outcome::Committed {
            self.decided.push(committed);
        } else {
            // The coordinator raises the epoch, which fences the producer.
            id.epoch += 1;
        }
        self.send_markers(name, |_| dice.chance(900));
    }

    /// Sends the markers of a decided transaction to those of its partitions that can take them now.
    fn send_markers(&mut self, name: &str, arrives: impl Fn(&Place) -> bool) {
        let Some(id) = self.ids.get_mut(name) else { return };
        let Phase::Ending(ending) = &mut id.phase else { return };
        let ready = |place: &Place| !self.logs.is_troubled(place) && arrives(place);
        let (marked, waiting) = std::mem::take(&mut ending.waiting).into_iter().partition::<BTreeSet<_>, _>(ready);
        ending.waiting = waiting;
        let number = ending.number;
        marked.into_iter().for_each(|place| self.logs.mark(number, place));
        if ending.waiting.is_empty() && !id.hangs {
            id.phase = Phase::Complete;
        }
    }

    /// Sends the markers of a decided transaction again where they have arrived, as a new coordinator does.
    fn repeat_markers(&mut self, name: &str, dice: &Dice) {
        let Some(Phase::Ending(ending)) = self.ids.get(name).map(|id| &id.phase) else { return };
        for place in ending.touched.difference(&ending.waiting) {
            if !self.logs.is_troubled(place) && dice.chance(500) {
                self.logs.mark(ending.number, place.clone());
            }
        }
    }

    /// Sends the markers of all decided transactions that one partition waits for.
    pub(crate) fn send_markers_to(&mut self, place: &Place) {
        let names: Vec<_> = self.ids.keys().cloned().collect();
        names.iter().for_each(|name| self.send_markers(name, |at| at == place));
    }

    /// Advances the time: what is in flight may arrive, and old transactions are aborted.
    pub(crate) fn tick(&mut self, now: Duration, dice: &Dice) {
        self.now = now;
        self.tick_coordinators(dice);
        let names: Vec<_> = self.late_initialisations.extract_if(.., |_| dice.chance(100)).collect();
        for name in names {
            let _ = self.init_producer(&name, dice);
        }
        for Late { transaction, place, entry } in self.logs.arrivals(dice) {
            // A partition that has the marker has the raised epoch too, and refuses the old producer.
            if !self.logs.is_troubled(&place) && self.ids.values().any(|id| id.takes(transaction, &place)) {
                let offset = self.logs.store(transaction, &place, entry.clone());
                if self.logs.outcome(transaction) == Outcome::Committed {
                    self.decided.push(vec![Committed { place, offset, entry }]);
                }
            }
        }
    }

    fn tick_coordinators(&mut self, dice: &Dice) {
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

    /// Returns the id, if this is its present instance.
    fn owned(&mut self, doing: &str, name: &str, instance: Instance) -> Result<&mut TransactionalId, KafkaError> {
        let id = self.ids.get_mut(name).filter(|id| id.producer == instance.producer);
        let id = id.ok_or_else(|| unavailable("write with an unknown producer id"))?;
        if id.is_fenced(instance) {
            let fault = KafkaFault::Fenced;
            return Err(KafkaError { doing: doing.to_owned(), reason: "fenced".to_owned(), fault });
        }
        Ok(id)
    }
}
