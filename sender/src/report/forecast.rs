//! Forecast of the time until the target has everything, from the last minute. Pure decisions; the time is an argument.
//!
//! Unknown values are left out: a sender that has just started, or a source that does not answer, gives no forecast.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time that a forecast is based on: long enough that one transaction does not matter.
const WINDOW: Duration = Duration::from_secs(60);
/// Shortest time over which a trend counts.
const TREND_MIN: Duration = Duration::from_secs(10);
/// Time within which data in flight is carried, which is not a backlog.
const IN_FLIGHT: Duration = Duration::from_secs(1);
/// Samples that are kept: one every 2.5 s, and a few that came early.
const SAMPLES_MAX: usize = 32;

/// Counters of a sender at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// Time since the process started.
    pub at: Duration,
    /// Uncompressed bytes that the target has committed so far.
    pub committed_bytes: u64,
    /// Records in frames sent so far.
    pub sent_records: u64,
    /// Uncompressed bytes in frames sent so far.
    pub sent_bytes: u64,
    /// Records that the target lacks; `None` while unknown.
    pub lag_records: Option<u64>,
}

/// Samples of the last minute.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(VecDeque<Sample>);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Forecast {
    /// Uncompressed bytes that the target committed per second, over the last minute.
    pub goodput_bytes_per_second: Option<f64>,
    /// Lag in bytes, by the mean size of the records sent so far.
    pub backlog_bytes: Option<f64>,
    /// Seconds until the target has everything, by the trend of the last minute; `null` while it grows or is unknown.
    pub drain_seconds: Option<f64>,
    /// Growth: true if the backlog has not shrunk over the last minute.
    pub grows: bool,
    /// Seconds until the source deletes the first record that is not carried, by `retention.ms`, or may remove the first
    /// deletion of a key, by `delete.retention.ms`, if nothing were carried.
    pub loss_seconds: Option<f64>,
    /// Topic of that record.
    pub loss_topic: Option<String>,
}

impl History {
    /// Takes in a sample that is later than all before.
    pub(crate) fn handle(&mut self, sample: Sample) {
        self.0.push_back(sample);
        // Once the second oldest covers the window, the oldest is no longer needed.
        while self.0.len() > SAMPLES_MAX || self.0.get(1).is_some_and(|next| sample.at - next.at >= WINDOW) {
            self.0.pop_front();
        }
    }

    pub(crate) fn forecast(&self) -> Forecast {
        let Some(first) = self.0.front() else { return Forecast::default() };
        let last = self.0.back().unwrap_or(first);
        let elapsed = (last.at - first.at).as_secs_f64();
        let committed = last.committed_bytes.saturating_sub(first.committed_bytes) as f64;
        let goodput = (elapsed > 0.0).then(|| committed / elapsed);
        let records = last.sent_records;
        let record_bytes = (records > 0).then(|| last.sent_bytes as f64 / records as f64);
        let backlog = match (last.lag_records, record_bytes) {
            (Some(0), _) => Some(0.0),
            (Some(lag), Some(record_bytes)) => Some(lag as f64 * record_bytes),
            _ => None,
        };
        let forecast = Forecast { goodput_bytes_per_second: goodput, backlog_bytes: backlog, ..Forecast::default() };
        let Some(goodput) = goodput else { return forecast };
        let Some(backlog) = backlog else { return forecast };
        if backlog <= goodput * IN_FLIGHT.as_secs_f64() {
            let drain_seconds = if backlog > 0.0 { backlog / goodput } else { 0.0 };
            return Forecast { drain_seconds: Some(drain_seconds), ..forecast };
        }
        let known = self.0.iter().find_map(|sample| Some((sample.at, sample.lag_records?)));
        let Some((then, lag_then)) = known.filter(|(then, _)| last.at - *then >= TREND_MIN) else { return forecast };
        let lag = last.lag_records.unwrap_or(0);
        let over = (last.at - then).as_secs_f64();
        if lag >= lag_then {
            return Forecast { grows: true, ..forecast };
        }
        // The difference includes the records that arrive at the source meanwhile.
        let carried_per_second = (lag_then - lag) as f64 / over;
        Forecast { drain_seconds: Some(lag as f64 / carried_per_second), ..forecast }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample each 2.5 s: records of 100 bytes arrive and are carried at these rates per second.
    fn minute(lag: u64, arrive: i64, carry: i64, samples: u32) -> Forecast {
        let mut history = History::default();
        for step in 0..samples {
            let at = Duration::from_millis(2500) * step;
            let seconds = at.as_secs_f64();
            let carried = (carry as f64 * seconds) as u64;
            let lag_records = lag.saturating_add_signed(((arrive - carry) as f64 * seconds) as i64);
            let sample = Sample {
                at,
                committed_bytes: carried * 100,
                sent_records: carried + 10,
                sent_bytes: (carried + 10) * 100,
                lag_records: Some(lag_records),
            };
            history.handle(sample);
        }
        assert!(history.0.len() <= SAMPLES_MAX);
        history.forecast()
    }

    fn about(found: Option<f64>, expected: f64) -> bool {
        found.is_some_and(|found| (found / expected - 1.0).abs() < 0.01)
    }

    #[test]
    fn a_backlog_drains_at_the_rate_at_which_it_shrinks() {
        let forecast = minute(1_000_000, 1_000, 3_000, 25);
        assert!(about(forecast.goodput_bytes_per_second, 300_000.0), "{forecast:?}");
        // 120,000 records are gone after a minute, 440 s for the other 880,000.
        assert!(about(forecast.drain_seconds, 440.0) && about(forecast.backlog_bytes, 88e6), "{forecast:?}");
        assert!(!forecast.grows);
    }

    #[test]
    fn a_backlog_that_does_not_shrink_never_drains() {
        for (arrive, carry) in [(3_000, 1_000), (1_000, 1_000), (5, 0)] {
            let forecast = minute(1_000_000, arrive, carry, 25);
            assert!(forecast.grows && forecast.drain_seconds.is_none(), "{forecast:?}");
        }
    }

    #[test]
    fn a_link_that_keeps_up_has_no_backlog() {
        let forecast = minute(300, 1_000, 1_000, 25);
        assert!(about(forecast.drain_seconds, 0.3) && !forecast.grows, "{forecast:?}");
        assert_eq!(minute(0, 0, 0, 25).drain_seconds, Some(0.0));
    }

    #[test]
    fn unknown_values_are_left_out() {
        assert_eq!(History::default().forecast(), Forecast::default());
        let young = minute(1_000_000, 3_000, 1_000, 3);
        assert!(!young.grows && young.drain_seconds.is_none(), "five seconds are no trend: {young:?}");
        let mut history = History::default();
        for seconds in 0..30 {
            let at = Duration::from_secs(seconds);
            history.handle(Sample {
                at,
                committed_bytes: seconds * 50,
                sent_records: 1,
                sent_bytes: 1,
                lag_records: None,
            });
        }
        let forecast = history.forecast();
        assert_eq!((forecast.drain_seconds, forecast.backlog_bytes, forecast.grows), (None, None, false));
        assert_eq!(forecast.goodput_bytes_per_second, Some(50.0));
    }
}
