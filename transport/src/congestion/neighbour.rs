//! Memory of a neighbour: another flow on the path that fills its queue until it overflows.

use std::time::{Duration, Instant};

use super::queue_owner_test::QueueOwnerTest;

/// Time for which a neighbour that stopped is expected to return.
const WARNED_FOR: Duration = Duration::from_secs(90);

#[derive(Debug, Default)]
pub(super) struct Neighbour {
    seen: Option<Instant>,
    /// Window in bytes that we had when competition with it last ended.
    pub(super) window: f64,
    pub(super) test: Option<QueueOwnerTest>,
}

impl Neighbour {
    pub(super) fn saw(&mut self, now: Instant) {
        self.seen = Some(now);
    }

    pub(super) fn is_expected(&self, now: Instant) -> bool {
        self.seen.is_some_and(|at| now.saturating_duration_since(at) < WARNED_FOR)
    }
}
