//! What a promoted link brought to a cluster, read from its state there: where its topics begin on their way back.

use std::collections::{BTreeMap, BTreeSet};

use wire::control::ReturningPartition;
use wire::ids::Position;
use wire::partition::Partition;
use wire::returning::{PromotedLink, ReturningTopic};

use crate::lane::uncovered::end;
use crate::target::state::{LaneState, PartitionRecord};
use crate::translate::known_maps::KnownMaps;

/// Halts after which a log of either side is not the one that the positions are about.
const OTHER_LOG: [&str; 3] = ["topic-recreated", "truncated", "target-replaced"];

/// Returns what the link brought, by the final states of its lanes. Error: a sentence.
pub fn brought(link: &str, states: Vec<LaneState>) -> Result<PromotedLink, String> {
    let is_promoted = states.first().is_some_and(|lane| lane.promoted.is_some());
    if is_promoted && states.iter().any(|lane| lane.promoted.is_none()) {
        return Err(format!(
            "the promotion of link {link} is not finished: run `causeway failover --link {link}` again"
        ));
    }
    let cluster = states.iter().find_map(|lane| lane.lane.as_ref()).map(|lane| lane.source_cluster.clone());
    let maps = KnownMaps::of_states(states);
    // Of a link that continues, topics that were switched over alone.
    let still_carried: BTreeSet<_> =
        maps.all().filter(|map| !is_promoted && !map.record.is_switched_over()).map(|map| &map.key.topic).collect();
    let mut topics: BTreeMap<String, ReturningTopic> = BTreeMap::new();
    // In order, so that the ids of a topic are compared with those of its first partition.
    let by_partition: BTreeMap<_, _> = maps.all().map(|map| (&map.key, &map.record)).collect();
    if !is_promoted && by_partition.keys().all(|at| still_carried.contains(&at.topic)) {
        return Err(format!(
            "link {link} is not promoted in this cluster: run `causeway failover` or `causeway switch-over` first"
        ));
    }
    for (key, record) in by_partition {
        let topic = topics.entry(record.target_topic.clone()).or_insert_with(|| ReturningTopic {
            from: key.topic.to_string(),
            from_id: record.topic_id,
            id: record.target_topic_id,
            partitions: Vec::new(),
            stranded: BTreeMap::new(),
        });
        let found = match still_carried.contains(&key.topic) {
            true => Err(format!("link {link} still carries {key}: switch its topic over first")),
            false => returning(key, record, topic),
        };
        match found {
            Ok(one) => topic.partitions.push(one),
            Err(reason) => drop(topic.stranded.insert(record.target_partition, reason)),
        }
    }
    Ok(PromotedLink { link: link.to_owned(), cluster: cluster.unwrap_or_default(), is_final: is_promoted, topics })
}

/// Returns where a partition begins on its way back: applications may have written behind the last record of the link before
/// it was promoted. Error: why it cannot go back.
fn returning(key: &Partition, record: &PartitionRecord, topic: &ReturningTopic) -> Result<ReturningPartition, String> {
    if key.partition != record.target_partition || *key.topic != *topic.from {
        return Err(format!("{key} went to {}", record.target()));
    }
    if record.topic_id != topic.from_id || record.target_topic_id != topic.id {
        return Err(format!("{key} was carried from or to another topic than the other partitions of its topic"));
    }
    if let Some(halt) = record.halt.as_ref().filter(|halt| OTHER_LOG.contains(&halt.reason.as_str())) {
        return Err(format!("{key} was halted as {}: the log that it came from is another one now", halt.reason));
    }
    let begins = end(record).ok_or_else(|| format!("the map of {key} does not have its last record"))?;
    Ok(ReturningPartition { partition: key.partition, begins, common: record.position, since: since(record) })
}

/// Returns the source position from which on the target has every record: where the link began, by its counts.
fn since(record: &PartitionRecord) -> Position {
    if record.skipped > 0 {
        return record.position;
    }
    let carried = i64::try_from(record.delivered.saturating_add(record.holes)).unwrap_or(i64::MAX);
    // After a jump back records were counted twice.
    if carried > record.position.0 { record.position } else { Position(record.position.0 - carried) }
}

#[cfg(test)]
mod tests {
    use wire::ids::TopicId;

    use super::*;
    use crate::join::fixtures::partition_record;
    use crate::target::promoted::PromotedRecord;
    use crate::target::state::HaltRecord;

    fn lane(promoted: bool, records: Vec<(i32, PartitionRecord)>) -> LaneState {
        let promoted = promoted.then(|| PromotedRecord::first(7, "ann".to_owned(), String::new()));
        let partitions =
            records.into_iter().map(|(partition, record)| (Partition::new("orders", partition), record)).collect();
        LaneState { promoted, partitions, ..LaneState::default() }
    }

    #[test]
    fn only_a_finished_promotion_says_where_the_way_back_begins() {
        let refused = |states| brought("l", states).unwrap_err();
        assert!(refused(Vec::new()).contains("is not promoted"));
        assert!(refused(vec![lane(false, Vec::new()), lane(true, Vec::new())]).contains("is not promoted"));
        assert!(refused(vec![lane(true, Vec::new()), lane(false, Vec::new())]).contains("is not finished"));
        let found = brought("l", vec![lane(true, vec![(1, at(1, 70))])]).unwrap();
        let partitions = &found.topics["orders"].partitions;
        let expected =
            ReturningPartition { partition: 1, begins: Position(40), common: Position(70), since: Position(70) };
        assert_eq!(*partitions, [expected], "it carried nothing: nothing before is known to be the same");
    }

    #[test]
    fn while_the_link_continues_its_switched_topics_go_back() {
        let over = || {
            let halt = HaltRecord { reason: "switched-over".to_owned(), detail: String::new() };
            PartitionRecord { halt: Some(halt), ..at(1, 70) }
        };
        let found = brought("l", vec![lane(false, vec![(1, over())]), lane(false, Vec::new())]).unwrap();
        assert_eq!(found.topics["orders"].partitions[0].begins, Position(40));
        assert!(!found.is_final);
        let half = || vec![lane(false, vec![(1, over())]), lane(false, vec![(2, at(2, 70))])];
        assert!(
            brought("l", half()).unwrap_err().contains("is not promoted"),
            "one of its partitions is still carried"
        );
        let mut other = lane(false, Vec::new());
        let bills = PartitionRecord { target_topic: "bills".to_owned(), ..over() };
        other.partitions.insert(Partition::new("bills", 1), bills);
        let found = brought("l", half().into_iter().chain([other]).collect()).unwrap();
        assert_eq!(found.topics["bills"].partitions.len(), 1);
        assert!(found.topics["orders"].partitions.is_empty() && found.topics["orders"].stranded.len() == 2);
    }

    /// Record of a partition that carried nothing into a log that ended at 40.
    fn at(partition: i32, position: i64) -> PartitionRecord {
        PartitionRecord { target_partition: partition, target_end: Position(40), ..partition_record(position) }
    }

    #[test]
    fn both_logs_are_the_same_from_where_the_link_began() {
        let counted = |delivered, holes, skipped| {
            let record = PartitionRecord { delivered, holes, skipped, ..partition_record(70) };
            since(&record).0
        };
        assert_eq!([counted(60, 10, 0), counted(20, 0, 0), counted(80, 0, 0), counted(60, 9, 1)], [0, 50, 70, 70]);
    }

    #[test]
    fn a_partition_whose_place_is_not_known_strands_alone() {
        let halted = |reason: &str| PartitionRecord {
            halt: Some(HaltRecord { reason: reason.to_owned(), detail: String::new() }),
            ..at(3, 70)
        };
        let records = vec![
            (0, at(0, 70)),
            (1, PartitionRecord { delivered: 70, ..at(1, 70) }),
            (2, PartitionRecord { topic_id: TopicId([9; 16]), ..at(2, 70) }),
            (3, halted("truncated")),
            (4, at(5, 70)),
            (6, PartitionRecord { target_partition: 6, ..halted("record-rejected") }),
        ];
        let found = brought("l", vec![lane(true, records)]).unwrap();
        let topic = &found.topics["orders"];
        let whole: Vec<_> = topic.partitions.iter().map(|one| one.partition).collect();
        assert_eq!(whole, [0, 6]);
        let stranded = [(1, "does not have its last record"), (2, "another topic"), (3, "truncated"), (5, "went to")];
        for (partition, words) in stranded {
            assert!(topic.stranded[&partition].contains(words), "{}", topic.stranded[&partition]);
        }
    }
}
