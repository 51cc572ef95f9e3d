//! Topics that vanish from the source during a session, and operators' requests to forget them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wire::control::Control;
use wire::halt::HaltReason;
use wire::limits::TOPICS_NAMED_MAX;

use super::Active;
use crate::lane::thread::Command;
use crate::partitions::resume::PendingForget;

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

    /// Publishes the topics with positions that the source does not have, and logs new ones.
    pub(super) fn publish_gone(&mut self) {
        let topics = Arc::clone(&self.session.topics.borrow().topics);
        let filter = self.session.config.now().source.filter();
        let deleted = self.gone.deleted(&filter, &topics);
        self.gone.report(&deleted);
        self.session.board.publish(|published| published.deleted_topics = deleted);
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
