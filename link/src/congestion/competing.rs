//! The rule beside a flow that fills the queue until it overflows. Whoever yields to that queue is left with
//! nothing; so this takes what another such flow would take, by CUBIC's law (RFC 9438), and looks every 30 s
//! whether the other is still there.

use std::time::{Duration, Instant};

use super::round::WindowedMax;

/// CUBIC's constants: window kept after a loss, and growth in packets per s³.
const BETA: f64 = 0.7;
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
}

impl Competing {
    pub(super) fn new(now: Instant, window: f64) -> Self {
        Self {
            window,
            plateau: window,
            epoch: now,
            last_cut: now,
            fullest: WindowedMax::new(FULLEST_WINDOW),
            next_probe: now + PROBE_EVERY,
            calm: 0,
            probing: None,
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

    /// A round ended, with a queue or without; no more than `most` has any effect. Says whether it is over.
    pub(super) fn handle_round(&mut self, now: Instant, calm: bool, most: f64) -> bool {
        self.calm = if calm { self.calm + 1 } else { 0 };
        let Some(rounds) = &mut self.probing else {
            self.bound(now, most);
            if now >= self.next_probe {
                self.probing = Some(0);
            }
            return self.calm >= ROUNDS_CALM;
        };
        *rounds += 1;
        if !calm && *rounds >= ROUNDS_PROBED {
            self.probing = None;
            self.next_probe = now + PROBE_EVERY;
        }
        calm
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
        let overflow = lost > OVERFLOW_LOSS_MIN && queue >= FULL * fullest;
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
