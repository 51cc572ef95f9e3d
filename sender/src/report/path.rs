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
    /// Recent round-trip time of one channel, queues included.
    pub rtt: Duration,
    /// Report of the congestion control of all channels.
    pub flow: Option<FlowReport>,
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

impl PathMeter {
    /// Returns the path at `now`. `reading` is `None` without a session; `loss` is the counted loss, a substitute.
    pub(crate) fn handle(&mut self, now: Instant, reading: Option<PathReading>, loss: Option<f64>) -> PathReport {
        let Some(PathReading { rtt, flow }) = reading else {
            // The next session may take another route.
            self.rtts.clear();
            return PathReport::default();
        };
        let rtt = flow.and_then(|flow| flow.smoothed_rtt).unwrap_or(rtt);
        while self.rtts.back().is_some_and(|(_, before)| *before >= rtt) {
            self.rtts.pop_back();
        }
        self.rtts.push_back((now, rtt));
        let old = |(at, _): &(Instant, Duration)| now.saturating_duration_since(*at) > BASE_WINDOW;
        while self.rtts.len() > BASE_MAX || self.rtts.front().is_some_and(old) {
            self.rtts.pop_front();
        }
        let least = self.rtts.front().map_or(rtt, |(_, rtt)| *rtt);
        let measured = flow.and_then(|flow| Some((flow.base_rtt?, flow.queue)));
        let (base, queue) = measured.unwrap_or_else(|| (least, rtt.saturating_sub(least)));
        PathReport {
            base_rtt_seconds: Some(base.as_secs_f64()),
            queue_seconds: Some(queue.as_secs_f64()),
            loss_ratio: flow.map(|flow| flow.loss).or(loss),
            controller: flow.map(|flow| flow.mode.word().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use transport::congestion::{Limit, Mode};
    use wire::units::Rate;

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
        let flow = FlowReport {
            allowed: Rate::from_bits_per_second(1),
            budget: None,
            delivery: Rate::from_bits_per_second(1),
            base_rtt: Some(ms(90)),
            smoothed_rtt: Some(ms(200)),
            queue: ms(7),
            loss: 0.02,
            mode: Mode::Steady,
            limit: Limit::Path,
            channels: 1,
        };
        let reading = PathReading { rtt: ms(300), flow: Some(flow) };
        let report = PathMeter::default().handle(Instant::now(), Some(reading), Some(0.5));
        let expected = PathReport {
            base_rtt_seconds: Some(0.09),
            queue_seconds: Some(0.007),
            loss_ratio: Some(0.02),
            controller: Some("steady".to_owned()),
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
