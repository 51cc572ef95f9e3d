//! Lag of the target behind the source: as a whole, by topic and by partition.

use std::collections::{BTreeMap, HashSet};

use kafka::catalog::Bounds;
use serde::{Deserialize, Serialize};
use service::status::HaltedPartition;
use wire::halt::HaltReason;
use wire::ids::Position;

use crate::config::Start;
use crate::lane::progress::Snapshot;
use crate::partitions::router::Router;
use crate::source::discovery::{SourceLog, SourceLogs};
use wire::partition::Partition;

/// Lag of a link, as last measured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    /// High watermarks less positions, over all partitions; holes count. `None` while that of one is unknown: an unknown
    /// lag is better than a wrong small one.
    pub records: Option<u64>,
    /// Partitions whose lag is unknown.
    pub unknown: usize,
    /// Partitions to be carried, in order of topic and number.
    pub measured: Vec<PartitionLag>,
    /// Partitions that wait for the source, each with the reason.
    pub waiting: Vec<(Partition, String)>,
}

/// Lag of a partition, as last measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionLag {
    pub at: Partition,
    /// Log of the partition at the source.
    pub log: Bounds,
    /// Position up to which it is known to be committed; `None` until it has joined.
    pub committed: Option<Position>,
    /// Position where it will begin if it never joined, is halted or waits; `None` while that is unknown.
    pub begins: Option<Position>,
    /// It is not to be carried: its topic was switched over.
    pub is_switched_over: bool,
}

/// States of a partition that more than one rule names.
const HALTED: &str = "halted";
const WAITING: &str = "waiting";
const SWITCHED_OVER: &str = "switched-over";

impl Lag {
    /// Compares the source's logs with the committed positions. Partitions without one begin by the policy `start`.
    pub(crate) fn of(source: &SourceLogs, lanes: &[Snapshot], start: Start) -> Self {
        let halts = lanes.iter().flat_map(|lane| &lane.halted);
        let over = halts.clone().filter(|halt| halt.reason == HaltReason::SwitchedOver.word());
        let over: HashSet<_> = over.map(|halt| (halt.topic.as_str(), halt.partition)).collect();
        // The receiver states a position with each halt, unless it has stored none.
        let new: HashSet<_> = halts.map(|halt| (halt.topic.as_str(), halt.partition)).collect();
        let lag = |log: &SourceLog| {
            let committed = committed(&log.at, lanes);
            let is_new = committed.is_none() && new.contains(&(&*log.at.topic, log.at.partition));
            // Where another policy begins, only the receiver knows: it depends on whether the topic is new.
            let begins = (is_new && start == Start::Earliest).then_some(log.bounds.start);
            let is_switched_over = over.contains(&(&*log.at.topic, log.at.partition));
            PartitionLag { at: log.at.clone(), log: log.bounds, committed, begins, is_switched_over }
        };
        let measured: Vec<_> = source.known.iter().map(lag).collect();
        let unknown = measured.iter().filter(|one| one.records().is_none()).count() + source.waiting.len();
        let records = measured.iter().filter_map(PartitionLag::records).sum();
        Self { records: (unknown == 0).then_some(records), unknown, measured, waiting: source.waiting.clone() }
    }
}

impl PartitionLag {
    /// Returns the position of the next record to be carried.
    pub(crate) fn position(&self) -> Option<Position> {
        self.committed.or(self.begins)
    }

    /// Returns the offsets between the position and the high watermark; holes count. `None` while it is unknown.
    pub(crate) fn records(&self) -> Option<u64> {
        if self.is_switched_over {
            return Some(0);
        }
        Some(behind(self.log.end, self.position()?))
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
    /// State: `carried`, `halted`, `waiting` (see `detail`), `joining` (its position is not stated),
    /// `switched-over` or `lane-closed`.
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
    /// Values and limit of its halt, or the reason why it waits.
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
    /// Number of its partitions that wait for a cluster.
    pub waiting: usize,
    /// Lag of all its partitions, as measured at most some seconds ago; `null` while that of one is unknown.
    pub lag_records: Option<u64>,
}

impl Lag {
    /// Returns a sentence for each topic with partitions that wait for the source.
    pub(crate) fn waiting_sentences(&self) -> Vec<String> {
        service::format::waiting("the source", &self.waiting)
    }

    /// Returns the current lag of each partition of `topic`, or of every topic.
    pub(crate) fn partitions(&self, topic: Option<&str>, lanes: &[Snapshot], router: &Router) -> Vec<PartitionStatus> {
        let is_shown = |at: &Partition| topic.is_none_or(|topic| *at.topic == *topic);
        let known = self.measured.iter().filter(|one| is_shown(&one.at));
        let known = known.map(|one| PartitionStatus::of(&one.at, Some(one), lanes, router));
        let waiting = self.waiting.iter().filter(|(at, _)| is_shown(at));
        let waiting = waiting.map(|(at, reason)| PartitionStatus::of(at, None, lanes, router).waiting(reason));
        let mut all: Vec<_> = known.chain(waiting).collect();
        all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        all
    }

    /// Returns the measured lag of each topic, in order of their names.
    pub(crate) fn topics(&self, lanes: &[Snapshot], router: &Router) -> Vec<TopicStatus> {
        let mut topics: BTreeMap<String, TopicStatus> = BTreeMap::new();
        // Positions move on while the ends of the logs are as old as the measurement, so their difference would be too small.
        let lags: BTreeMap<_, _> = self.measured.iter().map(|one| (&one.at, one.records())).collect();
        for one in self.partitions(None, lanes, router) {
            let new = || TopicStatus { topic: one.topic.clone(), lag_records: Some(0), ..TopicStatus::default() };
            let topic = topics.entry(one.topic.clone()).or_insert_with(new);
            topic.partitions += 1;
            topic.halted += usize::from(one.state == HALTED);
            topic.waiting += usize::from(one.state == WAITING);
            let lag = lags.get(&Partition::new(one.topic.as_str(), one.partition)).copied().flatten();
            topic.lag_records = topic.lag_records.zip(lag).map(|(sum, more)| sum + more);
        }
        topics.into_values().collect()
    }
}

impl PartitionStatus {
    /// Returns the status of a partition that waits for the source, unless it is halted.
    fn waiting(self, reason: &str) -> Self {
        if self.halt.is_some() {
            return self;
        }
        Self { state: WAITING.to_owned(), detail: Some(reason.to_owned()), ..self }
    }

    fn of(at: &Partition, lag: Option<&PartitionLag>, lanes: &[Snapshot], router: &Router) -> Self {
        let lane = router.lane(&at.topic, at.partition);
        let own = lanes.get(usize::from(lane.0));
        let halt = halt_of(at, lanes);
        let position = own.and_then(|own| own.committed.get(at)).copied();
        let begins = lag.and_then(|lag| lag.begins);
        let log = lag.filter(|lag| lag.position().is_some()).map(|lag| lag.log);
        let state = match (halt, own.is_some_and(|own| own.epoch.is_some()), position) {
            (Some(halt), ..) if halt.waits() => WAITING,
            (Some(halt), ..) if !halt.is_trouble() => SWITCHED_OVER,
            (Some(_), ..) => HALTED,
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
            lag_records: position.or(begins).zip(log).map(|(position, log)| behind(log.end, position)),
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
        PartitionLag { at, log, committed: Some(log.start), begins: None, is_switched_over: false }
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

    /// Logs of `orders`, all from 10 to 110.
    fn logs(partitions: std::ops::Range<i32>) -> SourceLogs {
        let bounds = Bounds { start: Position(10), end: Position(110) };
        let log = |partition| SourceLog { at: at("orders", partition), bounds, stable: bounds.end };
        SourceLogs { known: partitions.map(log).collect(), waiting: Vec::new() }
    }

    /// A lane with `orders/0` committed up to 100, and `orders/1` halted with no stored position.
    fn lane_with_a_new_halt(reason: &str) -> Snapshot {
        let committed = [(at("orders", 0), Position(100))];
        let halt = HaltedPartition { position: -1, reason: reason.into(), ..halted(1) };
        Snapshot { epoch: Some(Epoch(1)), committed: committed.into(), halted: vec![halt], ..Snapshot::default() }
    }

    #[test]
    fn a_partition_that_never_joined_lags_by_all_it_would_carry() {
        for reason in ["target-refused", "target-unavailable"] {
            let lane = lane_with_a_new_halt(reason);
            let lag = Lag::of(&logs(0..2), std::slice::from_ref(&lane), Start::Earliest);
            assert_eq!((lag.records, lag.unknown), (Some(10 + 100), 0), "{reason}");
            let shown = &lag.partitions(Some("orders"), std::slice::from_ref(&lane), &Router::plain(1))[1];
            assert_eq!((shown.position, shown.lag_records), (None, Some(100)), "{reason}");
        }
    }

    #[test]
    fn a_lag_is_unknown_while_a_partitions_beginning_is() {
        let lane = [lane_with_a_new_halt("target-refused")];
        for start in [Start::Latest, Start::Timestamp(7)] {
            let lag = Lag::of(&logs(0..2), &lane, start);
            assert_eq!((lag.records, lag.unknown), (None, 1), "{start:?}: only the receiver knows if it is new");
        }
        let lag = Lag::of(&logs(0..3), &lane, Start::Earliest);
        assert_eq!((lag.records, lag.unknown), (None, 1), "orders/2 has not been answered");
        let waiting = vec![(at("orders", 1), "no leader".to_owned())];
        let lag = Lag::of(&SourceLogs { waiting, ..logs(0..1) }, &lane, Start::Earliest);
        assert_eq!((lag.records, lag.unknown), (None, 1), "its log cannot be asked for");
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
        let lag = Lag { records: None, unknown: 2, measured, waiting: vec![(at("lab", 7), "no leader".to_owned())] };
        let router = Router::plain(1);
        let shown = lag.partitions(Some("orders"), &[lane.clone()], &router);
        let words: Vec<_> =
            shown.iter().map(|one| (one.partition, one.state.as_str(), one.position, one.lag_records)).collect();
        let expected =
            [(0, "carried", Some(90), Some(10)), (1, "halted", Some(3), Some(2)), (2, "joining", None, None)];
        assert_eq!(words, expected);
        assert_eq!((shown[0].log_start, shown[0].log_end), (Some(50), Some(100)));
        assert_eq!((shown[1].halt.as_deref(), shown[1].detail.as_deref()), (Some("corrupt"), Some("crc")));
        let waits = &lag.partitions(Some("lab"), &[lane.clone()], &router)[0];
        assert_eq!((waits.state.as_str(), waits.detail.as_deref()), ("waiting", Some("no leader")));
        let topics = lag.topics(&[lane.clone()], &router);
        let words: Vec<_> =
            topics.iter().map(|one| (one.topic.as_str(), one.partitions, one.halted, one.lag_records)).collect();
        // The lane has carried all of `bills` since: what has arrived there meanwhile is not known.
        assert_eq!(words, [("bills", 1, 0, Some(7)), ("lab", 1, 0, None), ("orders", 3, 1, None)]);
        lane.epoch = None;
        assert_eq!(lag.partitions(Some("bills"), &[lane], &router)[0].state, "lane-closed");
    }
}
