//! The Kafka client: a thin shim over librdkafka, and the only crate of the project with unsafe code.
//!
//! - [`catalog`]: topics, partitions and log bounds of a cluster
//! - [`properties`]: which librdkafka properties we set, and which a config may not
//! - [`error`]: one error type that says whose fault it is
//! - [`consumer`]: batches of committed records through one private queue per lane
//! - [`producer`]: one transactional producer per lane, no-copy payloads, headers, timestamps
//! - [`admin`]: the admin calls behind [`catalog::Catalog`]
//! - [`log`]: reads one partition from its start to its end, for state
//! - [`leave()`]: how a process with Kafka clients ends

pub mod admin;
pub mod catalog;
pub mod consumer;
pub mod error;
pub mod log;
pub mod producer;
pub mod properties;

mod asides;
mod client;
mod leave;
mod metadata;
mod partitions;

pub use error::{KafkaError, KafkaFault, Refusal};
pub use leave::leave;
pub use properties::Properties;
