//! Origins of the topics that a lane carries, as its state records them.
//!
//! The origin is stored before a topic is created, and again when it has changed. A sender that reads the target
//! cluster must find in this state that a link carries the topic.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;
use wire::origin::{self, Origin};

use crate::join::Offered;

/// Topics that are about to be created.
#[derive(Debug)]
pub struct Claim {
    /// Topics by their source names, each with its origin.
    pub origins: Vec<(Arc<str>, Origin)>,
    /// Notified once the origins are stored; dropped if this lane will not store them.
    pub done: oneshot::Sender<()>,
}

/// The origins that a lane has stored, and those to be stored next.
#[derive(Debug, Default)]
pub(super) struct Claims {
    stored: HashMap<Arc<str>, Origin>,
    waiting: VecDeque<Claim>,
}

/// Origins that one transaction stores, and the claims that it answers.
#[derive(Debug, Default)]
pub(super) struct Claimed {
    origins: HashMap<Arc<str>, Origin>,
    claims: Vec<Claim>,
}

impl Claims {
    pub(super) fn stored(stored: HashMap<Arc<str>, Origin>) -> Self {
        Self { stored, waiting: VecDeque::new() }
    }

    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, claim: Claim) {
        self.waiting.push_back(claim);
    }

    /// Moves the waiting claims into a transaction. Returns whether there were any.
    pub(super) fn take(&mut self, claimed: &mut Claimed) -> bool {
        for claim in &self.waiting {
            claimed.origins.extend(claim.origins.iter().cloned());
        }
        let any = self.are_waiting();
        claimed.claims.extend(self.waiting.drain(..));
        any
    }

    /// Returns whether the state has the origin of a partition's topic exactly as offered.
    pub(super) fn has(&self, offered: &Offered) -> bool {
        offered.origin().is_some_and(|origin| self.stored.get(&offered.key().topic) == Some(&origin))
    }

    /// Makes a transaction store the origin of a partition's topic, unless it is stored already.
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

    /// Answers the claims of a transaction that is committed.
    pub(super) fn complete(&mut self, claimed: Claimed) {
        self.stored.extend(claimed.origins);
        for claim in claimed.claims {
            // The session that made the claim may have ended.
            let _ = claim.done.send(());
        }
    }

    /// Queues the claims of a transaction again whose outcome is unknown; storing an origin twice is harmless.
    pub(super) fn abandon(&mut self, claimed: Claimed) {
        self.waiting.extend(claimed.claims);
    }
}

impl Claimed {
    /// State entries to write: keys and origins.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Vec<u8>, &Origin)> {
        self.origins.iter().map(|(topic, origin)| (origin::key(topic), origin))
    }
}

#[cfg(test)]
mod tests {
    use wire::ids::{Position, TopicId};

    use super::*;
    use crate::join::{OfferedTarget, fixtures};
    use crate::target::TargetPartition;

    fn offered(clusters: &[&str]) -> Offered {
        let target = OfferedTarget {
            partition: TargetPartition { topic: "fra.orders".into(), partition: 0 },
            topic_id: TopicId([2; 16]),
            end: Position(0),
            clusters: clusters.iter().map(|&id| id.to_owned()).collect(),
        };
        Offered {
            partition: fixtures::offered("orders"),
            target: Ok(target),
            skips_refused: None,
            returning: None,
            room: None,
            was_deferred: false,
        }
    }

    #[test]
    fn an_origin_is_stored_again_only_when_it_changed() {
        let mut claims = Claims::default();
        let mut claimed = Claimed::default();
        assert!(claims.claim(&offered(&["fra"]), &mut claimed));
        claims.complete(claimed);
        let mut claimed = Claimed::default();
        assert!(!claims.claim(&offered(&["fra"]), &mut claimed), "stored already");
        assert!(claims.claim(&offered(&["ams", "fra"]), &mut claimed));
        let (key, origin) = claimed.entries().next().expect("one");
        assert_eq!(origin::source_topic(&key), Ok(Some("orders".to_owned())));
        assert_eq!(origin.clusters, ["ams", "fra"]);
        assert!(claims.has(&offered(&["fra"])) && !claims.has(&offered(&["ams", "fra"])), "it is not stored yet");
    }

    #[test]
    fn only_a_commit_answers_a_claim() {
        let (done, mut stored) = oneshot::channel();
        let origins = vec![("orders".into(), offered(&["fra"]).origin().expect("has one"))];
        let mut claims = Claims { waiting: [Claim { origins, done }].into(), ..Claims::default() };
        let mut claimed = Claimed::default();
        assert!(claims.take(&mut claimed));
        claims.abandon(claimed);
        assert!(stored.try_recv().is_err(), "the outcome is unknown");
        let mut claimed = Claimed::default();
        assert!(claims.take(&mut claimed) && claimed.entries().count() == 1, "it is stored again");
        claims.complete(claimed);
        assert_eq!(stored.try_recv(), Ok(()));
        assert!(!claims.take(&mut Claimed::default()));
    }
}
