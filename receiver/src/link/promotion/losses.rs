//! What is known of each partition for the statement of loss.
//!
//! It comes from three things only: the stored positions, the sender's last word of the source's ends, and the age of that
//! word. What is not known is said to be not known.

use std::collections::BTreeMap;

use wire::halt::HaltReason;
use wire::ids::{Offset, TopicId};
use wire::partition::Partition;

use super::statement::PartitionLoss;
use crate::lane::known_map::KnownMap;
use crate::target::TargetPartition;
use crate::target::promoted::SourceEnd;
use crate::translate::known_maps::KnownMaps;

/// Halts after which the source's log is not the one that the positions are about.
const OTHER_LOG: [&str; 2] = ["topic-recreated", "truncated"];

/// Facts about the partitions of a link.
pub(crate) struct Facts<'a> {
    /// The sender's newest word about each partition.
    pub(crate) ends: &'a BTreeMap<Partition, SourceEnd>,
    pub(crate) maps: &'a KnownMaps,
    /// Timestamps of the last carried records, where they are known.
    pub(crate) written: &'a BTreeMap<Partition, i64>,
}

impl Facts<'_> {
    /// Returns what is known of each partition.
    pub(crate) fn partitions(&self) -> Vec<PartitionLoss> {
        let mut all: BTreeMap<&Partition, PartitionLoss> = BTreeMap::new();
        for (at, word) in self.ends {
            all.insert(at, PartitionLoss { unknown_since: Some(word.heard), ..new(at) }.ending(word));
        }
        for map in self.maps.all() {
            let loss = all.remove(&map.key).unwrap_or_else(|| new(&map.key));
            let last_written = self.written.get(&map.key).copied();
            all.insert(&map.key, PartitionLoss { last_written, ..loss.carried(map) });
        }
        all.into_values().collect()
    }
}

fn new(at: &Partition) -> PartitionLoss {
    PartitionLoss { topic: at.topic.to_string(), partition: at.partition, ..PartitionLoss::default() }
}

impl PartitionLoss {
    /// Returns whether the log of the source is not the one that the link has carried.
    pub fn is_of_another_log(&self) -> bool {
        self.halt.as_deref().is_some_and(|halt| OTHER_LOG.contains(&halt))
    }

    /// Returns whether its topic was switched over alone.
    pub(crate) fn is_switched_over(&self) -> bool {
        self.halt.as_deref() == Some(HaltReason::SwitchedOver.word())
    }

    fn ending(self, word: &SourceEnd) -> Self {
        if word.end.0 < 0 {
            return Self { unknown_since: None, ..self };
        }
        let open = u64::try_from(word.end.0 - word.stable.0).unwrap_or(0);
        Self { source_end: Some(word.end.0), in_open_transactions: Some(open), ..self }
    }

    fn carried(self, map: &KnownMap) -> Self {
        let position = map.record.position.0;
        let halt = map.record.halt.as_ref().map(|halt| halt.reason.clone());
        let is_other_log = halt.as_deref().is_some_and(|halt| OTHER_LOG.contains(&halt));
        // Carried beyond the last word: nothing is known to be missing, unless the word is about another log.
        let missing = |end: i64| u64::try_from(end - position).unwrap_or(0);
        let not_carried = self.source_end.filter(|_| !is_other_log).map(missing);
        let in_open_transactions = self.in_open_transactions.filter(|_| !is_other_log);
        let in_open_transactions = in_open_transactions.zip(not_carried).map(|(open, missing)| open.min(missing));
        let topic_id = Some(map.record.topic_id).filter(|id| *id != TopicId::UNKNOWN);
        Self {
            topic_id: topic_id.map(|id| id.to_string()),
            target_topic: Some(map.record.target_topic.clone()),
            carried_to: Some(position),
            not_carried,
            in_open_transactions,
            skipped: map.record.skipped,
            halt,
            ..self
        }
    }
}

/// Returns the target offset of the last record of each partition, as the maps have it.
pub(crate) fn last_records(maps: &KnownMaps) -> Vec<(Partition, TargetPartition, Offset)> {
    let last = |map: &KnownMap| {
        let end = map.record.map.search()?.end()?;
        Some((map.key.clone(), map.record.target(), Offset(end.target.0 - 1)))
    };
    maps.all().filter_map(last).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use wire::control::PartitionEnd;
    use wire::ids::Position;

    use super::*;
    use crate::join::fixtures::partition_record as record;
    use crate::link::source_ends::EndsReading;
    use crate::target::state::{HaltRecord, LaneState, PartitionRecord};

    fn at(partition: i32) -> Partition {
        Partition::new("orders", partition)
    }

    fn losses(heard: Option<EndsReading>) -> Vec<PartitionLoss> {
        let partitions = HashMap::from([(at(0), record(70)), (at(1), record(30)), (at(2), record(5))]);
        let word = |end: i64| SourceEnd { stable: Position(end), end: Position(end), heard: 1_000 };
        let mut ends = BTreeMap::from([(at(0), word(100)), (at(1), word(20)), (at(3), word(8))]);
        heard.iter().for_each(|reading| reading.add_to(&mut ends));
        let maps = KnownMaps::of_states(vec![LaneState { partitions, ..LaneState::default() }]);
        let written = BTreeMap::from([(at(0), 77)]);
        Facts { ends: &ends, maps: &maps, written: &written }.partitions()
    }

    fn loss_of(end: i64, stable: i64, halt: Option<&str>) -> PartitionLoss {
        let halt = halt.map(|reason| HaltRecord { reason: reason.to_owned(), detail: String::new() });
        let partitions = HashMap::from([(at(0), PartitionRecord { halt, ..record(70) })]);
        let ends = BTreeMap::from([(at(0), SourceEnd { stable: Position(stable), end: Position(end), heard: 1_000 })]);
        let maps = KnownMaps::of_states(vec![LaneState { partitions, ..LaneState::default() }]);
        Facts { ends: &ends, maps: &maps, written: &BTreeMap::new() }.partitions().remove(0)
    }

    #[test]
    fn of_another_log_and_of_a_silent_partition_nothing_is_known() {
        let known = |loss: PartitionLoss| (loss.not_carried, loss.in_open_transactions);
        assert_eq!(known(loss_of(20, 20, Some("topic-recreated"))), (None, None), "the new log has other offsets");
        let silent = loss_of(-1, -1, None);
        assert_eq!((silent.unknown_since, silent.source_end), (None, None));
        assert_eq!(known(silent), (None, None));
        assert_eq!(known(loss_of(100, 60, None)), (Some(30), Some(30)), "offsets 60 to 69 are carried");
        assert_eq!(known(loss_of(100, 90, None)), (Some(30), Some(10)));
    }

    fn numbers(loss: &PartitionLoss) -> (Option<i64>, Option<u64>, Option<i64>) {
        (loss.carried_to, loss.not_carried, loss.unknown_since)
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let losses = losses(None);
        let numbers: Vec<_> = losses.iter().map(numbers).collect();
        assert_eq!(numbers[0], (Some(70), Some(30), Some(1_000)));
        assert_eq!(numbers[1], (Some(30), Some(0), Some(1_000)), "carried beyond the last word");
        assert_eq!(numbers[2], (Some(5), None, None), "there was no word of it");
        assert_eq!(numbers[3], (None, None, Some(1_000)), "it never joined: how much it has is not known");
        assert_eq!((losses[0].last_written, losses[1].last_written), (Some(77), None));
    }

    #[test]
    fn the_newest_word_counts_with_open_transactions() {
        let end = PartitionEnd { partition: 0, stable: Position(90), end: Position(120) };
        let reading =
            EndsReading { heard: 2_000, ends: Arc::new(BTreeMap::from([(at(0), end)])), ..EndsReading::default() };
        let losses = losses(Some(reading));
        assert_eq!(numbers(&losses[0]), (Some(70), Some(50), Some(2_000)));
        assert_eq!((losses[0].in_open_transactions, losses[1].in_open_transactions), (Some(30), Some(0)));
        assert_eq!(losses[1].unknown_since, Some(1_000), "of the others the stored word stays");
    }
}
