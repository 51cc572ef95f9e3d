//! What a receiver knows of a link's promotion.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use service::lock::Lock;
use wire::close::Close;

use super::attempt::Attempt;
use super::quiet::list;
use crate::target::promoted::PromotedRecord;

/// Knowledge about a link's promotion.
#[derive(Debug, Default)]
pub(crate) struct PromotionBoard(Lock<Known>);

#[derive(Debug, Default)]
struct Known {
    state: State,
    attempt: Option<Arc<Attempt>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    /// It was not looked at yet.
    #[default]
    Unknown,
    None,
    /// Lane 0 has it, and other lanes do not, or the statement is not stored.
    Unfinished(PromotedRecord),
    Complete(PromotedRecord),
}

/// Promotion of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromotionStatus {
    /// State: `unknown`, `none`, `switching-over` while a switch-over waits, `in-progress`, `unfinished` or `promoted`.
    pub state: String,
    /// Time of the promotion in ms since the Unix epoch; `null` without one.
    pub at: Option<i64>,
    /// User who asked for it.
    pub by: Option<String>,
    /// Reason that the user gave.
    pub reason: Option<String>,
}

impl PromotionBoard {
    /// Returns the attempt that is in progress, or else the one that `begin` makes for these topics. One that only waits makes
    /// way for one that does not. Error: a sentence; another one is in progress.
    pub(crate) fn attempt(
        &self,
        waits: bool,
        topics: &BTreeSet<String>,
        begin: impl FnOnce() -> Arc<Attempt>,
    ) -> Result<Arc<Attempt>, String> {
        let mut known = self.0.lock();
        let present = known.attempt.as_ref().filter(|attempt| !attempt.has_ended());
        match present.filter(|attempt| waits || !attempt.displace()) {
            Some(attempt) if attempt.topics() == topics => Ok(Arc::clone(attempt)),
            Some(attempt) => {
                Err(format!("a switch-over of {} is in progress: wait until it has ended", whose(attempt)))
            }
            None => {
                let attempt = begin();
                known.attempt = Some(Arc::clone(&attempt));
                Ok(attempt)
            }
        }
    }

    /// Notes what the target has stored.
    pub(crate) fn set(&self, record: Option<PromotedRecord>, is_complete: bool) {
        let mut known = self.0.lock();
        // What is complete stays so.
        if !matches!(known.state, State::Complete(_)) {
            known.state = State::of(record, is_complete);
        }
    }

    /// Notes what was found stored by a look that may be older than what is known by now.
    pub(crate) fn set_found(&self, record: Option<PromotedRecord>, is_complete: bool) {
        let mut known = self.0.lock();
        if known.state == State::Unknown {
            known.state = State::of(record, is_complete);
        }
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.0.lock().state == State::Unknown
    }

    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.0.lock().state, State::Complete(_))
    }

    /// Returns why no sender may have the link now.
    pub(crate) fn refusal(&self, link: &str) -> Option<Close> {
        let known = self.0.lock();
        let waits = || Close::normal("the link is being promoted: it takes no records now");
        let promoted = known.state.record().map(|record| record.close(link));
        promoted.or_else(|| known.is_in_progress().then(waits))
    }

    pub(crate) fn status(&self) -> PromotionStatus {
        let known = self.0.lock();
        let state = match &known.state {
            State::Complete(_) => "promoted",
            _ if known.is_in_progress() => "in-progress",
            _ if known.attempt.as_ref().is_some_and(|attempt| !attempt.has_ended()) => "switching-over",
            State::Unfinished(_) => "unfinished",
            State::None => "none",
            State::Unknown => "unknown",
        };
        let record = known.state.record().cloned();
        PromotionStatus {
            state: state.to_owned(),
            at: record.as_ref().map(|record| record.at),
            by: record.as_ref().map(|record| record.by.clone()),
            reason: record.map(|record| record.reason),
        }
    }

    /// Returns the problem of an unfinished promotion, in a sentence.
    pub(crate) fn trouble(&self, link: &str) -> Option<String> {
        let known = self.0.lock();
        match &known.state {
            State::Unfinished(record) if !known.is_in_progress() => {
                let sentence = record.sentence(link);
                Some(format!("{sentence}, and not all of it is done: run `causeway failover --link {link}` again"))
            }
            _ => None,
        }
    }
}

impl Known {
    fn is_in_progress(&self) -> bool {
        let is_begun = |attempt: &Arc<Attempt>| !attempt.has_ended() && !attempt.is_waiting();
        self.attempt.as_ref().is_some_and(|attempt| is_begun(attempt) && attempt.topics().is_empty())
    }
}

/// Names what an attempt switches over.
fn whose(attempt: &Attempt) -> String {
    match attempt.topics().is_empty() {
        true => "the whole link".to_owned(),
        false => list(&attempt.topics().iter().cloned().collect::<Vec<_>>()),
    }
}

impl State {
    fn of(record: Option<PromotedRecord>, is_complete: bool) -> Self {
        match record {
            None => Self::None,
            Some(record) if is_complete => Self::Complete(record),
            Some(record) => Self::Unfinished(record),
        }
    }

    fn record(&self) -> Option<&PromotedRecord> {
        match self {
            Self::Unfinished(record) | Self::Complete(record) => Some(record),
            Self::Unknown | Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::close::CloseCode;

    use super::*;

    #[test]
    fn no_sender_has_a_link_from_the_intent_on() {
        let board = PromotionBoard::default();
        assert!(board.refusal("l").is_none() && board.status().state == "unknown");
        board.set(None, false);
        assert!(board.refusal("l").is_none() && board.status().state == "none");
        let record = PromotedRecord::first(7, "ann".to_owned(), String::new());
        board.set(Some(record.clone()), false);
        assert_eq!(board.refusal("l").unwrap().code, CloseCode::Promoted);
        assert!(board.trouble("l").unwrap().contains("failover --link l"));
        board.set(Some(record), true);
        board.set(None, false);
        assert_eq!((board.status().state.as_str(), board.trouble("l")), ("promoted", None));
    }
}
