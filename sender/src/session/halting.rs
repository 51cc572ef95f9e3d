//! Halts within a session: operators who wait for a partition to resume, and what policies have tried. Sans-IO.

use std::collections::HashMap;

use tokio::sync::mpsc;
use wire::halt::HaltReason;
use wire::ids::Position;
use wire::partition::Partition;

use crate::partitions::outcome::Answer;
use crate::partitions::resume::{Halt, resumed};

/// Answers to an operator.
type Answers = mpsc::UnboundedSender<Answer>;

/// Requests to resume that wait for the receiver, the newest of each partition, and attempts of policies.
#[derive(Default)]
pub(super) struct Halting {
    waiting: HashMap<Partition, Answers>,
    /// Last attempt of a policy, by partition. The same halt again requires an operator, unless the attempt was lost
    /// with its lane, or refused for outdated values.
    tried: HashMap<Partition, Halt>,
}

impl Halting {
    /// An operator waits for a partition to resume.
    pub(super) fn handle_request(&mut self, at: Partition, answers: Answers) {
        if let Some(replaced) = self.waiting.insert(at.clone(), answers) {
            let sentence = format!("{at}: a newer request replaced this one; `causeway status` will show the outcome");
            let _ = replaced.send(Answer::Partition(at, Err(sentence)));
        }
    }

    /// A policy tries to lift a halt.
    pub(super) fn handle_attempt(&mut self, at: Partition, halt: Halt) {
        self.tried.insert(at, halt);
    }

    pub(super) fn handle_open(&mut self, at: &Partition, position: Position) {
        if let Some(answers) = self.waiting.remove(at) {
            tracing::info!(topic = %at.topic, partition = at.partition, %position, "halt lifted");
            let _ = answers.send(Answer::Partition(at.clone(), Ok(resumed(at, position))));
        }
    }

    pub(super) fn handle_halted(&mut self, at: &Partition, reason: &str, detail: &str) {
        if let Some(answers) = self.waiting.remove(at) {
            let sentence = format!("{at} stays halted, {reason}: {detail}");
            let _ = answers.send(Answer::Partition(at.clone(), Err(sentence)));
        }
    }

    /// Forgets the attempts in a lane that was opened again: the receiver may never have decided them.
    pub(super) fn forget_attempts(&mut self, is_of_lane: impl Fn(&Partition) -> bool) {
        self.tried.retain(|at, _| !is_of_lane(at));
    }

    /// Returns whether a policy may act on a halt: not twice on the same one.
    pub(super) fn may_act(&mut self, at: &Partition, halt: &Halt) -> bool {
        if HaltReason::of(&halt.reason) == Some(HaltReason::JumpRefused) {
            self.tried.remove(at);
        }
        self.tried.get(at) != Some(halt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halt(reason: HaltReason) -> Halt {
        Halt { reason: reason.word().to_owned(), position: Position(50) }
    }

    #[test]
    fn a_policy_acts_once_unless_its_attempt_was_lost_or_refused() {
        let at = Partition { topic: "orders".into(), partition: 0 };
        let mut halting = Halting::default();
        let recreated = halt(HaltReason::TopicRecreated);
        assert!(halting.may_act(&at, &recreated));
        halting.handle_attempt(at.clone(), recreated.clone());
        assert!(!halting.may_act(&at, &recreated), "for an operator");
        halting.forget_attempts(|of| of.partition == 1);
        assert!(!halting.may_act(&at, &recreated), "another lane's");
        halting.forget_attempts(|of| of.partition == 0);
        assert!(halting.may_act(&at, &recreated), "the lane was opened again");
        halting.handle_attempt(at.clone(), recreated.clone());
        halting.may_act(&at, &halt(HaltReason::JumpRefused));
        assert!(halting.may_act(&at, &recreated), "refused");
    }
}
