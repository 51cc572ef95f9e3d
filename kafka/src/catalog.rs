//! What a cluster has: topics, partitions, ids, bounds; and the few admin calls a link makes.
//!
//! A capability: the product uses [`crate`]'s implementation; the demo and the simulation bring
//! their own, because their clusters answer no admin calls. All methods block; call them off the async
//! threads.

use wire::ids::{Position, TopicId};
use wire::partition::Partition;

use crate::KafkaError;

/// A topic's name and size, from the cluster's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSummary {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
}

/// What tells one incarnation of a topic from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Kafka's id of this incarnation; [`TopicId::UNKNOWN`] where the cluster states none.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
    /// How many replicas each of them is to have, at the least; 0 where the cluster does not say.
    pub replicas: i32,
}

/// One topic configuration entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name of it.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether it was set on the topic itself, rather than inherited from the broker.
    pub set_on_topic: bool,
}

/// Where a partition's log begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The oldest offset that still exists.
    pub start: Position,
    /// The position after the newest record visible at the asked isolation.
    pub end: Position,
}

/// Which end of a log is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The last stable offset: what `read_committed` readers see.
    Committed,
    /// The high watermark.
    Uncommitted,
}

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// Replication factor; `None` for the cluster's default.
    pub replication: Option<i32>,
    /// Configuration entries to set, name and value.
    pub configs: Vec<(String, String)>,
}

/// What a link asks of a cluster beside reading and writing records.
pub trait Catalog: Send + Sync {
    /// Kafka's id of the cluster.
    fn cluster_id(&self) -> Result<String, KafkaError>;
    /// Every topic of the cluster.
    fn topics(&self) -> Result<Vec<TopicSummary>, KafkaError>;
    /// The named topics that exist; missing ones are left out.
    fn describe(&self, names: &[String]) -> Result<Vec<TopicDescription>, KafkaError>;
    /// The configuration of one topic.
    fn configs(&self, name: &str) -> Result<Vec<ConfigEntry>, KafkaError>;
    /// The bounds of each partition, in the order asked.
    fn bounds(&self, partitions: &[Partition], isolation: Isolation) -> Result<Vec<Bounds>, KafkaError>;
    /// The end of each partition, in the order asked; half the work of [`Catalog::bounds`] where it is asked often.
    fn ends(&self, partitions: &[Partition], isolation: Isolation) -> Result<Vec<Position>, KafkaError> {
        Ok(self.bounds(partitions, isolation)?.into_iter().map(|bounds| bounds.end).collect())
    }
    /// For each partition the position of the first record stamped at or after `timestamp_ms`, or the
    /// log's end where there is none.
    fn positions_at(&self, partitions: &[Partition], timestamp_ms: i64) -> Result<Vec<Position>, KafkaError>;
    /// Creates topics; one that exists already is no error.
    fn create(&self, topics: &[NewTopic]) -> Result<(), KafkaError>;
    /// Raises a topic's partition count; one that has as many already is no error.
    fn grow(&self, name: &str, partitions: i32) -> Result<(), KafkaError>;
}
