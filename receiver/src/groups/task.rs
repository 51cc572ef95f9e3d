//! Task that carries the groups of one session: it translates offsets, asks the target, stores the ledger and commits.
//!
//! Every call to the target is made on a thread of the link's own for groups. Nothing else waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka::KafkaError;
use kafka::catalog::{Catalog, Isolation};
use kafka::groups::{GroupCommit, GroupOffset};
use service::lock::Lock;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wire::control::{GroupOffsets, ReturningPartition};
use wire::partition::Partition;

use super::store::GroupLog;
use super::sync::{Commit, GroupSync, ReturnsTo, TargetGroup};
use super::{GroupServices, store};
use crate::link::ServedLink;
use crate::link::own_store::{OwnStore, prepare};
use crate::target::{StateEntry, TargetError, TargetPartition};
use crate::translate::aim::{Aim, SourcePosition, TargetPosition};
use crate::translate::known_maps::KnownMaps;

/// Least time between two rounds.
const PAUSE: Duration = Duration::from_millis(200);
/// Time for which lanes may leave a round without an answer before that is a problem: they are being opened, or busy.
const SILENT: Duration = Duration::from_secs(20);
/// Offsets in one commit: the client searches its list for each.
const COMMIT_MAX: usize = 1000;

/// Carrying of groups in one session; dropping it ends it.
pub(crate) struct Groups {
    link: Arc<ServedLink>,
    services: Option<Arc<GroupServices>>,
    /// Partitions that go back and that the sender has told before any group.
    returning: Vec<(Partition, ReturnsTo)>,
    /// Begun with the first message.
    begun: Option<Begun>,
}

struct Begun {
    sync: Arc<Lock<GroupSync>>,
    changed: Arc<Notify>,
    _task: JoinSet<()>,
}

impl Groups {
    pub(crate) fn new(link: &Arc<ServedLink>, services: Option<Arc<GroupServices>>) -> Self {
        Self { link: Arc::clone(link), services, returning: Vec::new(), begun: None }
    }

    /// Takes offsets of groups.
    pub(crate) fn handle(&mut self, groups: Vec<GroupOffsets>, last: bool) {
        self.take(groups, |sync, groups| sync.handle_offsets(groups, last, Instant::now()));
        if let Some(begun) = self.begun.as_ref().filter(|_| last) {
            begun.changed.notify_one();
        }
    }

    /// Takes offsets of groups that go back.
    pub(crate) fn handle_back(&mut self, groups: Vec<GroupOffsets>) {
        self.take(groups, |sync, groups| sync.handle_back(groups, Instant::now()));
    }

    fn take(&mut self, mut groups: Vec<GroupOffsets>, handle: impl FnOnce(&mut GroupSync, Vec<GroupOffsets>)) {
        let Some(services) = &self.services else { return };
        // From here on, a group has its name in the target.
        let settings = self.link.settings();
        groups.iter_mut().for_each(|offsets| offsets.group = settings.rename_groups.apply(&offsets.group));
        let Begun { sync, .. } = self.begun.get_or_insert_with(|| begin(&self.link, services));
        let mut sync = sync.lock();
        self.returning.drain(..).for_each(|(source, to)| sync.handle_returning(source, to));
        handle(&mut sync, groups);
    }

    /// Takes partitions of a topic that goes back. Their number is limited where they are announced to the lanes.
    pub(crate) fn handle_returning(&mut self, topic: &str, from: &str, partitions: &[ReturningPartition]) {
        // A topic that would go to another one halts.
        if self.services.is_some() && self.link.settings().rename.apply(topic) == from {
            let topic: Arc<str> = topic.into();
            let from: Arc<str> = from.into();
            let returning = |one: &ReturningPartition| {
                let ReturningPartition { partition, common, since, .. } = *one;
                let to = ReturnsTo { partition: TargetPartition::new(Arc::clone(&from), partition), since, common };
                (Partition::new(Arc::clone(&topic), partition), to)
            };
            self.returning.extend(partitions.iter().map(returning));
        }
    }
}

fn begin(link: &Arc<ServedLink>, services: &Arc<GroupServices>) -> Begun {
    let sync = Arc::new(Lock::new(GroupSync::new(link.settings().limits.announced_bytes / 2)));
    link.groups.set(&sync);
    let changed = Arc::new(Notify::new());
    let carrier = Carrier::new(link, services, &sync, None);
    let mut task = JoinSet::new();
    task.spawn(carrier.run(Arc::clone(&changed)));
    Begun { sync, changed, _task: task }
}

struct Carrier {
    link: Arc<ServedLink>,
    services: Arc<GroupServices>,
    sync: Arc<Lock<GroupSync>>,
    /// Open store, while no other receiver has the link and no write has failed.
    store: Option<Box<dyn OwnStore>>,
    /// Time since which not all lanes answer.
    silent_since: Option<Instant>,
    /// Maps of a link that is promoted, whose lanes are not open.
    maps: Option<Arc<KnownMaps>>,
    log: GroupLog,
}

/// Commits what is carried for the groups that the last session has told, by the final maps of a promoted link. Where there
/// is something to commit the store is opened first, which fences that of any other receiver. Error: what could not be dealt
/// with.
pub(crate) async fn last_round(
    link: &Arc<ServedLink>,
    services: &Arc<GroupServices>,
    maps: Arc<KnownMaps>,
) -> Result<(), String> {
    let Some(sync) = link.groups.sync() else { return Ok(()) };
    let mut carrier = Carrier::new(link, services, &sync, Some(maps));
    let now = Instant::now();
    sync.lock().begin_last_round(now);
    carrier.round(now).await?;
    let mut sync = sync.lock();
    // A failure that an earlier round has left says nothing about this one.
    sync.end_round(None);
    sync.trouble().into_iter().next().map_or(Ok(()), Err)
}

/// Translations of positions.
type Aims = HashMap<SourcePosition, Result<Aim, String>>;

/// Outcome of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Everything that was due was looked at.
    Complete,
    /// The lanes did not answer.
    Postponed,
}

/// Answers about the groups of a round.
struct Asked {
    members: HashMap<String, bool>,
    committed: Vec<Result<Vec<GroupOffset>, KafkaError>>,
}

impl Carrier {
    fn new(
        link: &Arc<ServedLink>,
        services: &Arc<GroupServices>,
        sync: &Arc<Lock<GroupSync>>,
        maps: Option<Arc<KnownMaps>>,
    ) -> Self {
        Self {
            link: Arc::clone(link),
            services: Arc::clone(services),
            sync: Arc::clone(sync),
            store: None,
            silent_since: None,
            maps,
            log: GroupLog::default(),
        }
    }

    async fn run(mut self, changed: Arc<Notify>) {
        loop {
            let due = self.sync.lock().next_due();
            tokio::select! {
                () = changed.notified() => {}
                () = until(due) => {}
            }
            let arrived = self.sync.lock().arrived();
            let now = Instant::now();
            let outcome = self.round(now).await;
            let trouble = {
                let mut sync = self.sync.lock();
                if let Err(reason) = &outcome {
                    sync.handle_failed_round(reason, now);
                }
                sync.end_round(arrived.filter(|_| outcome == Ok(Round::Complete)));
                sync.trouble()
            };
            match trouble.first() {
                Some(problem) => self.log.warn(&self.link.settings().name, problem),
                None => self.log.clear(),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Looks at everything that is due at `now`. Error: the reason why none of it could be dealt with.
    async fn round(&mut self, now: Instant) -> Result<Round, String> {
        let positions = self.sync.lock().poll_positions(now);
        if positions.is_empty() {
            return Ok(Round::Complete);
        }
        let Some(aims) = self.aims(positions).await? else {
            let since = *self.silent_since.get_or_insert(now);
            if now.duration_since(since) > SILENT {
                return Err("not all lanes of the link are open".to_owned());
            }
            self.sync.lock().postpone(now);
            return Ok(Round::Postponed);
        };
        self.silent_since = None;
        let candidates = {
            let mut sync = self.sync.lock();
            sync.handle_aims(&aims, now);
            sync.candidates(now)
        };
        if candidates.is_empty() {
            return Ok(Round::Complete);
        }
        let topic = store::topic(&self.link.settings().name);
        let of_topic = |error: TargetError| format!("{topic}: {error}");
        self.open_store().await.map_err(of_topic)?;
        let asked = self.ask(candidates.clone()).await?;
        let plans = self.decide(&candidates, asked, now);
        let changes = self.sync.lock().take_ledger_changes();
        if !changes.is_empty() {
            self.write(changes).await.map_err(of_topic)?;
        }
        self.commit(plans, now).await?;
        Ok(Round::Complete)
    }

    /// Translates positions. Where the map has no record, the end of the target is read first. `None` if not all lanes answer.
    async fn aims(&mut self, positions: Vec<SourcePosition>) -> Result<Option<Aims>, String> {
        let Some(mut aims) = self.translate(positions).await else { return Ok(None) };
        let is_empty = |answer: &Result<Aim, String>| matches!(answer, Ok(Aim::Empty { .. }));
        let again: Vec<_> = aims.iter().filter(|(_, aim)| is_empty(aim)).map(|(at, _)| at.clone()).collect();
        if again.is_empty() {
            return Ok(Some(aims));
        }
        let mut targets: Vec<TargetPartition> = aims.values().filter_map(target_of).cloned().collect();
        targets.sort_unstable();
        targets.dedup();
        let asked = targets.clone();
        let ends = self.call(move |catalog| catalog.ends(&asked, Isolation::Committed)).await?;
        let ends: HashMap<_, _> = targets.into_iter().zip(ends).collect();
        // A record that was committed meanwhile is in the map now; any later one is after the end that was read.
        for (at, aim) in self.translate(again).await.unwrap_or_default() {
            let aim = match aim {
                Ok(Aim::Empty { target, is_exact, own }) => match ends.get(&target) {
                    Some(Ok(end)) => Ok(Aim::At(TargetPosition { partition: target, position: *end, is_exact, own })),
                    Some(Err(error)) => Err(error.to_string()),
                    None => Ok(Aim::Empty { target, is_exact, own }),
                },
                aim => aim,
            };
            aims.insert(at, aim);
        }
        Ok(Some(aims))
    }

    async fn translate(&mut self, positions: Vec<SourcePosition>) -> Option<Aims> {
        let translator = Arc::clone(&self.services.translator);
        let link = Arc::clone(&self.link);
        let aims = match &self.maps {
            Some(maps) => translator.aims_by(link, Arc::clone(maps), positions.clone()).await?,
            None => translator.aims(link, positions.clone()).await?,
        };
        Some(positions.into_iter().zip(aims).collect())
    }

    /// Makes a request to the target on the link's thread for groups.
    async fn call<R: Send + 'static>(
        &mut self,
        request: impl FnOnce(&dyn Catalog) -> Result<R, KafkaError> + Send + 'static,
    ) -> Result<R, String> {
        let catalog = Arc::clone(&self.link.catalog);
        let answer = self.link.group_calls.run(move || request(&*catalog)).await;
        answer.unwrap_or_else(|| Err(KafkaError::misused("a request", "it panicked"))).map_err(|e| e.to_string())
    }

    async fn open_store(&mut self) -> Result<(), TargetError> {
        if self.store.as_ref().is_some_and(|store| !store.is_outdated()) {
            return Ok(());
        }
        let settings = self.link.settings();
        let catalog = Arc::clone(&self.link.catalog);
        let stores = Arc::clone(&self.services.stores);
        let open = move || {
            prepare(&*catalog, &store::topic(&settings.name), settings.replication)?;
            store::open(&*stores, &settings.name)
        };
        let (store, ledger) = self.link.group_calls.run(open).await.unwrap_or_else(|| Err(panicked()))?;
        self.store = Some(store);
        self.sync.lock().set_ledger(ledger);
        Ok(())
    }

    async fn write(&mut self, entries: Vec<StateEntry>) -> Result<(), TargetError> {
        let Some(mut store) = self.store.take() else { return Err(panicked()) };
        let write = move || {
            let written = store.write(&entries);
            (store, written)
        };
        let (store, written) = self.link.group_calls.run(write).await.ok_or_else(panicked)?;
        written?;
        self.store = Some(store);
        Ok(())
    }

    /// Asks the target which of the groups have members, and what each has committed.
    async fn ask(&mut self, groups: Vec<String>) -> Result<Asked, String> {
        let ask = move |catalog: &dyn Catalog| {
            let list = catalog.groups()?;
            let members = list.groups.into_iter().map(|group| (group.name, group.has_members)).collect();
            Ok(Asked { members, committed: catalog.committed(&groups)? })
        };
        self.call(ask).await
    }

    fn decide(&self, groups: &[String], asked: Asked, now: Instant) -> Vec<(String, Vec<Commit>)> {
        let mut plans = Vec::new();
        let mut sync = self.sync.lock();
        for (group, committed) in groups.iter().zip(asked.committed) {
            match committed {
                Ok(committed) => {
                    let committed = committed.into_iter().map(|one| (one.partition.clone(), one)).collect();
                    let has_members = asked.members.get(group).copied().unwrap_or(false);
                    let commits = sync.decide(group, &TargetGroup { has_members, committed }, now);
                    plans.extend(commits.chunks(COMMIT_MAX).map(|commits| (group.clone(), commits.to_vec())));
                }
                Err(error) => sync.handle_failure(group, &error.to_string(), now),
            }
        }
        plans
    }

    async fn commit(&mut self, plans: Vec<(String, Vec<Commit>)>, now: Instant) -> Result<(), String> {
        if plans.is_empty() {
            return Ok(());
        }
        let to_commit = |(group, commits): &(String, Vec<Commit>)| GroupCommit {
            group: group.clone(),
            offsets: commits.iter().map(|commit| commit.offset.clone()).collect(),
        };
        let requests: Vec<_> = plans.iter().map(to_commit).collect();
        let outcomes = self.call(move |catalog| catalog.commit(&requests)).await?;
        let mut sync = self.sync.lock();
        for ((group, commits), outcomes) in plans.iter().zip(outcomes) {
            match outcomes {
                Ok(outcomes) => {
                    for (commit, outcome) in commits.iter().zip(outcomes) {
                        sync.handle_outcome(group, commit, outcome, now);
                    }
                }
                Err(error) => sync.handle_failure(group, &error.to_string(), now),
            }
        }
        Ok(())
    }
}

fn target_of(aim: &Result<Aim, String>) -> Option<&TargetPartition> {
    match aim {
        Ok(Aim::Empty { target, .. }) => Some(target),
        _ => None,
    }
}

fn panicked() -> TargetError {
    KafkaError::misused("a request", "it panicked").into()
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
