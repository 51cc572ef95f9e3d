//! Kafka client: a thin shim over librdkafka, and the only crate of the project with unsafe code.

pub mod admin;
pub mod catalog;
pub mod consumer;
pub mod groups;
pub mod log;
pub mod producer;
pub mod properties;
pub mod topic_settings;

mod bootstrap;
mod client;
mod client_log;
mod error;
mod error_callback;
mod leave;
mod live_properties;
mod metadata;
mod partitions;
mod text;
mod throttle;

pub use error::{KafkaError, KafkaFault, Refusal};
pub use leave::leave;
pub use live_properties::{Follower, LiveProperties};
pub use properties::Properties;
