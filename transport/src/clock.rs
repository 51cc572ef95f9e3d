//! Clocks: the system's, and the one for latencies, which neither goes back nor jumps when the system's clock is set.
//! The clocks of two machines differ; the sender's latency report measures by how much.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Returns the system's time in nanoseconds since the Unix epoch, as in [`wire::control::Control::Clock`].
pub fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Returns the system's time in milliseconds since the Unix epoch.
pub fn unix_millis() -> i64 {
    i64::try_from(unix_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// Clock for latencies. Tests replace it by one of their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// Makes a clock from a function that returns ascending nanoseconds since the Unix epoch.
    pub fn new(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Returns the time in nanoseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        (self.0)()
    }
}

impl Default for Clock {
    /// Makes a clock that starts at the system's time and continues with its monotonic clock.
    fn default() -> Self {
        let began = unix_nanos();
        let origin = Instant::now();
        Self::new(move || began.saturating_add(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
