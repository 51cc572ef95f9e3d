//! Promotion of a link in a running receiver: asks its lanes, finishes its groups, and keeps the statement in the target.
//!
//! An attempt continues although the client that asked has left; the next one gets its answer. Each step may be repeated.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka::catalog::described;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use transport::clock::unix_millis;
use wire::close::Close;
use wire::ids::LaneId;
use wire::partition::Partition;

use super::attempt::{Attempt, FailoverAnswer, FailoverRequest, Progress, SwitchOverRequest};
use super::course::Course;
use super::facts::{self, Reading, kept};
use super::quiet;
use super::statement::{PartitionLoss, Statement};
use super::switch_over::{self, Terms};
use super::topics;
use crate::groups::GroupServices;
use crate::groups::task::last_round;
use crate::lane::OpenError;
use crate::lane::handle::{Command, LaneHandle, PromoteLane, StoreStatement};
use crate::link::ServedLink;
use crate::link::acls::task::{Given, give_held_back};
use crate::link::source_ends::EndsReading;
use crate::link::state_topic;
use crate::target::promoted::PromotedRecord;
use crate::target::state::{self, LaneState};
use crate::translate::known_maps::KnownMaps;

/// Time for one lane: what it holds is committed first, and others may have to be fenced.
const LANE_WITHIN: Duration = Duration::from_secs(40);
/// Time for the last round of consumer groups, which is tried again until then.
const GROUPS_WITHIN: Duration = Duration::from_secs(15);
const GROUPS_RETRY: Duration = Duration::from_secs(1);
/// Time for access control lists.
const RIGHTS_WITHIN: Duration = Duration::from_secs(15);
const RIGHTS_UNKNOWN: &str = "no sender has said access control lists since this receiver started: give the rights that were \
                              held back by hand";

/// Answers a request. Error: a sentence that says why the link is not promoted, or not completely.
pub(crate) async fn failover(
    link: Arc<ServedLink>,
    services: Arc<GroupServices>,
    request: FailoverRequest,
) -> Result<FailoverAnswer, String> {
    if request.dry_run {
        return facts::dry_run(&link, &services).await;
    }
    let record = PromotedRecord::first(unix_millis(), request.by, request.reason);
    begin(&link, &services, Some(record), None)?.answer().await
}

/// Answers a request. Error: a sentence that says why the link is not switched over.
pub(crate) async fn switch_over(
    link: Arc<ServedLink>,
    services: Arc<GroupServices>,
    request: SwitchOverRequest,
) -> Result<FailoverAnswer, String> {
    let time = |seconds: f64| Duration::try_from_secs_f64(seconds).map_err(|error| format!("{seconds} s: {error}"));
    let SwitchOverRequest { topics, quiet_seconds, within_seconds, .. } = request;
    let terms = Terms { topics, quiet: time(quiet_seconds)?, within: time(within_seconds)? };
    let record = PromotedRecord::first(unix_millis(), request.by, request.reason);
    begin(&link, &services, Some(record), Some(terms))?.answer().await
}

/// Finishes a promotion that the state of the link has, and that may not be complete.
pub(crate) fn finish(link: &Arc<ServedLink>, services: &Arc<GroupServices>) {
    if !link.promotion.is_complete() {
        // If another attempt is in progress, the next session tries it again.
        let _ = begin(link, services, None, None);
    }
}

/// Joins the attempt in progress, or begins one. With `terms` it waits until the source is quiet.
fn begin(
    link: &Arc<ServedLink>,
    services: &Arc<GroupServices>,
    record: Option<PromotedRecord>,
    terms: Option<Terms>,
) -> Result<Arc<Attempt>, String> {
    let topics = terms.iter().flat_map(|terms| &terms.topics).cloned().collect();
    link.promotion.attempt(terms.is_some(), &topics, || {
        let (ended, outcome) = watch::channel(None);
        let progress = Progress::new(terms.is_some());
        let noted = Arc::clone(&progress);
        let promotion = Promotion { link: Arc::clone(link), services: Arc::clone(services), progress };
        let alone: BTreeSet<String> = topics.clone();
        tokio::spawn(async move {
            let result = match terms {
                Some(terms) if !terms.topics.is_empty() => promotion.switch_over_topics(record, terms).await,
                Some(terms) => promotion.switch_over(record, terms).await,
                None => promotion.run(record, None).await,
            };
            let name = &promotion.link.settings().name;
            match &result {
                Ok(_) if !alone.is_empty() => tracing::info!(link = name, topics = ?alone, "topics are switched over"),
                Ok(_) => tracing::info!(link = name, "link is promoted"),
                Err(reason) => tracing::error!(link = name, reason, "link is not promoted"),
            }
            ended.send_replace(Some(result));
        });
        Arc::new(Attempt::new(topics.clone(), noted, outcome))
    })
}

struct Promotion {
    link: Arc<ServedLink>,
    services: Arc<GroupServices>,
    progress: Arc<Progress>,
}

impl Promotion {
    /// Waits until the source is quiet, and promotes the link then. A link that is promoted already is only finished.
    async fn switch_over(&self, record: Option<PromotedRecord>, terms: Terms) -> Result<FailoverAnswer, String> {
        self.set_step("reading the state of the link");
        let first = facts::read_first(&self.link, &self.services, 1).await?.unwrap_or_default();
        let is_promoted = first.iter().any(|lane| lane.promoted.is_some());
        if is_promoted {
            self.progress.finish();
            return self.run(record, None).await;
        }
        let since = switch_over::wait_until_quiet(&self.link, terms, &self.progress).await?;
        self.run(record, Some(since)).await
    }

    /// Waits until the source is quiet, and halts these topics then. Those that are halted so already only have a statement.
    async fn switch_over_topics(&self, record: Option<PromotedRecord>, terms: Terms) -> Result<FailoverAnswer, String> {
        let topics = terms.topics.clone();
        let already = topics::are_switched_over(&self.link, &topics).await?;
        let mut quiet_since = None;
        if already {
            self.progress.finish();
        } else {
            quiet_since = Some(switch_over::wait_until_quiet(&self.link, terms, &self.progress).await?);
        }
        self.set_step("halting the topics");
        let record = record.ok_or("no client has asked")?;
        topics::halt(&self.link, &topics, &record).await?;
        self.link.acls.look_again();
        self.set_step("making the statement");
        let states = facts::read_states(&self.link, &self.services).await?.unwrap_or_default();
        let reading = Reading { quiet_since, promoted: None, ..Reading::of(states) };
        let mut statement = topics::only(facts::statement(&self.link, &self.services, reading).await?, &topics);
        if quiet_since.is_some() {
            self.judge(&mut statement);
        }
        Ok(FailoverAnswer { already, ..FailoverAnswer::of(statement) })
    }

    /// Promotes the link; since `quiet_since`, in ms since the Unix epoch, nothing was written to the source.
    async fn run(&self, record: Option<PromotedRecord>, quiet_since: Option<i64>) -> Result<FailoverAnswer, String> {
        let asked = record.clone();
        let states = self.promote_lanes(record).await?;
        let stored = states.first().and_then(|lane| lane.promoted.clone()).ok_or("lane 0 has no promotion")?;
        let already = asked.as_ref() != Some(&stored);
        if let Some(statement) = kept(&states) {
            self.link.promotion.set(Some(stored), true);
            return Ok(FailoverAnswer { already, ..FailoverAnswer::of(statement) });
        }
        let mut reading = Reading { quiet_since, ..Reading::of(states) };
        self.set_step("committing offsets of consumer groups");
        let groups = self.finish_groups(&reading.maps).await;
        let unfinished =
            groups.err().map(|reason| format!("not all offsets of consumer groups are committed: {reason}"));
        let rights = self.give_rights(&reading.maps).await;
        let unfinished = unfinished.or_else(|| rights.as_ref().err().cloned());
        reading.problems.extend(unfinished.clone());
        if rights == Ok(Given::Unknown) {
            reading.problems.push(RIGHTS_UNKNOWN.to_owned());
        }
        self.set_step("writing the statement");
        let mut statement = facts::statement(&self.link, &self.services, reading).await?;
        // The final positions and the sender's last word decide, not what the wait has seen.
        if statement.quiet_since.is_some() {
            self.judge(&mut statement);
        }
        // A statement that is stored is final: a client that asks again shall have the groups finished first.
        if unfinished.is_none() {
            self.store(&statement).await?;
        }
        self.link.promotion.set(Some(stored), unfinished.is_none());
        Ok(FailoverAnswer { already, unfinished, ..FailoverAnswer::of(statement) })
    }

    /// Decides whether all of the source, as the sender last said, is carried. Stored partitions that the source did not have
    /// when its sender connected, such as those of a topic that left the filter, are named.
    fn judge(&self, statement: &mut Statement) {
        let newest = self.link.source_ends.newest().unwrap_or_default();
        let is_of_source =
            |one: &PartitionLoss| newest.ends.contains_key(&Partition::new(one.topic.as_str(), one.partition));
        let (of_source, others): (Vec<_>, Vec<_>) = statement.partitions.iter().cloned().partition(is_of_source);
        // Topics that were switched over before have a statement of their own.
        let topics = statement.topics.iter().cloned().collect();
        let count = of_source.len();
        let due = topics::due(&topics, of_source);
        if let Some(missing) = topics::missing(count, &due) {
            statement.quiet_since = None;
            statement.problems.push(format!("not all is known to be carried: {missing}"));
        }
        if !others.is_empty() {
            let names: Vec<_> = others.iter().map(quiet::name).collect();
            let names = quiet::list(&names);
            statement.problems.push(format!("the source does not show these partitions, which do not count: {names}"));
        }
    }

    /// Makes the access control lists that were held back.
    async fn give_rights(&self, maps: &KnownMaps) -> Result<Given, String> {
        self.set_step("giving the rights that were held back");
        let carried = maps.all().map(|map| map.key.topic.to_string()).collect();
        let given = give_held_back(&self.link, &self.services, carried);
        let late = |_| Err(format!("the target has not answered within {} s", RIGHTS_WITHIN.as_secs()));
        let given = tokio::time::timeout(RIGHTS_WITHIN, given).await.unwrap_or_else(late);
        given.map_err(|reason| format!("not all access control lists are made: {reason}"))
    }

    fn set_step(&self, step: impl Into<String>) {
        self.progress.set_step(step);
    }

    /// Promotes lane 0, and then all others at the same time. Returns their final states.
    async fn promote_lanes(&self, record: Option<PromotedRecord>) -> Result<Vec<LaneState>, String> {
        let name = self.link.settings().name.clone();
        self.set_step("reading the state of the link");
        let partitions = self.partitions(&name).await?;
        self.link.end_sessions(&Close::normal("the link is being promoted"));
        let mut course = Course::new(record);
        self.set_step("promoting lane 0");
        let ends = self.link.source_ends.newest();
        let first = promote(self.lanes(1)?.remove(0), course.record().cloned(), ends).await?;
        self.link.promotion.set(first.promoted.clone(), false);
        let close = first.promoted.as_ref().map(|record| record.close(&name));
        close.iter().for_each(|close| self.link.end_sessions(close));
        self.fit(&name, partitions, &first).await?;
        course.handle(LaneId(0), *first, partitions);
        let lanes = self.lanes(course.lanes().unwrap_or(1))?;
        let mut asked = JoinSet::new();
        for lane in course.next() {
            let handle = lanes[usize::from(lane.0)].clone();
            let record = course.record().cloned();
            asked.spawn(async move { (lane, promote(handle, record, None).await) });
        }
        let mut failed = Vec::new();
        self.set_step(format!("promoting {} lanes", lanes.len()));
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok((lane, Ok(state))) => course.handle(lane, *state, partitions),
                Ok((lane, Err(reason))) => failed.push(format!("lane {lane}: {reason}")),
                Err(_) => failed.push("a lane has ended".to_owned()),
            }
        }
        course.finish().map_err(|_| {
            failed.sort();
            let failed = failed.join("; ");
            format!("the promotion is stored, and no sender has the link any more, but not all lanes are fenced: {failed}; ask again")
        })
    }

    /// Returns the number of partitions of the state topic: one for each lane.
    async fn partitions(&self, name: &str) -> Result<u16, String> {
        let topic = state::topic(name);
        let link = Arc::clone(&self.link);
        let asked = topic.clone();
        let found = self.link.blocking.run(move || described(&*link.catalog, &[asked])).await;
        let found = found.ok_or("a request to the target panicked")?.map_err(|error| error.to_string())?;
        let nothing = || format!("the target has no topic {topic}: the link has carried nothing, and has no state");
        found.and_then(|found| u16::try_from(found.partitions).ok()).filter(|count| *count > 0).ok_or_else(nothing)
    }

    /// Makes sure that each lane of a class has its partition.
    async fn fit(&self, name: &str, partitions: u16, first: &LaneState) -> Result<(), String> {
        let table = first.lane.as_ref().and_then(|lane| lane.table().ok());
        let Some(table) = table.filter(|table| table.lanes() > partitions) else { return Ok(()) };
        let link = Arc::clone(&self.link);
        let name = name.to_owned();
        let fit = move || state_topic::fit(&*link.catalog, &name, partitions.into(), &table);
        let fitted = self.link.blocking.run(fit).await.ok_or("a request to the target panicked")?;
        fitted.map_err(|error| error.to_string())
    }

    fn lanes(&self, count: u16) -> Result<Vec<LaneHandle>, String> {
        self.link.start_lanes(count).map_err(|error| error.to_string())
    }

    /// Commits offsets of groups a last time; more than once if that fails.
    async fn finish_groups(&self, maps: &Arc<KnownMaps>) -> Result<(), String> {
        let deadline = Instant::now() + GROUPS_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let round = last_round(&self.link, &self.services, Arc::clone(maps));
            let late = || Err(format!("the target has not answered within {} s", GROUPS_WITHIN.as_secs()));
            let outcome = tokio::time::timeout(left, round).await.unwrap_or_else(|_| late());
            if outcome.is_ok() || Instant::now() + GROUPS_RETRY >= deadline {
                return outcome;
            }
            tokio::time::sleep(GROUPS_RETRY).await;
        }
    }

    async fn store(&self, statement: &Statement) -> Result<(), String> {
        let text = serde_json::to_string(statement).map_err(|error| error.to_string())?;
        let (answer, answered) = oneshot::channel();
        let lane = self.lanes(1)?.remove(0);
        push(&lane, Command::StoreStatement(StoreStatement { text, answer }))?;
        let stored = answered_within(answered).await?;
        stored.map_err(|error| format!("every lane is fenced, but the statement cannot be stored: {error}; ask again"))
    }
}

async fn promote(
    lane: LaneHandle,
    record: Option<PromotedRecord>,
    ends: Option<EndsReading>,
) -> Result<Box<LaneState>, String> {
    let (answer, answered) = oneshot::channel();
    push(&lane, Command::Promote(PromoteLane { record, ends, answer }))?;
    match answered_within(answered).await {
        Ok(promoted) => promoted.map_err(|error| match error {
            OpenError::Target(error) => error.to_string(),
            OpenError::Refused(close) => close.detail,
        }),
        Err(late) => Err(lane.condition().trouble.map_or_else(|| late.clone(), |trouble| format!("{late}: {trouble}"))),
    }
}

fn push(lane: &LaneHandle, command: Command) -> Result<(), String> {
    lane.mailbox.push(command).map_err(|_| "it has too many messages waiting".to_owned())
}

async fn answered_within<R>(answered: oneshot::Receiver<R>) -> Result<R, String> {
    let late = || format!("the target has not answered within {} s", LANE_WITHIN.as_secs());
    let answer = tokio::time::timeout(LANE_WITHIN, answered).await.map_err(|_| late())?;
    answer.map_err(|_| "the lane has ended".to_owned())
}
