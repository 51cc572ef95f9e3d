//! Everything that a sender knows at one moment, and what follows from it: problems, lag, limit and readiness.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use service::status::{HaltedPartition, PeerStatus, waiting};
use transport::congestion::Flow;
use wire::condition::{Condition, WaitingPartition};
use wire::halt::HaltReason;
use wire::limits::NAMED_PARTITIONS_MAX;
use wire::partition::Partition;

use crate::board::{Published, State};
use crate::lane::latency::RecentDelays;
use crate::lane::progress::Snapshot;
use crate::partitions::deleted_topic::DeletedTopic;
use crate::rate::RateStatus;
use crate::report::limit::{Evidence, Limit};
use crate::report::measured::Measured;
use crate::report::open_transactions::OpenTransaction;
use crate::report::readiness::Facts;
use crate::report::sampler::{Recent, TimeUse};
use crate::report::status::WaitingStatus;
use crate::source::discovery::matches_nothing;

/// Age up to which a measured lag is shown. It is measured every 2.5 s.
const LAG_KNOWN: Duration = Duration::from_secs(10);
/// Time without a session after which the status says so, even if no attempt has ended.
const NO_SESSION: Duration = Duration::from_secs(10);
/// Open transactions that the receiver learns of.
const TRANSACTIONS_TOLD: usize = 5;
/// Waiting partitions that the status names.
const WAITING_NAMED: usize = 100;

/// Values that a report is made of, all of the same moment.
pub(super) struct Moment {
    pub published: Published,
    pub measured: Measured,
    pub lanes: Vec<Snapshot>,
    /// Entries of the topic filter that match nothing.
    pub unmatched: Vec<String>,
    pub rate: RateStatus,
    pub recent_delays: RecentDelays,
    /// Problems with consumer groups and access control lists.
    pub carried_trouble: Vec<String>,
    pub now: Instant,
}

/// Partitions that wait for a cluster, each with the reason.
type Waiting = Vec<(Partition, String)>;

impl Moment {
    pub(super) fn is_standby(&self) -> bool {
        matches!(self.published.state, State::Standby { .. })
    }

    /// Returns the time since the source last answered for its logs.
    pub(super) fn lag_age(&self) -> Option<Duration> {
        self.measured.source.age(self.now)
    }

    /// Returns the lag, unless it is unknown or outdated. On standby another sender moves the positions.
    pub(super) fn lag_records(&self) -> Option<u64> {
        let is_known = !self.is_standby() && self.lag_age().is_some_and(|age| age <= LAG_KNOWN);
        self.measured.lag.records.filter(|_| is_known)
    }

    /// Returns the longest time for which a lane with frames in flight has had no ack.
    pub(super) fn unacked(&self) -> Option<Duration> {
        self.lanes.iter().filter_map(|lane| lane.unacked).max()
    }

    /// Returns the partitions that an error stopped.
    pub(super) fn halted(&self) -> impl Iterator<Item = &HaltedPartition> {
        self.halts().filter(|halt| halt.is_trouble())
    }

    fn halts(&self) -> impl Iterator<Item = &HaltedPartition> {
        self.lanes.iter().flat_map(|lane| &lane.halted)
    }

    /// Returns the partitions that wait for the target: those that did not join, and those that the receiver names.
    fn waits_for_target(&self) -> Waiting {
        let own = self.halts().filter(|halt| halt.waits());
        let own = own.map(|halt| (Partition::new(halt.topic.as_str(), halt.partition), halt.detail.clone()));
        let named = self.published.receiver_condition.iter().flat_map(waiting);
        // The receiver's words are newer.
        own.chain(named).collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// Returns the number of partitions that wait for the target.
    pub(super) fn waiting_at_target(&self) -> usize {
        let told = self.published.receiver_condition.as_ref().map_or(0, |condition| condition.waiting as usize);
        self.waits_for_target().len().max(told)
    }

    /// Returns the first partitions that wait for either cluster.
    pub(super) fn waiting(&self) -> Vec<WaitingStatus> {
        let source =
            self.measured.lag.waiting.iter().cloned().map(|(at, reason)| WaitingStatus::of(&at, "source", reason));
        let target = self.waits_for_target().into_iter().map(|(at, reason)| WaitingStatus::of(&at, "target", reason));
        // Neither cluster's partitions hide the other's.
        source.take(WAITING_NAMED / 2).chain(target).take(WAITING_NAMED).collect()
    }

    /// Returns the condition of the receiver, as it last told it in this session.
    pub(super) fn receiver(&self) -> Option<PeerStatus> {
        self.published.receiver_condition.as_ref().map(|condition| PeerStatus::of(condition, "the target"))
    }

    /// Returns every problem, in sentences.
    pub(super) fn trouble(&self) -> Vec<String> {
        let receiver = self.published.receiver_condition.iter().flat_map(|told| {
            let failing = told.failing.iter().map(|lane| &lane.detail);
            failing.chain(&told.trouble).map(|said| format!("receiver: {said}"))
        });
        let at_target = service::format::waiting("the target", &self.waits_for_target());
        let known = self.source_trouble().into_iter().chain(self.no_session()).chain(receiver);
        let waiting = self.measured.lag.waiting_sentences().into_iter().chain(at_target);
        known.chain(waiting).chain(self.topic_trouble()).collect()
    }

    /// Returns the problems of the list of topics: entries that match nothing, and topics that were deleted.
    fn topic_trouble(&self) -> Vec<String> {
        let deleted = &self.published.deleted_topics;
        let is_deleted = |entry: &str| deleted.iter().any(|topic| topic.topic == entry);
        let unmatched = self.unmatched.iter().filter(|entry| !is_deleted(entry)).map(|entry| matches_nothing(entry));
        unmatched.chain(DeletedTopic::sentences(deleted)).collect()
    }

    /// Returns the problems with the source cluster, and with other links' state in it.
    fn source_trouble(&self) -> Vec<String> {
        let measured = || self.measured.source.trouble(self.now).map(|reason| format!("source cluster: {reason}"));
        let cluster = self.published.source_trouble.clone().or_else(measured);
        let known = cluster.into_iter().chain(self.published.discovery_trouble.clone());
        known.chain(self.carried_trouble.iter().cloned()).collect()
    }

    fn no_session(&self) -> Option<String> {
        let published = &self.published;
        let since = published.no_session_since.filter(|_| published.state == State::Connecting)?;
        let waits = self.now.saturating_duration_since(since);
        let silent = || {
            let seconds = waits.as_secs();
            format!("no session for {seconds} s: the receiver has not accepted one; see its status")
        };
        published.last_end.clone().or_else(|| (waits >= NO_SESSION).then(silent))
    }

    /// Returns the condition of this end, as the receiver learns it.
    pub(super) fn condition(&self) -> Condition {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let waiting = &self.measured.lag.waiting;
        let named = waiting.iter().take(NAMED_PARTITIONS_MAX).map(|(at, reason)| WaitingPartition {
            topic: at.topic.to_string(),
            partition: at.partition,
            detail: reason.clone(),
        });
        let condition = Condition {
            failing: Vec::new(),
            halted: count(self.halted().count()),
            waiting: count(waiting.len()),
            named: named.collect(),
            trouble: self.source_trouble().into_iter().chain(self.topic_trouble()).chain(self.own_halts()).collect(),
        };
        condition.shortened()
    }

    /// Returns halts that the receiver does not store, so that only this end knows of them, and transactions of the source
    /// that stay open.
    fn own_halts(&self) -> impl Iterator<Item = String> {
        let is_stored = |halt: &HaltedPartition| HaltReason::of(&halt.reason).is_some_and(HaltReason::is_kept);
        let halts: Vec<_> = self.halted().filter(|halt| !is_stored(halt)).cloned().collect();
        let open = self.measured.open_transactions.iter().take(TRANSACTIONS_TOLD).map(OpenTransaction::lasting);
        HaltedPartition::sentences(&halts).into_iter().chain(open)
    }

    pub(super) fn limit(&self) -> Limit {
        Limit::by(&self.evidence())
    }

    /// Returns the limit over the last two seconds of lanes of which the busiest spent its time like this.
    pub(super) fn recent_limit(&self, busiest: TimeUse) -> Limit {
        let Recent { budget_used, budget_waits, .. } = self.measured.trend.recent;
        Limit::by(&Evidence { busiest, budget_used, budget_waits, ..self.evidence() })
    }

    fn evidence(&self) -> Evidence {
        let published = &self.published;
        Evidence {
            state: published.state.clone(),
            lanes: self.lanes.len(),
            lanes_open: self.lanes_open(),
            lanes_failing: self.lanes_failing(),
            waiting_at_target: self.waiting_at_target(),
            lag_records: self.lag_records(),
            unacked: self.unacked(),
            busiest: self.measured.trend.busiest,
            budget_used: self.rate.used_ratio(),
            budget_waits: self.rate.waiting,
            controller: published.flow.as_ref().map(Flow::report).map(|report| report.limit),
            base_rtt_seconds: self.measured.trend.path.base_rtt_seconds,
            recent_delays: self.recent_delays,
        }
    }

    pub(super) fn lanes_open(&self) -> usize {
        self.lanes.iter().filter(|lane| lane.epoch.is_some()).count()
    }

    fn lanes_failing(&self) -> usize {
        self.published.receiver_condition.as_ref().map_or(0, |told| told.failing.len())
    }

    /// Returns whether the sender can do its work. Error: a sentence that says what prevents it.
    pub(super) fn ready(&self) -> Result<(), String> {
        let Published { state, source_trouble, last_end, receiver_condition, .. } = &self.published;
        let lag = &self.measured.lag;
        let halts: HashSet<_> = self.halts().map(|halt| (halt.topic.as_str(), halt.partition)).collect();
        let is_stuck = |at: &&Partition| halts.contains(&(&*at.topic, at.partition));
        let facts = Facts {
            state: state.clone(),
            source_trouble: source_trouble.clone(),
            last_end: last_end.clone(),
            unreachable: self.measured.source.unreachable(self.now),
            lanes: self.lanes.len(),
            lanes_open: self.lanes_open(),
            lanes_failing: self.lanes_failing(),
            failing: receiver_condition.as_ref().and_then(|told| Some(told.failing.first()?.detail.clone())),
            closed: self.lanes.iter().find_map(|lane| Some(lane.closed.as_ref()?.detail.clone())),
            partitions: lag.measured.len() + lag.waiting.len(),
            stuck: lag.measured.iter().map(|one| &one.at).filter(is_stuck).count() + lag.waiting.len(),
        };
        facts.ready()
    }
}

#[cfg(test)]
mod tests {
    use wire::condition::FailingLane;
    use wire::ids::{Epoch, LaneId};

    use super::*;
    use crate::report::lag::Lag;

    /// A sender with one open lane, in a session, whose source answered just now.
    fn active() -> Moment {
        let now = Instant::now();
        let mut published = Published::default();
        published.state = State::Active;
        let mut measured = Measured::default();
        measured.source.handle(now, Ok(()));
        let lane = Snapshot { epoch: Some(Epoch(1)), ..Snapshot::default() };
        Moment {
            published,
            measured,
            lanes: vec![lane],
            unmatched: Vec::new(),
            rate: RateStatus::default(),
            recent_delays: RecentDelays::default(),
            carried_trouble: Vec::new(),
            now,
        }
    }

    fn told(named: &[&str]) -> Condition {
        let waiting = |topic: &&str| WaitingPartition {
            topic: (*topic).to_owned(),
            partition: 0,
            detail: "no leader".to_owned(),
        };
        Condition {
            failing: vec![FailingLane { lane: LaneId(0), detail: "lane 0: commit: timed out".to_owned() }],
            waiting: 2,
            named: named.iter().map(waiting).collect(),
            trouble: vec!["target cluster: no answer for 9 s".to_owned()],
            ..Condition::default()
        }
    }

    fn halt(topic: &str, reason: &str) -> HaltedPartition {
        HaltedPartition {
            topic: topic.into(),
            reason: reason.into(),
            detail: "words".into(),
            ..HaltedPartition::default()
        }
    }

    #[test]
    fn a_look_at_the_sender_shows_the_receivers_problems() {
        let mut moment = active();
        assert_eq!((moment.trouble(), moment.ready()), (Vec::new(), Ok(())));
        moment.published.receiver_condition = Some(told(&["a"]));
        let expected = [
            "receiver: lane 0: commit: timed out",
            "receiver: target cluster: no answer for 9 s",
            "a/0 waits for the target: no leader",
        ];
        assert_eq!(moment.trouble(), expected);
        assert_eq!(moment.limit(), Limit::Target);
        assert_eq!(moment.waiting_at_target(), 2, "one is not named");
        let reason = "no lane commits at the receiver: lane 0: commit: timed out";
        assert_eq!(moment.ready(), Err(reason.to_owned()));
    }

    #[test]
    fn a_partition_that_waits_is_not_halted_and_counts_once() {
        let mut moment = active();
        moment.lanes[0].halted = vec![halt("a", "target-unavailable"), halt("b", "corrupt")];
        moment.published.receiver_condition = Some(Condition { waiting: 1, ..told(&["a"]) });
        let halted: Vec<_> = moment.halted().map(|halt| halt.topic.as_str()).collect();
        assert_eq!((halted, moment.waiting_at_target()), (vec!["b"], 1));
        let waiting = moment.waiting();
        assert_eq!((waiting.len(), waiting[0].cluster.as_str()), (1, "target"));
        assert_eq!(waiting[0].detail, "no leader", "as the receiver says");
        assert_eq!(moment.condition().halted, 1);
    }

    #[test]
    fn a_receiver_learns_what_waits_at_the_source() {
        let mut moment = active();
        let waiting = vec![(Partition::new("a", 3), "no leader".to_owned())];
        moment.measured.lag = Lag { waiting, ..Lag::default() };
        moment.measured.source.handle(moment.now, Err("timed out".to_owned()));
        let condition = moment.condition();
        assert_eq!((condition.waiting, condition.named[0].topic.as_str()), (1, "a"));
        assert_eq!(condition.trouble, ["source cluster: timed out"]);
        assert_eq!(moment.ready(), Err("every partition is halted or waits: 1".to_owned()));
    }

    #[test]
    fn a_receiver_learns_of_halts_that_it_does_not_store() {
        let mut moment = active();
        moment.lanes[0].halted = ["corrupt", "origin-unknown", "target-unavailable"].map(|word| halt("a", word)).into();
        moment.measured.open_transactions = vec![OpenTransaction { topic: "b".into(), ..OpenTransaction::default() }];
        let open = "source-transaction-open: a transaction on b/0 has been open for more than 10 s; its producer must commit or abort it";
        assert_eq!(moment.condition().trouble, ["a/0 halted, origin-unknown: words", open]);
    }

    #[test]
    fn a_sender_without_any_session_says_so() {
        let mut moment = active();
        moment.published.state = State::Connecting;
        moment.published.no_session_since = Some(moment.now);
        assert!(moment.trouble().is_empty(), "it has only begun");
        moment.now += NO_SESSION;
        let silent = "no session for 10 s: the receiver has not accepted one; see its status";
        assert!(moment.trouble().contains(&silent.to_owned()), "{:?}", moment.trouble());
        moment.published.last_end = Some("session lost".to_owned());
        assert!(moment.trouble().contains(&"session lost".to_owned()));
    }
}
