//! Ledger of the offsets that a link has committed for groups. An offset in the target that is not in it was committed by
//! another client, which has taken the partition over.
//!
//! An entry is stored before its offset is committed, with every offset that may be found afterwards: so the ledger knows
//! its own offsets after a crash at any moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bincode::{Decode, Encode};
use wire::ids::Position;
use wire::origin::{self, StoredError};

use crate::target::{StateEntry, TargetPartition};

/// Partitions in one stored record: it stays far below the 1 MiB that brokers accept.
const PARTITIONS_EACH: i32 = 1024;
/// Offsets of commits without an answer that an entry keeps.
const OURS_MAX: usize = 8;
/// Most entries. It bounds what a sender that invents groups leaves behind.
const ENTRIES_MAX: usize = 200_000;

/// Key of a record in the topic of groups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub(crate) enum GroupKey {
    Offsets {
        group: String,
        /// Target topic.
        topic: String,
        /// Number of a thousand partitions.
        part: i32,
    },
    /// Key of a tombstone: never an entry.
    Barrier,
}

/// Entries of a group, by partitions of a target topic.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct GroupRecord {
    pub(crate) entries: Vec<(i32, LedgerEntry)>,
}

/// What a link has committed in one partition for a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct LedgerEntry {
    /// Offsets of the link that the target may have.
    pub(crate) ours: Vec<Position>,
    /// Another client has committed there.
    pub(crate) taken_over: bool,
}

/// All entries of a link.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: HashMap<Arc<str>, BTreeMap<TargetPartition, LedgerEntry>>,
    count: usize,
    /// Records that differ from what is stored.
    changed: BTreeSet<GroupKey>,
}

impl Ledger {
    /// Folds what is stored.
    pub(crate) fn fold(stored: &[StateEntry]) -> Result<Self, StoredError> {
        let mut ledger = Self::default();
        for StateEntry { key, value, .. } in stored {
            let GroupKey::Offsets { group, topic, .. } = origin::decode(key)? else { continue };
            let Some(value) = value else { continue };
            let record: GroupRecord = origin::decode(value)?;
            let topic: Arc<str> = topic.into();
            let entries = ledger.entries.entry(group.into()).or_default();
            for (partition, entry) in record.entries {
                let at = TargetPartition { topic: Arc::clone(&topic), partition };
                ledger.count += usize::from(entries.insert(at, entry).is_none());
            }
        }
        Ok(ledger)
    }

    pub(crate) fn get(&self, group: &str, at: &TargetPartition) -> Option<&LedgerEntry> {
        self.entries.get(group)?.get(at)
    }

    /// Returns all entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &TargetPartition, &LedgerEntry)> {
        self.entries.iter().flat_map(|(group, entries)| entries.iter().map(move |(at, entry)| (&**group, at, entry)))
    }

    /// Notes that another client has committed.
    pub(crate) fn take_over(&mut self, group: &Arc<str>, at: &TargetPartition) {
        self.set(group, at, LedgerEntry { ours: Vec::new(), taken_over: true });
    }

    /// Notes a commit to come of `next`, where the target has `now`. False: there are too many entries.
    pub(crate) fn intend(
        &mut self,
        group: &Arc<str>,
        at: &TargetPartition,
        now: Option<Position>,
        next: Position,
    ) -> bool {
        let known = self.get(group, at);
        if known.is_none() && self.count >= ENTRIES_MAX {
            return false;
        }
        // A commit without an answer may still arrive.
        let before = known.filter(|known| !known.taken_over).map(|known| known.ours.clone()).unwrap_or_default();
        let mut ours: Vec<Position> = Vec::new();
        for position in [Some(next), now].into_iter().flatten().chain(before.into_iter().rev()) {
            if !ours.contains(&position) && ours.len() < OURS_MAX {
                ours.push(position);
            }
        }
        ours.reverse();
        self.set(group, at, LedgerEntry { ours, taken_over: false });
        true
    }

    /// Notes that the target has this offset now. It is stored with the next change.
    pub(crate) fn confirm(&mut self, group: &str, at: &TargetPartition, position: Position) {
        let entry = self.entries.get_mut(group).and_then(|entries| entries.get_mut(at));
        if let Some(entry) = entry.filter(|entry| !entry.taken_over) {
            entry.ours = vec![position];
        }
    }

    fn set(&mut self, group: &Arc<str>, at: &TargetPartition, entry: LedgerEntry) {
        let entries = self.entries.entry(Arc::clone(group)).or_default();
        self.count += usize::from(entries.insert(at.clone(), entry).is_none());
        self.changed.insert(key(group, at));
    }

    /// Returns the records to store before anything else is done.
    pub(crate) fn take_changes(&mut self) -> Vec<StateEntry> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|key| self.record(&key)).collect()
    }

    fn record(&self, key: &GroupKey) -> Option<StateEntry> {
        let GroupKey::Offsets { group, topic, part } = key else { return None };
        let first = part * PARTITIONS_EACH;
        let from = TargetPartition::new(topic.as_str(), first);
        let to = TargetPartition::new(topic.as_str(), first.saturating_add(PARTITIONS_EACH));
        let entries = self.entries.get(&**group)?.range(from..to);
        let entries = entries.map(|(at, entry)| (at.partition, entry.clone())).collect();
        Some(StateEntry::new(origin::encode(key), Some(origin::encode(&GroupRecord { entries }))))
    }
}

fn key(group: &str, at: &TargetPartition) -> GroupKey {
    let part = at.partition / PARTITIONS_EACH;
    GroupKey::Offsets { group: group.to_owned(), topic: at.topic.to_string(), part }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32) -> TargetPartition {
        TargetPartition::new("orders", partition)
    }

    fn positions(ledger: &Ledger, at: &TargetPartition) -> Vec<i64> {
        ledger.get("g", at).map(|entry| entry.ours.iter().map(|one| one.0).collect()).unwrap_or_default()
    }

    /// Bytes of the lines of the fixture, which later versions must read.
    fn fixture() -> Vec<Vec<u8>> {
        let text = include_str!("../../fixtures/groups-1.hex");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let byte = |line: &str, at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("hex");
        lines.map(|line| (0..line.len()).step_by(2).map(|at| byte(line, at)).collect()).collect()
    }

    #[test]
    fn what_an_earlier_version_stored_is_read_and_written_alike() {
        let [key, value, barrier] = fixture().try_into().expect("three lines");
        let stored = [StateEntry::new(key, Some(value)), StateEntry::new(barrier.clone(), None)];
        let ledger = Ledger::fold(&stored).unwrap();
        let at = |partition| TargetPartition::new("fra.orders", partition);
        let ours = [70_000, 70_003].map(Position).to_vec();
        assert_eq!(ledger.get("billing", &at(3)), Some(&LedgerEntry { ours, taken_over: false }));
        assert!(ledger.get("billing", &at(4)).unwrap().taken_over);
        assert_eq!(ledger.record(&super::key("billing", &at(4))), Some(stored[0].clone()));
        assert_eq!(origin::encode(&GroupKey::Barrier), barrier);
        let newer = StateEntry::new(vec![2], None);
        assert!(Ledger::fold(&[newer]).is_err());
    }

    #[test]
    fn a_ledger_is_the_same_after_a_restart() {
        let group: Arc<str> = "g".into();
        let mut ledger = Ledger::default();
        assert!(ledger.intend(&group, &at(0), None, Position(5)));
        assert!(ledger.intend(&group, &at(1023), Some(Position(3)), Position(9)));
        assert!(ledger.intend(&group, &at(1024), None, Position(7)));
        ledger.take_over(&group, &at(1));
        let stored = ledger.take_changes();
        assert_eq!((stored.len(), ledger.take_changes().len()), (2, 0));
        let again = Ledger::fold(&stored).unwrap();
        for partition in [0, 1, 1023, 1024] {
            assert_eq!(again.get("g", &at(partition)), ledger.get("g", &at(partition)), "{partition}");
        }
        assert_eq!((positions(&again, &at(1023)), again.count), (vec![3, 9], 4));
        assert!(again.get("g", &at(1)).unwrap().taken_over);
    }

    #[test]
    fn every_commit_without_an_answer_stays_known() {
        let group: Arc<str> = "g".into();
        let mut ledger = Ledger::default();
        ledger.intend(&group, &at(0), None, Position(5));
        ledger.intend(&group, &at(0), Some(Position(5)), Position(6));
        ledger.intend(&group, &at(0), Some(Position(5)), Position(7));
        assert_eq!(positions(&ledger, &at(0)), [6, 5, 7]);
        ledger.confirm("g", &at(0), Position(7));
        assert_eq!(positions(&ledger, &at(0)), [7]);
        assert!((10..40).all(|next| ledger.intend(&group, &at(0), None, Position(next))));
        assert_eq!(positions(&ledger, &at(0)).len(), OURS_MAX, "bounded");
        ledger.take_over(&group, &at(0));
        ledger.intend(&group, &at(0), None, Position(1));
        assert_eq!(positions(&ledger, &at(0)), [1], "what another client took is no longer ours");
    }
}
