//! Attempt to promote a link, which several requests may wait for, and what they ask and get.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::lock::Lock;
use tokio::sync::watch;

use super::statement::Statement;

/// Time for which a request waits: the admin port has 8 s for each. It is repeated.
const ANSWER_WITHIN: Duration = Duration::from_secs(6);

/// Request for a promotion: the body of `POST /failover`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailoverRequest {
    /// Name of the link; not needed if there is one.
    #[serde(default)]
    pub link: Option<String>,
    /// User who asks.
    pub by: String,
    #[serde(default)]
    pub reason: String,
    /// True to state what would be lost now, and to change nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Answer to a request for a promotion.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailoverAnswer {
    /// Step that is in progress; the request is to be repeated. `null` once there is a statement.
    pub step: Option<String>,
    /// The link was promoted before.
    pub already: bool,
    pub statement: Option<Statement>,
    /// What is not done yet, in a sentence; asking again tries it again. `null` if the statement is final.
    pub unfinished: Option<String>,
}

/// Outcome of an attempt; an error is a sentence.
pub(crate) type Outcome = Result<FailoverAnswer, String>;

/// Attempt to promote a link.
#[derive(Debug)]
pub(crate) struct Attempt {
    step: Arc<Lock<String>>,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Attempt {
    /// Makes an attempt whose task notes its step and its outcome here.
    pub(crate) fn new(step: Arc<Lock<String>>, outcome: watch::Receiver<Option<Outcome>>) -> Self {
        Self { step, outcome }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.outcome.borrow().is_some() || self.outcome.has_changed().is_err()
    }

    /// Waits for the outcome, and returns the step if it takes long.
    pub(crate) async fn answer(&self) -> Outcome {
        let mut outcome = self.outcome.clone();
        let waited = tokio::time::timeout(ANSWER_WITHIN, outcome.wait_for(Option::is_some)).await;
        match waited {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or_else(|| Err("the attempt has no outcome".to_owned())),
            Ok(Err(_)) => Err("the attempt has ended without an outcome; ask again".to_owned()),
            Err(_) => Ok(FailoverAnswer { step: Some(self.step.lock().clone()), ..FailoverAnswer::default() }),
        }
    }
}
