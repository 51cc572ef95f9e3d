//! What the lane's state says of the topics it brings: stored before a topic is made, and again where it has
//! changed. A sender beside the target that sees a topic must see in the state that a link brings it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;
use wire::ids::Epoch;
use wire::origin::{self, Origin};

use super::Lane;
use crate::join::Offered;
use crate::target::LaneTarget;

/// Topics that are about to be made.
#[derive(Debug)]
pub struct Claim {
    /// By their names in the source.
    pub origins: Vec<(Arc<str>, Origin)>,
    /// Told once they are stored; dropped if this lane will not store them.
    pub done: oneshot::Sender<()>,
}

/// The origins that a lane has stored, and those to be stored next.
#[derive(Debug, Default)]
pub(super) struct Claims {
    stored: HashMap<Arc<str>, Origin>,
    waiting: VecDeque<Claim>,
}

/// What one transaction stores of them.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    origins: HashMap<Arc<str>, Origin>,
    claims: Vec<Claim>,
}

impl<T: LaneTarget> Lane<T> {
    /// Topics are about to be made: the state is to name them first.
    pub fn handle_claim(&mut self, epoch: Epoch, claim: Claim) {
        if let Some(open) = self.open.as_mut().filter(|open| open.epoch == epoch) {
            open.claims.waiting.push_back(claim);
        }
    }
}

impl Claims {
    pub(super) fn stored(stored: HashMap<Arc<str>, Origin>) -> Self {
        Self { stored, waiting: VecDeque::new() }
    }

    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Moves what waits into a transaction. Whether anything did.
    pub(super) fn take(&mut self, claimed: &mut Claimed) -> bool {
        for claim in &self.waiting {
            claimed.origins.extend(claim.origins.iter().cloned());
        }
        let any = self.are_waiting();
        claimed.claims.extend(self.waiting.drain(..));
        any
    }

    /// Makes a transaction store the origin of a partition's topic, where it is not stored so already.
    pub(super) fn claim(&self, offered: &Offered, claimed: &mut Claimed) -> bool {
        let topic = offered.key().topic;
        match offered.origin() {
            Some(origin) if self.stored.get(&topic) != Some(&origin) => {
                claimed.origins.insert(topic, origin);
                true
            }
            _ => false,
        }
    }

    /// The transaction is committed.
    pub(super) fn settle(&mut self, claimed: Claimed) {
        self.stored.extend(claimed.origins);
        for claim in claimed.claims {
            // Whoever asked may be gone with its session.
            let _ = claim.done.send(());
        }
    }

    /// The transaction's outcome is unknown: storing the same again does no harm.
    pub(super) fn abandon(&mut self, claimed: Claimed) {
        self.waiting.extend(claimed.claims);
    }
}

impl Claimed {
    /// Keys of the state, and what to store under them.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Vec<u8>, &Origin)> {
        self.origins.iter().map(|(topic, origin)| (origin::key(topic), origin))
    }
}

#[cfg(test)]
mod tests {
    use wire::control::OfferedPartition;
    use wire::ids::{Position, Slot, TopicId};

    use super::*;
    use crate::join::OfferedTarget;
    use crate::target::TargetPartition;

    fn offered(clusters: &[&str]) -> Offered {
        let partition = OfferedPartition {
            slot: Slot(0),
            topic: "orders".into(),
            partition: 0,
            topic_id: TopicId([1; 16]),
            partitions: 1,
            log_start: Position(0),
            log_end: Position(0),
            start: Position(0),
            jump: None,
        };
        let target = OfferedTarget {
            partition: TargetPartition { topic: "fra.orders".into(), partition: 0 },
            topic_id: TopicId([2; 16]),
            end: Position(0),
            clusters: clusters.iter().map(|&id| id.to_owned()).collect(),
        };
        Offered { partition, target: Ok(target) }
    }

    #[test]
    fn an_origin_is_stored_once_and_again_when_it_has_changed() {
        let mut claims = Claims::default();
        let mut claimed = Claimed::default();
        assert!(claims.claim(&offered(&["fra"]), &mut claimed));
        claims.settle(claimed);
        let mut claimed = Claimed::default();
        assert!(!claims.claim(&offered(&["fra"]), &mut claimed), "stored so already");
        assert!(claims.claim(&offered(&["ams", "fra"]), &mut claimed));
        let (key, origin) = claimed.entries().next().expect("one");
        assert_eq!(origin::source_topic(&key), Ok(Some("orders".to_owned())));
        assert_eq!(origin.clusters, ["ams", "fra"]);
    }

    #[test]
    fn a_claim_is_answered_by_a_commit_only_and_dropped_with_the_lane() {
        let (done, mut stored) = oneshot::channel();
        let origins = vec![("orders".into(), offered(&["fra"]).origin().expect("has one"))];
        let mut claims = Claims { waiting: [Claim { origins, done }].into(), ..Claims::default() };
        let mut claimed = Claimed::default();
        assert!(claims.take(&mut claimed));
        claims.abandon(claimed);
        assert!(stored.try_recv().is_err(), "the outcome is unknown");
        let mut claimed = Claimed::default();
        assert!(claims.take(&mut claimed) && claimed.entries().count() == 1, "it is stored again");
        claims.settle(claimed);
        assert_eq!(stored.try_recv(), Ok(()));
        assert!(!claims.take(&mut Claimed::default()));
    }
}
