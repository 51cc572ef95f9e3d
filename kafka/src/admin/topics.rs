//! Creation of topics, and addition of partitions.

use std::collections::HashMap;
use std::ffi::c_char;
use std::sync::Arc;

use rdkafka_sys as sys;
use sys::rd_kafka_admin_op_t as Operation;

use super::call::{Call, Owned, lent};
use crate::catalog::{Answers, NewTopic, only};
use crate::client::{Client, coded};
use crate::error::KafkaError;
use crate::text::{c_string, lossy, text};

/// Error code for a topic that exists.
const EXISTS: i32 = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS as i32;

/// Creates topics; those that exist are left unchanged.
pub(super) fn create(client: &Arc<Client>, topics: &[NewTopic]) -> Answers<()> {
    let created = create_each(client, topics)?;
    Ok(created.into_iter().map(|created| created.map(drop)).collect())
}

/// Creates a topic. False: it exists.
pub(super) fn create_new(client: &Arc<Client>, topic: &NewTopic) -> Result<bool, KafkaError> {
    only(create_each(client, std::slice::from_ref(topic)))
}

/// Creates topics; the answers say which are new.
fn create_each(client: &Arc<Client>, topics: &[NewTopic]) -> Answers<bool> {
    let mut asked = Owned::new(sys::rd_kafka_NewTopic_destroy);
    let mut answers = HashMap::with_capacity(topics.len());
    for topic in topics {
        if let Err(error) = add(&mut asked, topic) {
            answers.insert(topic.name.clone(), Err(error));
        }
    }
    if !asked.raw.is_empty() {
        let doing = format!("creation of {} topics", topics.len());
        let call = Call::new(client, Operation::RD_KAFKA_ADMIN_OP_CREATETOPICS, doing)?;
        let event = call.answer(|rk, options, queue| {
            // SAFETY: all are live; librdkafka copies the topics.
            unsafe { sys::rd_kafka_CreateTopics(rk, asked.raw.as_mut_ptr(), asked.raw.len(), options, queue) }
        })?;
        // SAFETY: the event holds a CreateTopics answer and outlives the block.
        unsafe {
            let result = sys::rd_kafka_event_CreateTopics_result(event.raw());
            let mut count = 0;
            let results = sys::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
            answers.extend(lent(results, count).iter().map(|&result| {
                let exists = coded::rd_kafka_topic_result_error(result) == EXISTS;
                let (name, created) = answer(result, "creation");
                (name, if exists { Ok(false) } else { created.map(|()| true) })
            }));
        }
    }
    let missing = |topic: &NewTopic| Err(KafkaError::unavailable(format!("creation of `{}`", topic.name), "no answer"));
    Ok(topics.iter().map(|topic| answers.remove(&topic.name).unwrap_or_else(|| missing(topic))).collect())
}

/// Deletes topics.
pub(super) fn delete(client: &Arc<Client>, names: &[String]) -> Answers<()> {
    let mut asked = Owned::new(sys::rd_kafka_DeleteTopic_destroy);
    for name in names {
        let name = c_string(name)?;
        // SAFETY: the name is live and copied.
        asked.raw.push(unsafe { sys::rd_kafka_DeleteTopic_new(name.as_ptr()) });
    }
    let doing = format!("deletion of {} topics", names.len());
    let call = Call::new(client, Operation::RD_KAFKA_ADMIN_OP_DELETETOPICS, doing)?;
    let event = call.answer(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies the names.
        unsafe { sys::rd_kafka_DeleteTopics(rk, asked.raw.as_mut_ptr(), asked.raw.len(), options, queue) }
    })?;
    // SAFETY: the event holds a DeleteTopics answer and outlives the block.
    let mut answers: HashMap<_, _> = unsafe {
        let result = sys::rd_kafka_event_DeleteTopics_result(event.raw());
        let mut count = 0;
        let results = sys::rd_kafka_DeleteTopics_result_topics(result, &raw mut count);
        lent(results, count).iter().map(|&result| answer(result, "deletion")).collect()
    };
    let missing = |name: &String| Err(KafkaError::unavailable(format!("deletion of `{name}`"), "no answer"));
    Ok(names.iter().map(|name| answers.remove(name).unwrap_or_else(|| missing(name))).collect())
}

/// Adds a topic to those that a request creates.
fn add(asked: &mut Owned<sys::rd_kafka_NewTopic_t>, topic: &NewTopic) -> Result<(), KafkaError> {
    let name = c_string(&topic.name)?;
    let mut reason = [0 as c_char; 512];
    // SAFETY: name and `reason` are live; the name is copied.
    let new = unsafe {
        let replication = topic.replication.unwrap_or(-1);
        sys::rd_kafka_NewTopic_new(name.as_ptr(), topic.partitions, replication, reason.as_mut_ptr(), reason.len())
    };
    if new.is_null() {
        return Err(KafkaError::misused(format!("creation of `{}`", topic.name), text(&reason)));
    }
    asked.raw.push(new);
    for (name, value) in &topic.configs {
        let name = c_string(name)?;
        let value = c_string(value)?;
        // SAFETY: `new` is live; both strings are copied. It fails only without a name.
        unsafe { sys::rd_kafka_NewTopic_set_config(new, name.as_ptr(), value.as_ptr()) };
    }
    Ok(())
}

/// Raises a topic's partition count. The broker refuses a count that is not higher than the present one.
pub(super) fn grow(client: &Arc<Client>, name: &str, partitions: i32) -> Result<(), KafkaError> {
    let doing = format!("growth of `{name}` to {partitions} partitions");
    let c_name = c_string(name)?;
    let wanted = usize::try_from(partitions).unwrap_or(0);
    let mut reason = [0 as c_char; 512];
    // SAFETY: name and `reason` are live; the name is copied.
    let new = unsafe { sys::rd_kafka_NewPartitions_new(c_name.as_ptr(), wanted, reason.as_mut_ptr(), reason.len()) };
    if new.is_null() {
        return Err(KafkaError::misused(doing, text(&reason)));
    }
    let mut asked = Owned::new(sys::rd_kafka_NewPartitions_destroy);
    asked.raw.push(new);
    let call = Call::new(client, Operation::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, doing)?;
    let event = call.answer(|rk, options, queue| {
        // SAFETY: all are live; librdkafka copies the request.
        unsafe { sys::rd_kafka_CreatePartitions(rk, asked.raw.as_mut_ptr(), asked.raw.len(), options, queue) }
    })?;
    // SAFETY: the event holds a CreatePartitions answer and outlives the block.
    unsafe {
        let result = sys::rd_kafka_event_CreatePartitions_result(event.raw());
        let mut count = 0;
        let results = sys::rd_kafka_CreatePartitions_result_topics(result, &raw mut count);
        lent(results, count).iter().try_for_each(|&result| answer(result, "growth").1)
    }
}

/// Returns the name of a result's topic, and whether it succeeded.
///
/// # Safety
/// The result must be live.
unsafe fn answer(result: *const sys::rd_kafka_topic_result_t, doing: &str) -> (String, Result<(), KafkaError>) {
    // SAFETY: as the caller promises; strings are copied.
    unsafe {
        let name = lossy(sys::rd_kafka_topic_result_name(result)).into_owned();
        let code = coded::rd_kafka_topic_result_error(result);
        if code == 0 {
            return (name, Ok(()));
        }
        let reason = lossy(sys::rd_kafka_topic_result_error_string(result));
        let error = KafkaError::coded(format!("{doing} of `{name}`"), code, reason);
        (name, Err(error))
    }
}
