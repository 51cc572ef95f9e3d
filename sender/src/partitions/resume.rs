//! What it takes to lift a halt: an operator's or a policy's wish, made into the jump that the receiver is asked
//! for. Pure decisions.

use std::fmt;

use kafka::catalog::Bounds;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use wire::control::{Accepts, Jump};
use wire::halt::{HaltReason, Skip};
use wire::ids::Position;

use wire::partition::Partition;

/// What `POST /resume` takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// Where to go on.
    #[serde(flatten)]
    pub wish: Wish,
}

/// Where a halted partition is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "go_on", content = "position", rename_all = "snake_case")]
pub enum Wish {
    /// Where it stands: the cause is repaired.
    Here,
    /// Behind what cannot be carried.
    Skip,
    /// At this position.
    From(i64),
    /// Where it stands or would begin, in a target that holds something else.
    Adopt,
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here => f.write_str("resume"),
            Self::Skip => f.write_str("resume --skip"),
            Self::From(position) => write!(f, "resume --from {position}"),
            Self::Adopt => f.write_str("adopt"),
        }
    }
}

/// A request on its way to the session, and where its answer goes: a sentence either way.
#[derive(Debug)]
pub struct Asked {
    /// What for.
    pub request: Request,
    /// When, in ms since the Unix epoch.
    pub at: i64,
    /// Who hears what became of it.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// A partition's halt, as the receiver stated it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    /// A word of [`wire::halt`].
    pub reason: String,
    /// The stored position; −1 if none is stored.
    pub position: Position,
}

/// A halt that is to be lifted with the partition's next offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lift {
    expected: Position,
    to: To,
    accepts: Accepts,
    asked: i64,
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    At(Position),
    /// There, or where the log starts by now.
    NotBelow(Position),
    LogStart,
    LogEnd,
}

impl Halt {
    /// The jump that fulfils `wish`; `None` if an ordinary offer does. `asked` is in ms since the Unix epoch.
    ///
    /// # Errors
    /// Why there is none, and what there is instead.
    pub fn lift(&self, wish: Wish, asked: i64, why: &str) -> Result<Option<Lift>, String> {
        let reason = HaltReason::of(&self.reason);
        let stored = self.position.0 >= 0;
        let (to, accepts) = match (wish, reason.map_or(Skip::Nowhere, HaltReason::skip)) {
            (Wish::Here, Skip::NewIncarnation) => {
                return Err(
                    "its topic was made again: `--skip` carries the new one from its start, `--from N` from a position"
                        .to_owned(),
                );
            }
            (Wish::Here, _) if !stored || reason.is_some_and(|reason| !reason.is_kept()) => return Ok(None),
            (Wish::Here, _) => (To::At(self.position), Accepts::Nothing),
            (Wish::Skip, Skip::OneRecord) => (To::NotBelow(Position(self.position.0 + 1)), Accepts::Nothing),
            (Wish::Skip, Skip::LogStart) => (To::LogStart, Accepts::Nothing),
            (Wish::Skip, Skip::LogEnd) => (To::LogEnd, Accepts::Nothing),
            (Wish::Skip, Skip::NewIncarnation) => (To::LogStart, Accepts::NewIncarnation),
            (Wish::Skip, Skip::Nowhere) => return Err(self.no_skip()),
            (Wish::From(to), _) if to < 0 => return Err(format!("{to} is no position")),
            // The target as it is: else the records up to there would be carried before anybody could say so.
            (Wish::From(to), _) if matches!(reason, Some(HaltReason::TargetNotEmpty | HaltReason::TargetReplaced)) => {
                (To::At(Position(to)), Accepts::Target)
            }
            (Wish::From(_), _) if !stored => {
                return Err(format!("it has no stored position to move; halted as {}", self.reason));
            }
            (Wish::From(to), Skip::NewIncarnation) => (To::At(Position(to)), Accepts::NewIncarnation),
            (Wish::From(to), _) => (To::At(Position(to)), Accepts::Nothing),
            (Wish::Adopt, _) => match reason {
                Some(HaltReason::TargetNotEmpty | HaltReason::TargetReplaced) => {
                    (To::At(self.position), Accepts::Target)
                }
                _ => return Err(format!("its target needs no adopting; halted as {}", self.reason)),
            },
        };
        Ok(Some(Lift { expected: self.position, to, accepts, asked, why: why.to_owned() }))
    }

    fn no_skip(&self) -> String {
        let remedy = match HaltReason::of(&self.reason) {
            Some(HaltReason::Corrupt) => "say from where on it is sound: `--from N`",
            Some(HaltReason::TargetReplaced | HaltReason::TargetNotEmpty) => {
                "`causeway adopt` goes on in the target as it is"
            }
            _ => "remove the cause, then resume without `--skip`",
        };
        format!("{} leaves nothing to skip: {remedy}", self.reason)
    }
}

impl Lift {
    /// With the source's log as it is now.
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

/// What is said of a partition that goes on.
pub fn goes_on(at: &Partition, position: Position) -> String {
    format!("{}/{} goes on at {position}", at.topic, at.partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Bounds = Bounds { start: Position(70), end: Position(90) };
    const WHOLE: Bounds = Bounds { start: Position(0), end: Position(90) };

    fn jump(reason: HaltReason, wish: Wish) -> Result<Option<(i64, i64, Accepts)>, String> {
        let halt = Halt { reason: reason.word().to_owned(), position: Position(50) };
        let lift = halt.lift(wish, 1, "test")?;
        Ok(lift.map(|lift| lift.jump(&LOG)).map(|jump| (jump.expected.0, jump.to.0, jump.accepts)))
    }

    #[test]
    fn skip_leaves_out_what_cannot_be_carried_and_no_more() {
        use Accepts::{NewIncarnation, Nothing};
        let skip = |reason| jump(reason, Wish::Skip);
        for reason in [HaltReason::RecordRejected, HaltReason::RecordTooLarge] {
            let halt = Halt { reason: reason.word().to_owned(), position: Position(50) };
            let lift = halt.lift(Wish::Skip, 1, "test").unwrap().unwrap();
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
    fn a_repaired_cause_goes_on_where_it_stands_and_a_halt_that_is_not_kept_needs_no_jump() {
        assert_eq!(jump(HaltReason::Corrupt, Wish::Here), Ok(Some((50, 50, Accepts::Nothing))));
        assert_eq!(jump(HaltReason::SourceUnauthorized, Wish::Here), Ok(None));
        assert!(jump(HaltReason::TopicRecreated, Wish::Here).is_err(), "old positions mean nothing in a new topic");
    }

    #[test]
    fn a_position_of_the_operators_and_a_target_that_is_adopted() {
        assert_eq!(jump(HaltReason::Corrupt, Wish::From(60)), Ok(Some((50, 60, Accepts::Nothing))));
        assert_eq!(jump(HaltReason::TopicRecreated, Wish::From(80)), Ok(Some((50, 80, Accepts::NewIncarnation))));
        assert_eq!(jump(HaltReason::TargetReplaced, Wish::Adopt), Ok(Some((50, 50, Accepts::Target))));
        assert!(jump(HaltReason::Corrupt, Wish::Adopt).is_err());
        let foreign = Halt { reason: "target-not-empty".to_owned(), position: Position(-1) };
        let lift = foreign.lift(Wish::Adopt, 1, "test").unwrap().unwrap().jump(&LOG);
        assert_eq!((lift.expected.0, lift.to.0, lift.accepts), (-1, -1, Accepts::Target));
        let lift = foreign.lift(Wish::From(80), 1, "test").unwrap().unwrap().jump(&LOG);
        assert_eq!((lift.expected.0, lift.to.0, lift.accepts), (-1, 80, Accepts::Target));
        assert_eq!(jump(HaltReason::TargetReplaced, Wish::From(80)), Ok(Some((50, 80, Accepts::Target))));
        let unknown = Halt { reason: "target-refused".to_owned(), position: Position(-1) };
        assert!(unknown.lift(Wish::From(80), 1, "test").is_err());
    }

    #[test]
    fn requests_are_plain_json() {
        let request = Request { topic: "orders".into(), partition: 3, wish: Wish::From(120) };
        let json = serde_json::json!({ "topic": "orders", "partition": 3, "go_on": "from", "position": 120 });
        assert_eq!(serde_json::json!(request), json);
        assert_eq!(serde_json::from_value::<Request>(json).unwrap(), request);
        let skip = serde_json::json!({ "topic": "orders", "partition": 3, "go_on": "skip" });
        assert_eq!(serde_json::from_value::<Request>(skip).unwrap().wish, Wish::Skip);
    }
}
