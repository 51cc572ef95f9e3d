//! Within what the window stays: what the path holds, what the budget allows, what the operator guaranteed.

use std::time::{Duration, Instant};

use super::{ABOVE_BUDGET, AIM, Law, STANDING, START_RTT, State};
use crate::congestion::Policy;
use crate::congestion::round::Stretch;

/// How far a round may be from the budget before the window is trimmed, by how much at once, and how far at all.
const TRIM_AT: f64 = 0.01;
const TRIM_STEP: f64 = 0.1;
const TRIM_MAX: f64 = 1.6;

impl Law {
    /// The window with which `delivery` leaves a queue of the length aimed at.
    pub(super) fn window_for(&self, delivery: f64) -> f64 {
        let sent = delivery / (1.0 - self.loss.min(self.settings.loss_tolerance.part()));
        sent * (self.base_seconds() + self.target() * AIM + self.slack() + self.offset)
    }

    /// How far the window may be cut before it is known whose queue it is.
    pub(super) fn descent_bound(&self) -> f64 {
        match (&self.episode, self.settings.policy) {
            (Some(episode), Policy::Adaptive) => episode.least_delivery() * (self.base_seconds() + self.target()),
            _ => 0.0,
        }
    }

    /// By how much a queue is over-estimated: the round trip's own straying.
    pub(super) fn slack(&self) -> f64 {
        3.0 * self.noise
    }

    /// What the budget allows under way.
    pub(super) fn cap(&self) -> f64 {
        let Some(budget) = self.budget else { return f64::MAX };
        let flight = match (&self.mode, self.settings.policy) {
            (State::Competing(_), _) | (_, Policy::Reserved) => self.flight(),
            _ => self.flight_allowed(),
        };
        budget * ABOVE_BUDGET * self.trim * flight + 2.0 * self.packet
    }

    /// quinn's pacer loses what its timers are late by, so that a window that the budget allows may send less than that.
    /// What is missing is made up for by a larger one.
    pub(super) fn adjust_trim(&mut self, now: Instant, round: &Stretch) {
        let Some(budget) = self.budget else { return };
        let at_budget = matches!(self.mode, State::Steady) && self.window >= 0.95 * self.cap();
        if !at_budget || !round.is_busy() || self.queue > self.target() * AIM * STANDING + self.slack() {
            return;
        }
        let off = round.sending(now) / budget - 1.0;
        if off.abs() > TRIM_AT {
            self.trim = (self.trim * (1.0 - (off / 2.0).clamp(-TRIM_STEP, TRIM_STEP))).clamp(1.0, TRIM_MAX);
        }
    }

    /// What the operator guaranteed to this link, whoever else is there.
    pub(super) fn floor(&self) -> f64 {
        self.budget.map_or(0.0, |budget| budget * self.settings.floor.part() * self.flight())
    }

    /// Seconds that a byte is under way at present.
    pub(super) fn flight(&self) -> f64 {
        self.smoothed_rtt.unwrap_or(START_RTT) + self.offset
    }

    /// Seconds that a byte may be under way where the queue is ours to keep short.
    pub(super) fn flight_allowed(&self) -> f64 {
        if self.base.get().is_none() {
            return START_RTT;
        }
        self.flight().min(self.base_seconds() + self.target() + self.offset + self.slack())
    }

    pub(super) fn base_seconds(&self) -> f64 {
        self.base.get().map_or(START_RTT, |base| base.as_secs_f64())
    }

    pub(super) fn rtt(&self) -> Duration {
        Duration::from_secs_f64(self.smoothed_rtt.unwrap_or(START_RTT))
    }

    /// The queue at which to back off, in seconds.
    pub(super) fn target(&self) -> f64 {
        let target = self
            .settings
            .queue_target
            .map_or_else(|| (self.base_seconds() * 0.05).clamp(0.004, 0.015), |target| target.as_secs_f64());
        if self.settings.policy == Policy::Scavenger { target / 2.0 } else { target }
    }
}
