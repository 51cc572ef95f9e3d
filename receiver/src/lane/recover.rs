//! Recovery after a transaction whose outcome is unknown: the target's state decides.
//!
//! A commit that timed out may have happened. So the lane never guesses from the error: it fences its own old
//! producer, which ends the transaction, reads the stored positions, and replays the frames that it still has
//! without the records that turn out to be committed. The sender notices late acks and nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use wire::ids::{Epoch, LaneId, Position};
use wire::partition::Partition;

use super::gaps::Gaps;
use super::left_out;
use super::open_lane::{Lane, Open, OpenLane, Parts};
use super::ownership::{Attempt, Secured, custody_entries};
use super::stored::Stored;
use crate::target::custody::CustodyRecord;
use crate::target::state::{self, LaneState, PartitionRecord};
use crate::target::{Extent, LaneTarget, StateEntry, TargetError};

/// Reasons why a lane could not continue from the stored state.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The target still fails; try again later.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Another receiver has opened the lane meanwhile and owns it now.
    #[error("lane was opened at epoch {found}, ours is {ours}")]
    Superseded { ours: Epoch, found: Epoch },
    /// Another receiver takes the lane: it has bid for it, and may not have opened it yet.
    #[error("another receiver takes the lane, which was ours at epoch {ours}, through {writer}")]
    Taken { ours: Epoch, writer: String },
    /// The stored positions are neither those before nor those after the unknown transaction.
    #[error("stored position of {partition} is {found}, it was {before} before and {after} after the transaction")]
    Diverged { partition: Partition, found: Position, before: Position, after: Position },
}

impl<T: LaneTarget> Lane<T> {
    /// Makes the lane ready for [`Lane::prepare`] again after an unknown outcome.
    /// After [`RecoverError::Target`] call it again, later; after any other error the lane must be closed.
    pub fn recover(&mut self) -> Result<(), RecoverError> {
        let Some(mut lane) = self.opened().filter(|lane| lane.open.unknown.is_some()) else { return Ok(()) };
        match lane.recover() {
            Ok(()) => {
                lane.leave_out();
                Ok(())
            }
            Err(RecoverError::Target(error)) => {
                let (state, others) = lane.partitions();
                self.parts.target.discard();
                Err(left_out::explained(&mut self.parts.target, state, others, error).into())
            }
            Err(error) => Err(error),
        }
    }
}

impl<T: LaneTarget> OpenLane<'_, T> {
    fn recover(&mut self) -> Result<(), RecoverError> {
        let Parts { id, target, ownership, counts, gaps, .. } = &mut *self.parts;
        let stored = &self.open.stored;
        let fold = |entries: Vec<StateEntry>| fold_owned(*id, stored, &entries);
        let before = fold(target.read_state(Extent::LastStable)?)?;
        // A lane that was taken over is not taken back.
        if !ownership.holds(&before.custody) {
            return Err(lost(stored, &before.custody.present));
        }
        let suspected = self.open.unwritable.is_some();
        let state = state::partition(&stored.terms.link, *id);
        let mut attempt = Attempt { target, lane: *id, state, suspected, fold };
        let state = match ownership.secure(&mut attempt, &before.custody)? {
            Secured::Owned(state) => state,
            Secured::Lost(custody) => return Err(lost(stored, &custody)),
        };
        if state.custody.is_undecided() {
            target.commit_entries(custody_entries(&state.custody))?;
            counts.escapes += 1;
            // A partition of the transaction that cannot be ended. It may be the one before the last.
            self.open.unwritable.get_or_insert_default();
            tracing::info!(lane = %id, writer = state.custody.present.writer.as_str(), "lane continues through another transactional id");
        }
        counts.skipped += self.open.replay_from(*state, gaps)?;
        Ok(())
    }
}

/// Folds the state and makes sure that no one has opened the lane since.
fn fold_owned(lane: LaneId, stored: &Stored, entries: &[StateEntry]) -> Result<LaneState, RecoverError> {
    let state = LaneState::fold(lane, &stored.terms.link, &stored.terms.source_cluster, entries)?;
    state.ensure_no_older_than(lane, stored.epoch)?;
    let found = state.epoch();
    if found > stored.epoch { Err(RecoverError::Superseded { ours: stored.epoch, found }) } else { Ok(state) }
}

fn lost(stored: &Stored, custody: &CustodyRecord) -> RecoverError {
    RecoverError::Taken { ours: stored.epoch, writer: custody.writer.as_str().to_owned() }
}

impl Open {
    /// Continues from the stored state. Returns the number of records that the unknown transaction has left out, if it
    /// was committed.
    fn replay_from(&mut self, state: LaneState, gaps: &mut Gaps) -> Result<u64, RecoverError> {
        let unknown = self.unknown.take().unwrap_or_default();
        let happened = self.check(&unknown, &state.partitions)?;
        let known = std::mem::replace(&mut self.stored.partitions, state.partitions);
        if happened {
            self.find_gaps_of_unknown(unknown.keys(), &known, gaps);
        }
        for (key, record) in &mut self.stored.partitions {
            // The known end may be newer than the stored one: it comes from delivery reports.
            let known = known.get(key).map_or(Position(0), |known| known.target_end);
            record.target_end = record.target_end.max(known);
        }
        self.handovers.handed_over = state.moved;
        if let Some(lane) = state.lane {
            self.stored.record = lane;
        }
        self.stored.jumps = Arc::new(state.jumps);
        self.keep_stored_orphans();
        self.current = None;
        self.inbox.rewind();
        self.slots.rewind();
        let skips = std::mem::take(&mut self.unknown_skips);
        if !happened {
            return Ok(0);
        }
        let skipped = skips.iter().map(|logged| logged.skipped.count()).sum();
        skips.into_iter().for_each(|logged| self.complete_skips(logged));
        Ok(skipped)
    }

    /// Checks that the transaction was stored as a whole or not at all. Returns whether it was stored.
    fn check(
        &self,
        unknown: &HashMap<Partition, Position>,
        stored: &HashMap<Partition, PartitionRecord>,
    ) -> Result<bool, RecoverError> {
        let before = |key| self.stored.position(key);
        let found = |key| stored.get(key).map_or(Position(-1), |record| record.position);
        let happened = unknown.iter().any(|(key, &after)| after != before(key) && found(key) == after);
        for key in self.stored.partitions.keys().chain(unknown.keys()) {
            let before = before(key);
            let found = found(key);
            let after = unknown.get(key).copied().unwrap_or(before);
            if found != if happened { after } else { before } {
                return Err(RecoverError::Diverged { partition: key.clone(), found, before, after });
            }
        }
        Ok(happened)
    }
}
