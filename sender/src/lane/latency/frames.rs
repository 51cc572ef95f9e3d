//! The frames of one lane that are under way, and what the sender saw of each: together with what the receiver says
//! in its ack, that is how long every stage took. Sans-IO.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wire::control::Timing;
use wire::ids::Sequence;

use super::peer_clock::Ahead;

/// Frames of a lane that are timed at once. There are more only where frames of a kilobyte fill a long path; the
/// newest are then not timed.
const FRAMES_MAX: usize = 4096;

/// When QUIC has taken a frame's last byte. A frame that is sent again is marked again.
#[derive(Debug, Clone, Default)]
pub struct Taken(Arc<AtomicU64>);

/// What the sender sees of a frame until it hands it to the transport. All of it is about the frame's first record,
/// which waits the longest.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    /// From that record's timestamp until it was packed; `None` where it has none.
    pub read: Option<Duration>,
    /// From then until the frame was complete, but for the wait for room.
    pub pack: Duration,
    /// How long the transport had no room for it.
    pub room: Duration,
    /// When it was handed over, in nanoseconds of our clock.
    pub handed: u64,
    /// See [`Taken`].
    pub taken: Taken,
}

/// How long each stage of a frame took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// See [`Packed::read`].
    pub read: Option<Duration>,
    /// See [`Packed::pack`].
    pub pack: Duration,
    /// Until QUIC had taken the last byte: the wait for room, and the wait within QUIC's windows.
    pub budget: Duration,
    /// From there until the last byte had arrived.
    pub wire: Duration,
    /// Until the transaction that it was committed in began.
    pub order: Duration,
    /// Until it was committed.
    pub commit: Duration,
    /// How many frames it stands for: as many as the ack covers.
    pub frames: u64,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct FrameTimes(VecDeque<(Sequence, Packed)>);

impl Taken {
    /// QUIC has taken the last byte at `now`.
    pub fn mark(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    fn at(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }
}

impl FrameTimes {
    /// A frame with records was handed over.
    pub fn handle_sent(&mut self, sequence: Sequence, packed: Packed) {
        if self.0.len() < FRAMES_MAX {
            self.0.push_back((sequence, packed));
        }
    }

    /// Frames up to `sequence` are committed. `ahead` is how far the receiver's clock is ahead of ours.
    pub fn handle_ack(&mut self, sequence: Sequence, timing: Option<Timing>, ahead: Option<Ahead>) -> Option<Sample> {
        let (mut frames, mut timed) = (0, None);
        while self.0.front().is_some_and(|(first, _)| *first <= sequence) {
            let (acked, packed) = self.0.pop_front()?;
            frames += 1;
            if timing.is_some_and(|timing| timing.sequence == acked) {
                timed = Some(packed);
            }
        }
        let (timing, packed) = (timing?, timed?);
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
    fn stages_follow_one_another_whatever_the_receivers_clock_shows() {
        let (mut times, packed) = (FrameTimes::default(), packed());
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
    fn a_sample_stands_for_all_that_its_ack_covers() {
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
    fn what_is_not_known_is_not_guessed() {
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
    fn a_receiver_that_says_nonsense_breaks_nothing() {
        for (arrived, order) in [(0, 0), (u64::MAX, u64::MAX)] {
            let (mut times, packed) = (FrameTimes::default(), packed());
            packed.taken.mark(START);
            times.handle_sent(Sequence(0), packed);
            let timing = Timing { sequence: Sequence(0), arrived, order, commit: order };
            times.handle_ack(Sequence(0), Some(timing), Some(AHEAD));
        }
    }

    #[test]
    fn frames_under_way_are_bounded() {
        let mut times = FrameTimes::default();
        (0..10_000).for_each(|sequence| times.handle_sent(Sequence(sequence), packed()));
        assert_eq!(times.0.len(), FRAMES_MAX);
    }
}
