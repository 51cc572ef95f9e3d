//! Network path between the two ends: round trip, queue, loss. Sans-IO.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use transport::congestion::FlowReport;

/// Time over which the least round trip counts as the path's own; after that a longer route is accepted.
const BASE_WINDOW: Duration = Duration::from_secs(300);
/// Round trips that are remembered: one per second.
const BASE_MAX: usize = 300;

/// Reading of the path at one moment by the transport. Values it does not know are derived from the others.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct PathReading {
    /// Recent round-trip time, queues included.
    pub rtt: Duration,
    /// Round-trip time without queues.
    pub base_rtt: Option<Duration>,
    /// Time that packets spend in queues.
    pub queue: Option<Duration>,
    /// Part of the packets that is lost, 0 to 1.
    pub loss: Option<f64>,
    /// Name of the congestion controller's mode.
    pub controller: Option<&'static str>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathReport {
    /// Round-trip time of the path without queues, in seconds, in a session.
    pub base_rtt_seconds: Option<f64>,
    /// Seconds that packets spend in queues of the path.
    pub queue_seconds: Option<f64>,
    /// Part of the recently sent packets that was lost, 0 to 1.
    pub loss_ratio: Option<f64>,
    /// Mode of congestion control: `starting`, `steady`, `policed`, `competing` or `unreachable`.
    pub controller: Option<String>,
}

/// Memory of recent round trips.
#[derive(Debug, Default)]
pub(crate) struct PathMeter {
    /// Round trips that may still become the least, ascending.
    rtts: VecDeque<(Instant, Duration)>,
}

impl PathReading {
    /// Returns the reading from the round trip of one channel, and the report of the congestion control of all.
    pub(crate) fn of(rtt: Duration, flow: Option<&FlowReport>) -> Self {
        let Some(flow) = flow else { return Self { rtt, ..Self::default() } };
        Self {
            rtt: flow.smoothed_rtt.unwrap_or(rtt),
            base_rtt: flow.base_rtt,
            // Without a base there is nothing to compare with.
            queue: flow.base_rtt.map(|_| flow.queue),
            loss: Some(flow.loss),
            controller: Some(flow.mode.word()),
        }
    }
}

impl PathMeter {
    /// Returns the path at `now`. `reading` is `None` without a session; `loss` is the counted loss, a substitute.
    pub(crate) fn handle(&mut self, now: Instant, reading: Option<PathReading>, loss: Option<f64>) -> PathReport {
        let Some(reading) = reading else {
            // The next session may take another route.
            self.rtts.clear();
            return PathReport::default();
        };
        while self.rtts.back().is_some_and(|(_, rtt)| *rtt >= reading.rtt) {
            self.rtts.pop_back();
        }
        self.rtts.push_back((now, reading.rtt));
        let old = |(at, _): &(Instant, Duration)| now.saturating_duration_since(*at) > BASE_WINDOW;
        while self.rtts.len() > BASE_MAX || self.rtts.front().is_some_and(old) {
            self.rtts.pop_front();
        }
        let least = self.rtts.front().map_or(reading.rtt, |(_, rtt)| *rtt);
        let base = reading.base_rtt.unwrap_or(least);
        let queue = reading.queue.unwrap_or_else(|| reading.rtt.saturating_sub(base));
        PathReport {
            base_rtt_seconds: Some(base.as_secs_f64()),
            queue_seconds: Some(queue.as_secs_f64()),
            loss_ratio: reading.loss.or(loss),
            controller: reading.controller.map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reading(rtt_ms: u64) -> Option<PathReading> {
        Some(PathReading { rtt: Duration::from_millis(rtt_ms), ..PathReading::default() })
    }

    #[test]
    fn a_queue_is_what_the_round_trip_is_above_its_least() {
        let mut meter = PathMeter::default();
        let start = Instant::now();
        for (second, rtt, base, queue) in [(0, 120, 0.12, 0.0), (1, 100, 0.1, 0.0), (2, 250, 0.1, 0.15)] {
            let report = meter.handle(start + SECOND * second, reading(rtt), Some(0.01));
            assert_eq!((report.base_rtt_seconds, report.queue_seconds), (Some(base), Some(queue)), "second {second}");
            assert_eq!(report.loss_ratio, Some(0.01));
        }
    }

    #[test]
    fn a_path_that_became_longer_is_accepted_after_a_while() {
        let mut meter = PathMeter::default();
        let start = Instant::now();
        meter.handle(start, reading(100), None);
        let base = |second| meter.handle(start + SECOND * second, reading(300), None).base_rtt_seconds;
        let bases: Vec<_> = (1..=400).map(base).collect();
        assert_eq!((bases[200], bases[399]), (Some(0.1), Some(0.3)));
        assert!(meter.rtts.len() <= BASE_MAX);
    }

    #[test]
    fn the_controllers_values_come_before_derived_ones() {
        let ms = Duration::from_millis;
        let reading = PathReading {
            rtt: ms(200),
            base_rtt: Some(ms(90)),
            queue: Some(ms(7)),
            loss: Some(0.02),
            controller: Some("cruise"),
        };
        let report = PathMeter::default().handle(Instant::now(), Some(reading), Some(0.5));
        let expected = PathReport {
            base_rtt_seconds: Some(0.09),
            queue_seconds: Some(0.007),
            loss_ratio: Some(0.02),
            controller: Some("cruise".to_owned()),
        };
        assert_eq!(report, expected);
    }

    #[test]
    fn nothing_is_remembered_across_sessions() {
        let mut meter = PathMeter::default();
        let start = Instant::now();
        meter.handle(start, reading(10), None);
        assert_eq!(meter.handle(start + SECOND, None, None), PathReport::default());
        assert_eq!(meter.handle(start + SECOND * 2, reading(50), None).base_rtt_seconds, Some(0.05));
    }
}
