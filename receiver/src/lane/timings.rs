//! Timings of a lane's frames for the sender's reports: one frame of each transaction, drawn at random. A frame that is
//! not timed is committed like any other.
//!
//! This is not a part of the [`Lane`](crate::lane::Lane), so that no decision can depend on it. It reads no clock.
//! Driving contract: [`Timings::handle_frame`] when a frame is passed to its lane, [`Timings::handle_step`] before
//! each transaction, [`Timings::handle_reply`] with each message for the sender.

use std::collections::BTreeMap;

use wire::control::{Control, Timing};
use wire::ids::{Epoch, Sequence};

/// Limit on the frames of a lane that are timed. More frames wait only while the target fails, and then there are
/// enough samples.
const FRAMES_MAX: usize = 4096;

/// Arrival times of one lane's frames, in nanoseconds of one clock.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    epoch: Epoch,
    arrived: BTreeMap<Sequence, u64>,
    began: u64,
}

impl Timings {
    /// Notes a frame of the lane's present epoch, whose last byte arrived at `arrived`.
    pub(crate) fn handle_frame(&mut self, epoch: Epoch, sequence: Sequence, arrived: u64) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.arrived.clear();
        }
        if self.arrived.len() < FRAMES_MAX {
            self.arrived.entry(sequence).or_insert(arrived);
        }
    }

    pub(crate) fn handle_step(&mut self, now: u64) {
        self.began = now;
    }

    /// Adds the timing of one of its frames to an ack, right after the transaction.
    pub(crate) fn handle_reply(&mut self, reply: &mut Control, now: u64) {
        let Control::Ack { epoch, sequence, timing, .. } = reply else { return };
        if *epoch != self.epoch {
            return;
        }
        let later = self.arrived.split_off(&sequence.next());
        let acked = std::mem::replace(&mut self.arrived, later);
        let drawn = acked.into_iter().min_by_key(|(sequence, _)| spread(sequence.0));
        *timing = drawn.map(|(sequence, arrived)| Timing {
            sequence,
            arrived: arrived / 1000,
            order: self.began.saturating_sub(arrived) / 1000,
            commit: now.saturating_sub(self.began.max(arrived)) / 1000,
        });
    }
}

/// Spreads sequences over all numbers (the finalizer of SplitMix64), so that the least of them is a random draw.
fn spread(sequence: u64) -> u64 {
    let mixed = sequence.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::LaneId;

    const EPOCH: Epoch = Epoch(7);

    fn acked(timings: &mut Timings, epoch: Epoch, sequence: u64, now: u64) -> Option<Timing> {
        let mut ack = Control::Ack { lane: LaneId(0), epoch, sequence: Sequence(sequence), timing: None };
        timings.handle_reply(&mut ack, now);
        let Control::Ack { timing, .. } = ack else { panic!("{ack:?}") };
        timing
    }

    #[test]
    fn a_frame_is_timed_from_its_arrival_to_its_commit() {
        let mut timings = Timings::default();
        timings.handle_frame(EPOCH, Sequence(0), 5_000_000);
        timings.handle_step(8_000_000);
        let expected = Timing { sequence: Sequence(0), arrived: 5_000, order: 3_000, commit: 4_500 };
        assert_eq!(acked(&mut timings, EPOCH, 0, 12_500_000), Some(expected));
        assert_eq!(acked(&mut timings, EPOCH, 0, 12_500_000), None, "each once");
    }

    #[test]
    fn a_later_copy_of_a_frame_is_not_timed() {
        let mut timings = Timings::default();
        timings.handle_frame(EPOCH, Sequence(0), 1_000);
        timings.handle_frame(EPOCH, Sequence(0), 9_000);
        assert_eq!(acked(&mut timings, EPOCH, 0, 10_000).map(|timing| timing.arrived), Some(1));
    }

    #[test]
    fn frames_of_another_epoch_are_forgotten_and_not_timed() {
        let mut timings = Timings::default();
        timings.handle_frame(EPOCH, Sequence(0), 1_000);
        timings.handle_frame(EPOCH.next(), Sequence(3), 2_000);
        assert_eq!(acked(&mut timings, EPOCH, 0, 3_000), None);
        assert_eq!(acked(&mut timings, EPOCH.next(), 3, 3_000).map(|timing| timing.sequence), Some(Sequence(3)));
    }

    /// Frames early in a transaction wait longer than the last ones, so that a fixed choice would be biased.
    #[test]
    fn every_frame_of_a_transaction_is_drawn_equally_often() {
        const FRAMES: u64 = 10;
        let mut timings = Timings::default();
        let mut drawn = [0_u32; FRAMES as usize];
        for transaction in 0..10_000 {
            let first = transaction * FRAMES;
            (first..first + FRAMES).for_each(|sequence| timings.handle_frame(EPOCH, Sequence(sequence), 1));
            let timing = acked(&mut timings, EPOCH, first + FRAMES - 1, 2).expect("there are ten");
            drawn[(timing.sequence.0 - first) as usize] += 1;
        }
        assert!(drawn.iter().all(|count| (700..1300).contains(count)), "{drawn:?}");
    }

    #[test]
    fn the_number_of_timed_frames_is_bounded() {
        let mut timings = Timings::default();
        (0..10_000).for_each(|sequence| timings.handle_frame(EPOCH, Sequence(sequence), sequence));
        assert_eq!(timings.arrived.len(), FRAMES_MAX);
        assert!(acked(&mut timings, EPOCH, 9_999, 1).is_some_and(|timing| timing.sequence.0 < FRAMES_MAX as u64));
        assert_eq!(acked(&mut timings, EPOCH, 9_999, 1), None);
    }
}
