//! Lifts of halts: turns the request of an operator or a policy into the jump that the receiver is asked for. Pure
//! decisions.

use std::fmt;

use kafka::catalog::Bounds;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use wire::control::{Accepts, Jump};
use wire::halt::{HaltReason, Skip};
use wire::ids::Position;
use wire::partition::Partition;

/// Request of `POST /resume`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub topic: String,
    pub partition: i32,
    #[serde(flatten)]
    pub action: ResumeAction,
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

/// Request that waits for the session. The answer is a sentence either way.
#[derive(Debug)]
pub struct PendingRequest {
    pub request: Request,
    /// Time of the request, in ms since the Unix epoch.
    pub at: i64,
    pub answer: oneshot::Sender<Result<String, String>>,
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
            (ResumeAction::Skip, Skip::OneRecord) => (To::NotBelow(Position(self.position.0 + 1)), Accepts::Nothing),
            (ResumeAction::Skip, Skip::LogStart) => (To::LogStart, Accepts::Nothing),
            (ResumeAction::Skip, Skip::LogEnd) => (To::LogEnd, Accepts::Nothing),
            (ResumeAction::Skip, Skip::NewIncarnation) => (To::LogStart, Accepts::NewIncarnation),
            (ResumeAction::Skip, Skip::Nowhere) => return Err(self.no_skip()),
            (ResumeAction::From(to), _) if to < 0 => return Err(format!("{to} is not a position: use 0 or more")),
            // Accepts the target: otherwise records before the position would be carried until the operator could adopt it.
            (ResumeAction::From(to), _)
                if matches!(reason, Some(HaltReason::TargetNotEmpty | HaltReason::TargetReplaced)) =>
            {
                (To::At(Position(to)), Accepts::Target)
            }
            (ResumeAction::From(_), _) if !stored => {
                return Err(format!("it has no stored position to move; halted as {}", self.reason));
            }
            (ResumeAction::From(to), Skip::NewIncarnation) => (To::At(Position(to)), Accepts::NewIncarnation),
            (ResumeAction::From(to), _) => (To::At(Position(to)), Accepts::Nothing),
            (ResumeAction::Adopt, _) => match reason {
                Some(HaltReason::TargetNotEmpty | HaltReason::TargetReplaced) => {
                    (To::At(self.position), Accepts::Target)
                }
                _ => return Err(format!("its target does not need to be adopted; halted as {}", self.reason)),
            },
        };
        Ok(Some(HaltLift { expected: self.position, to, accepts, asked, why: why.to_owned() }))
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
        let request = Request { topic: "orders".into(), partition: 3, action: ResumeAction::From(120) };
        let json = serde_json::json!({ "topic": "orders", "partition": 3, "go_on": "from", "position": 120 });
        assert_eq!(serde_json::json!(request), json);
        assert_eq!(serde_json::from_value::<Request>(json).unwrap(), request);
        let skip = serde_json::json!({ "topic": "orders", "partition": 3, "go_on": "skip" });
        assert_eq!(serde_json::from_value::<Request>(skip).unwrap().action, ResumeAction::Skip);
    }
}
