//! The target cluster in memory: logs, transactions, producer epochs and fencing, as in Kafka.
//!
//! Entries get their offsets when they are appended, before the transaction ends. An open transaction stops the last
//! stable offset of every partition that it wrote to. Its end appends a marker to each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka::{KafkaError, KafkaFault};

use crate::dice::Dice;
use crate::payload::Payload;

/// Age at which the coordinator aborts an open transaction.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Open,
    Committed,
    Aborted,
}

#[derive(Default)]
struct TransactionalId {
    epoch: u32,
    open: Option<OpenTransaction>,
}

struct OpenTransaction {
    number: u64,
    touched: BTreeSet<Place>,
    begun: Duration,
    /// A commit request is in flight whose caller has already seen a failure.
    commit_in_flight: bool,
}

/// State of the target cluster.
#[derive(Default)]
pub(crate) struct Cluster {
    logs: BTreeMap<Place, Vec<Stored>>,
    outcomes: Vec<Outcome>,
    ids: BTreeMap<String, TransactionalId>,
    /// Last stable offsets of partitions whose former leader still answers readers: it was suspended at that offset, was
    /// replaced, and does not know it yet.
    deposed: BTreeMap<Place, usize>,
    pub(crate) now: Duration,
}

pub(crate) type SharedCluster = Arc<Mutex<Cluster>>;

pub(crate) fn unavailable(doing: &str) -> KafkaError {
    KafkaError { doing: doing.to_owned(), reason: "simulated".to_owned(), fault: KafkaFault::Unavailable }
}

fn fenced(doing: &str) -> KafkaError {
    KafkaError { doing: doing.to_owned(), reason: "fenced".to_owned(), fault: KafkaFault::Fenced }
}

impl Cluster {
    pub(crate) fn create(&mut self, place: Place) {
        self.logs.entry(place).or_default();
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.logs.keys()
    }

    pub(crate) fn high_watermark(&self, place: &Place) -> usize {
        self.logs.get(place).map_or(0, Vec::len)
    }

    pub(crate) fn last_stable(&self, place: &Place) -> usize {
        let log = self.logs.get(place).map_or(&[][..], Vec::as_slice);
        let undecided = |stored: &Stored| self.outcomes[stored.transaction as usize] == Outcome::Open;
        // A transactional id has at most one open transaction, so its entries are near the end.
        let mut stable = log.len();
        if self.ids.values().any(|id| id.open.as_ref().is_some_and(|open| open.touched.contains(place))) {
            stable = log.iter().position(undecided).unwrap_or(stable);
        }
        stable
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

    /// Returns the entries that `read_committed` readers see between two offsets.
    pub(crate) fn committed(&self, place: &Place, from: usize, to: usize) -> impl Iterator<Item = &Entry> {
        let log = self.logs.get(place).map_or(&[][..], Vec::as_slice);
        let seen = |stored: &&Stored| self.outcomes[stored.transaction as usize] == Outcome::Committed;
        log[from..to].iter().filter(seen).map(|stored| &stored.entry)
    }

    /// Starts a new producer of this transactional id. Ends the open transaction of an older producer first.
    pub(crate) fn init_producer(&mut self, id: &str, dice: &Dice) -> u32 {
        if let Some(open) = self.take_open(id) {
            let outcome = if open.commit_in_flight && dice.chance(500) { Outcome::Committed } else { Outcome::Aborted };
            self.decide(open, outcome);
        }
        let id = self.ids.entry(id.to_owned()).or_default();
        id.epoch += 1;
        id.epoch
    }

    pub(crate) fn begin(&mut self, id: &str, epoch: u32) -> Result<(), KafkaError> {
        let number = self.outcomes.len() as u64;
        let begun = self.now;
        let id = self.owned("begin", id, epoch)?;
        if id.open.is_some() {
            return Err(unavailable("begin within a transaction"));
        }
        id.open = Some(OpenTransaction { number, touched: BTreeSet::new(), begun, commit_in_flight: false });
        self.outcomes.push(Outcome::Open);
        Ok(())
    }

    /// Appends an entry and returns its offset.
    pub(crate) fn append(&mut self, id: &str, epoch: u32, place: &Place, entry: Entry) -> Result<usize, KafkaError> {
        let id = self.owned("append", id, epoch)?;
        let Some(open) = id.open.as_mut().filter(|open| !open.commit_in_flight) else {
            return Err(unavailable("append outside of a transaction"));
        };
        open.touched.insert(place.clone());
        let transaction = open.number;
        let log = self.logs.get_mut(place).ok_or_else(|| unavailable("append to a topic that does not exist"))?;
        log.push(Stored { entry, transaction });
        Ok(log.len() - 1)
    }

    pub(crate) fn commit(&mut self, id: &str, epoch: u32) -> Result<(), KafkaError> {
        self.owned("commit", id, epoch)?;
        match self.take_open(id) {
            Some(open) => {
                self.decide(open, Outcome::Committed);
                Ok(())
            }
            // The transaction timed out, or never began.
            None => Err(unavailable("commit without a transaction")),
        }
    }

    /// Puts a commit request in flight, whose response the caller never sees.
    pub(crate) fn commit_later(&mut self, id: &str, epoch: u32) -> Result<(), KafkaError> {
        if let Some(open) = &mut self.owned("commit", id, epoch)?.open {
            open.commit_in_flight = true;
        }
        Ok(())
    }

    /// Advances the time: commits in flight may arrive, and old transactions are aborted.
    pub(crate) fn tick(&mut self, now: Duration, dice: &Dice) {
        self.now = now;
        let names: Vec<_> = self.ids.iter().filter(|(_, id)| id.open.is_some()).map(|(name, _)| name.clone()).collect();
        for name in names {
            let arrives = dice.chance(100);
            let due = self.ids[&name].open.as_ref().and_then(|open| {
                let overdue = now - open.begun > TRANSACTION_TIMEOUT;
                match (open.commit_in_flight && arrives, overdue) {
                    (true, _) => Some(Outcome::Committed),
                    (false, true) => Some(Outcome::Aborted),
                    (false, false) => None,
                }
            });
            if let (Some(outcome), Some(open)) = (due, due.and_then(|_| self.take_open(&name))) {
                self.decide(open, outcome);
                if outcome == Outcome::Aborted {
                    // The coordinator raises the epoch, which fences the slow producer.
                    self.ids.entry(name).or_default().epoch += 1;
                }
            }
        }
    }

    fn owned(&mut self, doing: &str, id: &str, epoch: u32) -> Result<&mut TransactionalId, KafkaError> {
        self.ids.get_mut(id).filter(|id| id.epoch == epoch).ok_or_else(|| fenced(doing))
    }

    fn take_open(&mut self, id: &str) -> Option<OpenTransaction> {
        self.ids.get_mut(id)?.open.take()
    }

    fn decide(&mut self, open: OpenTransaction, outcome: Outcome) {
        self.outcomes[open.number as usize] = outcome;
        for place in open.touched {
            let marker = Stored { entry: Entry::Marker, transaction: open.number };
            self.logs.entry(place).or_default().push(marker);
        }
    }
}
