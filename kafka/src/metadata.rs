//! Requests for the metadata of topics and partitions.

use std::ffi::c_int;
use std::ptr;
use std::time::Duration;

use rdkafka_sys as sys;

use super::client::{Client, Topic, coded, millis, reason_of};
use super::error::KafkaError;
use super::text::lossy;
use crate::catalog::TopicSummary;

pub(super) fn of_topic(client: &Client, topic: &Topic, timeout: Duration) -> Result<(), KafkaError> {
    Metadata::ask(client, Wanted::Topic(topic), timeout).map(drop)
}

/// Renews what the client knows of the brokers, and which of them is the controller.
pub(super) fn of_brokers(client: &Client, timeout: Duration) -> Result<(), KafkaError> {
    Metadata::ask(client, Wanted::Brokers, timeout).map(drop)
}

/// Returns every topic of the cluster, in order of names.
pub(super) fn of_cluster(client: &Client, timeout: Duration) -> Result<Vec<TopicSummary>, KafkaError> {
    let metadata = Metadata::ask(client, Wanted::AllTopics, timeout)?;
    // SAFETY: librdkafka states the number of topics; names live as long as the metadata.
    unsafe {
        let count = usize::try_from((*metadata.0).topic_cnt).unwrap_or(0);
        let topic = |index| (*metadata.0).topics.add(index);
        let summary = |index| TopicSummary {
            name: lossy((*topic(index)).topic).into_owned(),
            partitions: (*topic(index)).partition_cnt,
        };
        let mut topics: Vec<_> = (0..count).map(summary).collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }
}

enum Wanted<'t> {
    AllTopics,
    Topic(&'t Topic),
    /// No topic, except those that the client has a handle of.
    Brokers,
}

struct Metadata(*const sys::rd_kafka_metadata);

impl Metadata {
    fn ask(client: &Client, wanted: Wanted<'_>, timeout: Duration) -> Result<Self, KafkaError> {
        let mut metadata = ptr::null();
        let all = c_int::from(matches!(wanted, Wanted::AllTopics));
        let only_raw = if let Wanted::Topic(topic) = wanted { topic.raw() } else { ptr::null_mut() };
        // SAFETY: the instance is live, and so is the topic's handle if there is one. Both are lent for the call. The
        // result is ours, and only on success there is one.
        let code = unsafe { coded::rd_kafka_metadata(client.raw(), all, only_raw, &raw mut metadata, millis(timeout)) };
        if code != 0 {
            let error = KafkaError::coded("metadata", code, reason_of(code));
            client.handle_failed(&error);
            return Err(error);
        }
        Ok(Self(metadata))
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        // SAFETY: we own it.
        unsafe { sys::rd_kafka_metadata_destroy(self.0) }
    }
}
