//! Consumer groups: the list of them, the offsets that they have committed, and offsets that are committed for them.

use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Operation;
use sys::rd_kafka_resp_err_t as Code;
use wire::ids::Position;
use wire::partition::Partition;

use super::call::{Call, Owned, Submitted, lent};
use crate::catalog::Answers;
use crate::client::{Client, Event, Kind, coded, reason_of};
use crate::error::{KafkaError, known};
use crate::groups::{CommitError, GroupCommit, GroupList, GroupOffset, GroupSummary};
use crate::live_properties::{LiveProperties, retire};
use crate::partitions::PartitionList;
use crate::properties::READER_TIMEOUT;
use crate::text::{bytes, c_string, lossy};
use service::lock::Lock;

/// Time that each broker may take to list its groups. One that is down delays each list by it.
const LIST_LIMIT: Duration = Duration::from_secs(3);
/// Time that a group's coordinator may take, including the search for it.
const GROUP_LIMIT: Duration = Duration::from_secs(5);
/// Groups that are asked for at the same time: each call asks for one group.
const IN_FLIGHT: usize = 64;

/// Client for the offsets of groups.
///
/// It is a consumer with a group id, which never joins the group: librdkafka 2.12.1 crashes if a client without a group gets
/// an error about a coordinator. It caches coordinators and never drops them while they are used, so that a client that met
/// an error is replaced.
#[derive(Debug)]
pub(super) struct GroupClient {
    properties: LiveProperties,
    name: String,
    /// Client, with the generation of its properties.
    client: Lock<Option<(u64, Arc<Client>)>>,
}

impl GroupClient {
    /// Makes a client that starts with its first call.
    pub(super) fn new(properties: &LiveProperties, name: &str) -> Self {
        Self { properties: properties.clone(), name: name.to_owned(), client: Lock::default() }
    }

    fn client(&self) -> Result<Arc<Client>, KafkaError> {
        let generation = self.properties.generation();
        let mut client = self.client.lock();
        if let Some((_, client)) = client.as_ref().filter(|(of, _)| *of >= generation) {
            return Ok(Arc::clone(client));
        }
        let fixed = [
            ("group.id", format!("causeway.{}.data", self.name)),
            ("enable.auto.commit", "false".to_owned()),
            ("enable.auto.offset.store", "false".to_owned()),
        ];
        let properties = self.properties.now();
        let settings = properties.settings(&self.name, &[(READER_TIMEOUT.0, READER_TIMEOUT.1.to_owned())], &fixed);
        let started = Client::start(Kind::Consumer, &settings, 0)?;
        if let Some(former) = client.replace((generation, Arc::clone(&started))) {
            retire(former);
        }
        Ok(started)
    }

    /// Reads the committed offsets of groups.
    pub(super) fn committed(&self, groups: &[String]) -> Answers<Vec<GroupOffset>> {
        self.each(groups, submit_read, |group, event| Ok(offsets_of(group, &event)))
    }

    /// Commits offsets.
    pub(super) fn commit(&self, commits: &[GroupCommit]) -> Answers<Vec<Result<(), CommitError>>> {
        let answers = self.each(commits, submit_commit, |commit, event| Ok(outcomes_of(commit, &event)))?;
        let moved = |outcome: &Result<(), CommitError>| matches!(outcome, Err(CommitError::Kafka(error)) if !error.is_about_rights());
        if answers.iter().flatten().flatten().any(moved) {
            self.renew();
        }
        Ok(answers)
    }

    /// Makes one call for each item, some of them at the same time.
    fn each<N, T>(
        &self,
        items: &[N],
        submit: impl Fn(&Arc<Client>, &N) -> Result<Submitted, KafkaError>,
        read: impl Fn(&N, Event) -> Result<T, KafkaError>,
    ) -> Answers<T> {
        let client = self.client()?;
        let mut answers = Vec::with_capacity(items.len());
        for part in items.chunks(IN_FLIGHT) {
            let submitted: Vec<_> = part.iter().map(|item| submit(&client, item)).collect();
            let answered = part.iter().zip(submitted);
            let answered: Vec<_> =
                answered.map(|(item, call)| call?.answer().and_then(|event| read(item, event))).collect();
            let failed = answered.iter().filter_map(|answer| answer.as_ref().err());
            if failed.clone().any(|error| !error.is_about_rights()) {
                self.renew();
            }
            // The calls for the others would take as long, and end alike.
            if let Some(error) = failed.clone().next().filter(|_| failed.count() == part.len())
                && error.is_unanswered()
            {
                return Err(error.clone());
            }
            answers.extend(answered);
        }
        Ok(answers)
    }

    /// Replaces the client with the next call.
    fn renew(&self) {
        let client = self.client.lock().take();
        // Outside of the lock: this ends the client's threads.
        drop(client);
    }
}

/// Lists the groups of all brokers.
pub(super) fn list(client: &Arc<Client>) -> Result<GroupList, KafkaError> {
    let call = Call::new(client, Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, "list of groups".to_owned())?;
    let event = call.within(LIST_LIMIT)?.answer(|rk, options, queue| {
        // SAFETY: all are live.
        unsafe { sys::rd_kafka_ListConsumerGroups(rk, options, queue) }
    })?;
    // SAFETY: the event holds a ListConsumerGroups answer and outlives this block, which copies what it reads.
    unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroups_result(event.raw());
        let mut count = 0;
        let listed = lent(sys::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count), count);
        let groups = listed.iter().map(|&group| summary(group)).collect();
        let errors = lent(sys::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut count), count);
        let incomplete = errors.first().map(|&error| {
            let code = coded::rd_kafka_error_code(error);
            KafkaError::coded("list of groups", code, lossy(sys::rd_kafka_error_string(error)))
        });
        Ok(GroupList { groups, incomplete })
    }
}

/// Copies a group of the list.
///
/// # Safety
/// `group` must be live.
unsafe fn summary(group: *const sys::rd_kafka_ConsumerGroupListing_t) -> GroupSummary {
    use sys::rd_kafka_consumer_group_state_t as State;
    // SAFETY: as the caller promises; librdkafka itself makes the state of the names that it knows.
    unsafe {
        let state = sys::rd_kafka_ConsumerGroupListing_state(group);
        let with_members = [
            State::RD_KAFKA_CONSUMER_GROUP_STATE_PREPARING_REBALANCE,
            State::RD_KAFKA_CONSUMER_GROUP_STATE_COMPLETING_REBALANCE,
            State::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE,
        ];
        GroupSummary {
            name: lossy(sys::rd_kafka_ConsumerGroupListing_group_id(group)).into_owned(),
            has_members: with_members.contains(&state),
        }
    }
}

fn submit_read(client: &Arc<Client>, group: &String) -> Result<Submitted, KafkaError> {
    let name = c_string(group)?;
    let mut asked = Owned::new(sys::rd_kafka_ListConsumerGroupOffsets_destroy);
    // SAFETY: the name is live and copied; null asks for all partitions.
    asked.raw.push(unsafe { sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), std::ptr::null()) });
    let operation = Operation::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
    let call = Call::new(client, operation, format!("offsets of group `{group}`"))?;
    Ok(call.within(GROUP_LIMIT)?.submit(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies what is asked.
        unsafe { sys::rd_kafka_ListConsumerGroupOffsets(rk, asked.raw.as_mut_ptr(), asked.raw.len(), options, queue) }
    }))
}

fn submit_commit(client: &Arc<Client>, commit: &GroupCommit) -> Result<Submitted, KafkaError> {
    let name = c_string(&commit.group)?;
    let list = PartitionList::new(commit.offsets.len());
    for GroupOffset { partition, position, metadata } in &commit.offsets {
        list.add_with_metadata(&c_string(&partition.topic)?, partition.partition, position.0, metadata);
    }
    let mut asked = Owned::new(sys::rd_kafka_AlterConsumerGroupOffsets_destroy);
    // SAFETY: the name and the list are live and copied.
    asked.raw.push(unsafe { sys::rd_kafka_AlterConsumerGroupOffsets_new(name.as_ptr(), list.raw()) });
    let operation = Operation::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS;
    let call = Call::new(client, operation, format!("commit for group `{}`", commit.group))?;
    Ok(call.within(GROUP_LIMIT)?.submit(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies what is asked.
        unsafe { sys::rd_kafka_AlterConsumerGroupOffsets(rk, asked.raw.as_mut_ptr(), asked.raw.len(), options, queue) }
    }))
}

/// Answer about one partition.
struct Answered {
    offset: GroupOffset,
    code: i32,
}

/// Copies the partitions of a group's answer.
///
/// # Safety
/// `groups` and `count` must be what librdkafka returned, and live.
unsafe fn answered(groups: *mut *const sys::rd_kafka_group_result_t, count: usize) -> Vec<Answered> {
    let mut found = Vec::new();
    // SAFETY: as the caller promises; the lists live as long as the groups, and `elems` has `cnt` entries.
    unsafe {
        for &group in lent(groups, count) {
            let list = sys::rd_kafka_group_result_partitions(group);
            let count = if list.is_null() { 0 } else { usize::try_from((*list).cnt).unwrap_or(0) };
            for at in 0..count {
                let entry = (*list).elems.add(at);
                let metadata = bytes((*entry).metadata, (*entry).metadata_size).unwrap_or_default();
                let offset = GroupOffset {
                    partition: Partition::new(lossy((*entry).topic).into_owned(), (*entry).partition),
                    position: Position((*entry).offset),
                    metadata: String::from_utf8_lossy(metadata).into_owned(),
                };
                // Read as a number: a newer broker's code may have no name in the bindings' enum.
                found.push(Answered { offset, code: (&raw const (*entry).err).cast::<i32>().read() });
            }
        }
    }
    found
}

/// Returns the committed offsets in an answer. A partition without one, or with an error of its own, is left out.
fn offsets_of(group: &str, event: &Event) -> Vec<GroupOffset> {
    // SAFETY: the event holds a ListConsumerGroupOffsets answer and outlives the block, which copies what it reads.
    let answered = unsafe {
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event.raw());
        let mut count = 0;
        answered(sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count), count)
    };
    let valid = answered.into_iter().filter(|one| {
        if one.code != 0 {
            tracing::debug!(group, partition = %one.offset.partition, code = one.code, "a committed offset is not read");
        }
        one.code == 0 && one.offset.position.0 >= 0
    });
    valid.map(|one| one.offset).collect()
}

/// Returns the outcome for each partition of a commit, in its order.
fn outcomes_of(commit: &GroupCommit, event: &Event) -> Vec<Result<(), CommitError>> {
    // SAFETY: the event holds an AlterConsumerGroupOffsets answer and outlives the block, which copies what it reads.
    let answered = unsafe {
        let result = sys::rd_kafka_event_AlterConsumerGroupOffsets_result(event.raw());
        let mut count = 0;
        answered(sys::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count), count)
    };
    let codes: std::collections::HashMap<_, _> =
        answered.into_iter().map(|one| (one.offset.partition, one.code)).collect();
    let doing = || format!("commit for group `{}`", commit.group);
    let outcome = |offset: &GroupOffset| match codes.get(&offset.partition) {
        Some(0) => Ok(()),
        Some(&code) if is_about_members(code) => Err(CommitError::HasMembers),
        Some(&code) => Err(KafkaError::coded(doing(), code, reason_of(code)).into()),
        None => Err(KafkaError::unavailable(doing(), "no answer about a partition").into()),
    };
    commit.offsets.iter().map(outcome).collect()
}

/// Returns whether a broker refuses a commit with this code because the group has members.
fn is_about_members(code: i32) -> bool {
    matches!(
        known(code),
        Some(
            Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID
                | Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS
                | Code::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION
                | Code::RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH
                | Code::RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH
        )
    )
}
