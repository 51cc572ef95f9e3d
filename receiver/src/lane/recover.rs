//! What to do when a transaction's outcome is unknown: ask the target, which is the only truth.
//!
//! A commit that timed out may have happened. So the lane never guesses from the error: it fences its own
//! old producer, which decides the transaction, reads the stored positions, and replays the frames it still
//! holds, leaving out what turned out to be committed. The sender notices late acks and nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use wire::ids::{Epoch, Position};

use super::{Lane, Open};
use crate::target::state::{LaneState, PartitionRecord};
use crate::target::{LaneTarget, TargetError};
use wire::partition::Partition;

/// Why a lane could not go on from what the target stored.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The target still fails; try again later.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Somebody else opened the lane meanwhile: it is theirs.
    #[error("lane was opened at epoch {found}, ours is {ours}")]
    Superseded {
        /// The epoch we opened.
        ours: Epoch,
        /// The epoch that is stored.
        found: Epoch,
    },
    /// The stored positions are neither those before nor those after the unknown transaction.
    #[error("stored position of {partition} is {found}, it was {before} before and {after} after the transaction")]
    Diverged {
        /// Source topic and partition.
        partition: String,
        /// What is stored; −1 for nothing.
        found: Position,
        /// What was stored before.
        before: Position,
        /// What the transaction would have stored.
        after: Position,
    },
}

impl<T: LaneTarget> Lane<T> {
    /// Makes the lane ready for [`Lane::step`] again after an unknown outcome.
    ///
    /// # Errors
    /// After [`RecoverError::Target`] call it again, later; after any other the lane must be closed.
    pub fn recover(&mut self) -> Result<(), RecoverError> {
        let result = self.try_recover();
        if matches!(result, Err(RecoverError::Target(_))) {
            self.target.discard();
        }
        result
    }

    fn try_recover(&mut self) -> Result<(), RecoverError> {
        if self.open.as_ref().is_none_or(|open| open.unknown.is_none()) {
            return Ok(());
        }
        self.read_owned()?;
        self.target.fence()?;
        let state = self.read_owned()?;
        self.counts.recoveries += 1;
        self.open.as_mut().map_or(Ok(()), |open| open.replay_from(state))
    }

    /// Reads the state and makes sure that the lane is still ours. Before the fence, so that a lane taken
    /// over is not taken back; and after it, because the other may have come in between.
    fn read_owned(&mut self) -> Result<LaneState, RecoverError> {
        let Some(open) = self.open.as_ref() else { return Ok(LaneState::default()) };
        let entries = self.target.read_state()?;
        let state = LaneState::fold(self.id, &open.terms.source_cluster, &entries)?;
        state.ensure_no_older_than(self.id, open.epoch)?;
        if state.epoch() > open.epoch {
            return Err(RecoverError::Superseded { ours: open.epoch, found: state.epoch() });
        }
        Ok(state)
    }
}

impl Open {
    fn replay_from(&mut self, state: LaneState) -> Result<(), RecoverError> {
        let unknown = self.unknown.take().unwrap_or_default();
        self.check(&unknown, &state.partitions)?;
        let known = std::mem::replace(&mut self.partitions, state.partitions);
        for (key, record) in &mut self.partitions {
            // What was appended since the stored end was learned from delivery reports: keep the newer.
            let known = known.get(key).map_or(Position(0), |known| known.target_end);
            record.target_end = record.target_end.max(known);
        }
        self.moves.moved = state.moved;
        if let Some(lane) = state.lane {
            self.record = lane;
        }
        self.jumps = Arc::new(state.jumps);
        self.current = None;
        self.inbox.rewind();
        for slot in self.slots.values_mut() {
            slot.from = slot.from_committed;
        }
        Ok(())
    }

    /// The transaction happened as a whole or not at all; anything else is not ours to explain.
    fn check(
        &self,
        unknown: &HashMap<Partition, Position>,
        stored: &HashMap<Partition, PartitionRecord>,
    ) -> Result<(), RecoverError> {
        let nothing = Position(-1);
        let before = |key| self.partitions.get(key).map_or(nothing, |record| record.position);
        let found = |key| stored.get(key).map_or(nothing, |record| record.position);
        let happened = unknown.iter().any(|(key, &after)| after != before(key) && found(key) == after);
        for key in self.partitions.keys().chain(unknown.keys()) {
            let (before, found) = (before(key), found(key));
            let after = unknown.get(key).copied().unwrap_or(before);
            if found != if happened { after } else { before } {
                let partition = key.to_string();
                return Err(RecoverError::Diverged { partition, found, before, after });
            }
        }
        Ok(())
    }
}
