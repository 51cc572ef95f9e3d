//! What a Kafka cluster or the client answered instead of success.

use std::time::Duration;

/// A Kafka call that did not succeed, with what was being done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{doing}: {reason}")]
pub struct KafkaError {
    /// What was attempted, such as `commit of lane 3`.
    pub doing: String,
    /// librdkafka's or the broker's words.
    pub reason: String,
    /// Whose fault it is, and so what to do.
    pub fault: KafkaFault,
}

/// Whose fault a [`KafkaError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaFault {
    /// Broker or network: may pass by itself.
    Unavailable,
    /// Nothing answered within this time.
    TimedOut(Duration),
    /// Another producer with our transactional id took over.
    Fenced,
    /// Authentication or authorisation: a human must act.
    Unauthorized,
    /// The record itself is refused (too large, timestamp, policy).
    RecordRejected,
    /// The topic or partition does not exist.
    UnknownTopic,
    /// Our configuration or use is wrong: a human must act.
    Misused,
}
