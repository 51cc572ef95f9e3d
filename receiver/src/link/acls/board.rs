//! Access control lists of a link, for status, metrics and `causeway acls`.

use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use service::lock::Lock;
use service::status::Tally;
use tokio::sync::Notify;

use super::plan::Carried;
use super::snapshot::Snapshot;

/// Access control lists of the present session, or of the last one that had some.
#[derive(Debug, Default)]
pub(crate) struct AclBoard(Lock<Known>, Arc<Notify>);

#[derive(Debug, Default)]
struct Known {
    plan: Option<Arc<Vec<AclStatus>>>,
    compared: Option<Instant>,
    /// What the plan is made of.
    basis: Option<(Arc<Snapshot>, Carried)>,
    /// Problem of the last round.
    trouble: Option<String>,
}

wire::words! {
    /// State of an entry of the plan.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum AclState {
        /// The link has made it.
        Made = "made",
        /// The link is going to make it, or would without the dry run.
        ToMake = "to-make",
        /// The target had it already; it is not the link's.
        Exists = "exists",
        /// The target does not get it while the link writes there.
        HeldBack = "held-back",
        /// The link does not carry the topic or group yet.
        NotCarried = "not-carried",
        /// The target does not get it.
        NotFollowed = "not-followed",
        /// The link has made it, and is going to take it away.
        ToRemove = "to-remove",
        /// The target refuses to make it or to take it away.
        Failed = "failed",
    }
}

/// Access control lists of a link.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AclsStatus {
    /// What the link does: `off`, `dry-run` or `on`.
    pub follow: String,
    /// Number of rules in the plan by state; see [access control lists](../acls.md#states). Empty before there is one.
    pub rules: Tally,
    /// Time since they were last compared with the target, in seconds; `null` before that.
    pub age_seconds: Option<f64>,
}

/// Rule of the plan: what a rule of the source becomes in the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclStatus {
    /// Name of the link.
    pub link: String,
    /// Rule of the source; `null` if it is gone and what was made of it is not.
    pub source: Option<String>,
    /// Rule for principals that applies; `null` if none does.
    pub by: Option<String>,
    /// Rule in the target; `null` if there can be none.
    pub target: Option<String>,
    /// State of the rule in the target.
    pub state: AclState,
    /// Reason for the state, where there is one.
    pub reason: Option<String>,
}

impl AclBoard {
    /// Has the next round begin soon: what is held back may have changed.
    pub(crate) fn look_again(&self) {
        self.1.notify_one();
    }

    /// Wakes the task that makes rounds.
    pub(crate) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.1)
    }

    /// Notes a plan and what became of it.
    pub(crate) fn set(&self, plan: Vec<AclStatus>, trouble: Option<String>) {
        let mut known = self.0.lock();
        known.plan = Some(Arc::new(plan));
        known.compared = Some(Instant::now());
        known.trouble = trouble;
    }

    /// Notes what the next plan is made of, the rules of the source, and what the link carries.
    pub(crate) fn set_basis(&self, snapshot: &Arc<Snapshot>, carried: &Carried) {
        self.0.lock().basis = Some((Arc::clone(snapshot), carried.clone()));
    }

    /// Forgets what plans were made of: a session begins, whose sender says it again.
    pub(crate) fn forget_basis(&self) {
        self.0.lock().basis = None;
    }

    /// Returns what the newest plan was made of.
    pub(crate) fn basis(&self) -> Option<(Arc<Snapshot>, Carried)> {
        self.0.lock().basis.clone()
    }

    /// Notes that a round failed. The plan before stays.
    pub(crate) fn set_failed(&self, trouble: String) {
        self.0.lock().trouble = Some(trouble);
    }

    /// Forgets the plan: the link does not follow access control lists any more.
    pub(crate) fn clear(&self) {
        *self.0.lock() = Known::default();
    }

    /// Returns the plan.
    pub(crate) fn plan(&self) -> Vec<AclStatus> {
        let plan = self.0.lock().plan.clone();
        plan.map(|plan| plan.to_vec()).unwrap_or_default()
    }

    pub(crate) fn status(&self, follow: &str) -> AclsStatus {
        let known = self.0.lock();
        let mut rules = Tally::default();
        if let Some(plan) = &known.plan {
            AclState::ALL.iter().for_each(|state| rules.add_many(state.word(), 0));
            plan.iter().for_each(|rule| rules.add(rule.state.word()));
        }
        let age_seconds = known.compared.map(|at| Instant::now().duration_since(at).as_secs_f64());
        AclsStatus { follow: follow.to_owned(), rules, age_seconds }
    }

    /// Returns the problem, in a sentence.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.lock().trouble.as_ref().map(|trouble| format!("acls: {trouble}"))
    }
}
