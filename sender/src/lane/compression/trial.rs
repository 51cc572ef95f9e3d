//! Judgement of a step on the ladder by what was measured before and after it, and the memory of steps that did not pay.

use std::time::{Duration, Instant};

use super::{Load, Pressure};

/// Part of the bytes that a stronger method must save at least.
const THRIFT_MIN: f64 = 0.02;
/// Part by which a cheaper method must make the link faster at least: bytes cost money.
const GAIN_MIN: f64 = 0.04;
/// Part of the speed that a stronger method may cost while bytes limit the link: what is measured in seconds varies.
const LOSS_MAX: f64 = 0.10;
/// Time for which a step that did not pay is not tried again, the first time; doubled each time.
const PAUSE_MIN: Duration = Duration::from_secs(30);
/// Longest such time.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// Time without a failure after which a step counts as never tried.
const FORGET: Duration = Duration::from_secs(1800);

/// Step that is being tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Load before the step.
    pub(super) before: Load,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Keep,
    TakeBack,
}

impl Trial {
    pub(super) fn judge(&self, after: &Load) -> Verdict {
        let gain = after.rate() / self.before.rate().max(f64::EPSILON) - 1.0;
        let saved = match (self.before.ratio(), after.ratio()) {
            (Some(before), Some(after)) => 1.0 - after / before,
            _ => 0.0,
        };
        let keeps = if self.to < self.from {
            // The link may also have caught up with the cheaper method.
            after.pressure == Pressure::Rest || gain >= GAIN_MIN
        } else {
            match after.pressure {
                Pressure::Bytes => saved >= THRIFT_MIN && gain >= -LOSS_MAX,
                Pressure::Cpu => saved >= THRIFT_MIN && self.before.pressure == Pressure::Bytes && gain >= THRIFT_MIN,
                Pressure::Rest | Pressure::Unknown => saved >= THRIFT_MIN,
            }
        };
        if keeps { Verdict::Keep } else { Verdict::TakeBack }
    }
}

/// Memory of one step that did not pay.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Failures {
    count: u32,
    until: Option<Instant>,
}

impl Failures {
    pub(super) fn add(&mut self, now: Instant) {
        if self.until.is_some_and(|until| now.saturating_duration_since(until) > FORGET) {
            self.count = 0;
        }
        let pause = PAUSE_MIN * 2_u32.saturating_pow(self.count.min(8));
        self.until = Some(now + pause.min(PAUSE_MAX));
        self.count += 1;
    }

    /// Returns whether the step may be tried.
    pub(super) fn permits(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// Permits the step again, because the records have changed. Its next pause grows all the same.
    pub(super) fn lift(&mut self, now: Instant) {
        self.until = self.until.map(|until| until.min(now));
    }
}
