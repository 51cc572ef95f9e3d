//! What the sender owes: frames received and not yet acked, held against the credit it was given
//! (wire-format.md#credit). Sans-IO. An honest sender never exceeds it; one that does is shown the door
//! before its frame takes memory.

use std::collections::{BTreeMap, HashMap};

use wire::control::CreditTerms;
use wire::error::PeerMisbehaved;
use wire::ids::{LaneId, Sequence};
use wire::limits::frame_charge;

/// The frames of one session that are not acked.
#[derive(Debug)]
pub struct Ledger {
    terms: CreditTerms,
    lanes: HashMap<LaneId, LaneFrames>,
    held: u64,
    limit: u64,
}

#[derive(Debug, Default)]
struct LaneFrames {
    charges: BTreeMap<Sequence, u64>,
    held: u64,
}

impl Ledger {
    /// Nothing is held, of a session with `lanes` lanes.
    pub fn new(terms: CreditTerms, lanes: u16) -> Self {
        let limit = terms.pool + terms.reserve * u64::from(lanes);
        Self { terms, lanes: HashMap::new(), held: 0, limit }
    }

    /// A frame of `len` bytes has arrived.
    pub fn handle_frame(&mut self, lane: LaneId, sequence: Sequence, len: usize) -> Result<(), PeerMisbehaved> {
        let charge = frame_charge(len);
        let frames = self.lanes.entry(lane).or_default();
        if frames.charges.contains_key(&sequence) {
            return Err(PeerMisbehaved::SequenceReused(sequence));
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
        Ok(())
    }

    /// An ack for every frame of `lane` up to `sequence` is about to be sent.
    pub fn handle_ack(&mut self, lane: LaneId, sequence: Sequence) {
        let Some(frames) = self.lanes.get_mut(&lane) else { return };
        let later = frames.charges.split_off(&sequence.next());
        let freed = std::mem::replace(&mut frames.charges, later).values().sum::<u64>();
        frames.held -= freed;
        self.held -= freed;
    }

    /// A lane was closed: its frames are forgotten.
    pub fn close_lane(&mut self, lane: LaneId) {
        self.held -= self.lanes.remove(&lane).map_or(0, |frames| frames.held);
    }

    /// Charged bytes held.
    pub fn held(&self) -> u64 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: CreditTerms = CreditTerms { reserve: 10_000, pool: 20_000 };

    #[test]
    fn a_sender_that_exceeds_its_credit_is_caught() {
        let mut ledger = Ledger::new(TERMS, 2);
        assert!(ledger.handle_frame(LaneId(0), Sequence(0), 20_000).is_ok());
        assert!(ledger.handle_frame(LaneId(0), Sequence(1), 1).is_err(), "a lane has its reserve and half the pool");
        assert!(ledger.handle_frame(LaneId(1), Sequence(0), 20_000).is_ok());
        ledger.handle_ack(LaneId(0), Sequence(0));
        assert_eq!(ledger.held(), 20_000);
        assert!(ledger.handle_frame(LaneId(0), Sequence(1), 1).is_ok());
        ledger.close_lane(LaneId(1));
        assert_eq!(ledger.held(), frame_charge(1));
    }

    #[test]
    fn many_tiny_frames_cost_more_than_their_bytes() {
        let mut ledger = Ledger::new(TERMS, 1);
        let fit = (0..1000).take_while(|&n| ledger.handle_frame(LaneId(0), Sequence(n), 1).is_ok()).count();
        assert_eq!(fit as u64, 20_000 / frame_charge(1));
    }
}
