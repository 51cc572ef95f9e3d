//! Lag of the target behind the source: as a whole, by topic and by partition.

use std::collections::BTreeMap;

use kafka::catalog::Bounds;
use serde::{Deserialize, Serialize};
use service::status::HaltedPartition;
use wire::ids::Position;

use crate::lane::progress::Snapshot;
use crate::partitions::router::Router;
use crate::source::discovery::SourceLog;
use wire::partition::Partition;

/// Lag of a link, as last measured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    /// High watermarks less committed positions, over all partitions that ever joined; holes count. `None` while a
    /// partition has neither joined nor been halted: an unknown lag is better than a wrong small one.
    pub records: Option<u64>,
    /// Partitions to be carried, in order of topic and number.
    pub measured: Vec<PartitionLag>,
}

/// Lag of a partition, as last measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionLag {
    pub at: Partition,
    /// Log of the partition at the source.
    pub log: Bounds,
    /// Position up to which it is known to be committed; `None` until it has joined.
    pub committed: Option<Position>,
}

impl Lag {
    /// Compares the source's logs with the committed positions.
    pub(crate) fn of(source: &[SourceLog], lanes: &[Snapshot]) -> Self {
        let logs = source.iter().map(|SourceLog { at, bounds, .. }| (at, *bounds, committed(at, lanes)));
        let measured: Vec<_> =
            logs.map(|(at, log, committed)| PartitionLag { at: at.clone(), log, committed }).collect();
        let known = measured.iter().all(|one| one.committed.is_some() || halt_of(&one.at, lanes).is_some());
        let records = measured.iter().map(PartitionLag::records).sum();
        Self { records: known.then_some(records), measured }
    }
}

impl PartitionLag {
    /// Returns the offsets between the position and the high watermark; holes count.
    pub(crate) fn records(&self) -> u64 {
        self.committed.map_or(0, |committed| behind(self.log.end, committed))
    }
}

/// Returns a partition's committed position. The old lane of one that was handed over still knows an older position.
fn committed(at: &Partition, lanes: &[Snapshot]) -> Option<Position> {
    lanes.iter().filter_map(|lane| lane.committed.get(at)).max().copied()
}

fn behind(end: Position, at: Position) -> u64 {
    u64::try_from(end.0 - at.0).unwrap_or(0)
}

fn halt_of<'a>(at: &Partition, lanes: &'a [Snapshot]) -> Option<&'a HaltedPartition> {
    lanes.iter().flat_map(|lane| &lane.halted).find(|halt| halt.is_of(at))
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionStatus {
    /// Topic of the partition at the source.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Lane that carries the partition.
    pub lane: u16,
    /// State: `carried`, `halted`, `joining` (the receiver has not stated its position) or `lane-closed`.
    pub state: String,
    /// Next offset: all before it are committed in the target; `null` while unknown.
    pub position: Option<i64>,
    /// Start of the source's log; `null` while the position is.
    pub log_start: Option<i64>,
    /// High watermark of the source, at most some seconds old.
    pub log_end: Option<i64>,
    /// Offsets from the position to the high watermark; holes count.
    pub lag_records: Option<u64>,
    /// Reason of its halt, a stable word.
    pub halt: Option<String>,
    /// Values and limit of its halt.
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicStatus {
    /// Name of the topic at the source.
    pub topic: String,
    /// Number of its partitions.
    pub partitions: usize,
    /// Number of its partitions that are halted.
    pub halted: usize,
    /// Lag of all its partitions; `null` while that of one is unknown.
    pub lag_records: Option<u64>,
}

impl Lag {
    /// Returns the current lag of each partition of `topic`, or of every topic.
    pub(crate) fn partitions(&self, topic: Option<&str>, lanes: &[Snapshot], router: &Router) -> Vec<PartitionStatus> {
        let shown = self.measured.iter().filter(|one| topic.is_none_or(|topic| *one.at.topic == *topic));
        shown.map(|one| PartitionStatus::of(one, lanes, router)).collect()
    }

    /// Returns the current lag of each topic, in order of their names.
    pub(crate) fn topics(&self, lanes: &[Snapshot], router: &Router) -> Vec<TopicStatus> {
        let mut topics: BTreeMap<String, TopicStatus> = BTreeMap::new();
        for one in self.partitions(None, lanes, router) {
            let new = || TopicStatus { topic: one.topic.clone(), lag_records: Some(0), ..TopicStatus::default() };
            let topic = topics.entry(one.topic.clone()).or_insert_with(new);
            topic.partitions += 1;
            topic.halted += usize::from(one.halt.is_some());
            topic.lag_records = topic.lag_records.zip(one.lag_records).map(|(sum, more)| sum + more);
        }
        topics.into_values().collect()
    }
}

impl PartitionStatus {
    fn of(measured: &PartitionLag, lanes: &[Snapshot], router: &Router) -> Self {
        let PartitionLag { at, log, committed } = measured;
        let log = committed.map(|_| log);
        let lane = router.lane(&at.topic, at.partition);
        let own = lanes.get(usize::from(lane.0));
        let halt = halt_of(at, lanes);
        let position = own.and_then(|own| own.committed.get(at)).copied();
        let state = match (halt, own.is_some_and(|own| own.epoch.is_some()), position) {
            (Some(_), ..) => "halted",
            (None, false, _) => "lane-closed",
            (None, true, None) => "joining",
            (None, true, Some(_)) => "carried",
        };
        Self {
            topic: at.topic.to_string(),
            partition: at.partition,
            lane: lane.0,
            state: state.to_owned(),
            position: position.map(|position| position.0),
            log_start: log.map(|log| log.start.0),
            log_end: log.map(|log| log.end.0),
            lag_records: position.zip(log).map(|(position, log)| behind(log.end, position)),
            halt: halt.map(|halt| halt.reason.clone()),
            detail: halt.map(|halt| halt.detail.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::ids::Epoch;

    use super::*;

    fn at(topic: &str, partition: i32) -> Partition {
        Partition { topic: topic.into(), partition }
    }

    fn joined(at: Partition, start: i64, end: i64) -> PartitionLag {
        let log = Bounds { start: Position(start), end: Position(end) };
        PartitionLag { at, log, committed: Some(log.start) }
    }

    fn halted(partition: i32) -> HaltedPartition {
        HaltedPartition {
            topic: "orders".into(),
            partition,
            position: 3,
            reason: "corrupt".into(),
            detail: "crc".into(),
        }
    }

    #[test]
    fn partitions_show_their_state_and_topics_their_lag() {
        let committed =
            [(at("orders", 0), Position(90)), (at("orders", 1), Position(3)), (at("bills", 0), Position(7))];
        let mut lane = Snapshot { epoch: Some(Epoch(4)), committed: committed.into(), ..Snapshot::default() };
        lane.halted.push(halted(1));
        let measured = vec![
            joined(at("bills", 0), 0, 7),
            joined(at("orders", 0), 50, 100),
            joined(at("orders", 1), 0, 5),
            PartitionLag { committed: None, ..joined(at("orders", 2), 0, 9) },
        ];
        let lag = Lag { records: None, measured };
        let router = Router::plain(1);
        let shown = lag.partitions(Some("orders"), &[lane.clone()], &router);
        let words: Vec<_> =
            shown.iter().map(|one| (one.partition, one.state.as_str(), one.position, one.lag_records)).collect();
        let expected =
            [(0, "carried", Some(90), Some(10)), (1, "halted", Some(3), Some(2)), (2, "joining", None, None)];
        assert_eq!(words, expected);
        assert_eq!((shown[0].log_start, shown[0].log_end), (Some(50), Some(100)));
        assert_eq!((shown[1].halt.as_deref(), shown[1].detail.as_deref()), (Some("corrupt"), Some("crc")));
        let topics = lag.topics(&[lane.clone()], &router);
        let words: Vec<_> =
            topics.iter().map(|one| (one.topic.as_str(), one.partitions, one.halted, one.lag_records)).collect();
        assert_eq!(words, [("bills", 1, 0, Some(0)), ("orders", 3, 1, None)]);
        lane.epoch = None;
        assert_eq!(lag.partitions(Some("bills"), &[lane], &router)[0].state, "lane-closed");
    }
}
