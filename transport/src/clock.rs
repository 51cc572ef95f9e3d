//! The clock that latencies are measured with: nanoseconds since the Unix epoch that never go back, nor jump when
//! somebody sets the machine's clock. Two machines differ; `sender::latency` finds by how much.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A clock, handed to whoever measures, so that tests bring one of their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Clock {
    /// A clock that shows what `read` says: nanoseconds since the Unix epoch, ascending.
    pub fn new(read: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time, in nanoseconds since the Unix epoch.
    pub fn now(&self) -> u64 {
        (self.0)()
    }
}

impl Default for Clock {
    /// This machine's as it is now, and from here on as fast as the system says that time passes.
    fn default() -> Self {
        let (began, origin) = (crate::control::clock(), Instant::now());
        Self::new(move || began.saturating_add(u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
