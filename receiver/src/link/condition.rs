//! Conditions that the two ends of a link tell each other, for their statuses.

use std::time::Duration;

use service::lock::Lock;
use service::status::PeerStatus;
use wire::condition::{Condition, FailingLane, WaitingPartition};
use wire::ids::LaneId;

use crate::lane::handle::View;

/// Problems of a link that no lane knows.
#[derive(Debug, Default)]
pub(crate) struct LinkCondition {
    /// Reason why the link's state cannot be prepared for the sender that waits.
    preparing: Lock<Option<String>>,
    sender: Lock<Option<Condition>>,
}

impl LinkCondition {
    /// Sets the reason why the link's state cannot be prepared; `None` once it is.
    pub(crate) fn set_preparing(&self, reason: Option<String>) {
        *self.preparing.lock() = reason;
    }

    /// Takes in what the sender told; `None` at the end of its session.
    pub(crate) fn set_sender(&self, condition: Option<Condition>) {
        *self.sender.lock() = condition.map(Condition::shortened);
    }

    /// Returns the sentence about the link's state, while it cannot be prepared.
    pub(crate) fn preparing(&self) -> Option<String> {
        self.preparing.lock().as_ref().map(|reason| format!("the link's state cannot be prepared: {reason}"))
    }

    /// Returns what the sender told in this session.
    pub(crate) fn sender(&self) -> Option<PeerStatus> {
        self.sender.lock().as_ref().map(|condition| PeerStatus::of(condition, "the source"))
    }
}

/// Longest delay that the target's brokers announced within the last transactions of these lanes, because of a quota.
pub(crate) fn quota_delay(views: &[View]) -> Duration {
    views.iter().map(|view| view.quota_delay).max().unwrap_or_default()
}

/// Returns the sentence about a producer quota that the receiver exceeds.
pub(crate) fn quota_trouble(views: &[View]) -> Option<String> {
    let delay = quota_delay(views);
    (!delay.is_zero()).then(|| {
        let seconds = delay.as_secs().max(1);
        format!(
            "the target's brokers delay writes by about {seconds} s: raise the producer quota of the receiver's client id (`causeway-` and its `instance`), or of its user"
        )
    })
}

/// Returns the condition that the sender receives: of lanes with these `views`, and the problems of the process.
pub(crate) fn told(views: &[View], trouble: Vec<String>) -> Condition {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let failing = views.iter().enumerate().filter_map(|(lane, view)| {
        Some(FailingLane { lane: LaneId(u16::try_from(lane).ok()?), detail: view.trouble.clone()? })
    });
    let waiting = views.iter().flat_map(|view| &view.waiting);
    let named = waiting.clone().map(|(at, reason)| WaitingPartition {
        topic: at.topic.to_string(),
        partition: at.partition,
        detail: reason.clone(),
    });
    let condition = Condition {
        failing: failing.collect(),
        halted: count(views.iter().map(|view| view.needs_action.halted_count).sum()),
        waiting: count(waiting.clone().count()),
        named: named.take(wire::limits::NAMED_PARTITIONS_MAX).collect(),
        trouble,
    };
    condition.shortened()
}

#[cfg(test)]
mod tests {
    use wire::partition::Partition;

    use super::*;

    #[test]
    fn a_sender_learns_of_failing_lanes_and_waiting_partitions() {
        let waiting: Vec<_> = (0..100).map(|n| (Partition::new("orders", n), "no leader".to_owned())).collect();
        let healthy = View::default();
        let fails = View { trouble: Some("lane 1: commit: timed out".into()), waiting, ..View::default() };
        let told = told(&[healthy, fails], vec!["target cluster: no answer".into()]);
        assert_eq!(told.failing, [FailingLane { lane: LaneId(1), detail: "lane 1: commit: timed out".into() }]);
        assert_eq!((told.waiting, told.named.len()), (100, wire::limits::NAMED_PARTITIONS_MAX));
        assert_eq!((told.named[3].topic.as_str(), told.named[3].partition), ("orders", 3));
        assert_eq!(told.trouble, ["target cluster: no answer"]);
    }
}
