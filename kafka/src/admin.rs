//! Admin calls behind [`Catalog`]: each has its own queue, blocks, and is bounded in size and time.

mod call;
mod describe;
mod offsets;
mod topics;

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka_sys as sys;
use wire::ids::Position;
use wire::partition::Partition;

use super::client::{Client, Kind, millis};
use super::error::KafkaError;
use super::metadata;
use super::properties::Properties;
use super::text::lossy;
use crate::catalog::{Bounds, Catalog, ConfigEntry, Isolation, NewTopic, TopicDescription, TopicSummary};
use call::LIMIT;

/// Most topics in one request.
const TOPICS: usize = 500;
/// Most partitions in one request; each broker gets only its own share of it.
const PARTITIONS: usize = 5_000;

/// Catalog of one cluster. Every call asks the brokers again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KafkaCatalog(Arc<Client>);

impl KafkaCatalog {
    /// Starts a client for admin calls, which connects at the first call.
    pub fn start(properties: &Properties, link: &str) -> Result<Self, KafkaError> {
        // Metadata comes from another broker after this time without an answer.
        let settings = properties.settings(link, &[("socket.timeout.ms", "10000".to_owned())], &[]);
        // Without events, because nothing takes them from the main queue: librdkafka logs errors instead.
        Client::start(Kind::Producer, &settings, 0).map(Self)
    }

    pub(super) fn over(client: &Arc<Client>) -> Self {
        Self(client.clone())
    }
}

impl Catalog for KafkaCatalog {
    fn cluster_id(&self) -> Result<String, KafkaError> {
        // SAFETY: the instance is live; we own the string, and copy it before it is freed.
        unsafe {
            let id = sys::rd_kafka_clusterid(self.0.raw(), millis(LIMIT));
            if id.is_null() {
                return Err(KafkaError::timed_out("cluster id", LIMIT));
            }
            let copy = lossy(id).into_owned();
            sys::rd_kafka_mem_free(self.0.raw(), id.cast());
            Ok(copy)
        }
    }

    fn topics(&self) -> Result<Vec<TopicSummary>, KafkaError> {
        metadata::of_cluster(&self.0, LIMIT)
    }

    fn describe(&self, names: &[String]) -> Result<Vec<TopicDescription>, KafkaError> {
        let mut found = Vec::with_capacity(names.len());
        for names in names.chunks(TOPICS) {
            found.extend(describe::topics(&self.0, names)?);
        }
        Ok(found)
    }

    fn configs(&self, name: &str) -> Result<Vec<ConfigEntry>, KafkaError> {
        describe::configs(&self.0, name)
    }

    fn bounds(&self, partitions: &[Partition], isolation: Isolation) -> Result<Vec<Bounds>, KafkaError> {
        let ask = |spec| self.offsets(partitions, spec, isolation);
        // The end is read last: a start read after it could be higher.
        let starts = ask(offsets::EARLIEST)?;
        let ends = ask(offsets::LATEST)?;
        let bounds = starts.into_iter().zip(ends);
        Ok(bounds.map(|(start, end)| Bounds { start: Position(start), end: Position(end.max(start)) }).collect())
    }

    fn ends(&self, partitions: &[Partition], isolation: Isolation) -> Result<Vec<Position>, KafkaError> {
        Ok(self.offsets(partitions, offsets::LATEST, isolation)?.into_iter().map(Position).collect())
    }

    fn positions_at(&self, partitions: &[Partition], timestamp_ms: i64) -> Result<Vec<Position>, KafkaError> {
        // librdkafka would read negative times as the start or end of the log.
        let mut found = self.offsets(partitions, timestamp_ms.max(0), Isolation::Committed)?;
        let missing: Vec<usize> = (0..found.len()).filter(|&index| found[index] < 0).collect();
        let without: Vec<Partition> = missing.iter().map(|&index| partitions[index].clone()).collect();
        // The end of committed records: a transaction that is open now may add records of that time.
        let ends = self.offsets(&without, offsets::LATEST, Isolation::Committed)?;
        for (index, end) in missing.into_iter().zip(ends) {
            found[index] = end;
        }
        Ok(found.into_iter().map(Position).collect())
    }

    fn create(&self, topics: &[NewTopic]) -> Result<(), KafkaError> {
        topics.chunks(TOPICS).try_for_each(|topics| topics::create(&self.0, topics))
    }

    fn grow(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        let Err(refused) = topics::grow(&self.0, name, partitions) else { return Ok(()) };
        let has = self.describe(&[name.to_owned()])?.first().map_or(0, |topic| topic.partitions);
        if has >= partitions { Ok(()) } else { Err(refused) }
    }
}

impl KafkaCatalog {
    /// Returns one offset per partition, in the order of the request; −1 if no record is that new.
    fn offsets(&self, partitions: &[Partition], spec: i64, isolation: Isolation) -> Result<Vec<i64>, KafkaError> {
        let mut found = Vec::with_capacity(partitions.len());
        for partitions in partitions.chunks(PARTITIONS) {
            let answers: HashMap<_, _> = offsets::list(&self.0, partitions, spec, isolation)?;
            for partition in partitions {
                let unanswered = || {
                    let reason = format!("the answer lacks {}-{}", partition.topic, partition.partition);
                    KafkaError::misused("list of offsets", reason)
                };
                found.push(answers.get(partition).copied().ok_or_else(unanswered)?);
            }
        }
        Ok(found)
    }
}
