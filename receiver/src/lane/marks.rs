//! Marks of topics that are gone from the source, in the transactions of a lane.

use super::draft::Draft;
use super::gone_since::{MarkGone, Marks};
use super::open_lane::{Lane, Open, OpenLane};
use crate::target::state;
use crate::target::{LaneTarget, TargetError};

impl<T: LaneTarget> Lane<T> {
    /// Takes marks of topics. A lane that is not open drops them: it states all marks when it opens, and the sender asks
    /// again for what they lack.
    pub fn handle_mark_gone(&mut self, marks: MarkGone) {
        if let Some(Open { gone_since, .. }) = &mut self.open {
            marks.topics.into_iter().for_each(|topic| gone_since.handle(topic, marks.since));
        }
    }
}

impl<T: LaneTarget> OpenLane<'_, T> {
    /// Moves the changes that wait into the lane's next transaction.
    pub(super) fn take_marks(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        draft.marks = self.open.gone_since.take();
        if draft.marks.is_empty() { Ok(()) } else { self.ensure_begun(draft) }
    }

    pub(super) fn write_marks(&mut self, draft: &Draft) -> Result<(), TargetError> {
        let source = &self.open.stored.terms.source_cluster;
        for (topic, since) in &draft.marks {
            let value = since.map(|since| state::encode(&since));
            self.parts.target.write_state(&state::gone_key(source, topic), value.as_deref())?;
        }
        Ok(())
    }

    /// Applies the committed changes, and tells the sender.
    pub(super) fn complete_marks(&mut self, marks: Marks) {
        if !marks.is_empty() {
            self.open.gone_since.complete(marks);
            self.parts.replies.push_back(self.open.gone_since.message());
        }
    }
}
