//! What the path between the two ends is like: round trip, queue, loss. Sans-IO.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use transport::congestion::FlowReport;

/// The least round trip of so long is the path's own; a route that becomes longer is believed after that.
const BASE_WINDOW: Duration = Duration::from_secs(300);

/// Round trips that may be remembered: one a second.
const BASE_MAX: usize = 300;

/// What the transport says of the path at one moment. What it does not know is worked out from the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PathReading {
    /// The round trip of late, queues included.
    pub rtt: Duration,
    /// The round trip without queues.
    pub base_rtt: Option<Duration>,
    /// How long packets stand in a queue.
    pub queue: Option<Duration>,
    /// Which part of the packets is lost, 0 to 1.
    pub loss: Option<f64>,
    /// What the congestion controller is about, in its own word.
    pub controller: Option<&'static str>,
}

/// What is known of the path, in a session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathReport {
    /// The round trip without queues.
    pub base_rtt_seconds: Option<f64>,
    /// How long packets stand in a queue.
    pub queue_seconds: Option<f64>,
    /// Which part of what was sent of late was lost.
    pub loss_ratio: Option<f64>,
    /// Which rule of congestion control holds; `null` where none is known.
    pub controller: Option<String>,
}

/// Remembers what a report needs.
#[derive(Debug, Default)]
pub struct PathMeter {
    /// Round trips that may yet be the least, ascending.
    rtts: VecDeque<(Instant, Duration)>,
}

impl PathReading {
    /// With the round trip that a channel measures, and what the congestion control of all channels has found.
    pub fn of(rtt: Duration, flow: Option<&FlowReport>) -> Self {
        let Some(flow) = flow else { return Self { rtt, ..Self::default() } };
        Self {
            rtt: flow.smoothed_rtt.unwrap_or(rtt),
            base_rtt: flow.base_rtt,
            // Without a base there is nothing to compare with.
            queue: flow.base_rtt.map(|_| flow.queue),
            loss: Some(flow.loss),
            controller: Some(flow.mode.name()),
        }
    }
}

impl PathMeter {
    /// The path at `now`; `None` without a session. `loss` is what was counted, where the transport does not say.
    pub fn handle(&mut self, now: Instant, reading: Option<PathReading>, loss: Option<f64>) -> PathReport {
        let Some(reading) = reading else {
            // The next session may take another way.
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
        let (mut meter, start) = (PathMeter::default(), Instant::now());
        for (second, rtt, base, queue) in [(0, 120, 0.12, 0.0), (1, 100, 0.1, 0.0), (2, 250, 0.1, 0.15)] {
            let report = meter.handle(start + SECOND * second, reading(rtt), Some(0.01));
            assert_eq!((report.base_rtt_seconds, report.queue_seconds), (Some(base), Some(queue)), "second {second}");
            assert_eq!(report.loss_ratio, Some(0.01));
        }
    }

    #[test]
    fn a_path_that_became_longer_is_believed_in_the_end() {
        let (mut meter, start) = (PathMeter::default(), Instant::now());
        meter.handle(start, reading(100), None);
        let base = |second| meter.handle(start + SECOND * second, reading(300), None).base_rtt_seconds;
        let bases: Vec<_> = (1..=400).map(base).collect();
        assert_eq!((bases[200], bases[399]), (Some(0.1), Some(0.3)));
        assert!(meter.rtts.len() <= BASE_MAX);
    }

    #[test]
    fn what_the_controller_measured_counts_more_than_what_follows_from_the_round_trip() {
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
    fn without_a_session_nothing_is_known_and_nothing_remembered() {
        let (mut meter, start) = (PathMeter::default(), Instant::now());
        meter.handle(start, reading(10), None);
        assert_eq!(meter.handle(start + SECOND, None, None), PathReport::default());
        assert_eq!(meter.handle(start + SECOND * 2, reading(50), None).base_rtt_seconds, Some(0.05));
    }
}
