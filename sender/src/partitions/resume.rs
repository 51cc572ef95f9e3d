//! Lifts of halts: turns the request of an operator or a policy into the jump that the receiver is asked for. Pure
//! decisions.

use std::fmt;

use kafka::catalog::Bounds;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use wire::control::{Accepts, Jump};
use wire::halt::{HaltReason, Skip};
use wire::ids::Position;
use wire::partition::Partition;

use crate::partitions::outcome::Answer;

/// Request of `POST /resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    #[serde(flatten)]
    pub scope: Scope,
    #[serde(flatten)]
    pub action: ResumeAction,
}

/// Partitions that a request resumes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scope {
    /// This partition, which must be halted.
    Partition { topic: String, partition: i32 },
    /// Every halted partition of this topic.
    Topic { whole_topic: String },
    /// Every partition that is halted for this reason.
    Reason { all: String },
}

impl Request {
    /// Returns whether the request is for a partition with this halt. A request to adopt a topic is only for halts that
    /// adopting ends.
    pub fn covers(&self, at: &Partition, halt: &Halt) -> bool {
        match &self.scope {
            Scope::Partition { topic, partition } => *topic == *at.topic && *partition == at.partition,
            Scope::Topic { whole_topic } => {
                *whole_topic == *at.topic && (self.action != ResumeAction::Adopt || halt.is_adoptable())
            }
            Scope::Reason { all } => *all == halt.reason,
        }
    }

    /// Checks that the action can be performed on more than one partition.
    pub fn validate(&self) -> Result<(), String> {
        match (&self.scope, self.action) {
            (Scope::Topic { .. } | Scope::Reason { .. }, ResumeAction::From(_)) => {
                Err("a position is that of one partition: name it, such as orders/3".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Answer to a request that covers no halted partition.
    pub fn covers_nothing(&self) -> String {
        match (&self.scope, self.action) {
            (Scope::Partition { topic, partition }, _) => format!("{topic}/{partition}: it is not halted"),
            (Scope::Topic { whole_topic }, ResumeAction::Adopt) => {
                format!("no partition of {whole_topic} is halted because of its target topic")
            }
            (Scope::Topic { whole_topic }, _) => {
                format!("no partition of {whole_topic} is halted; `causeway status` names those that are")
            }
            (Scope::Reason { all }, _) => {
                format!("no partition is halted as {all}; `causeway status` shows the reasons of the halts")
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "go_on", content = "position", rename_all = "snake_case")]
pub enum ResumeAction {
    /// Resume at the stored position: the cause is repaired.
    Here,
    /// Resume behind the records that cannot be carried.
    Skip,
    From(i64),
    /// Resume at the stored or first position, in a target that holds other records.
    Adopt,
}

impl fmt::Display for ResumeAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("resume"),
            Self::Skip => f.write_str("resume --skip"),
            Self::From(position) => write!(f, "resume --from {position}"),
            Self::Adopt => f.write_str("adopt"),
        }
    }
}

/// Request that waits for the session.
#[derive(Debug)]
pub struct PendingRequest {
    pub request: Request,
    /// Time of the request, in ms since the Unix epoch.
    pub at: i64,
    /// Answers of the partitions. The request is complete when the session has dropped every sender.
    pub answers: mpsc::UnboundedSender<Answer>,
}

/// Request to drop the positions of a topic that waits for the session.
#[derive(Debug)]
pub struct PendingForget {
    pub topic: String,
    /// Time of the request, in ms since the Unix epoch.
    pub at: i64,
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// Request of an operator to the session.
#[derive(Debug)]
pub enum SessionRequest {
    Resume(PendingRequest),
    Forget(PendingForget),
}

/// Halt of a partition, as the receiver stated it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    pub reason: String,
    /// Stored position; −1 if none is stored.
    pub position: Position,
}

/// Lift of a halt with the partition's next offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaltLift {
    expected: Position,
    to: To,
    accepts: Accepts,
    asked: i64,
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    At(Position),
    /// This position, or the start of the log if that is later.
    NotBelow(Position),
    LogStart,
    LogEnd,
}

impl Halt {
    /// Returns the lift that performs `action`; `None` if an ordinary offer does. `asked` is in ms since the Unix epoch.
    /// Error: a sentence that says why the action is not possible, and which one is.
    pub fn lift(&self, action: ResumeAction, asked: i64, why: &str) -> Result<Option<HaltLift>, String> {
        let reason = HaltReason::of(&self.reason);
        let stored = self.position.0 >= 0;
        let (to, accepts) = match (action, reason.map_or(Skip::Nowhere, HaltReason::skip)) {
            (ResumeAction::Here, Skip::NewIncarnation) => {
                return Err(
                    "its topic was recreated: `--skip` carries the new one from its start, `--from N` from a position"
                        .to_owned(),
                );
            }
            (ResumeAction::Here, _) if !stored || reason.is_some_and(|reason| !reason.is_kept()) => return Ok(None),
            (ResumeAction::Here, _) => (To::At(self.position), Accepts::Nothing),
            (ResumeAction::Skip, Skip::OneRecord) => {
                (To::NotBelow(Position(self.position.0.saturating_add(1))), Accepts::Nothing)
            }
            (ResumeAction::Skip, Skip::LogStart) => (To::LogStart, Accepts::Nothing),
            (ResumeAction::Skip, Skip::InPlace) => (To::NotBelow(self.position), Accepts::Nothing),
            (ResumeAction::Skip, Skip::LogEnd) => (To::LogEnd, Accepts::Nothing),
            (ResumeAction::Skip, Skip::NewIncarnation) => (To::LogStart, Accepts::NewIncarnation),
            (ResumeAction::Skip, Skip::Nowhere) => return Err(self.no_skip()),
            (ResumeAction::From(to), _) if to < 0 => return Err(format!("{to} is not a position: use 0 or more")),
            // Accepts the target: otherwise records before the position would be carried until the operator could adopt it.
            (ResumeAction::From(to), _) if self.is_adoptable() => (To::At(Position(to)), Accepts::Target),
            (ResumeAction::From(_), _) if !stored => {
                return Err(format!("it has no stored position to move; halted as {}", self.reason));
            }
            (ResumeAction::From(to), Skip::NewIncarnation) => (To::At(Position(to)), Accepts::NewIncarnation),
            (ResumeAction::From(to), _) => (To::At(Position(to)), Accepts::Nothing),
            (ResumeAction::Adopt, _) if self.is_adoptable() => (To::At(self.position), Accepts::Target),
            (ResumeAction::Adopt, _) => {
                return Err(format!("its target does not need to be adopted; halted as {}", self.reason));
            }
        };
        Ok(Some(HaltLift { expected: self.position, to, accepts, asked, why: why.to_owned() }))
    }

    /// Returns whether the halt ends when the target topic is adopted with the records that it has.
    fn is_adoptable(&self) -> bool {
        matches!(HaltReason::of(&self.reason), Some(HaltReason::TargetNotEmpty | HaltReason::TargetReplaced))
    }

    fn no_skip(&self) -> String {
        let remedy = match HaltReason::of(&self.reason) {
            Some(HaltReason::Corrupt) => "state the first intact position: `--from N`",
            Some(HaltReason::TargetReplaced | HaltReason::TargetNotEmpty) => {
                "`causeway adopt` resumes in the existing target topic"
            }
            _ => "remove the cause, then resume without `--skip`",
        };
        format!("{} leaves nothing to skip: {remedy}", self.reason)
    }
}

impl HaltLift {
    /// Returns the jump, given the present log of the source.
    pub fn jump(&self, log: &Bounds) -> Jump {
        let to = match self.to {
            To::At(position) => position,
            To::NotBelow(position) => position.max(log.start),
            To::LogStart => log.start,
            To::LogEnd => log.end,
        };
        Jump { expected: self.expected, to, accepts: self.accepts, asked: self.asked, reason: self.why.clone() }
    }
}

pub(crate) fn resumed(at: &Partition, position: Position) -> String {
    format!("{}/{} resumes at {position}", at.topic, at.partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Bounds = Bounds { start: Position(70), end: Position(90) };
    const WHOLE: Bounds = Bounds { start: Position(0), end: Position(90) };

    fn jump(reason: HaltReason, action: ResumeAction) -> Result<Option<(i64, i64, Accepts)>, String> {
        let halt = Halt { reason: reason.word().to_owned(), position: Position(50) };
        let lift = halt.lift(action, 1, "test")?;
        Ok(lift.map(|lift| lift.jump(&LOG)).map(|jump| (jump.expected.0, jump.to.0, jump.accepts)))
    }

    #[test]
    fn skip_leaves_out_only_what_cannot_be_carried() {
        use Accepts::{NewIncarnation, Nothing};
        let skip = |reason| jump(reason, ResumeAction::Skip);
        for reason in [HaltReason::RecordRejected, HaltReason::RecordTooLarge] {
            let halt = Halt { reason: reason.word().to_owned(), position: Position(50) };
            let lift = halt.lift(ResumeAction::Skip, 1, "test").unwrap().unwrap();
            assert_eq!(lift.jump(&WHOLE).to, Position(51), "exactly one");
            assert_eq!(lift.jump(&LOG).to, Position(70), "retention has taken it, and more");
        }
        assert_eq!(skip(HaltReason::RetentionOvertook), Ok(Some((50, 70, Nothing))));
        assert_eq!(skip(HaltReason::Truncated), Ok(Some((50, 90, Nothing))));
        assert_eq!(skip(HaltReason::DeletesLost), Ok(Some((50, 70, Nothing))), "retention has taken more");
        assert_eq!(skip(HaltReason::TopicRecreated), Ok(Some((50, 70, NewIncarnation))));
        for nowhere in HaltReason::ALL.iter().filter(|reason| reason.skip() == Skip::Nowhere) {
            assert!(skip(*nowhere).is_err(), "{nowhere:?}");
        }
    }

    #[test]
    fn a_repaired_cause_resumes_at_the_stored_position() {
        assert_eq!(jump(HaltReason::Corrupt, ResumeAction::Here), Ok(Some((50, 50, Accepts::Nothing))));
        assert_eq!(jump(HaltReason::SourceUnauthorized, ResumeAction::Here), Ok(None));
        assert!(
            jump(HaltReason::TopicRecreated, ResumeAction::Here).is_err(),
            "old positions mean nothing in a new topic"
        );
    }

    #[test]
    fn an_operator_sets_a_position_or_adopts_a_target() {
        assert_eq!(jump(HaltReason::Corrupt, ResumeAction::From(60)), Ok(Some((50, 60, Accepts::Nothing))));
        assert_eq!(
            jump(HaltReason::TopicRecreated, ResumeAction::From(80)),
            Ok(Some((50, 80, Accepts::NewIncarnation)))
        );
        assert_eq!(jump(HaltReason::TargetReplaced, ResumeAction::Adopt), Ok(Some((50, 50, Accepts::Target))));
        assert!(jump(HaltReason::Corrupt, ResumeAction::Adopt).is_err());
        let foreign = Halt { reason: "target-not-empty".to_owned(), position: Position(-1) };
        let lift = foreign.lift(ResumeAction::Adopt, 1, "test").unwrap().unwrap().jump(&LOG);
        assert_eq!((lift.expected.0, lift.to.0, lift.accepts), (-1, -1, Accepts::Target));
        let lift = foreign.lift(ResumeAction::From(80), 1, "test").unwrap().unwrap().jump(&LOG);
        assert_eq!((lift.expected.0, lift.to.0, lift.accepts), (-1, 80, Accepts::Target));
        assert_eq!(jump(HaltReason::TargetReplaced, ResumeAction::From(80)), Ok(Some((50, 80, Accepts::Target))));
        let unknown = Halt { reason: "target-refused".to_owned(), position: Position(-1) };
        assert!(unknown.lift(ResumeAction::From(80), 1, "test").is_err());
    }

    #[test]
    fn requests_are_plain_json() {
        let scope = Scope::Partition { topic: "orders".into(), partition: 3 };
        let request = Request { scope, action: ResumeAction::From(120) };
        let json = serde_json::json!({ "topic": "orders", "partition": 3, "go_on": "from", "position": 120 });
        assert_eq!(serde_json::json!(request), json);
        assert_eq!(serde_json::from_value::<Request>(json).unwrap(), request);
        let skip = serde_json::json!({ "topic": "orders", "partition": 3, "go_on": "skip" });
        assert_eq!(serde_json::from_value::<Request>(skip).unwrap().action, ResumeAction::Skip);
        let whole = Request { scope: Scope::Topic { whole_topic: "orders".into() }, action: ResumeAction::Here };
        let all = Request { scope: Scope::Reason { all: "truncated".into() }, action: ResumeAction::Skip };
        for (request, key, value) in [(whole, "whole_topic", "orders"), (all, "all", "truncated")] {
            let json = serde_json::json!(request);
            assert_eq!(json[key], value);
            assert_eq!(serde_json::from_value::<Request>(json).unwrap(), request);
        }
        for unclear in [serde_json::Value::Null, "3".into()] {
            let mut json = serde_json::json!(request);
            json["partition"] = unclear;
            assert!(serde_json::from_value::<Request>(json.clone()).is_err(), "{json} must not mean the whole topic");
        }
    }

    #[test]
    fn a_request_covers_a_partition_a_topic_or_a_reason() {
        let at = |topic: &str, partition| Partition::new(topic, partition);
        let rejected = Halt { reason: "record-rejected".to_owned(), position: Position(5) };
        let not_empty = Halt { reason: "target-not-empty".to_owned(), position: Position(-1) };
        let here = |scope| Request { scope, action: ResumeAction::Here };
        let topic = here(Scope::Topic { whole_topic: "orders".into() });
        assert!(topic.covers(&at("orders", 0), &rejected) && topic.covers(&at("orders", 7), &not_empty));
        assert!(!topic.covers(&at("orders2", 0), &rejected));
        let adopt = Request { action: ResumeAction::Adopt, ..topic.clone() };
        assert!(adopt.covers(&at("orders", 7), &not_empty) && !adopt.covers(&at("orders", 0), &rejected));
        let reason = here(Scope::Reason { all: "record-rejected".into() });
        assert!(reason.covers(&at("orders", 0), &rejected) && !reason.covers(&at("orders", 7), &not_empty));
        let from = Request { action: ResumeAction::From(7), ..topic.clone() };
        assert!(from.validate().is_err() && topic.validate().is_ok() && reason.validate().is_ok());
    }
}
