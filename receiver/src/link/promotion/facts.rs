//! Facts for the statement of loss, read from the target.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kafka::catalog::{Catalog, described};
use service::lock::Lock;
use transport::clock::unix_millis;
use wire::ids::LaneId;
use wire::partition::Partition;

use super::attempt::FailoverAnswer;
use super::groups::{Committed, resumptions};
use super::losses::{Facts, last_records};
use super::statement::{GroupResume, Statement};
use crate::groups::ledger::Ledger;
use crate::groups::{GroupServices, store};
use crate::lane::fold_stored;
use crate::link::ServedLink;
use crate::target::promoted::{PromotedRecord, SourceEnd, StatementPart};
use crate::target::state::{self, LaneState};
use crate::target::{StateEntry, TargetError};
use crate::translate::StoredMaps;
use crate::translate::known_maps::KnownMaps;

/// Time for reading when records were written, and requests for it at the same time.
const TIMES_WITHIN: Duration = Duration::from_secs(3);
const TIMES_IN_PARALLEL: usize = 32;
/// Time for a dry run: the admin port has 8 s.
const DRY_RUN_WITHIN: Duration = Duration::from_secs(7);

/// Times of records, by the partitions of the source.
type Times = BTreeMap<Partition, i64>;

/// What a statement is made of.
pub(super) struct Reading {
    /// What the sender last said, as the lanes have stored it.
    pub(super) ends: BTreeMap<Partition, SourceEnd>,
    pub(super) maps: Arc<KnownMaps>,
    pub(super) promoted: Option<PromotedRecord>,
    /// Time since which nothing was written to the source.
    pub(super) quiet_since: Option<i64>,
    pub(super) problems: Vec<String>,
}

impl Reading {
    /// What the final states of all lanes say.
    pub(super) fn of(states: Vec<LaneState>) -> Self {
        let mut ends = BTreeMap::new();
        for (at, word) in states.iter().flat_map(|state| &state.ends) {
            word.add_to(at.clone(), &mut ends);
        }
        let promoted = states.first().and_then(|lane| lane.promoted.clone());
        let maps = Arc::new(KnownMaps::of_states(states));
        Self { ends, maps, promoted, quiet_since: None, problems: Vec::new() }
    }
}

/// States what would be lost now, from what is stored. Changes nothing.
pub(super) async fn dry_run(link: &Arc<ServedLink>, services: &Arc<GroupServices>) -> Result<FailoverAnswer, String> {
    let late = |_| Err(format!("the target has not answered within {} s; try again", DRY_RUN_WITHIN.as_secs()));
    let work = async {
        let states = read_states(link, services).await?;
        let Some(states) = states else {
            return Err("the link has carried nothing, and has no state in the target".to_owned());
        };
        if let Some(statement) = kept(&states) {
            return Ok(FailoverAnswer { already: true, ..FailoverAnswer::of(statement) });
        }
        let already = states.first().is_some_and(|lane| lane.promoted.is_some());
        let reading = Reading { promoted: None, ..Reading::of(states) };
        let statement = statement(link, services, reading).await?;
        Ok(FailoverAnswer { already, ..FailoverAnswer::of(statement) })
    };
    tokio::time::timeout(DRY_RUN_WITHIN, work).await.unwrap_or_else(late)
}

/// Returns the statement that the state of a promoted link has.
pub(super) fn kept(states: &[LaneState]) -> Option<Statement> {
    let text = StatementPart::join(&states.first()?.statement)?;
    serde_json::from_str(&text).ok()
}

/// Reads the states of all lanes; `None` if the link has none.
pub(super) async fn read_states(
    link: &Arc<ServedLink>,
    services: &Arc<GroupServices>,
) -> Result<Option<Vec<LaneState>>, String> {
    read_first(link, services, u16::MAX).await
}

/// Reads the states of the first lanes, at most so many; `None` if the link has none.
pub(super) async fn read_first(
    link: &Arc<ServedLink>,
    services: &Arc<GroupServices>,
    most: u16,
) -> Result<Option<Vec<LaneState>>, String> {
    let stored = services.translator.stored();
    let reader = Arc::clone(link);
    let read = move || {
        let name = reader.settings().name.clone();
        lanes_of(&*reader.catalog, &name, most, |lane| stored.state(&name, lane))
    };
    link.blocking.run(read).await.ok_or("a request to the target panicked")?
}

/// Reads the states of the first lanes of a link, at most so many, by what `read` returns of each; `None` if the link has
/// none. Blocks. Error: a sentence.
pub(super) fn lanes_of(
    catalog: &dyn Catalog,
    link: &str,
    most: u16,
    mut read: impl FnMut(LaneId) -> Result<Vec<StateEntry>, TargetError>,
) -> Result<Option<Vec<LaneState>>, String> {
    let topic = described(catalog, &[state::topic(link)]).map_err(|error| error.to_string())?;
    let Some(topic) = topic else { return Ok(None) };
    let lanes = (0..u16::try_from(topic.partitions).unwrap_or(0).min(most)).map(LaneId);
    let state = |lane| {
        let entries = read(lane).map_err(|error| error.to_string())?;
        fold_stored(lane, link, &entries).map_err(|close| close.detail)
    };
    lanes.map(state).collect::<Result<_, String>>().map(Some)
}

/// Makes the statement.
pub(super) async fn statement(
    link: &Arc<ServedLink>,
    services: &Arc<GroupServices>,
    reading: Reading,
) -> Result<Statement, String> {
    let stored = services.translator.stored();
    let link_of_groups = Arc::clone(link);
    let work = move || make(&link_of_groups, &*stored, reading);
    link.group_calls.run(work).await.ok_or_else(|| "making the statement panicked".to_owned())
}

fn make(link: &ServedLink, stored: &dyn StoredMaps, reading: Reading) -> Statement {
    let Reading { mut ends, maps, promoted, quiet_since, mut problems } = reading;
    let name = link.settings().name.clone();
    let (written, unread) = times(stored, &maps);
    if unread > 0 {
        let seconds = TIMES_WITHIN.as_secs();
        problems.push(format!("of {unread} partitions the time of the last record could not be read in {seconds} s"));
    }
    link.source_ends.newest().iter().for_each(|reading| reading.add_to(&mut ends));
    let partitions = Facts { ends: &ends, maps: &maps, written: &written }.partitions();
    let groups = groups(link, stored, &name, &maps);
    let groups = groups.unwrap_or_else(|reason| {
        problems.push(format!("consumer groups are unknown: {reason}"));
        Vec::new()
    });
    let source_cluster = maps.all().map(|map| map.source_cluster.clone()).find(|id| !id.is_empty());
    let made = unix_millis();
    let age = link.groups.status().age_seconds;
    let groups_heard = age.map(|seconds| made - (seconds * 1_000.0) as i64);
    let topics = Vec::new();
    Statement {
        link: name,
        source_cluster,
        promoted,
        topics,
        made,
        quiet_since,
        partitions,
        groups,
        groups_heard,
        problems,
    }
}

/// Reads when the last records were written. Returns the number of those that could not be read in time, too.
fn times(stored: &dyn StoredMaps, maps: &KnownMaps) -> (Times, usize) {
    let deadline = Instant::now() + TIMES_WITHIN;
    let last = last_records(maps);
    let times = Lock::new(Times::new());
    let unread = Lock::new(0);
    let times_of_all = &times;
    let unread_of_all = &unread;
    let share = last.len().div_ceil(TIMES_IN_PARALLEL).max(1);
    thread::scope(|scope| {
        for part in last.chunks(share) {
            scope.spawn(move || {
                for (source, target, offset) in part {
                    let read = if Instant::now() < deadline { stored.timestamp(target, *offset).ok() } else { None };
                    match read {
                        Some(time) => times_of_all.lock().extend(time.map(|time| (source.clone(), time))),
                        None => *unread_of_all.lock() += 1,
                    }
                }
            });
        }
    });
    let unread = *unread.lock();
    (std::mem::take(&mut *times.lock()), unread)
}

fn groups(
    link: &ServedLink,
    stored: &dyn StoredMaps,
    name: &str,
    maps: &KnownMaps,
) -> Result<Vec<GroupResume>, String> {
    let entries = stored.own_topic(&store::topic(name)).map_err(|error| error.to_string())?;
    let ledger = Ledger::fold(&entries).map_err(|error| error.to_string())?;
    let sync = link.groups.sync();
    let mut names: BTreeSet<String> = ledger.entries().map(|(group, ..)| group.to_owned()).collect();
    if let Some(sync) = &sync {
        names.extend(sync.lock().offsets().map(|(group, ..)| group.to_owned()));
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = names.into_iter().collect();
    let answers = link.catalog.committed(&names).map_err(|error| error.to_string())?;
    let mut committed = Committed::new();
    for (group, answer) in names.iter().zip(answers) {
        let offsets = answer.map_err(|error| format!("{group}: {error}"))?;
        committed.extend(offsets.into_iter().map(|one| ((group.clone(), one.partition), one.position)));
    }
    let sync = sync.as_ref().map(|sync| sync.lock());
    Ok(resumptions(&ledger, &committed, sync.as_deref(), maps))
}
