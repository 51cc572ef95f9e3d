//! Measurements of the frames of one lane in flight. Together with the times in the receiver's ack they show how long
//! each stage took. Sans-IO.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wire::control::Timing;
use wire::ids::Sequence;

use super::peer_clock::Ahead;

/// Frames in flight that are timed. Where frames of a kilobyte fill a long path, the newest are not timed.
const FRAMES_MAX: usize = 4096;

/// Time at which QUIC took a frame's last byte. A frame that is sent again is marked again.
#[derive(Debug, Clone, Default)]
pub struct Taken(Arc<AtomicU64>);

/// Measurements of a frame until it is handed to the transport. All are of its first record, which waits the longest.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    /// Time from that record's timestamp until it was packed; `None` without a timestamp.
    pub read: Option<Duration>,
    /// Time from then until the frame was complete, except the wait for room.
    pub pack: Duration,
    /// Time during which the transport had no room for the frame.
    pub room: Duration,
    /// Time at which it was handed over, in nanoseconds of this machine's clock.
    pub handed: u64,
    /// Time at which QUIC took the last byte.
    pub taken: Taken,
}

/// Durations of each stage of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub read: Option<Duration>,
    pub pack: Duration,
    /// Duration until QUIC had taken the last byte: the wait for room, and the wait within QUIC's windows.
    pub budget: Duration,
    /// Duration from then until the last byte had arrived.
    pub wire: Duration,
    /// Duration from then until the transaction that committed it began.
    pub order: Duration,
    /// Duration from then until it was committed.
    pub commit: Duration,
    /// Number of frames that the sample stands for: those that the ack covers.
    pub frames: u64,
}

/// Measurements of the frames of one lane in flight, the oldest first.
#[derive(Debug, Default)]
pub struct FrameTimes(VecDeque<(Sequence, Packed)>);

impl Taken {
    /// Marks that QUIC has taken the last byte at `now`, in nanoseconds of our clock.
    pub fn mark(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    fn at(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }
}

impl FrameTimes {
    /// Handles that a frame with records was handed over.
    pub fn handle_sent(&mut self, sequence: Sequence, packed: Packed) {
        if self.0.len() < FRAMES_MAX {
            self.0.push_back((sequence, packed));
        }
    }

    /// Handles that frames up to `sequence` are committed. `ahead` is the difference of the receiver's clock.
    pub fn handle_ack(&mut self, sequence: Sequence, timing: Option<Timing>, ahead: Option<Ahead>) -> Option<Sample> {
        let mut frames = 0;
        let mut timed = None;
        while self.0.front().is_some_and(|(first, _)| *first <= sequence) {
            let (acked, packed) = self.0.pop_front()?;
            frames += 1;
            if timing.is_some_and(|timing| timing.sequence == acked) {
                timed = Some(packed);
            }
        }
        let timing = timing?;
        let packed = timed?;
        let taken = packed.taken.at()?;
        let arrived = ahead?.ours(timing.arrived.saturating_mul(1000))?;
        let nanos = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from));
        Some(Sample {
            read: packed.read,
            pack: packed.pack,
            budget: packed.room + nanos(packed.handed, taken),
            wire: nanos(taken, arrived),
            order: Duration::from_micros(timing.order),
            commit: Duration::from_micros(timing.commit),
            frames,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const START: u64 = 1_700_000_000_000 * MS;
    /// The receiver's clock is an hour behind.
    const AHEAD: Ahead = Ahead { nanos: -3_600_000 * MS as i64, within: 0 };

    fn packed() -> Packed {
        let ms = Duration::from_millis;
        Packed { read: Some(ms(3)), pack: ms(5), room: ms(20), handed: START, taken: Taken::default() }
    }

    fn timing(sequence: u64) -> Timing {
        let arrived = (START + 107 * MS).checked_add_signed(AHEAD.nanos).unwrap() / 1000;
        Timing { sequence: Sequence(sequence), arrived, order: 11_000, commit: 13_000 }
    }

    #[test]
    fn stages_add_up_with_any_receivers_clock() {
        let mut times = FrameTimes::default();
        let packed = packed();
        packed.taken.mark(START + 7 * MS);
        times.handle_sent(Sequence(0), packed);
        let ms = Duration::from_millis;
        let expected = Sample {
            read: Some(ms(3)),
            pack: ms(5),
            budget: ms(27),
            wire: ms(100),
            order: ms(11),
            commit: ms(13),
            frames: 1,
        };
        assert_eq!(times.handle_ack(Sequence(0), Some(timing(0)), Some(AHEAD)), Some(expected));
        assert_eq!(times.handle_ack(Sequence(0), Some(timing(0)), Some(AHEAD)), None, "once");
    }

    #[test]
    fn a_sample_stands_for_all_frames_of_its_ack() {
        let mut times = FrameTimes::default();
        for sequence in 0..10 {
            let packed = packed();
            packed.taken.mark(START + sequence * MS);
            times.handle_sent(Sequence(sequence), packed);
        }
        let sample = times.handle_ack(Sequence(6), Some(timing(4)), Some(AHEAD)).unwrap();
        assert_eq!((sample.frames, sample.wire), (7, Duration::from_millis(103)));
        assert_eq!(times.0.len(), 3);
    }

    #[test]
    fn unknown_times_give_no_sample() {
        let marked = || {
            let packed = packed();
            packed.taken.mark(START);
            packed
        };
        let sample = |packed, timing, ahead| {
            let mut times = FrameTimes::default();
            times.handle_sent(Sequence(0), packed);
            let sample = times.handle_ack(Sequence(0), timing, ahead);
            assert!(times.0.is_empty());
            sample
        };
        assert!(sample(marked(), Some(timing(0)), Some(AHEAD)).is_some());
        assert_eq!(sample(packed(), Some(timing(0)), Some(AHEAD)), None, "not taken yet");
        assert_eq!(sample(marked(), None, Some(AHEAD)), None, "not timed");
        assert_eq!(sample(marked(), Some(timing(1)), Some(AHEAD)), None, "another frame");
        assert_eq!(sample(marked(), Some(timing(0)), None), None, "the clock is not known");
    }

    #[test]
    fn nonsense_of_the_receiver_breaks_nothing() {
        for (arrived, order) in [(0, 0), (u64::MAX, u64::MAX)] {
            let mut times = FrameTimes::default();
            let packed = packed();
            packed.taken.mark(START);
            times.handle_sent(Sequence(0), packed);
            let timing = Timing { sequence: Sequence(0), arrived, order, commit: order };
            times.handle_ack(Sequence(0), Some(timing), Some(AHEAD));
        }
    }

    #[test]
    fn frames_in_flight_are_bounded() {
        let mut times = FrameTimes::default();
        (0..10_000).for_each(|sequence| times.handle_sent(Sequence(sequence), packed()));
        assert_eq!(times.0.len(), FRAMES_MAX);
    }
}
