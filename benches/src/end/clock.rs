//! One clock for all processes of a run: the machine's monotonic one, in seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Seconds since the machine started, the same in every process of it.
pub(crate) fn monotonic() -> f64 {
    // It exists on every Linux, and this crate runs nowhere else.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0.0, |time| Duration::from(time).as_secs_f64())
}

/// Milliseconds since the Unix epoch, as a record's timestamp says it.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
