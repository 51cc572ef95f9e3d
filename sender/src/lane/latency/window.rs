//! Durations over the last minute and since the start: two histograms that neither grow nor need a caller to clear them.
//! Sans-IO.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Slices of the last minute; the oldest is dropped as a whole.
const SLICES: usize = 6;
const SLICE: Duration = Duration::from_secs(10);
/// Longest duration that is counted: a day, in microseconds.
const MAX_MICROS: u64 = 86_400_000_000;
/// Significant digits of a value: it is shown within 1 %.
const DIGITS: u8 = 2;

/// Upper bounds of the published histogram in seconds: from a commit within a rack to a backlog of ten minutes.
const BOUNDS: [f64; 18] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0];

/// Durations of one kind, in about 100 KiB.
pub struct Window {
    slices: VecDeque<(Instant, Histogram<u32>)>,
    total: Histogram<u64>,
    total_micros: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Frames that were measured, each by its first record.
    pub frames: u64,
    /// Mean of the durations.
    pub mean_seconds: Option<f64>,
    /// Median: half of the frames took no longer.
    pub p50_seconds: Option<f64>,
    /// 99th percentile: of 100 frames, 99 took no longer.
    pub p99_seconds: Option<f64>,
    /// Maximum of the durations.
    pub max_seconds: Option<f64>,
}

impl Default for Window {
    fn default() -> Self {
        Self { slices: VecDeque::new(), total: histogram(), total_micros: 0 }
    }
}

fn histogram<C: hdrhistogram::Counter>() -> Histogram<C> {
    Histogram::new_with_bounds(1, MAX_MICROS, DIGITS).expect("bounds and digits are constants that fit")
}

impl Window {
    pub fn record(&mut self, now: Instant, took: Duration, frames: u64) {
        if frames == 0 {
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, MAX_MICROS);
        self.roll(now);
        if self.slices.back().is_none_or(|(began, _)| now.saturating_duration_since(*began) >= SLICE) {
            self.slices.push_back((now, histogram()));
        }
        if let Some((_, slice)) = self.slices.back_mut() {
            slice.saturating_record_n(micros, u32::try_from(frames).unwrap_or(u32::MAX));
        }
        self.total.saturating_record_n(micros, frames);
        self.total_micros = self.total_micros.saturating_add(micros.saturating_mul(frames));
    }

    pub fn minute(&self, now: Instant) -> Summary {
        self.last(now, SLICE * SLICES as u32)
    }

    /// Returns the summary of about the last `period`, at most a minute, in whole slices.
    pub fn last(&self, now: Instant, period: Duration) -> Summary {
        let mut all = histogram::<u32>();
        for (began, slice) in &self.slices {
            if now.saturating_duration_since(*began) < period {
                all.add(slice).expect("same bounds");
            }
        }
        Summary::of(&all)
    }

    pub fn total(&self) -> Summary {
        Summary::of(&self.total)
    }

    /// Returns the histogram since the start, as Prometheus counts, in seconds.
    pub fn buckets(&self) -> service::metrics::Buckets {
        let mut counted = 0;
        let mut bounds = Vec::with_capacity(BOUNDS.len() + 1);
        for bound in BOUNDS {
            let upto = self.total.count_between(1, (bound * 1e6) as u64);
            bounds.push((bound, upto - counted));
            counted = upto;
        }
        let count = self.total.len();
        bounds.push((f64::INFINITY, count - counted));
        service::metrics::Buckets { sum: self.total_micros as f64 / 1e6, count, bounds }
    }

    fn roll(&mut self, now: Instant) {
        while self
            .slices
            .front()
            .is_some_and(|(began, _)| now.saturating_duration_since(*began) >= SLICE * SLICES as u32)
        {
            self.slices.pop_front();
        }
    }
}

impl Summary {
    fn of<C: hdrhistogram::Counter>(histogram: &Histogram<C>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let seconds = |micros: u64| Some(micros as f64 / 1e6);
        Self {
            frames: histogram.len(),
            mean_seconds: Some(histogram.mean() / 1e6),
            p50_seconds: seconds(histogram.value_at_quantile(0.5)),
            p99_seconds: seconds(histogram.value_at_quantile(0.99)),
            max_seconds: seconds(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn near(found: Option<f64>, expected: f64) {
        let found = found.expect("something was recorded");
        assert!((found - expected).abs() <= expected * 0.01, "{found} is not about {expected}");
    }

    #[test]
    fn the_last_minute_forgets_and_the_start_does_not() {
        let mut window = Window::default();
        let start = Instant::now();
        window.record(start, 500 * MS, 1);
        (0..99).for_each(|_| window.record(start + 30_000 * MS, 10 * MS, 1));
        near(window.minute(start + 30_000 * MS).max_seconds, 0.5);
        let minute = window.minute(start + 61_000 * MS);
        assert_eq!(minute.frames, 99);
        near(minute.max_seconds, 0.01);
        assert_eq!(window.minute(start + 95_000 * MS), Summary::default());
        let total = window.total();
        assert_eq!(total.frames, 100);
        near(total.p50_seconds, 0.01);
        near(total.p99_seconds, 0.01);
        near(total.max_seconds, 0.5);
        near(total.mean_seconds, 0.0149);
    }

    #[test]
    fn slices_are_bounded_however_long_it_runs() {
        let mut window = Window::default();
        let start = Instant::now();
        (0..100_000).for_each(|number| window.record(start + number * 100 * MS, MS, 1));
        assert!(window.slices.len() <= SLICES + 1, "{}", window.slices.len());
        assert_eq!(window.total().frames, 100_000);
    }

    #[test]
    fn a_longer_duration_counts_as_a_day() {
        let mut window = Window::default();
        let now = Instant::now();
        window.record(now, Duration::MAX, u64::MAX);
        window.record(now, Duration::ZERO, 0);
        near(window.minute(now).max_seconds, 86_400.0);
    }

    #[test]
    fn every_frame_is_in_one_bucket() {
        let mut window = Window::default();
        let now = Instant::now();
        for (took, frames) in [(MS / 2, 1), (40 * MS, 20), (100 * MS, 300), (4_000_000 * MS, 4_000)] {
            window.record(now, took, frames);
        }
        let buckets = window.buckets();
        assert_eq!(buckets.bounds.iter().map(|(_, count)| count).sum::<u64>(), buckets.count);
        let of = |bound: f64| buckets.bounds.iter().find(|(other, _)| *other == bound).map(|(_, count)| *count);
        assert_eq!([of(0.001), of(0.05), of(0.1), of(f64::INFINITY)], [Some(1), Some(20), Some(300), Some(4_000)]);
        assert!((buckets.sum - (0.0005 + 0.8 + 30.0 + 16_000_000.0)).abs() < 1.0, "{}", buckets.sum);
    }
}
