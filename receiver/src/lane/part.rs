//! A lane's part in a transaction: prepared, delivered, then completed or taken back.

use super::draft::{Committed, Company, Draft, Prepared};
use super::handover::LaneMessage;
use super::offers::Pending;
use super::open_lane::{Lane, LaneError};
use super::size::TransactionRoom;
use crate::target::{LaneTarget, TargetError};

impl<T: LaneTarget> Lane<T> {
    /// Appends what has arrived, as far as there is `room`, to a transaction, with the positions after it. The transaction
    /// may have parts of other lanes. [`Lane::await_delivery`] comes next, and after the commit [`Lane::complete`].
    pub fn prepare(&mut self, room: TransactionRoom) -> Prepared {
        let mut draft = Draft::default();
        let result = self.opened().map_or(Ok(()), |mut lane| {
            lane.parts.room = room;
            lane.run(&mut draft)
        });
        Prepared { draft, result }
    }

    /// Waits until the lane's part of the transaction is delivered.
    pub fn await_delivery(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        match self.opened() {
            Some(mut lane) if draft.begun => lane.deliver(draft),
            _ => Ok(()),
        }
    }

    /// Applies a committed transaction: its changes are now the stored state, and its answers are sent.
    pub fn complete(&mut self, draft: Draft) -> Committed {
        self.opened().map_or_else(Committed::default, |mut lane| lane.complete(draft))
    }

    /// Takes back the lane's part of a transaction whose outcome is unknown because of `error`: [`Lane::recover`] decides.
    pub fn fail(&mut self, mut draft: Draft, error: &LaneError, company: Company) {
        let Some(lane) = self.opened() else { return };
        lane.parts.target.discard();
        lane.parts.counts.recoveries += 1;
        let written = std::mem::take(&mut draft.written);
        let is_of_blocks = lane.open.doubt_blocks(&draft, error);
        lane.open.abandon(draft);
        if !is_of_blocks {
            lane.open.blame(error, written, company);
        }
    }

    /// Makes the lane read its state again before it writes: the producer that it was verified with is gone.
    pub fn doubt(&mut self) {
        if let Some(open) = &mut self.open {
            open.unknown.get_or_insert_default();
        }
    }

    /// Notes the time of the next transactions, in ms since the Unix epoch, for the log of jumps.
    pub fn handle_time(&mut self, now: i64) {
        self.parts.now = now;
    }

    pub fn handle_lane_message(&mut self, message: LaneMessage) {
        let Some(open) = self.open.as_mut() else { return };
        match message {
            LaneMessage::Request(request) => open.handovers.add_request(*request),
            LaneMessage::HandedOver(key, record) => open.handovers.receive(key, *record),
            LaneMessage::AllOffered => open.find_orphans(),
            LaneMessage::Refused(key, halt) => {
                let mut released = open.handovers.release(&key);
                let refused = released.offered.take();
                open.offers.0.extend(refused.map(|offered| Pending::Refused(offered, halt)));
                open.queue(released);
            }
        }
    }

    /// Repeats the requests for partitions that have not arrived: every lane of the session was read, or one was
    /// opened again and has lost them.
    pub fn handle_all_lanes_read(&mut self) {
        if let Some(open) = &self.open {
            self.parts.messages.extend(open.handovers.open_requests(&open.stored));
        }
    }
}
