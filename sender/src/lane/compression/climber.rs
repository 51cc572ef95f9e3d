//! Place of one class on the ladder of codecs: one step at a time, each judged by what it brought. Sans-IO.
//!
//! While bytes limit the link, the next step is a stronger codec; while the processor does, a cheaper one; at rest a
//! stronger one as far as processors idle. A second after a step is not counted, because frames of both codecs are in
//! flight. A step that did not pay is taken back, and not tried again for a growing time.

use std::collections::VecDeque;
use std::time::Instant;

use wire::compress::Codec;

use super::trial::{Failures, Trial, Verdict};
use super::{Load, Pressure, Reason, expected_cost};

/// Ticks that are remembered, to compare the next step with.
const TICKS_MAX: usize = 5;
/// Ticks under one pressure before a step, and after the tick that is not counted.
const TICKS_MIN: usize = 2;
/// Ticks at rest before a step: there is no hurry, and a pause between two bursts is no rest.
const REST_TICKS: usize = 5;
/// Fewest bytes before compression that a step is judged by.
const JUDGED_MIN: u64 = 256 << 10;
/// Ticks after which a step is kept although too little was sent to judge it.
const TRIAL_MAX: usize = 10;
/// Factor by which the ratio changes if the records are other ones than before.
const CHANGED: f64 = 1.4;
/// Part of the idle processors that a link at rest may take.
const REST_SHARE: f64 = 0.5;

#[derive(Debug)]
pub(crate) struct Climber {
    ladder: &'static [Codec],
    at: usize,
    reason: Reason,
    /// True in the tick after a step.
    is_fresh: bool,
    ticks: VecDeque<Load>,
    trial: Option<Trial>,
    /// Ticks since the step that is being tried.
    tried: usize,
    failures: Vec<Failures>,
    /// Measured cost of each step in seconds per byte.
    costs: Vec<Option<f64>>,
    /// Ratio at this step when a neighbour was last found to be no better.
    reference: Option<f64>,
}

/// Processors that a step may take in addition, and whether one may be tried now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    pub cores: f64,
    pub may_try: bool,
}

impl Climber {
    pub(crate) fn new(ladder: &'static [Codec], first: Codec) -> Self {
        let top = ladder.len() - 1;
        let at = ladder.iter().position(|codec| *codec == first.within(ladder[top])).unwrap_or(top);
        Self {
            ladder,
            at,
            reason: Reason::Start,
            is_fresh: true,
            ticks: VecDeque::with_capacity(TICKS_MAX),
            trial: None,
            tried: 0,
            failures: vec![Failures::default(); ladder.len()],
            costs: vec![None; ladder.len()],
            reference: None,
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.ladder[self.at]
    }

    pub(crate) const fn reason(&self) -> Reason {
        self.reason
    }

    pub(crate) const fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    pub(crate) const fn ladder(&self) -> &'static [Codec] {
        self.ladder
    }

    /// Takes in what the class did since the last tick. The codec may be another one afterwards.
    pub(crate) fn handle(&mut self, now: Instant, load: Load, allowance: Allowance) {
        if load.pressure == Pressure::Unknown {
            self.ticks.clear();
            self.trial = None;
            return;
        }
        if std::mem::take(&mut self.is_fresh) {
            return;
        }
        if self.ticks.len() == TICKS_MAX {
            self.ticks.pop_front();
        }
        self.ticks.push_back(load);
        if let Some(cost) = self.recent().cost() {
            self.costs[self.at] = Some(cost);
        }
        if !self.end_trial(now) {
            return;
        }
        self.notice_change(now);
        let needed = if load.pressure == Pressure::Rest { REST_TICKS } else { TICKS_MIN };
        let agreed = self.ticks.iter().rev().take_while(|tick| tick.pressure == load.pressure).count();
        let has_data = self.ticks.iter().any(|tick| tick.raw_bytes > 0);
        if agreed >= needed && has_data && allowance.may_try {
            self.try_next(now, load.pressure, allowance.cores);
        }
    }

    /// Steps down because the class takes more processor time than allowed. Returns whether it could.
    pub(crate) fn step_down(&mut self, now: Instant) -> bool {
        let Some(below) = self.at.checked_sub(1) else { return false };
        self.failures[self.at].add(now);
        self.trial = None;
        self.move_to(below, Reason::Cap);
        true
    }

    /// Ends the trial once enough was measured. Returns whether none is left, so that another may begin.
    fn end_trial(&mut self, now: Instant) -> bool {
        self.tried += 1;
        let Some(trial) = self.trial else { return true };
        let after = self.recent();
        if self.tried < TICKS_MIN || after.raw_bytes < JUDGED_MIN && self.tried < TRIAL_MAX {
            return false;
        }
        self.trial = None;
        let is_judged = after.raw_bytes >= JUDGED_MIN && trial.before.raw_bytes >= JUDGED_MIN;
        if is_judged && trial.judge(&after) == Verdict::TakeBack {
            self.failures[trial.to].add(now);
            self.reference = trial.before.ratio();
            self.move_to(trial.from, Reason::NoGain);
            return false;
        }
        if trial.to < trial.from {
            // It was measured to be slower; a second try right after it would swing to and fro.
            self.failures[trial.from].add(now);
        }
        self.reference = after.ratio();
        true
    }

    /// Permits steps again if the records are other ones than when these did not pay.
    fn notice_change(&mut self, now: Instant) {
        let recent = self.recent();
        let (Some(reference), Some(ratio)) = (self.reference, recent.ratio()) else { return };
        let factor = (ratio / reference).max(reference / ratio);
        if factor >= CHANGED && self.ticks.len() == TICKS_MAX && recent.raw_bytes >= JUDGED_MIN {
            self.reference = Some(ratio);
            self.failures.iter_mut().for_each(|failures| failures.lift(now));
        }
    }

    fn try_next(&mut self, now: Instant, pressure: Pressure, cores: f64) {
        let (next, cores, reason) = match pressure {
            Pressure::Bytes => (self.at + 1, cores, Reason::Bytes),
            Pressure::Rest => (self.at + 1, cores * REST_SHARE, Reason::Rest),
            Pressure::Cpu => (self.at.wrapping_sub(1), f64::INFINITY, Reason::Cpu),
            Pressure::Unknown => return,
        };
        let permits = |failures: &Failures| failures.permits(now);
        if !self.failures.get(next).is_some_and(permits) || self.extra_cores(next) > cores {
            return;
        }
        self.trial = Some(Trial { from: self.at, to: next, before: self.recent() });
        self.tried = 0;
        self.move_to(next, reason);
    }

    /// Processors that a step would take more than now, at the present speed.
    fn extra_cores(&self, next: usize) -> f64 {
        let recent = self.recent();
        let expected = |at: usize| expected_cost(self.ladder[at]);
        let now = self.costs[self.at].unwrap_or_else(|| expected(self.at));
        let then = self.costs[next].unwrap_or_else(|| now * expected(next) / expected(self.at));
        (then - now) * recent.rate()
    }

    fn move_to(&mut self, at: usize, reason: Reason) {
        self.at = at;
        self.reason = reason;
        self.ticks.clear();
        self.is_fresh = true;
    }

    /// The sum of the last ticks.
    fn recent(&self) -> Load {
        self.ticks.iter().copied().reduce(Load::and).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
