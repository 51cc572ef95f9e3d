//! The rule beside a flow that fills the queue until it overflows. Whoever yields to that queue is left with
//! nothing; so this takes what another such flow would take, by CUBIC's law (RFC 9438), and looks every 30 s
//! whether the other is still there.

use std::time::{Duration, Instant};

use super::episode::stands_still;
use super::round::WindowedMax;

/// Window kept after a loss, and growth in packets per s³. CUBIC's are 0.7 and 0.4: with those a paced flow, which the
/// overflow hits as often as a bursty one that sends more, is left with a fifth beside a TCP of the same round trip.
/// With these, 14 variants of such a path (rate, round trip, queue, 1 or 4 channels) gave it 33 to 73 %.
const BETA: f64 = 0.8;
const C: f64 = 0.8;

/// CUBIC's packet, in bytes.
const PACKET: f64 = 1_448.0;

/// How often the other's queue is looked at.
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// Rounds of holding back in which the queue must drain to be taken for ours, and rounds without a queue after
/// which nobody is there any more.
const ROUNDS_PROBED: u32 = 5;
const ROUNDS_CALM: u32 = 5;

/// A queue at least so full of its fullest overflows: a loss at less is the path's, not the queue's.
const FULL: f64 = 0.75;

/// How long the fullest queue is remembered: a CUBIC flow needs 10 s from one overflow to the next.
const FULLEST_WINDOW: Duration = Duration::from_secs(20);

/// Losses of so large a part of what was sent, at least, are an overflow.
const OVERFLOW_LOSS_MIN: f64 = 0.001;

/// What a round says of whether there is somebody to compete with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is.
    Goes,
    /// The queue drains when we hold back.
    Over,
    /// It does not move when we hold back: there is none, and the path has become longer.
    Longer,
}

#[derive(Debug, Clone)]
pub(super) struct Competing {
    window: f64,
    /// The window at the last loss, to which growth leads quickly and from which it leads slowly.
    plateau: f64,
    epoch: Instant,
    last_cut: Instant,
    fullest: WindowedMax,
    next_probe: Instant,
    /// Rounds in a row without a queue.
    calm: u32,
    /// A look at the other's queue: since how many rounds we have been holding back.
    probing: Option<u32>,
    /// The queue when that began, and whether it has moved since.
    before: f64,
    moved: bool,
    /// The part that the path lost of itself before.
    own_loss: f64,
}

impl Competing {
    /// Beginning with `window`, on a path that loses `own_loss` of itself.
    pub(super) fn new(now: Instant, window: f64, own_loss: f64) -> Self {
        Self {
            window,
            plateau: window,
            epoch: now,
            last_cut: now,
            fullest: WindowedMax::new(FULLEST_WINDOW),
            next_probe: now + PROBE_EVERY,
            calm: 0,
            probing: None,
            before: 0.0,
            moved: false,
            own_loss,
        }
    }

    pub(super) fn window(&self) -> f64 {
        match self.probing {
            Some(_) => self.window * 0.5,
            None => self.window,
        }
    }

    /// The window from which to compete, should it be needed again.
    pub(super) fn full_window(&self) -> f64 {
        self.window
    }

    /// A round ended with this queue, which is `calm` or not; no more than `most` has any effect.
    pub(super) fn handle_round(&mut self, now: Instant, queue: f64, calm: bool, most: f64) -> Outcome {
        self.calm = if calm { self.calm + 1 } else { 0 };
        let Some(rounds) = &mut self.probing else {
            self.bound(now, most);
            if now >= self.next_probe {
                self.probing = Some(0);
                (self.before, self.moved) = (queue, false);
            }
            return if self.calm >= ROUNDS_CALM { Outcome::Over } else { Outcome::Goes };
        };
        if calm {
            return Outcome::Over;
        }
        *rounds += 1;
        self.moved |= !stands_still(queue, self.before);
        if *rounds < ROUNDS_PROBED {
            return Outcome::Goes;
        }
        self.probing = None;
        self.next_probe = now + PROBE_EVERY;
        if self.moved { Outcome::Goes } else { Outcome::Longer }
    }

    /// A slice ended: the base and the least round trip in it, and the part of it that was lost; `rtt` is the
    /// round trip now. Says whether the window was cut.
    pub(super) fn handle_slice(
        &mut self,
        now: Instant,
        (base, least): (Duration, Duration),
        lost: f64,
        rtt: Duration,
    ) -> bool {
        self.fullest.observe(now, least.as_secs_f64());
        let queue = least.saturating_sub(base).as_secs_f64();
        let fullest = self.fullest.get() - base.as_secs_f64();
        if self.probing.is_some() {
            return false;
        }
        let overflow = lost > OVERFLOW_LOSS_MIN.max(self.own_loss * 2.0) && queue >= FULL * fullest;
        if overflow && now.saturating_duration_since(self.last_cut) > rtt {
            self.plateau = self.window;
            self.window *= BETA;
            self.last_cut = now;
            self.epoch = now;
            return true;
        }
        self.grow(now, rtt);
        false
    }

    fn grow(&mut self, now: Instant, rtt: Duration) {
        let since = now.saturating_duration_since(self.epoch).as_secs_f64();
        let rise = ((self.plateau * (1.0 - BETA)).max(0.0) / (C * PACKET)).cbrt();
        let rise = if self.epoch == self.last_cut { rise } else { 0.0 };
        let cubic = self.plateau + C * PACKET * (since - rise).powi(3);
        // What Reno would have by now (RFC 9438, 4.3).
        let reno = self.plateau * BETA + PACKET * 0.53 * since / rtt.as_secs_f64().max(1e-3);
        let goal = cubic.max(reno);
        // At most half again per round trip; slices are a quarter of one.
        self.window = goal.clamp(self.window, self.window * 1.125);
    }

    /// Growth beyond `most` would be air.
    fn bound(&mut self, now: Instant, most: f64) {
        if self.window > most {
            self.window = most;
            self.plateau = most;
            self.epoch = now;
        }
    }
}
