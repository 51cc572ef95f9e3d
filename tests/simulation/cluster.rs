//! The target cluster in memory: logs, transactions and their markers, as in Kafka.
//!
//! Entries get their offsets when they are appended, before the transaction ends. A transaction stops the last stable
//! offset of a partition from its first entry there to its marker. It is decided when the coordinator says so, and its
//! markers come later: a partition in trouble takes neither entries nor markers until it is healed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka::{KafkaError, KafkaFault};

use crate::coordinator::{Ending, Instance, Open, Phase, TransactionalId};
use crate::dice::Dice;
use crate::payload::Payload;

/// Partition of the target: of a topic, or of the state topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    Data(Arc<str>, i32),
    State(u16),
}

/// Content of one offset of a target log.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Record(Arc<Payload>),
    /// Key and value of a state record; `None` is a tombstone.
    State(Arc<[u8]>, Option<Arc<[u8]>>),
    Marker,
}

struct Stored {
    entry: Entry,
    transaction: u64,
}

#[derive(Default)]
struct Log {
    entries: Vec<Stored>,
    /// First offset of each transaction whose marker has not arrived here.
    unmarked: BTreeMap<u64, usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Open,
    Committed,
    Aborted,
}

/// Entry of a transaction that was committed.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) place: Place,
    pub(crate) offset: usize,
    pub(crate) entry: Entry,
}

/// Append in flight, whose producer has already seen a failure or is gone.
struct Late {
    transaction: u64,
    place: Place,
    entry: Entry,
}

/// State of the target cluster.
#[derive(Default)]
pub(crate) struct Cluster {
    logs: BTreeMap<Place, Log>,
    outcomes: Vec<Outcome>,
    pub(crate) ids: BTreeMap<String, TransactionalId>,
    /// Number of producer ids that were ever given out.
    pub(crate) producers: u64,
    /// Last stable offsets of partitions whose former leader still answers readers: it was suspended at that offset, was
    /// replaced, and does not know it yet.
    deposed: BTreeMap<Place, usize>,
    /// Partitions without a leader, or with too few replicas in sync.
    troubled: BTreeSet<Place>,
    late: Vec<Late>,
    /// Initialisations in flight, whose caller has already seen a failure.
    late_initialisations: Vec<String>,
    /// Transactions committed since the oracle last asked, in the order of the decisions.
    decided: Vec<Vec<Committed>>,
    /// Age at which the coordinator aborts an open transaction.
    pub(crate) transaction_timeout: Duration,
    /// Steps per thousand in which an unused transactional id expires.
    pub(crate) expiring: u64,
    pub(crate) now: Duration,
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
    pub(crate) fn create(&mut self, place: Place) {
        self.logs.entry(place).or_default();
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.logs.keys()
    }

    pub(crate) fn exists(&self, place: &Place) -> bool {
        self.logs.contains_key(place)
    }

    pub(crate) fn high_watermark(&self, place: &Place) -> usize {
        self.logs.get(place).map_or(0, |log| log.entries.len())
    }

    pub(crate) fn last_stable(&self, place: &Place) -> usize {
        let Some(log) = self.logs.get(place) else { return 0 };
        log.unmarked.values().copied().min().unwrap_or(log.entries.len())
    }

    /// Returns whether readers of all topics see everything that was appended.
    pub(crate) fn is_stable(&self) -> bool {
        let data = self.logs.iter().filter(|(place, _)| matches!(place, Place::Data(..)));
        data.map(|(_, log)| log).all(|log| log.unmarked.is_empty())
    }

    /// Replaces the leader of a partition, which continues to answer readers from its old log.
    pub(crate) fn depose_leader(&mut self, place: Place) {
        let stable = self.last_stable(&place);
        self.deposed.entry(place).or_insert(stable);
    }

    /// Makes every former leader learn that it was replaced.
    pub(crate) fn retire_deposed(&mut self) {
        self.deposed.clear();
    }

    /// Returns the last stable offset that a reader is shown, by the leader or by a former one.
    pub(crate) fn shown_to_readers(&self, place: &Place, dice: &Dice) -> usize {
        let deposed = self.deposed.get(place).copied().filter(|_| dice.chance(500));
        deposed.unwrap_or_else(|| self.last_stable(place))
    }

    /// Makes a partition unable to take entries or markers.
    pub(crate) fn trouble(&mut self, place: Place) {
        self.troubled.insert(place);
    }

    /// Heals one partition, if any is in trouble.
    pub(crate) fn heal_one(&mut self, dice: &Dice) -> Option<Place> {
        let index = dice.below(self.troubled.len().max(1) as u64) as usize;
        let place = self.troubled.iter().nth(index)?.clone();
        self.troubled.remove(&place);
        Some(place)
    }

    /// Ends all trouble of partitions and of coordinators.
    pub(crate) fn heal(&mut self, dice: &Dice) {
        self.troubled.clear();
        self.late.clear();
        self.late_initialisations.clear();
        self.retire_deposed();
        self.expiring = 0;
        let names: Vec<_> = self.ids.keys().cloned().collect();
        names.iter().for_each(|name| self.resume_coordinator(name, dice));
    }

    pub(crate) fn is_troubled(&self, place: &Place) -> bool {
        self.troubled.contains(place)
    }

    /// Returns the entries that `read_committed` readers see between two offsets.
    pub(crate) fn committed(&self, place: &Place, from: usize, to: usize) -> impl Iterator<Item = &Entry> {
        let log = self.logs.get(place).map_or(&[][..], |log| &log.entries);
        let seen = |stored: &&Stored| self.outcomes[stored.transaction as usize] == Outcome::Committed;
        log[from..to].iter().filter(seen).map(|stored| &stored.entry)
    }

    /// Returns the transactions committed since the last call, in the order of the decisions.
    pub(crate) fn take_decided(&mut self) -> Vec<Vec<Committed>> {
        std::mem::take(&mut self.decided)
    }

    /// Opens a transaction and returns its number.
    pub(crate) fn open_transaction(&mut self) -> u64 {
        self.outcomes.push(Outcome::Open);
        self.outcomes.len() as u64 - 1
    }

    /// Appends an entry of an open transaction at its leader. `None`: there is no report, and the entry may be there, may
    /// come later, or never.
    pub(crate) fn push(&mut self, transaction: u64, place: &Place, entry: Entry, dice: &Dice) -> Option<usize> {
        if !self.is_troubled(place) {
            return Some(self.store(transaction, place, entry));
        }
        match dice.below(3) {
            0 => drop(self.store(transaction, place, entry)),
            1 => self.late.push(Late { transaction, place: place.clone(), entry }),
            _ => {}
        }
        None
    }

    /// Puts an entry of an open transaction in flight.
    pub(crate) fn push_late(&mut self, transaction: u64, place: &Place, entry: Entry) {
        self.late.push(Late { transaction, place: place.clone(), entry });
    }

    fn store(&mut self, transaction: u64, place: &Place, entry: Entry) -> usize {
        let log = self.logs.entry(place.clone()).or_default();
        let offset = log.entries.len();
        log.unmarked.entry(transaction).or_insert(offset);
        log.entries.push(Stored { entry, transaction });
        offset
    }

    /// Stores the outcome of a transaction, and sends its markers.
    pub(crate) fn decide(&mut self, name: &str, outcome: Outcome, dice: &Dice) {
        let Some(id) = self.ids.get_mut(name) else { return };
        let Some(Open { number, touched, .. }) = id.take_open() else { return };
        id.phase = Phase::Ending(Ending { number, waiting: touched.clone(), touched: touched.clone() });
        self.outcomes[number as usize] = outcome;
        if outcome == Outcome::Aborted {
            // The coordinator raises the epoch, which fences the producer.
            id.epoch += 1;
        } else {
            let mut entries = Vec::new();
            for place in touched {
                let log = &self.logs[&place];
                let from = log.unmarked.get(&number).copied().unwrap_or(log.entries.len());
                let own = log.entries.iter().enumerate().skip(from).filter(|(_, stored)| stored.transaction == number);
                entries.extend(own.map(|(offset, stored)| {
                    let entry = stored.entry.clone();
                    Committed { place: place.clone(), offset, entry }
                }));
            }
            self.decided.push(entries);
        }
        let prompt = |_: &Place| dice.chance(900);
        self.send_markers(name, prompt);
    }

    /// Sends the markers of a decided transaction to the partitions of its that can take them now.
    pub(crate) fn send_markers(&mut self, name: &str, arrives: impl Fn(&Place) -> bool) {
        let Some(id) = self.ids.get_mut(name) else { return };
        let Phase::Ending(ending) = &mut id.phase else { return };
        let number = ending.number;
        let ready = |place: &Place| !self.troubled.contains(place) && arrives(place);
        for place in ending.waiting.extract_if(.., ready) {
            let log = self.logs.entry(place).or_default();
            log.unmarked.remove(&number);
            log.entries.push(Stored { entry: Entry::Marker, transaction: number });
        }
        if ending.waiting.is_empty() && !id.hangs {
            id.phase = Phase::Complete;
        }
    }

    /// Sends the markers of a decided transaction again where they have arrived, as a new coordinator does.
    pub(crate) fn repeat_markers(&mut self, name: &str, dice: &Dice) {
        let Some(Phase::Ending(ending)) = self.ids.get(name).map(|id| &id.phase) else { return };
        let transaction = ending.number;
        let arrived = ending.touched.difference(&ending.waiting);
        for place in arrived.filter(|place| !self.troubled.contains(*place)) {
            if dice.chance(500) {
                let log = self.logs.entry(place.clone()).or_default();
                log.entries.push(Stored { entry: Entry::Marker, transaction });
            }
        }
    }

    /// Sends the markers of all decided transactions that one partition waits for.
    pub(crate) fn send_markers_to(&mut self, place: &Place) {
        let names: Vec<_> = self.ids.keys().cloned().collect();
        names.iter().for_each(|name| self.send_markers(name, |at| at == place));
    }

    /// Puts an initialisation in flight, whose response the caller never sees.
    pub(crate) fn init_producer_later(&mut self, name: &str) {
        self.late_initialisations.push(name.to_owned());
    }

    /// Advances the time: what is in flight may arrive, and old transactions are aborted.
    pub(crate) fn tick(&mut self, now: Duration, dice: &Dice) {
        self.now = now;
        self.tick_coordinators(dice);
        let names: Vec<_> = self.late_initialisations.extract_if(.., |_| dice.chance(100)).collect();
        for name in names {
            let _ = self.init_producer(&name, dice);
        }
        let arrive: Vec<_> = self.late.extract_if(.., |_| dice.chance(150)).collect();
        for Late { transaction, place, entry } in arrive {
            // A partition that has the marker has the raised epoch too, and refuses the old producer.
            if !self.is_troubled(&place) && self.ids.values().any(|id| id.takes(transaction, &place)) {
                let offset = self.store(transaction, &place, entry.clone());
                if self.outcomes[transaction as usize] == Outcome::Committed {
                    self.decided.push(vec![Committed { place, offset, entry }]);
                }
            }
        }
    }

    /// Returns the id, if this is its present instance.
    pub(crate) fn owned(
        &mut self,
        doing: &str,
        name: &str,
        instance: Instance,
    ) -> Result<&mut TransactionalId, KafkaError> {
        let id = self.ids.get_mut(name).filter(|id| id.producer == instance.producer);
        let id = id.ok_or_else(|| unavailable("write with an unknown producer id"))?;
        if id.is_fenced(instance) {
            let fault = KafkaFault::Fenced;
            return Err(KafkaError { doing: doing.to_owned(), reason: "fenced".to_owned(), fault });
        }
        Ok(id)
    }
}
