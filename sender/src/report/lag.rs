//! How far the target is behind the source: as a whole, by topic, by partition.

use std::collections::BTreeMap;

use kafka::catalog::Bounds;
use serde::{Deserialize, Serialize};
use wire::ids::Position;

use crate::lane::progress::{Halted, Snapshot};
use crate::partitions::router::Router;
use crate::source::discovery::SourceLog;
use wire::partition::Partition;

/// The source's logs as last looked at, and how far the target was behind them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lag {
    /// High watermark less committed position, over all partitions that ever joined; holes count. `None` while a
    /// partition has neither joined nor been halted: no number is better than a small one.
    pub records: Option<u64>,
    /// Every partition that is to be carried, in order of topic and number, with its log once it has joined.
    pub logs: Vec<(Partition, Option<Bounds>)>,
}

/// Compares the source's logs to what is committed.
pub fn lag(source: &[SourceLog], lanes: &[Snapshot]) -> Lag {
    let (mut records, mut known) = (0, true);
    let logs = source.iter().map(|log| match committed(&log.at, lanes) {
        Some(position) => {
            records += behind(log.bounds.end, position);
            (log.at.clone(), Some(log.bounds))
        }
        None => {
            known &= halt_of(&log.at, lanes).is_some();
            (log.at.clone(), None)
        }
    });
    let logs = logs.collect();
    Lag { records: known.then_some(records), logs }
}

/// How far the target is behind in one partition that has joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// Which partition.
    pub at: Partition,
    /// Up to where it is known to be committed.
    pub committed: Position,
    /// The source's high watermark.
    pub end: Position,
}

impl Behind {
    /// Compares the source's logs to what is committed.
    pub fn of_all(source: &[SourceLog], lanes: &[Snapshot]) -> Vec<Self> {
        let joined = source.iter().filter_map(|log| Some((log, committed(&log.at, lanes)?)));
        joined.map(|(log, committed)| Self { at: log.at.clone(), committed, end: log.bounds.end }).collect()
    }

    /// Offsets between the two; holes count.
    pub fn records(&self) -> u64 {
        behind(self.end, self.committed)
    }
}

/// Up to where a partition is known to be committed. One that was moved is known to its old lane too, as it was then.
fn committed(at: &Partition, lanes: &[Snapshot]) -> Option<Position> {
    lanes.iter().filter_map(|lane| lane.committed.get(at)).max().copied()
}

fn behind(end: Position, at: Position) -> u64 {
    u64::try_from(end.0 - at.0).unwrap_or(0)
}

fn halt_of<'a>(at: &Partition, lanes: &'a [Snapshot]) -> Option<&'a Halted> {
    lanes.iter().flat_map(|lane| &lane.halted).find(|halt| halt.is_of(at))
}

/// One partition at one moment; `docs/reference/status.md` describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionStatus {
    /// Its topic at the source.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// The lane that carries it.
    pub lane: u16,
    /// Where it stands: `carried`, `halted`, `joining` (the receiver has not said where it goes on) or
    /// `lane-closed`.
    pub state: String,
    /// The offset that comes next: all before it is committed in the target. `null` while that is not known.
    pub position: Option<i64>,
    /// Where the source's log begins, and `null` as long as the position is.
    pub log_start: Option<i64>,
    /// The source's high watermark, at most some seconds old.
    pub log_end: Option<i64>,
    /// From the position to the high watermark; holes count.
    pub lag_records: Option<u64>,
    /// The word for why it is halted.
    pub halt: Option<String>,
    /// The values and the limit.
    pub detail: Option<String>,
}

/// One topic at one moment; `docs/reference/status.md` describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicStatus {
    /// Its name at the source.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: usize,
    /// How many of them are halted.
    pub halted: usize,
    /// How far they are behind together; `null` while that of one is not known.
    pub lag_records: Option<u64>,
}

impl Lag {
    /// Each partition of `topic`, or of every topic, as it stands now.
    pub fn partitions(&self, topic: Option<&str>, lanes: &[Snapshot], router: &Router) -> Vec<PartitionStatus> {
        let wanted = self.logs.iter().filter(|(at, _)| topic.is_none_or(|topic| *at.topic == *topic));
        wanted.map(|(at, log)| PartitionStatus::of(at, *log, lanes, router)).collect()
    }

    /// Each topic as it stands now, in order of their names.
    pub fn topics(&self, lanes: &[Snapshot], router: &Router) -> Vec<TopicStatus> {
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
    fn of(at: &Partition, log: Option<Bounds>, lanes: &[Snapshot], router: &Router) -> Self {
        let lane = router.lane(&at.topic, at.partition);
        let (own, halt) = (lanes.get(usize::from(lane.0)), halt_of(at, lanes));
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

    fn log(start: i64, end: i64) -> Option<Bounds> {
        Some(Bounds { start: Position(start), end: Position(end) })
    }

    fn halted(partition: i32) -> Halted {
        let (topic, reason, detail) = ("orders".to_owned(), "corrupt".to_owned(), "crc".to_owned());
        Halted { topic, partition, position: 3, reason, detail }
    }

    #[test]
    fn each_partition_says_where_it_stands_and_each_topic_how_far_behind_it_is() {
        let committed =
            [(at("orders", 0), Position(90)), (at("orders", 1), Position(3)), (at("bills", 0), Position(7))];
        let mut lane = Snapshot { epoch: Some(Epoch(4)), committed: committed.into(), ..Snapshot::default() };
        lane.halted.push(halted(1));
        let logs = vec![
            (at("bills", 0), log(0, 7)),
            (at("orders", 0), log(50, 100)),
            (at("orders", 1), log(0, 5)),
            (at("orders", 2), None),
        ];
        let lag = Lag { records: None, logs };
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
