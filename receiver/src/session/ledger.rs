//! Ledger of the frames that were received and not acked, compared with the sender's credit
//! (wire-format.md#credit), from their first byte on. Sans-IO. An honest sender never exceeds its credit; one that does is disconnected
//! before its frame takes memory.

use std::collections::{BTreeMap, HashMap};

use wire::control::CreditTerms;
use wire::error::PeerMisbehaved;
use wire::frame::FrameHead;
use wire::ids::{Epoch, LaneId, Sequence};
use wire::limits::frame_charge;

/// Decision about an arriving frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The frame is charged and goes to its lane.
    Hold,
    /// The frame is dropped: its lane was closed or opened again, or it was received before.
    Drop,
}

/// Frames of one session that are not acked.
#[derive(Debug)]
pub struct Ledger {
    terms: CreditTerms,
    lanes: HashMap<LaneId, LaneFrames>,
    held: u64,
    limit: u64,
    /// Charges of the frames whose header has not arrived: neither their lane nor their length is known.
    unknown: u64,
}

#[derive(Debug, Default)]
struct LaneFrames {
    epoch: Epoch,
    charges: BTreeMap<Sequence, u64>,
    /// Every frame below this one is acked.
    acked: Sequence,
    held: u64,
}

impl Ledger {
    /// Makes an empty ledger for a session with `lanes` lanes.
    pub fn new(terms: CreditTerms, lanes: u16) -> Self {
        let limit = terms.pool + terms.reserve * u64::from(lanes);
        Self { terms, lanes: HashMap::new(), held: 0, limit, unknown: 0 }
    }

    /// Notes that a lane was opened: frames of earlier epochs are dropped from now on.
    pub fn open_lane(&mut self, lane: LaneId, epoch: Epoch) {
        self.close_lane(lane);
        self.lanes.insert(lane, LaneFrames { epoch, ..LaneFrames::default() });
    }

    /// Most bytes that the session's frames may hold: its credit, and a quarter for frames of lanes that were closed
    /// meanwhile.
    pub fn limit(&self) -> u64 {
        self.limit + self.limit / 4
    }

    /// Charges a frame without a header, of which `len` bytes have arrived instead of `before`.
    pub fn handle_unknown(&mut self, before: Option<usize>, len: usize) -> Result<(), PeerMisbehaved> {
        self.forget_unknown(before);
        self.unknown += frame_charge(len);
        let held = self.held();
        if held > self.limit() {
            return Err(PeerMisbehaved::CreditExceeded { held, limit: self.limit() });
        }
        Ok(())
    }

    /// Frees the charge of a frame without a header: the header has arrived, or the channel has ended.
    pub fn forget_unknown(&mut self, len: Option<usize>) {
        self.unknown -= len.map_or(0, frame_charge);
    }

    /// Decides about a frame of `len` bytes whose header has arrived.
    pub fn handle_frame(&mut self, head: &FrameHead, len: usize) -> Result<Admission, PeerMisbehaved> {
        let charge = frame_charge(len);
        let FrameHead { lane, epoch, sequence } = *head;
        let Some(frames) = self.lanes.get_mut(&lane) else { return Ok(Admission::Drop) };
        if epoch < frames.epoch {
            return Ok(Admission::Drop);
        }
        if epoch > frames.epoch {
            return Err(PeerMisbehaved::EpochFromFuture { current: frames.epoch, found: epoch });
        }
        if sequence < frames.acked || frames.charges.contains_key(&sequence) {
            return Ok(Admission::Drop);
        }
        let of_lane = frames.held + charge;
        let lane_limit = self.terms.reserve + self.terms.pool / 2;
        if of_lane > lane_limit {
            return Err(PeerMisbehaved::CreditExceeded { held: of_lane, limit: lane_limit });
        }
        if self.held + charge > self.limit {
            return Err(PeerMisbehaved::CreditExceeded { held: self.held + charge, limit: self.limit });
        }
        frames.charges.insert(sequence, charge);
        frames.held = of_lane;
        self.held += charge;
        Ok(Admission::Hold)
    }

    /// Frees every frame of `lane` up to `sequence`, before its ack is sent.
    pub fn handle_ack(&mut self, lane: LaneId, sequence: Sequence) {
        let Some(frames) = self.lanes.get_mut(&lane) else { return };
        let later = frames.charges.split_off(&sequence.next());
        let freed = std::mem::replace(&mut frames.charges, later).values().sum::<u64>();
        frames.acked = frames.acked.max(sequence.next());
        frames.held -= freed;
        self.held -= freed;
    }

    /// Frees a frame that did not arrive in full: its channel has ended, and the sender repeats it.
    pub fn handle_lost(&mut self, head: &FrameHead) {
        let Some(frames) = self.lanes.get_mut(&head.lane).filter(|frames| frames.epoch == head.epoch) else { return };
        let freed = frames.charges.remove(&head.sequence).unwrap_or(0);
        frames.held -= freed;
        self.held -= freed;
    }

    /// Forgets the frames of a lane that was closed; late ones are dropped.
    pub fn close_lane(&mut self, lane: LaneId) {
        self.held -= self.lanes.remove(&lane).map_or(0, |frames| frames.held);
    }

    /// Charged bytes that are not acked, those of frames without a header included.
    pub fn held(&self) -> u64 {
        self.held + self.unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: CreditTerms = CreditTerms { reserve: 10_000, pool: 20_000 };

    fn ledger(lanes: u16) -> Ledger {
        let mut ledger = Ledger::new(TERMS, lanes);
        (0..lanes).for_each(|lane| ledger.open_lane(LaneId(lane), Epoch(2)));
        ledger
    }

    fn head(lane: u16, epoch: u64, sequence: u64) -> FrameHead {
        FrameHead { lane: LaneId(lane), epoch: Epoch(epoch), sequence: Sequence(sequence) }
    }

    #[test]
    fn a_sender_that_exceeds_its_credit_is_caught() {
        let mut ledger = ledger(2);
        assert_eq!(ledger.handle_frame(&head(0, 2, 0), 20_000), Ok(Admission::Hold));
        assert!(ledger.handle_frame(&head(0, 2, 1), 1).is_err(), "a lane has its reserve and half the pool");
        assert_eq!(ledger.handle_frame(&head(1, 2, 0), 20_000), Ok(Admission::Hold));
        ledger.handle_ack(LaneId(0), Sequence(0));
        assert_eq!(ledger.held(), 20_000);
        assert_eq!(ledger.handle_frame(&head(0, 2, 1), 1), Ok(Admission::Hold));
        ledger.close_lane(LaneId(1));
        assert_eq!(ledger.held(), frame_charge(1));
    }

    #[test]
    fn a_repeated_frame_is_charged_once() {
        let mut ledger = ledger(1);
        assert_eq!(ledger.handle_frame(&head(0, 2, 0), 9_000), Ok(Admission::Hold));
        assert_eq!(ledger.handle_frame(&head(0, 2, 0), 9_000), Ok(Admission::Drop), "held");
        ledger.handle_lost(&head(0, 2, 0));
        assert_eq!(ledger.held(), 0, "only a part had arrived");
        assert_eq!(ledger.handle_frame(&head(0, 2, 0), 9_000), Ok(Admission::Hold));
        ledger.handle_ack(LaneId(0), Sequence(0));
        assert_eq!(ledger.handle_frame(&head(0, 2, 0), 9_000), Ok(Admission::Drop), "acked");
        assert_eq!(ledger.held(), 0);
        ledger.open_lane(LaneId(0), Epoch(3));
        assert_eq!(ledger.handle_frame(&head(0, 3, 0), 9_000), Ok(Admission::Hold));
        ledger.handle_lost(&head(0, 2, 0));
        assert_eq!(ledger.held(), 9_000, "another epoch's");
    }

    #[test]
    fn bytes_before_their_header_are_charged() {
        let mut ledger = ledger(1);
        ledger.handle_unknown(None, 1).unwrap();
        assert_eq!(ledger.held(), frame_charge(1), "each stream costs something");
        ledger.handle_unknown(Some(1), 9_000).unwrap();
        assert_eq!(ledger.held(), 9_000);
        assert_eq!(ledger.handle_frame(&head(0, 2, 0), 15_000), Ok(Admission::Hold));
        assert!(ledger.handle_unknown(None, 13_501).is_err(), "5/4 of the credit of 30,000 are held");
        ledger.forget_unknown(Some(13_501));
        ledger.forget_unknown(Some(9_000));
        assert_eq!(ledger.held(), 15_000);
        let fit = (0..1000).take_while(|_| ledger.handle_unknown(None, 0).is_ok()).count();
        assert_eq!(fit as u64, 22_500 / frame_charge(0));
    }

    #[test]
    fn many_tiny_frames_cost_more_than_their_bytes() {
        let mut ledger = ledger(1);
        let fit = (0..1000).take_while(|&n| ledger.handle_frame(&head(0, 2, n), 1).is_ok()).count();
        assert_eq!(fit as u64, 20_000 / frame_charge(1));
    }

    #[test]
    fn older_epochs_are_dropped_and_newer_ones_refused() {
        let mut ledger = ledger(1);
        assert_eq!(ledger.handle_frame(&head(0, 1, 0), 100), Ok(Admission::Drop));
        assert!(ledger.handle_frame(&head(0, 3, 0), 100).is_err());
        ledger.close_lane(LaneId(0));
        assert_eq!(ledger.handle_frame(&head(0, 2, 0), 100), Ok(Admission::Drop), "closed");
        assert_eq!(ledger.held(), 0);
    }
}
