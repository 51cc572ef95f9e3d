//! Ends of the source in the transactions of a lane: the sender's last word must survive this process.

use super::draft::Draft;
use super::open_lane::{Lane, OpenLane};
use crate::link::source_ends::EndsReading;
use crate::target::promoted::EndsRecord;
use crate::target::{LaneTarget, TargetError, state};

impl<T: LaneTarget> Lane<T> {
    /// Takes a reading to be stored. A lane that is not open drops it: the next one comes soon.
    pub fn handle_source_ends(&mut self, reading: EndsReading) {
        if let Some(open) = &mut self.open {
            let home = |at| open.stored.terms.home(at) == open.stored.lane;
            if reading.ends.keys().any(home) {
                open.source_ends.waiting = Some(reading);
            }
        }
    }
}

impl<T: LaneTarget> OpenLane<'_, T> {
    /// Moves the reading that waits into the lane's next transaction.
    pub(super) fn take_source_ends(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        draft.source_ends = self.open.source_ends.waiting.take();
        if draft.source_ends.is_none() { Ok(()) } else { self.ensure_begun(draft) }
    }

    /// Writes the ends of the partitions that begin in this lane, whichever lane carries them now.
    pub(super) fn write_source_ends(&mut self, draft: &Draft) -> Result<(), TargetError> {
        let Some(reading) = &draft.source_ends else { return Ok(()) };
        let stored = &self.open.stored;
        let own = reading.ends.iter().filter(|(at, _)| stored.terms.home(at) == stored.lane);
        let parts = EndsRecord::parts(reading.heard, own.map(|(at, end)| (at, *end)));
        for (part, record) in (0..).zip(parts) {
            self.parts.target.write_state(&state::ends_key(part), Some(&state::encode(&record)))?;
        }
        Ok(())
    }
}
