//! Descriptions of topics and their configurations.

use std::ffi::CString;
use std::sync::Arc;

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Operation;
use sys::rd_kafka_resp_err_t as Code;
use wire::ids::TopicId;

use super::call::{Call, Owned, lent};
use crate::catalog::{ConfigEntry, TopicDescription};
use crate::client::{Client, coded, reason_of};
use crate::error::{KafkaError, known};
use crate::text::{c_string, lossy};

pub(super) fn topics(client: &Arc<Client>, names: &[String]) -> Result<Vec<TopicDescription>, KafkaError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<CString> = names.iter().map(|name| c_string(name)).collect::<Result<_, _>>()?;
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let mut asked = Owned::new(sys::rd_kafka_TopicCollection_destroy);
    // SAFETY: the names are live and copied.
    asked.raw.push(unsafe { sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) });
    let call = Call::new(client, Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, "description of topics".to_owned())?;
    let event = call.answer(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies the collection.
        unsafe { sys::rd_kafka_DescribeTopics(rk, asked.raw[0], options, queue) }
    })?;
    let mut found = Vec::with_capacity(names.len());
    // SAFETY: the event holds a DescribeTopics answer and outlives this block, which copies what it reads.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.raw());
        let mut count = 0;
        let descriptions = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        for &description in lent(descriptions, count) {
            let name = lossy(sys::rd_kafka_TopicDescription_name(description)).into_owned();
            let error = sys::rd_kafka_TopicDescription_error(description);
            // `error` is null on success, and then its code is 0.
            let code = coded::rd_kafka_error_code(error);
            match known(code) {
                Some(Code::RD_KAFKA_RESP_ERR_NO_ERROR) => {}
                Some(Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => continue,
                _ => {
                    return Err(KafkaError::coded(format!("description of `{name}`"), code, reason_of(code)));
                }
            }
            let mut count = 0;
            let partitions = sys::rd_kafka_TopicDescription_partitions(description, &raw mut count);
            let replicas = lent(partitions, count).iter().map(|&partition| {
                let mut replicas = 0;
                sys::rd_kafka_TopicPartitionInfo_replicas(partition, &raw mut replicas);
                replicas
            });
            let replicas = i32::try_from(replicas.min().unwrap_or(0)).unwrap_or(i32::MAX);
            let id = topic_id(sys::rd_kafka_TopicDescription_topic_id(description));
            let partitions = i32::try_from(count).unwrap_or(i32::MAX);
            found.push(TopicDescription { name, id, partitions, replicas });
        }
    }
    Ok(found)
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

pub(super) fn configs(client: &Arc<Client>, name: &str) -> Result<Vec<ConfigEntry>, KafkaError> {
    let doing = format!("configuration of `{name}`");
    let c_name = c_string(name)?;
    let mut asked = Owned::new(sys::rd_kafka_ConfigResource_destroy);
    // SAFETY: the name is live and copied.
    asked.raw.push(unsafe {
        sys::rd_kafka_ConfigResource_new(sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, c_name.as_ptr())
    });
    let call = Call::new(client, Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, doing.clone())?;
    let event = call.answer(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies the resources.
        unsafe { sys::rd_kafka_DescribeConfigs(rk, asked.raw.as_mut_ptr(), asked.raw.len(), options, queue) }
    })?;
    let mut found = Vec::new();
    // SAFETY: the event holds a DescribeConfigs answer and outlives this block, which copies what it reads.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConfigs_result(event.raw());
        let mut count = 0;
        let resources = sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
        for &resource in lent(resources.cast::<*const sys::rd_kafka_ConfigResource_t>(), count) {
            let code = coded::rd_kafka_ConfigResource_error(resource);
            if code != 0 {
                let reason = lossy(sys::rd_kafka_ConfigResource_error_string(resource));
                return Err(KafkaError::coded(doing, code, reason));
            }
            let mut count = 0;
            let entries = sys::rd_kafka_ConfigResource_configs(resource, &raw mut count);
            found.extend(
                lent(entries.cast::<*const sys::rd_kafka_ConfigEntry_t>(), count).iter().map(|&entry| entry_of(entry)),
            );
        }
    }
    Ok(found)
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
            set_on_topic: coded::rd_kafka_ConfigEntry_source(entry)
                == sys::rd_kafka_ConfigSource_t::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG as i32,
        }
    }
}
