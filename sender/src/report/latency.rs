//! Latencies in a status: each stage of a record's way, and the receiver's clock.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use service::metrics::Buckets;

use crate::lane::latency::{Latency, Stage, Summary, Window};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StageStatus {
    /// [Stage](../troubleshoot.md#latency-by-stage): `read`, `pack`, `budget`, `wire`, `order`, `commit` or `whole`.
    pub stage: Stage,
    /// Durations over the last minute.
    pub minute: Summary,
    /// Durations since the process started.
    pub total: Summary,
    /// Histogram since the process started, for metrics.
    #[serde(skip)]
    pub buckets: Buckets,
}

/// Difference between the receiver's clock and this machine's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PeerClockStatus {
    /// Seconds by which the receiver's clock is ahead; negative where it is behind, `null` while unknown.
    pub ahead_seconds: Option<f64>,
    /// Seconds by which that may be wrong, and the stage `wire` with it.
    pub within_seconds: Option<f64>,
}

impl StageStatus {
    pub fn all(latency: &Latency) -> Vec<Self> {
        let now = Instant::now();
        let status = |stage: Stage| {
            let of = |window: &Window| Self {
                stage,
                minute: window.minute(now),
                total: window.total(),
                buckets: window.buckets(),
            };
            latency.stage(stage, of)
        };
        Stage::ALL.iter().copied().map(status).collect()
    }
}

impl PeerClockStatus {
    /// Returns the estimated difference of the clocks.
    pub fn of(latency: &Latency) -> Self {
        let ahead = latency.ahead();
        Self {
            ahead_seconds: ahead.map(|ahead| ahead.nanos as f64 / 1e9),
            within_seconds: ahead.map(|ahead| ahead.within as f64 / 1e9),
        }
    }
}
