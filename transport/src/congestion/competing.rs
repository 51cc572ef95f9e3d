//! Rule for a path with another flow that fills the queue until it overflows. A flow that yields to that queue would get
//! nothing, so this one takes what another such flow would take, by the rule of CUBIC (RFC 9438). Every 30 s it probes
//! whether the other flow is still there.

use std::time::{Duration, Instant};

use super::interval::WindowedMax;
use super::queue_owner_test::is_unchanged;

/// Part of the window kept after a loss (`β` of RFC 9438), and growth in packets per s³ (`C`). CUBIC uses 0.7 and 0.4.
/// An overflow hits a paced flow as often as a bursty one that sends more: with CUBIC's values it gets a fifth of the
/// path next to a TCP of the same round trip. With these values it got 33 to 73 % in 14 variants of such a path.
const BETA: f64 = 0.8;
const C: f64 = 0.8;
/// Packet size of CUBIC's formula, in bytes.
const PACKET: f64 = 1_448.0;
/// Time between two probes of the other flow's queue.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// Rounds of a probe in which our own queue would drain, and rounds without a queue after which the other flow is gone.
const ROUNDS_PROBED: u32 = 5;
const ROUNDS_CALM: u32 = 5;
/// Part of the longest queue above which a loss is an overflow of the queue, not a loss of the path itself.
const FULL: f64 = 0.75;
/// Time for which the longest queue is remembered: a CUBIC flow needs 10 s from one overflow to the next.
const FULLEST_WINDOW: Duration = Duration::from_secs(20);
/// Part of the packets that must be lost for an overflow.
const OVERFLOW_LOSS_MIN: f64 = 0.001;

/// Result of a round: does the competition continue?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Continues,
    /// The other flow is gone: the queue drains when we send less.
    Over,
    /// The path has become longer: the queue does not change when we send less.
    Longer,
}

#[derive(Debug, Clone)]
pub(super) struct Competing {
    /// Window in bytes (`cwnd` of RFC 9438).
    window: f64,
    /// Window in bytes at the last loss (`W_max` of RFC 9438). Growth is fast towards it and slow beyond it.
    plateau: f64,
    /// Begin of the present growth (`t_epoch` of RFC 9438).
    epoch: Instant,
    last_cut: Instant,
    /// Longest of the slices' least round trips, in seconds.
    fullest: WindowedMax,
    next_probe: Instant,
    /// Consecutive rounds without a queue.
    calm: u32,
    /// Rounds of a probe in progress, which halves the window.
    probing: Option<u32>,
    /// Queue in seconds at the begin of the probe, and whether it has changed since.
    before: f64,
    moved: bool,
    /// Part that the path itself lost before the competition began.
    own_loss: f64,
}

impl Competing {
    /// Begins with a window in bytes, on a path that itself loses the part `own_loss`.
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

    /// Window in bytes without a probe, to begin the next competition with.
    pub(super) fn full_window(&self) -> f64 {
        self.window
    }

    /// Handles the end of a round with a queue in seconds, which is `calm` if it is short. A window above `most` bytes
    /// would have no effect.
    pub(super) fn handle_round(&mut self, now: Instant, queue: f64, calm: bool, most: f64) -> Outcome {
        self.calm = if calm { self.calm + 1 } else { 0 };
        let Some(rounds) = &mut self.probing else {
            self.bound(now, most);
            if now >= self.next_probe {
                self.probing = Some(0);
                self.before = queue;
                self.moved = false;
            }
            return if self.calm >= ROUNDS_CALM { Outcome::Over } else { Outcome::Continues };
        };
        if calm {
            return Outcome::Over;
        }
        *rounds += 1;
        self.moved |= !is_unchanged(queue, self.before);
        if *rounds < ROUNDS_PROBED {
            return Outcome::Continues;
        }
        self.probing = None;
        self.next_probe = now + PROBE_EVERY;
        if self.moved { Outcome::Continues } else { Outcome::Longer }
    }

    /// Handles the end of a slice with its least round trip and the part of it that was lost. `base` is the round trip of
    /// the empty path, and `rtt` the present one. Returns whether the window was reduced.
    pub(super) fn handle_slice(
        &mut self,
        now: Instant,
        base: Duration,
        least: Duration,
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
        // The window that Reno would have now (RFC 9438, section 4.3).
        let reno = self.plateau * BETA + PACKET * 0.53 * since / rtt.as_secs_f64().max(1e-3);
        let goal = cubic.max(reno);
        // At most 1.6 times as much per round trip: a slice is a quarter of one.
        self.window = goal.clamp(self.window, self.window * 1.125);
    }

    /// Bounds the window to `most` bytes: more has no effect.
    fn bound(&mut self, now: Instant, most: f64) {
        if self.window > most {
            self.window = most;
            self.plateau = most;
            self.epoch = now;
        }
    }
}
