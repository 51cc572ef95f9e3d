//! Kafka client: a thin shim over librdkafka, and the only crate of the project with unsafe code.
//!
//! - [`catalog`]: topics, partitions and log bounds of a cluster
//! - [`properties`]: librdkafka properties that a link sets, and those that a config file must not set
//! - [`KafkaError`]: an error with its fault
//! - [`consumer`]: committed records, through a private queue for each lane
//! - [`producer`]: a transactional producer for each lane, with payloads that are not copied
//! - [`admin`]: admin calls behind [`catalog::Catalog`]
//! - [`log`]: reader of one partition from its start to its end, for state
//! - [`leave()`]: the end of a process that has Kafka clients

pub mod admin;
pub mod catalog;
pub mod consumer;
pub mod log;
pub mod producer;
pub mod properties;

mod client;
mod client_log;
mod error;
mod error_callback;
mod leave;
mod metadata;
mod partitions;
mod text;

pub use error::{KafkaError, KafkaFault, Refusal};
pub use leave::leave;
pub use properties::Properties;
