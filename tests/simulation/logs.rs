//! The logs of the target cluster. Entries get their offsets when they are appended, before their transaction ends. A
//! transaction stops the last stable offset of a partition from its first entry there to its marker. A partition in
//! trouble takes neither entries nor markers until it is healed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::dice::Dice;
use crate::payload::Payload;

/// Partition of the target: of a topic, of the state topic, or of the map topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    Data(Arc<str>, i32),
    State(u16),
    /// Partition of the map topic.
    Map(u16),
}

/// Content of one offset of a target log.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Record(Arc<Payload>),
    /// Key and value of a state record; `None` is a tombstone.
    State(Arc<[u8]>, Option<Arc<[u8]>>),
    Marker,
    /// Record of another program.
    Foreign,
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
pub(crate) struct Late {
    pub(crate) transaction: u64,
    pub(crate) place: Place,
    pub(crate) entry: Entry,
}

/// Logs of all partitions.
#[derive(Default)]
pub(crate) struct Logs {
    logs: BTreeMap<Place, Log>,
    outcomes: Vec<Outcome>,
    /// Last stable offsets of partitions whose former leader still answers readers: it was suspended at that offset, was
    /// replaced, and does not know it yet.
    deposed: BTreeMap<Place, usize>,
    /// Partitions without a leader, or with too few replicas in sync.
    troubled: BTreeSet<Place>,
    late: Vec<Late>,
}

impl Logs {
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

    pub(crate) fn is_troubled(&self, place: &Place) -> bool {
        self.troubled.contains(place)
    }

    /// Returns the entries that `read_committed` readers see between two offsets.
    pub(crate) fn committed(&self, place: &Place, from: usize, to: usize) -> impl Iterator<Item = &Entry> {
        let log = self.logs.get(place).map_or(&[][..], |log| &log.entries);
        let seen = |stored: &&Stored| self.outcomes[stored.transaction as usize] == Outcome::Committed;
        log[from..to].iter().filter(seen).map(|stored| &stored.entry)
    }

    /// Returns the offsets between two at which readers see this kind of entry.
    pub(crate) fn committed_at(&self, place: &Place, from: usize, to: usize, is: fn(&Entry) -> bool) -> Vec<usize> {
        let log = self.logs.get(place).map_or(&[][..], |log| &log.entries);
        let seen =
            |at: &usize| self.outcomes[log[*at].transaction as usize] == Outcome::Committed && is(&log[*at].entry);
        (from..to.min(log.len())).filter(seen).collect()
    }

    /// Appends records of another program, which are visible immediately.
    pub(crate) fn push_foreign(&mut self, place: &Place, count: u64) {
        let transaction = self.open_transaction();
        self.outcomes[transaction as usize] = Outcome::Committed;
        if let Some(log) = self.logs.get_mut(place).filter(|_| !self.troubled.contains(place)) {
            log.entries.extend((0..count).map(|_| Stored { entry: Entry::Foreign, transaction }));
        }
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

    /// Appends an entry at its leader and returns its offset.
    pub(crate) fn store(&mut self, transaction: u64, place: &Place, entry: Entry) -> usize {
        let log = self.logs.entry(place.clone()).or_default();
        let offset = log.entries.len();
        log.unmarked.entry(transaction).or_insert(offset);
        log.entries.push(Stored { entry, transaction });
        offset
    }

    /// Ends all trouble, and drops what is in flight.
    pub(crate) fn heal(&mut self) {
        self.troubled.clear();
        self.late.clear();
        self.deposed.clear();
    }

    pub(crate) fn outcome(&self, transaction: u64) -> Outcome {
        self.outcomes[transaction as usize]
    }

    /// Stores the outcome of a transaction. Returns its entries in these partitions if it is committed.
    pub(crate) fn decide(&mut self, transaction: u64, outcome: Outcome, touched: &BTreeSet<Place>) -> Vec<Committed> {
        self.outcomes[transaction as usize] = outcome;
        let mut entries = Vec::new();
        for place in touched.iter().filter(|_| outcome == Outcome::Committed) {
            let log = &self.logs[place];
            let from = log.unmarked.get(&transaction).copied().unwrap_or(log.entries.len());
            let own = log.entries.iter().enumerate().skip(from).filter(|(_, stored)| stored.transaction == transaction);
            entries.extend(own.map(|(offset, stored)| {
                let entry = stored.entry.clone();
                Committed { place: place.clone(), offset, entry }
            }));
        }
        entries
    }

    /// Appends the marker of a decided transaction.
    pub(crate) fn mark(&mut self, transaction: u64, place: Place) {
        let log = self.logs.entry(place).or_default();
        log.unmarked.remove(&transaction);
        log.entries.push(Stored { entry: Entry::Marker, transaction });
    }

    /// Returns the appends in flight that arrive now.
    pub(crate) fn arrivals(&mut self, dice: &Dice) -> Vec<Late> {
        self.late.extract_if(.., |_| dice.chance(150)).collect()
    }
}
