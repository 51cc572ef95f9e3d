//! Halts within a session: what the receiver says of them, what the source has become meanwhile, and who
//! wishes them lifted.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Position, Slot};

use super::{Active, SessionEnd};
use crate::lane::thread::Command;
use crate::partitions::resume::{Asked, Halt, Wish, goes_on};
use crate::partitions::roster::SourceTopic;
use wire::partition::Partition;

/// Who waits to hear what became of a partition. Bounded by the requests that the admin port takes at once.
#[derive(Default)]
pub(super) struct Halting {
    waiting: HashMap<Partition, oneshot::Sender<Result<String, String>>>,
    /// What policies have done last: the same halt again is for a human, unless what was done was lost with its
    /// lane, or refused for what was known then.
    tried: HashMap<Partition, Halt>,
}

impl Halting {
    /// A partition goes on.
    pub(super) fn handle_open(&mut self, at: &Partition, position: Position) {
        if let Some(answer) = self.waiting.remove(at) {
            tracing::info!(topic = %at.topic, partition = at.partition, %position, "halt lifted");
            let _ = answer.send(Ok(goes_on(at, position)));
        }
    }

    /// What was offered to a lane before it was opened anew may never have been decided.
    pub(super) fn forget_tried(&mut self, is_of_lane: impl Fn(&Partition) -> bool) {
        self.tried.retain(|at, _| !is_of_lane(at));
    }

    /// Whether a policy may act on a halt. Not twice on the same one.
    fn may_act(&mut self, at: &Partition, halt: &Halt) -> bool {
        if HaltReason::of(&halt.reason) == Some(HaltReason::JumpRefused) {
            self.tried.remove(at);
        }
        self.tried.get(at) != Some(halt)
    }

    fn handle_halted(&mut self, at: &Partition, reason: &str, detail: &str) {
        if let Some(answer) = self.waiting.remove(at) {
            let _ = answer.send(Err(format!("{}/{} stays halted, {reason}: {detail}", at.topic, at.partition)));
        }
    }
}

impl Active<'_> {
    /// The receiver halted a partition, by itself or as this end wished.
    pub(super) fn handle_halted(
        &mut self,
        (lane, epoch, slot): (LaneId, Epoch, Slot),
        halt: Halt,
        detail: &str,
    ) -> Result<(), SessionEnd> {
        let Some(at) = self.roster.handle_partition_halted(lane, epoch, slot, halt.clone()).cloned() else {
            return Ok(());
        };
        self.halting.handle_halted(&at, &halt.reason, detail);
        let stands = self.roster.halt(&at).is_some_and(|stands| stands.reason == halt.reason);
        if !stands {
            // A wish came to nothing: the halt that it was to lift is still what is shown.
            tracing::warn!(topic = %at.topic, partition = at.partition, reason = halt.reason, detail, "halt not lifted");
        } else if let Some(handle) = self.session.lanes.get(usize::from(lane.0)) {
            handle.progress.record_halt(&at, slot, halt.position, &halt.reason, detail);
        }
        self.follow_policy(at, halt);
        self.command(lane, Command::Halted(epoch, slot))
    }

    fn follow_policy(&mut self, at: Partition, halt: Halt) {
        if !self.halting.may_act(&at, &halt) {
            return;
        }
        let reason = HaltReason::of(&halt.reason);
        let Some(why) = reason.and_then(|reason| self.session.policies.skips(&at.topic, reason)) else { return };
        let asked = i64::try_from(transport::clock::unix_nanos() / 1_000_000).unwrap_or(i64::MAX);
        if let Ok(Some(lift)) = halt.lift(Wish::Skip, asked, why) {
            tracing::warn!(topic = %at.topic, partition = at.partition, reason = halt.reason, why, "skipping what cannot be carried");
            self.roster.offer_again(&at, Some(lift));
            self.halting.tried.insert(at, halt);
            self.offer_due();
        }
    }

    /// Stops reading topics that are others by now; what was read of them before still goes.
    pub(super) fn halt_recreated(&mut self) {
        let topics = Arc::clone(&self.session.topics.borrow().topics);
        for found in self.roster.poll_recreated(&topics) {
            let fault = Command::Fault(found.epoch, found.slot, HaltReason::TopicRecreated, found.detail);
            if let Err(end) = self.command(found.lane, fault) {
                tracing::debug!(%end, "a lane could not be told that its topic was made again");
            }
        }
    }

    /// An operator wants a partition to go on.
    pub(super) fn handle_asked(&mut self, asked: Asked) {
        let Asked { request, at, answer } = asked;
        let partition = Partition { topic: request.topic.as_str().into(), partition: request.partition };
        let (topic, number) = (&partition.topic, partition.partition);
        let exists = |at: &SourceTopic| at.name == partition.topic && partition.partition < at.partitions;
        let lift = match self.roster.halt(&partition) {
            None => Err("it is not halted".to_owned()),
            Some(_) if !self.session.topics.borrow().topics.iter().any(exists) => {
                Err("the source has no such partition now".to_owned())
            }
            Some(halt) => halt.lift(request.wish, at, &format!("operator: {}", request.wish)),
        };
        match lift {
            Err(reason) => drop(answer.send(Err(format!("{topic}/{number}: {reason}")))),
            Ok(lift) => {
                tracing::info!(%topic, partition = number, wish = %request.wish, "asked to lift a halt");
                self.roster.offer_again(&partition, lift);
                self.halting.waiting.insert(partition, answer);
                self.offer_due();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halt(reason: HaltReason) -> Halt {
        Halt { reason: reason.word().to_owned(), position: Position(50) }
    }

    #[test]
    fn a_policy_acts_once_on_a_halt_and_again_where_what_it_did_was_lost_or_refused() {
        let at = Partition { topic: "orders".into(), partition: 0 };
        let mut halting = Halting::default();
        let recreated = halt(HaltReason::TopicRecreated);
        assert!(halting.may_act(&at, &recreated));
        halting.tried.insert(at.clone(), recreated.clone());
        assert!(!halting.may_act(&at, &recreated), "for a human");
        halting.forget_tried(|of| of.partition == 1);
        assert!(!halting.may_act(&at, &recreated), "another lane's");
        halting.forget_tried(|of| of.partition == 0);
        assert!(halting.may_act(&at, &recreated), "the lane was opened anew");
        halting.tried.insert(at.clone(), recreated.clone());
        halting.may_act(&at, &halt(HaltReason::JumpRefused));
        assert!(halting.may_act(&at, &recreated), "refused");
    }
}
