//! Where consumer groups resume, by the ledger, by what the target has, and by what the sender last said. Sans-IO.

use std::collections::{BTreeMap, HashMap};

use wire::ids::Position;

use super::statement::GroupResume;
use crate::groups::ledger::{Ledger, LedgerEntry};
use crate::groups::sync::GroupSync;
use crate::target::TargetPartition;
use crate::translate::known_maps::KnownMaps;

/// Word for an offset of which only the ledger is known.
const COMMITTED: &str = "committed";
/// Word for an offset that another client has committed.
const TAKEN_OVER: &str = "taken-over";

/// Offsets that groups have in the target.
pub(crate) type Committed = HashMap<(String, TargetPartition), Position>;

/// Returns where each group resumes, in order of group, topic and partition.
pub(crate) fn resumptions(
    ledger: &Ledger,
    committed: &Committed,
    sync: Option<&GroupSync>,
    maps: &KnownMaps,
) -> Vec<GroupResume> {
    let mut rows: BTreeMap<(String, TargetPartition), GroupResume> = BTreeMap::new();
    for (group, source, state, aim) in sync.into_iter().flat_map(GroupSync::offsets) {
        let target = aim.map(|aim| aim.partition.clone()).or_else(|| maps.target_of(source));
        let at = target.unwrap_or_else(|| source.clone());
        let key = (group.to_owned(), at);
        let found = committed.get(&key).copied();
        let again = found.zip(aim).map(|(found, aim)| u64::try_from(aim.position.0 - found.0).unwrap_or(0));
        let row = row(&key, found, again, state.word());
        rows.insert(key, row);
    }
    for (group, at, entry) in ledger.entries() {
        let key = (group.to_owned(), at.clone());
        let found = committed.get(&key).copied();
        let (again, state) = of_ledger(entry, found);
        let known = rows.entry(key.clone()).or_insert_with(|| row(&key, found, again, state));
        // The round has not come to it, but it was committed before.
        known.again = known.again.or(again);
    }
    rows.into_values().collect()
}

fn row(key: &(String, TargetPartition), found: Option<Position>, again: Option<u64>, state: &str) -> GroupResume {
    let (group, at) = key;
    GroupResume {
        group: group.clone(),
        topic: at.topic.to_string(),
        partition: at.partition,
        resumes_at: found.map(|found| found.0),
        again,
        state: state.to_owned(),
    }
}

/// Returns how many offsets are read again, and the state. The newest offset of an entry is the translation of the last word
/// of the source; an earlier one is still there if the last commit failed.
fn of_ledger(entry: &LedgerEntry, found: Option<Position>) -> (Option<u64>, &'static str) {
    if entry.taken_over {
        return (None, TAKEN_OVER);
    }
    let newest = entry.ours.last().copied();
    let again = found.zip(newest).map(|(found, newest)| u64::try_from(newest.0 - found.0).unwrap_or(0));
    let is_ours = found.is_some_and(|found| entry.ours.contains(&found));
    (again.filter(|_| is_ours), if is_ours { COMMITTED } else { TAKEN_OVER })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn at(partition: i32) -> TargetPartition {
        TargetPartition::new("fra.orders", partition)
    }

    #[test]
    fn after_a_restart_the_ledger_says_where_groups_resume() {
        let group: Arc<str> = "g".into();
        let mut ledger = Ledger::default();
        for partition in 0..3 {
            ledger.intend(&group, &at(partition), None, Position(5));
            ledger.intend(&group, &at(partition), Some(Position(5)), Position(9));
        }
        ledger.take_over(&group, &at(3));
        let found = [(0, 9), (1, 5), (2, 7), (3, 4)];
        let committed = found.map(|(partition, offset)| (("g".to_owned(), at(partition)), Position(offset)));
        let rows = resumptions(&ledger, &HashMap::from(committed), None, &KnownMaps::default());
        let shown: Vec<_> = rows.iter().map(|row| (row.resumes_at, row.again, row.state.as_str())).collect();
        assert_eq!(
            shown,
            [
                (Some(9), Some(0), "committed"),
                (Some(5), Some(4), "committed"),
                (Some(7), None, "taken-over"),
                (Some(4), None, "taken-over")
            ]
        );
    }

    #[test]
    fn a_group_without_an_offset_in_the_target_resumes_nowhere() {
        let group: Arc<str> = "g".into();
        let mut ledger = Ledger::default();
        ledger.intend(&group, &at(0), None, Position(5));
        let rows = resumptions(&ledger, &HashMap::new(), None, &KnownMaps::default());
        assert_eq!((rows[0].resumes_at, rows[0].again), (None, None), "unknown is not 0");
    }
}
