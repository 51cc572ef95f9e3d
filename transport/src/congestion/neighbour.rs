//! Memory of a neighbour: another flow on the path that fills its queue until it overflows.

use std::time::{Duration, Instant};

use super::queue_owner_test::QueueOwnerTest;

/// Time for which a neighbour that stopped is expected to return.
const WARNED_FOR: Duration = Duration::from_secs(90);

/// Knowledge of a neighbour.
#[derive(Debug, Default)]
pub(super) struct Neighbour {
    /// Moment at which one was last seen.
    seen: Option<Instant>,
    /// Window in bytes that we had when competition with it last ended.
    pub(super) window: f64,
    /// Test in progress: is the queue ours?
    pub(super) test: Option<QueueOwnerTest>,
}

impl Neighbour {
    pub(super) fn saw(&mut self, now: Instant) {
        self.seen = Some(now);
    }

    /// Returns whether a neighbour was seen recently.
    pub(super) fn is_expected(&self, now: Instant) -> bool {
        self.seen.is_some_and(|at| now.saturating_duration_since(at) < WARNED_FOR)
    }
}
