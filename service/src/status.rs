//! Types that the statuses of both ends show.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wire::condition::Condition;
use wire::halt::HaltReason;
use wire::partition::Partition;

use crate::format;

/// Halted partitions of one reason that sentences name; the others are counted.
const HALTS_NAMED: usize = 5;

/// Counts of events by a word, such as a close code. Few different words occur.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally(BTreeMap<Cow<'static, str>, u64>);

/// Partition that an error stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct HaltedPartition {
    /// Source topic of a halted partition.
    pub topic: String,
    /// Number of the halted partition.
    pub partition: i32,
    /// Stored position; −1 while none is stored, or known here.
    pub position: i64,
    /// [Reason](../troubleshoot.md#halts), a stable word.
    pub reason: String,
    /// Values and limit that explain the halt.
    pub detail: String,
}

/// Certificate in use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateStatus {
    /// Name of the certificate, as in the metric of its expiry.
    pub certificate: String,
    /// Link of a `peer`.
    pub link: Option<String>,
    /// Its serial number.
    pub serial: String,
    /// End of its validity.
    pub expires: String,
}

/// Condition of the other end, as it last told it in this session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerStatus {
    /// Number of lanes that do not commit; always 0 of a sender.
    pub lanes_failing: usize,
    /// Number of halted partitions that the other end knows.
    pub halted_partitions: usize,
    /// Number of partitions that wait for the other end's cluster.
    pub waiting_partitions: usize,
    /// Its problems, in sentences.
    pub trouble: Vec<String>,
}

impl PeerStatus {
    /// Returns what the other end told of itself; `cluster` is what its partitions wait for.
    pub fn of(condition: &Condition, cluster: &str) -> Self {
        let failing = condition.failing.iter().map(|lane| lane.detail.clone());
        let named = waiting(condition);
        let unnamed = (condition.waiting as usize).saturating_sub(named.len());
        let unnamed = (unnamed > 0).then(|| format!("{unnamed} more partitions wait for {cluster}"));
        let waiting = format::waiting(cluster, &named);
        Self {
            lanes_failing: condition.failing.len(),
            halted_partitions: condition.halted as usize,
            waiting_partitions: condition.waiting as usize,
            trouble: failing.chain(condition.trouble.iter().cloned()).chain(waiting).chain(unnamed).collect(),
        }
    }
}

/// Returns the partitions that a condition names, each with the reason why it waits.
pub fn waiting(condition: &Condition) -> Vec<(Partition, String)> {
    let named = condition.named.iter();
    named.map(|one| (Partition::new(one.topic.as_str(), one.partition), one.detail.clone())).collect()
}

impl Tally {
    /// Counts one more event under `word`.
    pub fn add(&mut self, word: &'static str) {
        *self.0.entry(Cow::Borrowed(word)).or_default() += 1;
    }

    /// Counts `count` more under `word`, which is listed from then on.
    pub fn add_many(&mut self, word: &'static str, count: u64) {
        *self.0.entry(Cow::Borrowed(word)).or_default() += count;
    }

    /// Returns each word with its count, in order.
    pub fn counts(&self) -> Vec<(String, u64)> {
        self.0.iter().map(|(word, count)| (word.to_string(), *count)).collect()
    }

    /// Returns the sum of several tallies.
    pub fn sum<'a>(tallies: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for (word, count) in tallies.into_iter().flat_map(|tally| &tally.0) {
            *sum.0.entry(word.clone()).or_default() += count;
        }
        sum
    }
}

impl HaltedPartition {
    /// Returns whether the link is to carry the partition, and does not. A reason of a newer version is trouble.
    pub fn is_trouble(&self) -> bool {
        HaltReason::of(&self.reason).is_none_or(HaltReason::is_trouble)
    }

    /// Returns whether the partition waits and continues by itself, so that it is not halted.
    pub fn waits(&self) -> bool {
        HaltReason::of(&self.reason).is_some_and(HaltReason::waits)
    }

    /// Returns a sentence for each of the first halted partitions of a reason, and one for the others.
    pub fn sentences(halts: &[Self]) -> Vec<String> {
        let mut reasons: BTreeMap<&str, Vec<&Self>> = BTreeMap::new();
        for halt in halts {
            reasons.entry(&halt.reason).or_default().push(halt);
        }
        let of_reason = |(reason, halts): (&str, Vec<&Self>)| {
            let others = halts.len().saturating_sub(HALTS_NAMED);
            let sentence = |halt: &Self| format!("{}/{} halted, {reason}: {}", halt.topic, halt.partition, halt.detail);
            let mut sentences: Vec<_> = halts.into_iter().take(HALTS_NAMED).map(sentence).collect();
            sentences.extend((others > 0).then(|| format!("{others} more partitions halted, {reason}")));
            sentences
        };
        reasons.into_iter().flat_map(of_reason).collect()
    }

    pub fn is_of(&self, at: &Partition) -> bool {
        self.partition == at.partition && *self.topic == *at.topic
    }
}

#[cfg(test)]
mod tests {
    use wire::condition::{FailingLane, WaitingPartition};
    use wire::ids::LaneId;

    use super::*;

    #[test]
    fn the_first_halts_of_each_reason_are_named() {
        let halt = |partition, reason: &str| HaltedPartition {
            topic: "orders".into(),
            partition,
            position: 7,
            reason: reason.into(),
            detail: format!("detail {partition}"),
        };
        let mut halts: Vec<_> = (0..8).map(|partition| halt(partition, "corrupt")).collect();
        halts.push(halt(9, "record-rejected"));
        let sentences = HaltedPartition::sentences(&halts);
        assert_eq!(sentences.len(), 7);
        assert_eq!(
            sentences[4..],
            [
                "orders/4 halted, corrupt: detail 4",
                "3 more partitions halted, corrupt",
                "orders/9 halted, record-rejected: detail 9",
            ]
        );
    }

    #[test]
    fn a_peers_problems_are_named_and_the_others_counted() {
        let waiting = WaitingPartition { topic: "orders".into(), partition: 3, detail: "no leader".into() };
        let condition = Condition {
            failing: vec![FailingLane { lane: LaneId(2), detail: "lane 2: timed out".into() }],
            halted: 1,
            waiting: 5,
            named: vec![waiting],
            trouble: vec!["target cluster: no answer".into()],
        };
        let status = PeerStatus::of(&condition, "the target");
        assert_eq!((status.lanes_failing, status.halted_partitions, status.waiting_partitions), (1, 1, 5));
        let expected = [
            "lane 2: timed out",
            "target cluster: no answer",
            "orders/3 waits for the target: no leader",
            "4 more partitions wait for the target",
        ];
        assert_eq!(status.trouble, expected);
        assert_eq!(PeerStatus::of(&Condition::default(), "the target"), PeerStatus::default());
    }
}
