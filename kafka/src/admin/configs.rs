//! Changes of the settings that are set on topics.

use std::collections::HashMap;
use std::ptr::null;
use std::sync::Arc;

use rdkafka_sys as sys;
use sys::rd_kafka_AlterConfigOpType_t as Change;
use sys::rd_kafka_admin_op_t as Operation;

use super::call::{Call, Owned, lent};
use crate::catalog::{Answers, TopicChange};
use crate::client::{Client, check, coded};
use crate::error::KafkaError;
use crate::text::{c_string, lossy};

/// Sets and removes settings of topics, and leaves all their others unchanged. All changes of one topic are made, or none.
pub(super) fn alter(client: &Arc<Client>, topics: &[TopicChange]) -> Answers<()> {
    let mut asked = Owned::new(sys::rd_kafka_ConfigResource_destroy);
    for topic in topics {
        add(&mut asked, topic)?;
    }
    let doing = format!("change of the settings of {} topics", topics.len());
    let call = Call::new(client, Operation::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS, doing)?;
    let event = call.answer(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies the resources.
        unsafe { sys::rd_kafka_IncrementalAlterConfigs(rk, asked.raw.as_mut_ptr(), asked.raw.len(), options, queue) }
    })?;
    let mut answers = HashMap::with_capacity(topics.len());
    // SAFETY: the event holds an IncrementalAlterConfigs answer and outlives this block, which copies what it reads.
    unsafe {
        let result = sys::rd_kafka_event_IncrementalAlterConfigs_result(event.raw());
        let mut count = 0;
        let resources = sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
        for &resource in lent(resources, count) {
            let name = lossy(sys::rd_kafka_ConfigResource_name(resource)).into_owned();
            let answer = match coded::rd_kafka_ConfigResource_error(resource) {
                0 => Ok(()),
                code => {
                    let reason = lossy(sys::rd_kafka_ConfigResource_error_string(resource));
                    Err(KafkaError::coded(format!("change of the settings of `{name}`"), code, reason))
                }
            };
            answers.insert(name, answer);
        }
    }
    let missing = |name: &str| Err(KafkaError::unavailable(format!("change of the settings of `{name}`"), "no answer"));
    Ok(topics.iter().map(|one| answers.remove(&one.topic).unwrap_or_else(|| missing(&one.topic))).collect())
}

/// Adds the changes of a topic to a request.
fn add(asked: &mut Owned<sys::rd_kafka_ConfigResource_t>, topic: &TopicChange) -> Result<(), KafkaError> {
    let name = c_string(&topic.topic)?;
    // SAFETY: the name is live and copied.
    let resource = unsafe {
        sys::rd_kafka_ConfigResource_new(sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, name.as_ptr())
    };
    asked.raw.push(resource);
    for (setting, value) in &topic.settings {
        let setting = c_string(setting)?;
        let value = value.as_deref().map(c_string).transpose()?;
        let (change, value) = match &value {
            Some(value) => (Change::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, value.as_ptr()),
            None => (Change::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, null()),
        };
        // SAFETY: the resource is live, both strings are copied, and a value may be null where one is removed; the error is
        // passed on to `check`.
        unsafe {
            check(sys::rd_kafka_ConfigResource_add_incremental_config(resource, setting.as_ptr(), change, value))
        }
        .map_err(|error| error.while_doing(format!("change of the settings of `{}`", topic.topic)))?;
    }
    Ok(())
}
