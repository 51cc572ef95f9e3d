//! Attempt to promote a link, which several requests may wait for, and what they ask and get.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use service::lock::Lock;
use tokio::sync::watch;

use super::quiet::Obstacle;
use super::statement::Statement;

/// Time for which a request waits: the admin port has 8 s for each. It is repeated.
const ANSWER_WITHIN: Duration = Duration::from_secs(6);

/// Time without a request after which a wait is abandoned: the command repeats its own every [`ANSWER_WITHIN`].
const ASKED_WITHIN: Duration = Duration::from_secs(20);

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
    /// What is not known to be carried, in a sentence; `null` if all of the source is: by the switch-over's reading, or else by
    /// the sender's last word.
    pub missing: Option<String>,
}

/// Request for a switch-over: the body of `POST /switch-over`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchOverRequest {
    /// Name of the link; not needed if there is one.
    #[serde(default)]
    pub link: Option<String>,
    /// User who asks.
    pub by: String,
    #[serde(default)]
    pub reason: String,
    /// Topics at the source, if the link shall carry the others further; without any, the whole link is switched over.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub topics: BTreeSet<String>,
    /// Time in seconds for which nothing may be written to the source.
    pub quiet_seconds: f64,
    /// Time in seconds after which it fails.
    pub within_seconds: f64,
}

impl FailoverAnswer {
    /// Makes the answer with a statement.
    pub(crate) fn of(statement: Statement) -> Self {
        let missing = match statement.quiet_since {
            Some(_) => None,
            None => Obstacle::of(&statement.partitions).map(|missing| missing.to_string()),
        };
        Self { statement: Some(statement), missing, ..Self::default() }
    }
}

/// Outcome of an attempt; an error is a sentence.
pub(crate) type Outcome = Result<FailoverAnswer, String>;

/// Attempt to promote a link.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Topics that are switched over alone; empty for the whole link.
    topics: BTreeSet<String>,
    progress: Arc<Progress>,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// Progress of an attempt.
#[derive(Debug)]
pub(crate) struct Progress(Lock<Doing>);

#[derive(Debug)]
struct Doing {
    step: String,
    /// True until the attempt changes anything: it waits for a quiet source.
    is_waiting: bool,
    /// Requests that wait for it now, and the time since which none does.
    requests: usize,
    alone_since: Instant,
    /// A failover takes its place.
    is_displaced: bool,
}

impl Progress {
    pub(crate) fn new(is_waiting: bool) -> Arc<Self> {
        let alone_since = Instant::now();
        let doing = Doing { step: String::new(), is_waiting, requests: 0, alone_since, is_displaced: false };
        Arc::new(Self(Lock::new(doing)))
    }

    pub(super) fn set_step(&self, step: impl Into<String>) {
        self.0.lock().step = step.into();
    }

    /// Ends the wait: things are changed from now on. Returns false if no request waits for it at this moment.
    pub(super) fn begin(&self) -> bool {
        let mut doing = self.0.lock();
        let may_begin = doing.requests > 0 && !doing.is_displaced;
        doing.is_waiting &= !may_begin;
        may_begin
    }

    /// Ends the wait of an attempt that only finishes what is stored.
    pub(super) fn finish(&self) {
        self.0.lock().is_waiting = false;
    }

    /// Returns why a wait is abandoned: no client asks for it any longer, or one asks for a failover.
    pub(super) fn abandoned(&self) -> Option<String> {
        self.0.lock().abandoned()
    }
}

/// A request that waits, until it is dropped: the client may leave at any time.
struct Request<'a>(&'a Progress);

impl<'a> Request<'a> {
    fn begin(progress: &'a Progress) -> Self {
        progress.0.lock().requests += 1;
        Self(progress)
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let mut doing = self.0.0.lock();
        doing.requests -= 1;
        doing.alone_since = Instant::now();
    }
}

impl Doing {
    fn abandoned(&self) -> Option<String> {
        if self.is_displaced {
            return Some("a failover was asked for".to_owned());
        }
        let is_alone = self.is_waiting && self.requests == 0 && self.alone_since.elapsed() >= ASKED_WITHIN;
        is_alone.then(|| "the command that asked has ended".to_owned())
    }
}

impl Attempt {
    /// Makes an attempt whose task notes its step and its outcome here.
    pub(crate) fn new(
        topics: BTreeSet<String>,
        progress: Arc<Progress>,
        outcome: watch::Receiver<Option<Outcome>>,
    ) -> Self {
        Self { topics, progress, outcome }
    }

    /// Topics that are switched over alone; empty for the whole link.
    pub(crate) fn topics(&self) -> &BTreeSet<String> {
        &self.topics
    }

    /// Returns whether it has changed nothing yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.progress.0.lock().is_waiting
    }

    /// Ends a wait. Returns false if the attempt does not only wait any more.
    pub(crate) fn displace(&self) -> bool {
        let mut doing = self.progress.0.lock();
        doing.is_displaced |= doing.is_waiting;
        doing.is_waiting
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.outcome.borrow().is_some() || self.outcome.has_changed().is_err()
    }

    /// Waits for the outcome, and returns the step if it takes long.
    pub(crate) async fn answer(&self) -> Outcome {
        let _request = Request::begin(&self.progress);
        let mut outcome = self.outcome.clone();
        let waited = tokio::time::timeout(ANSWER_WITHIN, outcome.wait_for(Option::is_some)).await;
        match waited {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or_else(|| Err("the attempt has no outcome".to_owned())),
            Ok(Err(_)) => Err("the attempt has ended without an outcome; ask again".to_owned()),
            Err(_) => {
                Ok(FailoverAnswer { step: Some(self.progress.0.lock().step.clone()), ..FailoverAnswer::default() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_only_while_a_request_waits() {
        let progress = Progress::new(true);
        assert!(!progress.begin(), "no client has asked yet");
        let (_ended, outcome) = watch::channel(None);
        let attempt = Attempt::new(BTreeSet::new(), Arc::clone(&progress), outcome);
        let first = Request::begin(&progress);
        drop(Request::begin(&progress));
        assert!(attempt.displace());
        assert!(!progress.begin() && progress.abandoned().is_some(), "a failover takes its place");
        progress.0.lock().is_displaced = false;
        assert!(progress.begin() && !attempt.is_waiting() && !attempt.displace());
        drop(first);
        progress.0.lock().alone_since -= ASKED_WITHIN;
        assert_eq!(progress.abandoned(), None, "what has begun is finished without a client");
    }

    #[test]
    fn a_wait_without_requests_is_abandoned_after_some_time() {
        let progress = Progress::new(true);
        assert_eq!(progress.abandoned(), None);
        progress.0.lock().alone_since -= ASKED_WITHIN;
        assert!(progress.abandoned().is_some());
        let _request = Request::begin(&progress);
        assert_eq!(progress.abandoned(), None);
    }
}
