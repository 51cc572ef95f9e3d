//! Reasons why a sender stops by itself.

use kafka::KafkaError;
use service::tls::TlsError;
use wire::close::Close;

/// Reason why a sender stopped by itself: an operator must act.
#[derive(Debug, thiserror::Error)]
pub enum StopReason {
    /// The Kafka client cannot work with this configuration.
    #[error("source: {0}")]
    Source(#[from] KafkaError),
    /// The certificates cannot be used.
    #[error("tls: {0}")]
    Tls(#[from] TlsError),
    /// The receiver refuses this sender, and would refuse it again.
    #[error("the receiver refuses this sender: {} ({})", .0.detail, .0.code.name())]
    Refused(Close),
    /// The source cluster was rebuilt, or its address leads to another one.
    #[error("{0}")]
    SourceChanged(String),
    /// The target cluster was rebuilt, or the receiver leads to another one.
    #[error("{0}")]
    TargetChanged(String),
    /// The operating system does not give this process what it needs.
    #[error("{0}")]
    Broken(&'static str),
}
