//! Difference between the receiver's clock and this machine's, found by asking for it. Sans-IO.
//!
//! The receiver read its clock at some time between our question and the arrival of its answer. The middle of the two is
//! therefore wrong by half of the round trip at most, even if one direction is slower. Of the answers of the last minute
//! the one with the least round trip counts: it met no queue. The drift of the clocks since then adds to its error.
//!
//! The result is for reports only: nothing that a link promises depends on a clock.

use std::collections::VecDeque;
use std::time::Duration;

/// Age at which an answer no longer counts: a minute has thirty answers.
const WINDOW: Duration = Duration::from_secs(60);
/// Rate at which two clocks may drift apart: 100 µs per second. Crystals are specified to 50 each.
const DRIFT: f64 = 100e-6;
/// Questions that may be unanswered: one every two seconds, for a minute without the receiver.
const ASKED_MAX: usize = 32;

/// Estimate of the receiver's clock. Times are in nanoseconds, each of its own clock.
#[derive(Debug, Default)]
pub(crate) struct PeerClock {
    asked: VecDeque<u64>,
    answers: VecDeque<Answer>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    /// Time of its arrival, by our clock.
    at: u64,
    /// Time of the receiver's clock less that of ours.
    ahead: i128,
    /// Nanoseconds by which `ahead` may be wrong.
    within: u64,
}

/// Nanoseconds by which the receiver's clock is ahead of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// Nanoseconds ahead; negative where it is behind.
    pub nanos: i64,
    /// Nanoseconds by which that may be wrong.
    pub within: u64,
}

impl PeerClock {
    /// Handles that a question leaves at `now`.
    pub(crate) fn handle_asked(&mut self, now: u64) {
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back(now);
    }

    /// Handles an answer at `now` to the question of `asked` by our clock, which the receiver answered at `answered` by
    /// its clock. Answers to other questions are ignored.
    pub(crate) fn handle_answer(&mut self, now: u64, asked: u64, answered: u64) {
        let Some(place) = self.asked.iter().position(|other| *other == asked) else { return };
        // Answers come in order: earlier questions are not answered any more.
        self.asked.drain(..=place);
        let round_trip = now.saturating_sub(asked);
        let middle = asked + round_trip / 2;
        let drifted = (round_trip as f64 * DRIFT) as u64;
        let ahead = i128::from(answered) - i128::from(middle);
        self.answers.push_back(Answer { at: now, ahead, within: round_trip.div_ceil(2) + drifted });
        let oldest = now.saturating_sub(u64::try_from(WINDOW.as_nanos()).unwrap_or(u64::MAX));
        self.answers.retain(|answer| answer.at >= oldest);
    }

    /// Returns the best estimate at `now`; `None` before the first answer, and once the last is a minute old.
    pub(crate) fn ahead(&self, now: u64) -> Option<Ahead> {
        let age = |answer: &Answer| now.saturating_sub(answer.at);
        let known = self.answers.iter().filter(|answer| u128::from(age(answer)) <= WINDOW.as_nanos());
        let within = |answer: &Answer| answer.within + (age(answer) as f64 * DRIFT) as u64;
        let best = known.min_by_key(|answer| within(answer))?;
        Some(Ahead { nanos: i64::try_from(best.ahead).ok()?, within: within(best) })
    }

    /// Returns the time since the receiver last answered, in nanoseconds.
    pub(crate) fn silence(&self, now: u64) -> Option<u64> {
        self.answers.back().map(|answer| now.saturating_sub(answer.at))
    }
}

impl Ahead {
    /// Converts a time of the receiver's clock to ours, in nanoseconds; `None` where that is before the Unix epoch.
    pub fn ours(self, theirs: u64) -> Option<u64> {
        u64::try_from(i128::from(theirs) - i128::from(self.nanos)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_700_000_000 * SECOND;

    /// The receiver's clock at a moment of ours.
    fn theirs(ours: u64, skew: i64, ppm: i32) -> u64 {
        let drift = i128::from(ours - START) * i128::from(ppm) / 1_000_000;
        u64::try_from(i128::from(ours) + i128::from(skew) + drift).unwrap()
    }

    fn asked_and_answered(clock: &mut PeerClock, at: u64, there: u64, back: u64, theirs: impl Fn(u64) -> u64) -> u64 {
        clock.handle_asked(at);
        let now = at + there + back;
        clock.handle_answer(now, at, theirs(at + there));
        now
    }

    proptest! {
        /// Whatever the skew, the drift within what crystals do, and however unequal the two ways are.
        #[test]
        fn the_estimate_is_wrong_by_no_more_than_it_says(
            skew in -86_400 * SECOND as i64..86_400 * SECOND as i64,
            ppm in -100..=100_i32,
            ways in prop::collection::vec((0..SECOND, 0..SECOND), 1..80),
            later in 0..50 * SECOND,
        ) {
            let mut clock = PeerClock::default();
            let read = |ours| theirs(ours, skew, ppm);
            let mut now = START;
            for (number, (there, back)) in ways.into_iter().enumerate() {
                let at = (START + number as u64 * 2 * SECOND).max(now);
                now = asked_and_answered(&mut clock, at, there, back, read);
                for now in [now, now + later] {
                    let ahead = clock.ahead(now).expect("just answered");
                    let truth = i128::from(read(now)) - i128::from(now);
                    let wrong = (i128::from(ahead.nanos) - truth).unsigned_abs();
                    // A nanosecond each for what is cut off.
                    prop_assert!(wrong <= u128::from(ahead.within) + 4, "{wrong} > {}", ahead.within);
                }
            }
        }

        /// A queue on one way misleads the answers that met it, and not the estimate.
        #[test]
        fn one_answer_without_a_queue_is_enough(
            skew in -3600 * SECOND as i64..3600 * SECOND as i64,
            queues in prop::collection::vec(0..SECOND / 2, 1..20),
        ) {
            const ONE_WAY: u64 = SECOND / 10;
            let mut clock = PeerClock::default();
            let read = |ours| theirs(ours, skew, 0);
            let mut now = asked_and_answered(&mut clock, START, ONE_WAY, ONE_WAY, read);
            for queue in queues {
                now = asked_and_answered(&mut clock, now + SECOND, ONE_WAY + queue, ONE_WAY, read);
            }
            let wrong = clock.ahead(now).expect("answered").nanos.abs_diff(skew);
            prop_assert!(wrong <= SECOND / 100, "{wrong} ns");
        }
    }

    #[test]
    fn answers_to_other_questions_are_ignored() {
        let mut clock = PeerClock::default();
        clock.handle_asked(START);
        clock.handle_answer(START + 10, START + 1, 7);
        assert_eq!(clock.ahead(START + 10), None);
        clock.handle_answer(START + 10, START, START + 5);
        clock.handle_answer(START + 20, START, START + 5_000);
        assert_eq!(clock.ahead(START + 10).map(|ahead| ahead.nanos), Some(0), "answered once");
        assert_eq!((clock.asked.len(), clock.answers.len()), (0, 1));
    }

    #[test]
    fn answers_are_bounded_and_expire() {
        let mut clock = PeerClock::default();
        (0..1000).for_each(|number| clock.handle_asked(START + number));
        assert_eq!(clock.asked.len(), ASKED_MAX);
        let mut now = START + SECOND;
        for _ in 0..1000 {
            now = asked_and_answered(&mut clock, now + SECOND, 1, 1, |ours| ours);
        }
        assert!(clock.answers.len() <= 61, "{}", clock.answers.len());
        assert_eq!(clock.silence(now + 5), Some(5));
        assert!(clock.ahead(now + 61 * SECOND).is_none());
    }

    #[test]
    fn a_clock_that_answers_nonsense_breaks_nothing() {
        let mut clock = PeerClock::default();
        for answered in [0, u64::MAX] {
            clock.handle_asked(START);
            clock.handle_answer(START + 10, START, answered);
        }
        let ahead = clock.ahead(START + 10);
        assert!(ahead.is_none_or(|ahead| ahead.ours(u64::MAX).is_none() || ahead.ours(0).is_none()));
    }
}
