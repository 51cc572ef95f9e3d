//! Promotion of a lane: it is taken from its owner, and its state says from then on that it carries nothing.
//!
//! The record is written by the holder of the custody after every earlier one is fenced, and no later holder writes a
//! record, because each reads this one through a record of its own before. So what is appended to the lane's target
//! partitions ends with the state that is returned here.

use wire::close::Close;
use wire::control::LaneClosedReason;

use super::open_lane::Lane;
use super::opening::{fold_stored, gone_is_refused};
use super::ownership::custody_entries;
use super::terms::OpenError;
use crate::link::source_ends::EndsReading;
use crate::target::promoted::{EndsRecord, PromotedRecord, StatementPart};
use crate::target::state::{self, LaneState};
use crate::target::{Extent, LaneTarget, StateEntry};

/// Detail of the close of a lane that is promoted.
const PROMOTING: &str = "the link is being promoted";

impl<T: LaneTarget> Lane<T> {
    /// Takes the lane for good, without a session, and stores `record` in it, unless a promotion is stored already. Without a
    /// record it is refused if none is stored.
    /// Frames that are not committed are dropped: commit those that are there without a gap before. Returns the state,
    /// which does not change any more. After an error call it again.
    pub fn promote(&mut self, link: &str, record: Option<&PromotedRecord>) -> Result<LaneState, OpenError> {
        self.promote_knowing(link, record, None)
    }

    /// Promotes the lane as [`Lane::promote`] does, and stores the sender's last word of the source's ends with the promotion:
    /// this process may end before the statement is stored.
    pub fn promote_knowing(
        &mut self,
        link: &str,
        record: Option<&PromotedRecord>,
        ends: Option<&EndsReading>,
    ) -> Result<LaneState, OpenError> {
        self.close(LaneClosedReason::SessionEnded, PROMOTING);
        self.parts.target.discard();
        let promoted = self.store_promotion(link, record, ends);
        self.parts.target.discard();
        promoted
    }

    fn store_promotion(
        &mut self,
        link: &str,
        record: Option<&PromotedRecord>,
        ends: Option<&EndsReading>,
    ) -> Result<LaneState, OpenError> {
        let mut state = self.take_stored(link)?;
        let ends = ends.filter(|_| state.promoted.is_none());
        let Some(promoted) = state.promoted.take().or_else(|| record.cloned()) else {
            return Err(Close::normal(format!("link {link} is not promoted")).into());
        };
        let mut entries = custody_entries(&state.custody);
        entries.push(StateEntry::new(state::promoted_key(), Some(state::encode(&promoted))));
        if let Some(reading) = ends {
            let parts = EndsRecord::parts(reading.heard, reading.ends.iter().map(|(at, end)| (at, *end)));
            let stored = (0..).zip(&parts).map(|(part, one)| (state::ends_key(part), state::encode(one)));
            entries.extend(stored.map(|(key, value)| StateEntry::new(key, Some(value))));
            parts.into_iter().for_each(|part| part.add_to(&mut state.ends));
        }
        self.parts.target.commit_entries(entries)?;
        state.promoted = Some(promoted);
        Ok(state)
    }

    /// Stores the statement of loss in a lane that is promoted, unless one is stored already.
    pub fn store_statement(&mut self, link: &str, text: &str) -> Result<(), OpenError> {
        self.parts.target.discard();
        let stored = self.write_statement(link, text);
        self.parts.target.discard();
        stored
    }

    fn write_statement(&mut self, link: &str, text: &str) -> Result<(), OpenError> {
        let state = self.take_stored(link)?;
        if StatementPart::join(&state.statement).is_some() {
            return Ok(());
        }
        let mut entries = custody_entries(&state.custody);
        for (part, stored) in (0..).zip(StatementPart::split(text)) {
            entries.push(StateEntry::new(state::statement_key(part), Some(state::encode(&stored))));
        }
        self.parts.target.commit_entries(entries)?;
        Ok(())
    }

    /// Takes the lane as its state describes it, whichever session it was of.
    fn take_stored(&mut self, link: &str) -> Result<LaneState, OpenError> {
        let id = self.parts.id;
        let fold = |entries: Vec<StateEntry>| Ok(fold_stored(id, link, &entries)?);
        let entries = self.parts.target.read_state(Extent::LastStable);
        let before = fold(entries.map_err(|error| gone_is_refused(error.into()))?)?;
        self.take_folding(link, before, fold)
    }
}
