//! What an end says of itself, a line of JSON ten times a second.

use serde::{Deserialize, Serialize};

/// What a receiving end has seen, since it started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SinkSample {
    /// When this was said, in seconds of the machine's monotonic clock.
    pub(crate) at: f64,
    /// Bytes of record values committed.
    pub(crate) bytes: u64,
    /// When the last of them were committed, on the same clock.
    pub(crate) committed_at: f64,
    /// Records committed.
    pub(crate) records: u64,
    /// Of these, those that were not due or not what they should be.
    pub(crate) wrong: u64,
    /// Of records that say when they were made.
    pub(crate) latency: Option<Latency>,
}

/// From when a record was made to when it was committed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// How many were measured.
    pub(crate) records: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// What a sending end knows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SenderSample {
    /// When this was said, in seconds of the machine's monotonic clock.
    pub(crate) at: f64,
    /// Sessions since it started.
    pub(crate) sessions: u64,
    /// Why the last one ended.
    pub(crate) last_end: Option<String>,
    /// The round trip as QUIC measures it, in ms.
    pub(crate) rtt_ms: Option<f64>,
    /// The whole status, as `causeway status --json` shows it.
    pub(crate) status: serde_json::Value,
}
