//! Topics that vanish from the source during a session, and operators' requests to forget them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use kafka::catalog::Catalog;
use tokio::sync::mpsc;
use tokio::time::Instant;
use wire::control::Control;
use wire::halt::HaltReason;
use wire::ids::LaneId;
use wire::limits::TOPICS_NAMED_MAX;

use super::Active;
use super::forget_policy::Requests;
use crate::lane::thread::Command;
use crate::partitions::resume::PendingForget;
use crate::source::discovery::listing_hash;

/// Time until a partition that the source did not know is offered again, if its topic is still listed then. Two listings
/// of the topics fit in.
const SUSPECTED: Duration = Duration::from_secs(6);

impl Active<'_> {
    /// Ends the reading and the halts of topics that vanished from the source, and notifies the receiver.
    pub(super) fn end_gone(&mut self) {
        let topics = Arc::clone(&self.session.topics.borrow().topics);
        let new = self.gone.handle_topics(&topics, self.partitions.offered_topics());
        let topics: HashSet<_> = new.iter().cloned().collect();
        if !topics.is_empty() {
            for read in self.partitions.handle_gone(&topics) {
                let fault = Command::Fault(read.epoch, read.slot, HaltReason::SourceGone, read.detail);
                if let Err(end) = self.command(read.lane, fault) {
                    tracing::debug!(%end, "a lane could not be notified that its topic was deleted");
                }
            }
            for lane in self.session.lanes {
                lane.progress.handle_gone(&topics);
            }
            if self.forgets {
                for topics in new.chunks(TOPICS_NAMED_MAX) {
                    self.send(Control::TopicsGone { topics: topics.iter().map(ToString::to_string).collect() });
                }
            }
        }
        self.publish_gone();
    }

    /// Publishes the topics with positions that the source does not have, logs new ones, and forgets those whose time by a
    /// policy is over.
    pub(super) fn publish_gone(&mut self) {
        let (topics, listed_for) = {
            let listing = self.session.topics.borrow();
            (Arc::clone(&listing.topics), listing.filter_hash)
        };
        let filter = self.session.config.now().source.filter();
        if listed_for != listing_hash(&filter) {
            // The topics were listed for a former filter: one that this one adds is not missing.
            return;
        }
        let mut deleted = self.gone.deleted(&filter, &topics);
        self.gone.report(&deleted);
        let mut requests = Requests::default();
        if let Some(policy) = &mut self.forget_policy {
            let listed: HashSet<&str> = topics.iter().map(|topic| &*topic.name).collect();
            let is_back = |topic: &str| listed.contains(topic) || !filter.matches(topic);
            let policies = &self.session.offering.policies;
            requests = policy.poll(&mut deleted, policies, is_back, Instant::now());
        }
        self.request(requests);
        self.session.board.publish(|published| published.deleted_topics = deleted);
    }

    /// Notes that a lane was opened: lane 0 keeps since when topics are gone, and tells what it has.
    pub(super) fn expect_marks(&mut self, lane: LaneId) {
        if let Some(policy) = self.forget_policy.as_mut().filter(|_| lane == LaneId(0)) {
            policy.handle_lane_open();
        }
    }

    /// Forgets topics whose time by a policy is over.
    pub(super) fn forget_due(&mut self) {
        if self.session.offering.policies.forget_any() {
            self.publish_gone();
        }
    }

    /// Takes the receiver's messages about topics that are gone or not offered.
    pub(super) fn handle_about_gone(&mut self, message: Control) {
        match message {
            Control::Orphaned { topics, others } => self.gone.handle_report(topics, others),
            Control::Forgotten { topic, positions, refused } => self.gone.handle_forgotten(&topic, positions, &refused),
            Control::GoneSince { topics, now } => {
                if let Some(policy) = &mut self.forget_policy {
                    policy.handle_gone_since(topics, now, Instant::now());
                }
            }
            _ => {}
        }
        self.publish_gone();
    }

    fn request(&self, requests: Requests) {
        for (topics, gone) in [(requests.gone, true), (requests.back, false)] {
            for topics in topics.chunks(TOPICS_NAMED_MAX) {
                self.send(Control::MarkGone { topics: topics.to_vec(), gone });
            }
        }
        if !requests.forget.is_empty() {
            let catalog = Arc::clone(&self.session.offering.catalog);
            let control = self.part.control.clone();
            tokio::task::spawn_blocking(move || forget_deleted(&*catalog, &control, requests.forget));
        }
    }

    /// Offers partitions again that the source did not know for a moment. If their topic was deleted meanwhile, it is not
    /// listed any more, and they need no offer.
    pub(super) fn offer_suspects(&mut self) {
        let now = Instant::now();
        let due = self.suspects.extract_if(|_, since| now.duration_since(*since) >= SUSPECTED);
        let is_unknown = |halt: &str| HaltReason::of(halt) == Some(HaltReason::SourceGone);
        for (at, _) in due {
            if self.partitions.halt(&at).is_some_and(|halt| is_unknown(&halt.reason)) {
                self.partitions.offer_again(&at, None);
            }
        }
    }

    /// Asks the receiver to drop the positions of a topic that is not carried.
    pub(super) fn handle_forget(&mut self, pending: PendingForget) {
        let PendingForget { topic, at, answer } = pending;
        match self.may_forget(&topic) {
            Err(reason) => drop(answer.send(Err(reason))),
            Ok(()) => {
                tracing::info!(topic, "request to forget a topic");
                let reason = "operator: forget".to_owned();
                self.gone.handle_request(topic.clone(), answer);
                self.send(Control::Forget { topic, asked: at, reason });
            }
        }
    }

    fn may_forget(&self, topic: &str) -> Result<(), String> {
        let topics = Arc::clone(&self.session.topics.borrow().topics);
        let found = topics.iter().find(|found| *found.name == *topic);
        if found.is_some_and(|found| self.partitions.carries(found)) {
            return Err(format!(
                "{topic} exists at the source and is carried: exclude it first (`source.exclude`, then reload), or lift its halts with `causeway resume`"
            ));
        }
        if !self.forgets {
            return Err("the receiver's version cannot forget topics: upgrade it".to_owned());
        }
        if self.gone.is_waiting(topic) {
            return Err(format!("an earlier request to forget {topic} is in progress"));
        }
        Ok(())
    }
}

/// Asks the source for each topic by its name, and has those forgotten that it does not know: one that is only hidden by a
/// missing right is not in a listing either, and neither is any while the source does not answer.
fn forget_deleted(catalog: &dyn Catalog, control: &mpsc::Sender<Control>, topics: Vec<String>) {
    let answers = match catalog.describe(&topics) {
        Ok(answers) => answers,
        Err(error) => {
            tracing::warn!(%error, "no topic is forgotten by a policy: the source does not say whether it has it");
            return;
        }
    };
    for (topic, answer) in topics.into_iter().zip(answers) {
        match answer {
            Err(error) if error.is_unknown_topic() => {
                tracing::info!(topic, "a policy forgets a topic that the source has deleted");
                let reason = "policy: forget-after".to_owned();
                // A session that has ended asks again in the next one.
                let _ = control.try_send(Control::Forget { topic, asked: transport::clock::unix_millis(), reason });
            }
            Err(error) => tracing::warn!(topic, %error, "not forgotten by a policy: it may be hidden, not deleted"),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka::KafkaError;
    use kafka::catalog::{Answers, TopicDescription};

    use super::*;

    /// Source that has deleted `deleted` and hides the others, or does not answer.
    struct Source {
        answers: bool,
    }

    impl Catalog for Source {
        fn describe(&self, names: &[String]) -> Answers<TopicDescription> {
            if !self.answers {
                return Err(KafkaError::misused("describe", "no broker answers"));
            }
            let answer = |name: &String| match name.as_str() {
                "deleted" => Err(KafkaError::unknown_topic(name.as_str())),
                _ => Err(KafkaError::misused("describe", "not authorized")),
            };
            Ok(names.iter().map(answer).collect())
        }
    }

    /// Returns the topics that are forgotten of `deleted` and `hidden`.
    fn forgotten(answers: bool) -> Vec<String> {
        let (control, mut sent) = mpsc::channel(8);
        forget_deleted(&Source { answers }, &control, vec!["hidden".to_owned(), "deleted".to_owned()]);
        drop(control);
        let topic = |message| match message {
            Control::Forget { topic, .. } => topic,
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| sent.try_recv().ok()).map(topic).collect()
    }

    #[test]
    fn only_what_the_source_does_not_know_by_name_is_forgotten() {
        assert_eq!(forgotten(true), ["deleted"]);
        assert!(forgotten(false).is_empty(), "a source that does not answer has deleted nothing");
    }
}
