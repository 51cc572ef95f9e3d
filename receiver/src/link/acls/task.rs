//! Task that follows access control lists in one session.
//!
//! Every call to the target is made on a thread of the link's own for them. Nothing else waits for it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use service::lock::Lock;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use transport::backoff::Backoff;

use super::follower::Follower;
use super::plan::Carried;
use super::snapshot::{Assembly, Snapshot};
use crate::config::principals::FollowAcls;
use crate::groups::GroupServices;
use crate::link::promotion::topics::switched_over;
use crate::link::{LinkSettings, ServedLink};
use crate::translate::carried_topics;

/// Interval between two comparisons with the target.
const CHECK: Duration = Duration::from_secs(60);
/// Interval between two looks whether the link carries what is not carried yet.
const WAIT: Duration = Duration::from_secs(5);
/// Least pause between two rounds, however often the sender sends rules.
const LEAST: Duration = Duration::from_secs(1);
/// Pause after rounds that failed.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Following of access control lists in one session; dropping it ends it.
pub(crate) struct Acls {
    link: Arc<ServedLink>,
    settings: Arc<LinkSettings>,
    services: Option<Arc<GroupServices>>,
    /// Begun with the first message.
    begun: Option<Begun>,
}

struct Begun {
    assembly: Arc<Lock<Assembly>>,
    changed: Arc<Notify>,
    _task: JoinSet<()>,
}

impl Acls {
    pub(crate) fn new(
        link: &Arc<ServedLink>,
        settings: &Arc<LinkSettings>,
        services: Option<Arc<GroupServices>>,
    ) -> Self {
        if settings.acls.follow == FollowAcls::Off {
            link.acls.clear();
        }
        link.acls.forget_basis();
        Self { link: Arc::clone(link), settings: Arc::clone(settings), services, begun: None }
    }

    /// Takes a message of the sender, unless the operator of this end does not follow it.
    pub(crate) fn handle(&mut self, part: Snapshot, last: bool) {
        let Some(services) = self.services.as_ref().filter(|_| self.settings.acls.follow != FollowAcls::Off) else {
            return;
        };
        let Begun { assembly, changed, .. } =
            self.begun.get_or_insert_with(|| begin(&self.link, &self.settings, services));
        if assembly.lock().add(part, last) {
            changed.notify_one();
        }
    }
}

fn begin(link: &Arc<ServedLink>, settings: &Arc<LinkSettings>, services: &Arc<GroupServices>) -> Begun {
    let assembly = Arc::new(Lock::new(Assembly::new(settings.limits.announced_bytes / 2)));
    let changed = link.acls.changed();
    let follower = Follower::new(Arc::clone(settings), Arc::clone(&link.catalog), Arc::clone(&services.stores));
    let mut task = JoinSet::new();
    task.spawn(run(Arc::clone(link), follower, Arc::clone(&assembly), Arc::clone(&changed)));
    Begun { assembly, changed, _task: task }
}

async fn run(link: Arc<ServedLink>, follower: Follower, assembly: Arc<Lock<Assembly>>, changed: Arc<Notify>) {
    let mut follower = Some(follower);
    let mut backoff = retries();
    loop {
        let newest = assembly.lock().newest();
        let outcome = match newest {
            Ok(None) => Ok(CHECK),
            Ok(Some(snapshot)) => round(&link, &mut follower, snapshot).await,
            Err(reason) => Err(reason),
        };
        let pause = match outcome {
            Ok(pause) => {
                backoff = retries();
                pause
            }
            Err(reason) => {
                if link.acls.trouble().is_none() {
                    tracing::warn!(link = link.settings().name, reason, "access control lists cannot be followed now");
                }
                link.acls.set_failed(reason);
                backoff.next_delay(rand::random())
            }
        };
        tokio::time::sleep(LEAST).await;
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Makes a round. Returns the pause after it.
async fn round(
    link: &Arc<ServedLink>,
    follower: &mut Option<Follower>,
    snapshot: Arc<Snapshot>,
) -> Result<Duration, String> {
    let topics = carried_topics(link, &snapshot.topics).await;
    let switched_over = switched_over(link).await.unwrap_or_default();
    let carried = Carried { topics, switched_over, groups: link.groups.committed(), is_promoted: false };
    link.acls.set_basis(&snapshot, &carried);
    let mut taken = follower.take().ok_or("a round panicked")?;
    let run = move || {
        let outcome = taken.round(&snapshot, &carried);
        (taken, outcome)
    };
    let (kept, outcome) = link.acl_calls.run(run).await.ok_or("a round panicked")?;
    *follower = Some(kept);
    let round = outcome?;
    let had_trouble = link.acls.trouble();
    if let Some(problem) = round.trouble.as_ref().filter(|_| had_trouble.is_none()) {
        tracing::warn!(link = link.settings().name, problem, "not all access control lists are followed");
    }
    let pause = match (&round.trouble, round.waits) {
        (Some(_), _) => RETRY_MAX / 2,
        (None, true) => WAIT,
        (None, false) => CHECK,
    };
    link.acls.set(round.plan, round.trouble);
    Ok(pause)
}

/// What became of the rules that were held back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// They are made, or the link follows none.
    All,
    /// No session has said any since the process started.
    Unknown,
}

/// Makes the rules that were held back, by what the last session said. `topics` are those that the promoted link carried.
/// Error: a sentence; it may be tried again.
pub(crate) async fn give_held_back(
    link: &Arc<ServedLink>,
    services: &Arc<GroupServices>,
    topics: HashSet<String>,
) -> Result<Given, String> {
    let settings = link.settings();
    if settings.acls.follow != FollowAcls::On {
        return Ok(Given::All);
    }
    let Some((snapshot, carried)) = link.acls.basis() else { return Ok(Given::Unknown) };
    let carried = Carried { is_promoted: true, topics, ..carried };
    let mut follower = Follower::new(settings, Arc::clone(&link.catalog), Arc::clone(&services.stores));
    let round = link.acl_calls.run(move || follower.round(&snapshot, &carried)).await.ok_or("a round panicked")??;
    let trouble = round.trouble.clone();
    link.acls.set(round.plan, round.trouble);
    trouble.map_or(Ok(Given::All), Err)
}

fn retries() -> Backoff {
    Backoff::try_new(RETRY, RETRY_MAX).expect("the constants are in order")
}
