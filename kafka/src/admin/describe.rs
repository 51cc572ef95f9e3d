//! Descriptions of topics and their configurations.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Operation;
use wire::ids::TopicId;

use super::call::{Call, LIMIT, Owned, lent};
use crate::catalog::{Answers, ConfigEntry, TopicDescription};
use crate::client::{Client, coded, reason_of};
use crate::error::KafkaError;
use crate::metadata;
use crate::text::{c_string, lossy};

/// Time that the controller may take to answer, before the client looks for the present one.
const CONTROLLER_LIMIT: Duration = Duration::from_secs(10);

/// A topic, and each of its partitions by number.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) topic: TopicDescription,
    pub(super) partitions: BTreeMap<i32, DescribedPartition>,
    /// False if the cluster states this user's rights, and the one to write is not among them.
    pub(super) may_write: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct DescribedPartition {
    /// Broker that leads it now.
    pub(super) leader: Option<i32>,
    pub(super) replicas: usize,
    pub(super) in_sync: usize,
}

impl Described {
    /// Returns whether a partition of the topic has no leader now.
    pub(super) fn lacks_leader(&self, partition: i32) -> bool {
        self.partitions.get(&partition).is_some_and(|described| described.leader.is_none())
    }
}

/// Describes topics by what a broker knows now. The answer also renews what the client knows of their leaders.
pub(super) fn topics(client: &Arc<Client>, names: &[String]) -> Answers<Described> {
    ask_again(client, names, CONTROLLER_LIMIT, |call, limit| call.within(limit))
}

/// Describes topics likewise, with this user's rights. Each of up to three requests may take as long as `limit`.
pub(super) fn topics_with_rights(client: &Arc<Client>, names: &[String], limit: Duration) -> Answers<Described> {
    ask_again(client, names, limit, |call, limit| call.within(limit)?.with_rights())
}

/// Sets the options of a call that may take as long as the limit.
type Prepare = for<'c> fn(Call<'c>, Duration) -> Result<Call<'c>, KafkaError>;

fn ask_again(client: &Arc<Client>, names: &[String], limit: Duration, prepare: Prepare) -> Answers<Described> {
    match ask(client, names, limit, prepare) {
        // The client sends the request to the controller that it knows, which may be gone.
        Err(error) if error.is_unanswered() => {
            metadata::of_brokers(client, limit)?;
            ask(client, names, limit, prepare)
        }
        answers => answers,
    }
}

fn ask(client: &Arc<Client>, names: &[String], limit: Duration, prepare: Prepare) -> Answers<Described> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let c_names: Vec<CString> = names.iter().map(|name| c_string(name)).collect::<Result<_, _>>()?;
    let mut pointers: Vec<_> = c_names.iter().map(|name| name.as_ptr()).collect();
    let mut asked = Owned::new(sys::rd_kafka_TopicCollection_destroy);
    // SAFETY: the names are live and copied.
    asked.raw.push(unsafe { sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) });
    let call = Call::new(client, Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, "description of topics".to_owned())?;
    let event = prepare(call, limit)?.answer(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies the collection.
        unsafe { sys::rd_kafka_DescribeTopics(rk, asked.raw[0], options, queue) }
    })?;
    let mut found = HashMap::with_capacity(names.len());
    // SAFETY: the event holds a DescribeTopics answer and outlives this block, which copies what it reads.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.raw());
        let mut count = 0;
        let descriptions = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        for &description in lent(descriptions, count) {
            let name = lossy(sys::rd_kafka_TopicDescription_name(description)).into_owned();
            // The error is null on success, and then its code is 0.
            let code = coded::rd_kafka_error_code(sys::rd_kafka_TopicDescription_error(description));
            let described = match code {
                0 => Ok(described(name.clone(), description)),
                code => Err(KafkaError::coded(format!("description of `{name}`"), code, reason_of(code))),
            };
            found.insert(name, described);
        }
    }
    let missing = |name: &String| Err(KafkaError::unknown_topic(format!("description of `{name}`")));
    Ok(names.iter().map(|name| found.get(name).cloned().unwrap_or_else(|| missing(name))).collect())
}

/// Copies the description of a topic that exists.
///
/// # Safety
/// `description` must be live.
unsafe fn described(name: String, description: *const sys::rd_kafka_TopicDescription_t) -> Described {
    let mut partitions = BTreeMap::new();
    // SAFETY: as the caller promises; the parts live as long as the description.
    unsafe {
        let mut count = 0;
        for &partition in lent(sys::rd_kafka_TopicDescription_partitions(description, &raw mut count), count) {
            let mut replicas = 0;
            sys::rd_kafka_TopicPartitionInfo_replicas(partition, &raw mut replicas);
            let mut in_sync = 0;
            sys::rd_kafka_TopicPartitionInfo_isr(partition, &raw mut in_sync);
            let leader = sys::rd_kafka_TopicPartitionInfo_leader(partition);
            let leader = if leader.is_null() { None } else { Some(sys::rd_kafka_Node_id(leader)) };
            let number = sys::rd_kafka_TopicPartitionInfo_partition(partition);
            partitions.insert(number, DescribedPartition { leader, replicas, in_sync });
        }
        let fewest = partitions.values().map(|partition| partition.replicas).min();
        let replicas = i32::try_from(fewest.unwrap_or(0)).unwrap_or(i32::MAX);
        let id = topic_id(sys::rd_kafka_TopicDescription_topic_id(description));
        let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        let may_write = may_write(description);
        Described { topic: TopicDescription { name, id, partitions: count, replicas }, partitions, may_write }
    }
}

/// Returns whether this user may write the topic, as far as the cluster states its rights.
///
/// # Safety
/// `description` must be live.
unsafe fn may_write(description: *const sys::rd_kafka_TopicDescription_t) -> bool {
    let mut count = 0;
    // SAFETY: as the caller promises; the array is null if no rights are stated, and lives as long as the description.
    let rights: &[u32] = unsafe {
        let first = sys::rd_kafka_TopicDescription_authorized_operations(description, &raw mut count);
        if first.is_null() {
            return true;
        }
        // Read as numbers: one of a newer version may have no name in the bindings' enum.
        std::slice::from_raw_parts(first.cast(), count)
    };
    rights.contains(&(sys::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE as u32))
}

/// The id of a topic; unknown for null.
///
/// # Safety
/// `id` must be null or live.
unsafe fn topic_id(id: *const sys::rd_kafka_Uuid_t) -> TopicId {
    if id.is_null() {
        return TopicId::UNKNOWN;
    }
    // SAFETY: as the caller promises.
    let most = unsafe { sys::rd_kafka_Uuid_most_significant_bits(id) };
    // SAFETY: as the caller promises.
    let least = unsafe { sys::rd_kafka_Uuid_least_significant_bits(id) };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&most.to_be_bytes());
    bytes[8..].copy_from_slice(&least.to_be_bytes());
    TopicId(bytes)
}

/// Reads the configuration of topics: the entries called `settings`, or all if there are none.
pub(super) fn configs(client: &Arc<Client>, names: &[String], settings: &[&str]) -> Answers<Vec<ConfigEntry>> {
    configs_within(client, names, settings, LIMIT)
}

/// Reads the configuration of topics likewise, within `limit`.
pub(super) fn configs_within(
    client: &Arc<Client>,
    names: &[String],
    settings: &[&str],
    limit: Duration,
) -> Answers<Vec<ConfigEntry>> {
    let settings: Vec<CString> = settings.iter().map(|name| c_string(name)).collect::<Result<_, _>>()?;
    let mut asked = Owned::new(sys::rd_kafka_ConfigResource_destroy);
    for name in names {
        let c_name = c_string(name)?;
        let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: the name is live and copied.
        let resource = unsafe { sys::rd_kafka_ConfigResource_new(kind, c_name.as_ptr()) };
        asked.raw.push(resource);
        for setting in &settings {
            // SAFETY: the resource is live, and both strings are copied. It fails only without a name. Only the names are
            // sent.
            unsafe { sys::rd_kafka_ConfigResource_set_config(resource, setting.as_ptr(), c"".as_ptr()) };
        }
    }
    let doing = format!("configuration of {} topics", names.len());
    let call = Call::new(client, Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, doing)?;
    let event = call.within(limit)?.answer(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies the resources.
        unsafe { sys::rd_kafka_DescribeConfigs(rk, asked.raw.as_mut_ptr(), asked.raw.len(), options, queue) }
    })?;
    let mut found = HashMap::with_capacity(names.len());
    // SAFETY: the event holds a DescribeConfigs answer and outlives this block, which copies what it reads.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConfigs_result(event.raw());
        let mut count = 0;
        let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
        for &resource in lent(resources.cast::<*const sys::rd_kafka_ConfigResource_t>(), count) {
            let name = lossy(sys::rd_kafka_ConfigResource_name(resource)).into_owned();
            let answer = match coded::rd_kafka_ConfigResource_error(resource) {
                0 => Ok(entries(resource)),
                code => {
                    let reason = lossy(sys::rd_kafka_ConfigResource_error_string(resource));
                    Err(KafkaError::coded(format!("configuration of `{name}`"), code, reason))
                }
            };
            found.insert(name, answer);
        }
    }
    let missing = |name: &String| Err(KafkaError::unavailable(format!("configuration of `{name}`"), "no answer"));
    Ok(names.iter().map(|name| found.get(name).cloned().unwrap_or_else(|| missing(name))).collect())
}

/// Copies the entries of a topic's configuration.
///
/// # Safety
/// `resource` must be live.
unsafe fn entries(resource: *const sys::rd_kafka_ConfigResource_t) -> Vec<ConfigEntry> {
    // SAFETY: as the caller promises; the entries live as long as the resource.
    unsafe {
        let mut count = 0;
        let entries = sys::rd_kafka_ConfigResource_configs(resource, &raw mut count);
        lent(entries.cast::<*const sys::rd_kafka_ConfigEntry_t>(), count).iter().map(|&entry| entry_of(entry)).collect()
    }
}

/// Copies one entry of a configuration.
///
/// # Safety
/// `entry` must be live.
unsafe fn entry_of(entry: *const sys::rd_kafka_ConfigEntry_t) -> ConfigEntry {
    // SAFETY: as the caller promises; strings are copied. A secret value is null and reads as empty.
    unsafe {
        ConfigEntry {
            name: lossy(sys::rd_kafka_ConfigEntry_name(entry)).into_owned(),
            value: lossy(sys::rd_kafka_ConfigEntry_value(entry)).into_owned(),
            set_on_topic: is_set_on_topic(entry),
            inherited: inherited(entry),
        }
    }
}

/// Returns whether this entry, or value among its synonyms, is set on the topic itself.
///
/// # Safety
/// `entry` must be live.
unsafe fn is_set_on_topic(entry: *const sys::rd_kafka_ConfigEntry_t) -> bool {
    // SAFETY: as the caller promises.
    let source = unsafe { coded::rd_kafka_ConfigEntry_source(entry) };
    source == sys::rd_kafka_ConfigSource_t::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG as i32
}

/// Returns the value that the topic would have without one of its own: the first of the cluster's settings that stand for
/// it.
///
/// # Safety
/// `entry` must be live.
unsafe fn inherited(entry: *const sys::rd_kafka_ConfigEntry_t) -> Option<String> {
    // SAFETY: as the caller promises; the synonyms live as long as the entry, and strings are copied.
    unsafe {
        let mut count = 0;
        let synonyms = sys::rd_kafka_ConfigEntry_synonyms(entry, &raw mut count);
        let found = lent(synonyms, count).iter().copied().find(|&synonym| !is_set_on_topic(synonym))?;
        let name = lossy(sys::rd_kafka_ConfigEntry_name(found));
        Some(in_milliseconds(&name, &lossy(sys::rd_kafka_ConfigEntry_value(found))))
    }
}

/// Returns the value of a broker's setting as a topic has it: in ms where the broker's name states another unit, such as
/// `log.retention.hours` for `retention.ms`.
fn in_milliseconds(name: &str, value: &str) -> String {
    let unit = match name.rsplit('.').next() {
        Some("hours") => 3_600_000,
        Some("minutes") => 60_000,
        _ => return value.to_owned(),
    };
    let number = value.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
    // A negative number means no limit in every unit.
    number.map_or_else(|| value.to_owned(), |ms| if ms < 0 { "-1".to_owned() } else { ms.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_times_are_in_milliseconds() {
        assert_eq!(in_milliseconds("log.retention.hours", "168"), "604800000");
        assert_eq!(in_milliseconds("log.retention.minutes", "-1"), "-1");
        assert_eq!(in_milliseconds("log.retention.ms", "5"), "5");
        assert_eq!(in_milliseconds("log.cleanup.policy", "delete"), "delete");
    }
}
