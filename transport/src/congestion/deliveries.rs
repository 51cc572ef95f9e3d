//! Delivery rates of the path: bytes acknowledged per second, recently and at best.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::interval::{Interval, WindowedMax};

/// Time for which the best delivery rate is remembered. Competition with another flow starts from it.
pub(super) const BEST_WINDOW: Duration = Duration::from_secs(30);
/// Number of slices that make about one round trip.
const SLICES: usize = 4;

/// Bytes acknowledged within one slice.
#[derive(Debug, Clone, Copy)]
struct Slice {
    acked: f64,
    seconds: f64,
}

/// Delivery rates in bytes per second.
#[derive(Debug)]
pub(super) struct Deliveries {
    pub(super) last: f64,
    /// Rates of the rounds of the last second.
    recent: WindowedMax,
    /// Rates of the rounds within [`BEST_WINDOW`].
    best: WindowedMax,
    slices: VecDeque<Slice>,
}

impl Deliveries {
    pub(super) fn new() -> Self {
        Self {
            last: 0.0,
            recent: WindowedMax::new(Duration::from_secs(1)),
            best: WindowedMax::new(BEST_WINDOW),
            slices: VecDeque::new(),
        }
    }

    pub(super) fn observe_round(&mut self, now: Instant, delivery: f64) {
        self.last = delivery;
        self.recent.observe(now, delivery);
        self.best.observe(now, delivery);
    }

    /// Adds a slice. Returns its rate, or the rate of the round trip up to its end if that is higher: there may have
    /// been a gap at the beginning of the slice.
    pub(super) fn observe_slice(&mut self, slice: &Interval, now: Instant) -> f64 {
        if self.slices.len() == SLICES {
            self.slices.pop_front();
        }
        self.slices.push_back(Slice { acked: slice.acked as f64, seconds: slice.lasted(now).as_secs_f64() });
        let acked = self.slices.iter().fold(0.0, |sum, slice| sum + slice.acked);
        let seconds = self.slices.iter().fold(0.0_f64, |sum, slice| sum + slice.seconds);
        slice.delivery(now).max(acked / seconds.max(1e-6))
    }

    pub(super) fn forget_slices(&mut self) {
        self.slices.clear();
    }

    /// The highest rate of the last second.
    pub(super) fn recent(&self) -> f64 {
        self.recent.get()
    }

    /// The highest rate within [`BEST_WINDOW`].
    pub(super) fn best(&self) -> f64 {
        self.best.get()
    }
}
