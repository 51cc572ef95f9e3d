//! Forecast of when the source deletes records that are not carried yet: the time until the first of them is as old as
//! its topic's retention, if none were carried from now on. In compacted topics it is the time until the first deletion
//! of a key may be removed.
//!
//! It uses the records' own timestamps, by which the source deletes. The source deletes whole segments, so that it may
//! keep records for longer. A loss by `retention.bytes` is not forecast: a client cannot ask how large a log is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::KafkaError;
use kafka::catalog::Catalog;
use wire::ids::Position;

use crate::partitions::deletions::{Deletions, LookedUp};
use crate::report::lag::PartitionLag;

/// Interval between two forecasts while a partition is behind; each costs the source some ten list requests.
pub(crate) const INTERVAL: Duration = Duration::from_secs(60);
/// Topics in one forecast, those with the largest lag.
const TOPICS_MAX: usize = 32;
/// Halvings of the retention time: the answer is exact to its thousandth.
const STEPS: u32 = 10;

/// Record that is deleted first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Time at which it is old enough, in ms since the Unix epoch.
    pub at_ms: i64,
    pub topic: String,
}

/// Asks `catalog` when the first record of those `behind` may be deleted for its age, or the first deletion of a key be
/// removed; `None` if none ever is. Notes in `deletions` the partitions that may have missed one already.
pub(crate) fn forecast(
    catalog: &dyn Catalog,
    behind: &[PartitionLag],
    now_ms: i64,
    deletions: &Deletions,
) -> Result<Option<Loss>, KafkaError> {
    let mut topics: BTreeMap<&Arc<str>, Vec<&PartitionLag>> = BTreeMap::new();
    for partition in behind.iter().filter(|partition| partition.records().unwrap_or(0) > 0) {
        topics.entry(&partition.at.topic).or_default().push(partition);
    }
    let records = |partitions: &[&PartitionLag]| partitions.iter().filter_map(|one| one.records()).sum::<u64>();
    let mut topics: Vec<_> = topics.into_iter().collect();
    topics.sort_by_key(|(_, partitions)| std::cmp::Reverse(records(partitions)));
    topics.truncate(TOPICS_MAX);
    let names: Vec<_> = topics.iter().map(|(topic, _)| topic.to_string()).collect();
    let mut soonest: Option<Loss> = None;
    for ((topic, partitions), settings) in topics.into_iter().zip(catalog.settings(&names)?) {
        let settings = settings?;
        deletions.handle_settings(topic, &settings);
        let record = match settings.retention_ms() {
            Some(ms) => Some(oldest(catalog, &partitions, now_ms, ms)?.saturating_add(ms)),
            None => None,
        };
        let deletion = first_deletion(catalog, &partitions, now_ms, deletions)?;
        for at_ms in record.into_iter().chain(deletion) {
            if soonest.as_ref().is_none_or(|loss| at_ms < loss.at_ms) {
                soonest = Some(Loss { at_ms, topic: topic.to_string() });
            }
        }
    }
    Ok(soonest)
}

/// Returns when the first deletion of a key may be removed before it is carried, for partitions of one topic; `None` if
/// the topic is not compacted, or nothing is known of them.
fn first_deletion(
    catalog: &dyn Catalog,
    partitions: &[&PartitionLag],
    now_ms: i64,
    deletions: &Deletions,
) -> Result<Option<i64>, KafkaError> {
    let names: Vec<_> = partitions.iter().map(|one| one.at.clone()).collect();
    let Some(kept_ms) = names.first().and_then(|at| deletions.kept_ms(&at.topic)) else { return Ok(None) };
    let Some(complete_at) = names.iter().filter_map(|at| deletions.complete_at(at)).min() else { return Ok(None) };
    let young = catalog.positions_at(&names, now_ms.saturating_sub(kept_ms))?;
    for (one, young) in partitions.iter().zip(young) {
        let Some(committed) = one.committed else { continue };
        deletions.handle_behind(&one.at, committed, LookedUp { young: young?, end: one.log.end }, now_ms);
    }
    let oldest = oldest(catalog, partitions, now_ms, kept_ms)?;
    Ok(Some(oldest.max(complete_at).saturating_add(kept_ms)))
}

/// Returns the timestamp of the oldest record within the retention that is not carried yet, in ms since the epoch.
/// Exact to a thousandth of the retention, and never later than the record's own.
fn oldest(
    catalog: &dyn Catalog,
    partitions: &[&PartitionLag],
    now_ms: i64,
    retention_ms: i64,
) -> Result<i64, KafkaError> {
    let names: Vec<_> = partitions.iter().map(|one| one.at.clone()).collect();
    // All records with timestamps before `time` are carried.
    let carried = |time: i64| -> Result<bool, KafkaError> {
        let first = catalog.positions_at(&names, time)?.into_iter().collect::<Result<Vec<Position>, _>>()?;
        Ok(first.iter().zip(partitions).all(|(first, one)| Some(*first) <= one.position()))
    };
    let mut low = now_ms.saturating_sub(retention_ms);
    let mut high = now_ms;
    for _ in 0..STEPS {
        let middle = low + (high - low) / 2;
        if carried(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use kafka::catalog::{Answers, Bounds, ConfigEntry};

    use super::*;
    use wire::partition::Partition;

    /// A record each second in every partition, offset 0 at time 0.
    struct EachSecond {
        configs: Vec<(&'static str, &'static str, &'static str)>,
    }

    impl Catalog for EachSecond {
        fn configs(&self, topics: &[String]) -> Answers<Vec<ConfigEntry>> {
            let entry = |name: &str, value: &str| ConfigEntry {
                name: name.into(),
                value: value.into(),
                set_on_topic: true,
                inherited: None,
            };
            let configs = |topic: &String| {
                let of_topic = self.configs.iter().filter(|(name, ..)| *name == *topic);
                Ok(of_topic.map(|(_, name, value)| entry(name, value)).collect())
            };
            Ok(topics.iter().map(configs).collect())
        }
        fn positions_at(&self, partitions: &[Partition], at: i64) -> Answers<Position> {
            Ok(partitions.iter().map(|_| Ok(Position((at + 999) / 1000))).collect())
        }
    }

    /// 100,000 s after the first record.
    const NOW: i64 = 100_000_000;

    fn behind(topic: &str, committed: i64) -> PartitionLag {
        let at = Partition { topic: topic.into(), partition: 0 };
        let log = Bounds { start: Position(0), end: Position(100_000) };
        PartitionLag { at, log, committed: Some(Position(committed)), begins: None, is_switched_over: false }
    }

    /// The first topic that loses something, and in how many seconds.
    fn loss(configs: &[(&'static str, &'static str, &'static str)], behind: &[PartitionLag]) -> Option<(String, f64)> {
        let deletions = Deletions::default();
        let found = forecast(&EachSecond { configs: configs.to_vec() }, behind, NOW, &deletions).unwrap();
        found.map(|loss| (loss.topic, (loss.at_ms - NOW) as f64 / 1000.0))
    }

    #[test]
    fn a_record_is_lost_when_it_is_as_old_as_its_topic_allows() {
        let configs = [("a", "retention.ms", "10000000"), ("a", "cleanup.policy", "compact,delete")];
        // The record at 99,000 is 1,000 s old, and is kept for 10,000 s.
        let (topic, seconds) = loss(&configs, &[behind("a", 99_000)]).unwrap();
        assert!(topic == "a" && (8_980.0..=9_000.0).contains(&seconds), "{seconds}");
        let (_, seconds) = loss(&configs, &[behind("a", 99_000), behind("a", 95_000)]).unwrap();
        assert!((4_980.0..=5_000.0).contains(&seconds), "the partition that is furthest behind: {seconds}");
        let (_, seconds) = loss(&configs, &[behind("a", 1)]).unwrap();
        assert_eq!(seconds, 0.0, "it may be gone at any moment");
    }

    #[test]
    fn the_topic_that_loses_records_first_is_named() {
        let configs = [("a", "retention.ms", "10000000"), ("b", "retention.ms", "3000000")];
        let (topic, seconds) = loss(&configs, &[behind("a", 95_000), behind("b", 99_000)]).unwrap();
        assert!(topic == "b" && (1_990.0..=2_000.0).contains(&seconds), "{topic} {seconds}");
    }

    #[test]
    fn deletions_are_lost_when_the_link_was_behind_for_too_long() {
        let source =
            EachSecond { configs: vec![("a", "cleanup.policy", "compact"), ("a", "delete.retention.ms", "10000000")] };
        let deletions = Deletions::default();
        let seconds = |complete_at: Option<i64>, committed| {
            complete_at.into_iter().for_each(|time| deletions.handle_caught_up(&behind("a", 0).at, time));
            let loss = forecast(&source, &[behind("a", committed)], NOW, &deletions).unwrap();
            loss.map(|loss| (loss.at_ms - NOW) as f64 / 1000.0)
        };
        assert_eq!(seconds(None, 99_000), None, "nothing is known");
        assert!((8_980.0..=9_000.0).contains(&seconds(Some(NOW - 5_000_000), 99_000).unwrap()), "by the record's age");
        assert_eq!(seconds(Some(NOW - 500_000), 1), Some(9_500.0), "old records of a first catch-up");
        assert!(deletions.take_lost().is_empty());
        assert_eq!(seconds(Some(NOW - 20_000_000), 1), Some(0.0));
        let lost = deletions.take_lost();
        assert_eq!(lost.len(), 1);
        assert!(lost[0].1.contains("between source offsets 1 and 100000"), "{}", lost[0].1);
    }

    #[test]
    fn records_kept_permanently_or_carried_are_not_lost() {
        let kept = [("a", "retention.ms", "-1"), ("b", "cleanup.policy", "compact"), ("b", "retention.ms", "1000")];
        assert_eq!(loss(&kept, &[behind("a", 1), behind("b", 1), behind("unknown", 1)]), None);
        assert_eq!(loss(&[("a", "retention.ms", "1000")], &[behind("a", 100_000)]), None);
        assert_eq!(loss(&[], &[]), None);
    }
}
