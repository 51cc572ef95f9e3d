//! A clock that all processes of a run share: the machine's monotonic clock, in seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

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
