//! The Kafka client: a thin shim over librdkafka, and the only unsafe code of the project.
//!
//! - [`properties`]: which librdkafka properties we set, and which a config may not
//! - [`error`]: one error type that says whose fault it is
//! - [`consumer`]: batches of committed records through one private queue per lane
//! - [`producer`]: one transactional producer per lane, no-copy payloads, headers, timestamps

#![allow(unsafe_code)]

pub mod consumer;
pub mod error;
pub mod producer;
pub mod properties;

mod client;
mod metadata;

pub use error::{KafkaError, KafkaFault};
pub use properties::Properties;
