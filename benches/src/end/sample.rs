//! Samples of an end's counters: a line of JSON ten times per second. Their times are those of the machine's monotonic
//! clock, which all processes of a run share.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SinkSample {
    /// Time of the sample, in seconds of the machine's monotonic clock.
    pub(crate) at: f64,
    /// Bytes of record values that were committed.
    pub(crate) bytes: u64,
    /// Time of the last commit, in seconds of the same clock.
    pub(crate) committed_at: f64,
    pub(crate) records: u64,
    /// Committed records that were out of order or had the wrong value.
    pub(crate) wrong: u64,
    /// Latency of the trickle, if there is one.
    pub(crate) latency: Option<Latency>,
}

/// Time from a record's production to its commit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) records: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct SenderSample {
    /// Time of the sample, in seconds of the machine's monotonic clock.
    pub(crate) at: f64,
    pub(crate) sessions: u64,
    pub(crate) last_end: Option<String>,
    /// Round trip as QUIC measures it, in ms.
    pub(crate) rtt_ms: Option<f64>,
    /// Complete status, as `causeway status --json` shows it.
    pub(crate) status: serde_json::Value,
}

/// Returns the seconds since the machine started, the same in all of its processes.
pub(crate) fn monotonic() -> f64 {
    // Every Linux has this clock, and this crate runs only on Linux.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0.0, |time| Duration::from(time).as_secs_f64())
}

/// Returns milliseconds since the Unix epoch, as in a record's timestamp.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
