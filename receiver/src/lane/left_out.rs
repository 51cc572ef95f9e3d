//! Partitions that the target cannot write now: the lane leaves them out, and the others continue without them.
//!
//! A transaction fails as a whole, so that one partition without a leader would stop its lane. After such a failure the
//! lane asks the target which of its open partitions cannot be written, closes their slots, and replays the rest. The
//! sender offers a partition that was left out again, and the session holds the offer until the target can write it.

use wire::halt::HaltReason;

use super::open_lane::OpenLane;
use crate::target::state::{self, HaltRecord};
use crate::target::{LaneTarget, TargetError, TargetPartition, Unwritable};

/// Returns the partitions that an error is known to come from, if it may come from any that cannot be written.
pub(super) fn suspects(error: &TargetError) -> Option<Vec<Unwritable>> {
    match error {
        TargetError::Unwritable(unwritable) => Some(vec![unwritable.clone()]),
        // The target says which of them it is, or the search for it continues.
        TargetError::Unauthorized(_) => Some(Vec::new()),
        error => error.is_unanswered().then(Vec::new),
    }
}

/// Adds to an error which partition cannot be written, if that is the cause: the state partition, or one of `others`,
/// whose transaction cannot be ended.
pub(super) fn explained(
    target: &mut impl LaneTarget,
    state: TargetPartition,
    others: impl IntoIterator<Item = TargetPartition>,
    error: TargetError,
) -> TargetError {
    if !error.is_unanswered() {
        return error;
    }
    let partitions: Vec<_> = [state].into_iter().chain(others).collect();
    // The target may not answer this either.
    let found = target.unwritable(&partitions).unwrap_or_default().into_iter().next();
    let Some(Unwritable { partition, reason }) = found else { return error };
    Unwritable { partition, reason: format!("{reason}; {error}") }.into()
}

impl<T: LaneTarget> OpenLane<'_, T> {
    /// Closes the slots of the partitions that cannot be written, after the lane has recovered from a failure.
    pub(super) fn leave_out(&mut self) {
        let Some(suspects) = self.open.unwritable.take() else { return };
        let slots = self.open.slots.open();
        let partitions: Vec<_> = slots.iter().map(|(_, target)| target.clone()).collect();
        let unwritable = match self.parts.target.unwritable(&partitions) {
            Ok(unwritable) => unwritable,
            Err(error) => {
                tracing::debug!(lane = %self.parts.id, %error, "target does not say which partitions can be written");
                suspects
            }
        };
        for Unwritable { partition, reason } in unwritable {
            let Some((slot, _)) = slots.iter().find(|(_, target)| *target == partition) else { continue };
            let state = self.open.slots.joined(*slot);
            state.closed = true;
            let position = self.open.stored.position(&state.key);
            tracing::warn!(lane = %self.parts.id, %partition, reason, "partition left out; the others continue");
            self.halt(*slot, position, HaltRecord::new(HaltReason::TargetUnavailable, reason));
        }
    }

    /// Returns the state partition, and the targets of the open slots.
    pub(super) fn partitions(&self) -> (TargetPartition, Vec<TargetPartition>) {
        let others = self.open.slots.open().into_iter().map(|(_, target)| target);
        (state::partition(&self.open.stored.terms.link, self.parts.id), others.collect())
    }
}
