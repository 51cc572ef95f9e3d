//! Samples of the path and of the lanes' time, taken once a second, and the trends that follow from them. Sans-IO.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::board::Wire;
use crate::lane::activity::Spent;
use crate::report::path::{PathMeter, PathReading, PathReport};

/// Samples over which the lanes' time is taken: enough to see a frame of a slow link, and few enough to wait for.
const TIME_SAMPLES: usize = 5;
/// Samples over which the compression sees the limit: it must tell the effect of a step from what was before.
const RECENT_SAMPLES: usize = 2;
/// Samples that are remembered, for values over a minute.
const SAMPLES_MAX: usize = 61;

#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// Reading of the path; `None` without a session.
    pub path: Option<PathReading>,
    /// Traffic of all sessions so far.
    pub wire: Wire,
    /// Bytes on the wire so far, IP headers included.
    pub ip_bytes: u64,
    /// Time in which packets have waited for the rate so far.
    pub waited: Duration,
    /// Rate in effect, in bits per second; `None` for no limit.
    pub rate: Option<u64>,
    /// Bytes of frames so far, uncompressed.
    pub raw_bytes: u64,
    pub lanes: Vec<Spent>,
}

/// Trend of the last samples.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Trend {
    pub path: PathReport,
    /// Bytes of records for each byte on the wire, over the last minute; `None` while nothing is sent.
    pub efficiency: Option<f64>,
    /// Time use of the lane that idles least.
    pub busiest: TimeUse,
    pub recent: Recent,
}

/// Use of time and rate over the last two seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Recent {
    /// Time use of each lane.
    pub lanes: Vec<TimeUse>,
    /// Part of the rate that was used; 0 without a rate.
    pub budget_used: f64,
    /// Part of the time in which packets waited for the rate.
    pub budget_waits: f64,
}

/// Parts of a lane's time, each 0 to 1; for the rest the lane idles.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TimeUse {
    /// Part in which the lane packs or compresses.
    pub works: f64,
    /// Part in which the lane waits for credit.
    pub credit: f64,
    /// Part in which the lane waits for the transport.
    pub room: f64,
}

/// Memory of the last samples.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    samples: VecDeque<(Instant, Sample)>,
    path: PathMeter,
}

impl Sampler {
    pub(crate) fn handle(&mut self, now: Instant, sample: Sample) -> Trend {
        let Self { samples, path } = self;
        samples.push_back((now, sample));
        while samples.len() > SAMPLES_MAX {
            samples.pop_front();
        }
        let Some(last) = samples.back() else { return Trend::default() };
        let oldest = samples.front().unwrap_or(last);
        let ago = |count: usize| samples.get(samples.len().saturating_sub(count + 1)).unwrap_or(last);
        let recent = ago(TIME_SAMPLES);
        let sample = &last.1;
        let minute = |count: fn(&Sample) -> u64| count(sample).saturating_sub(count(&oldest.1));
        let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let loss = ratio(minute(|sample| sample.wire.lost_packets), minute(|sample| sample.wire.sent_packets));
        let seconds = last.0.saturating_duration_since(recent.0).as_secs_f64();
        Trend {
            path: path.handle(now, sample.path, loss),
            efficiency: ratio(minute(|sample| sample.raw_bytes), minute(|sample| sample.ip_bytes)),
            busiest: TimeUse::busiest(lanes(&recent.1, sample, seconds)),
            recent: Recent::between(ago(RECENT_SAMPLES), last),
        }
    }
}

/// Returns the time use of each lane.
fn lanes(before: &Sample, after: &Sample, seconds: f64) -> impl Iterator<Item = TimeUse> {
    let share = move |spent: Duration| if seconds > 0.0 { spent.as_secs_f64() / seconds } else { 0.0 };
    before.lanes.iter().zip(&after.lanes).map(move |(before, after)| {
        let spent = after.since(*before);
        TimeUse { works: share(spent.works), credit: share(spent.waits_for_credit), room: share(spent.waits_for_room) }
    })
}

impl TimeUse {
    /// Returns the time use of the lane that idles least.
    pub(crate) fn busiest(lanes: impl Iterator<Item = Self>) -> Self {
        lanes.max_by(|a, b| a.busy().total_cmp(&b.busy())).unwrap_or_default()
    }

    const fn busy(self) -> f64 {
        self.works + self.credit + self.room
    }
}

impl Recent {
    fn between(first: &(Instant, Sample), last: &(Instant, Sample)) -> Self {
        let (from, before) = first;
        let (to, after) = last;
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        let bits = per_second(after.ip_bytes.saturating_sub(before.ip_bytes) as f64 * 8.0);
        Self {
            lanes: lanes(before, after, seconds).collect(),
            budget_used: after.rate.map_or(0.0, |rate| bits / rate.max(1) as f64),
            budget_waits: per_second(after.waited.saturating_sub(before.waited).as_secs_f64()).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn look(second: u64) -> Sample {
        let ms = Duration::from_millis;
        let n = u32::try_from(second).unwrap();
        Sample {
            path: Some(PathReading { rtt: ms(100), ..PathReading::default() }),
            wire: Wire {
                sent_bytes: second * 972_000,
                received_bytes: 0,
                sent_packets: second * 1000,
                lost_packets: second * 20,
            },
            ip_bytes: second * 1_000_000,
            waited: ms(500) * n,
            rate: Some(10_000_000),
            raw_bytes: second * 2_500_000,
            lanes: vec![
                Spent { idles: SECOND * n, ..Spent::default() },
                Spent {
                    works: ms(100) * n,
                    waits_for_room: ms(700) * n,
                    waits_for_credit: ms(50) * n,
                    idles: ms(150) * n,
                },
            ],
        }
    }

    #[test]
    fn time_use_is_of_seconds_and_efficiency_of_a_minute() {
        let mut meter = Sampler::default();
        let start = Instant::now();
        let pulses: Vec<_> =
            (0..100).map(|second| meter.handle(start + SECOND * second, look(second.into()))).collect();
        assert_eq!(pulses[0].efficiency, None);
        assert_eq!(pulses[0].busiest, TimeUse::default());
        for pulse in &pulses[1..] {
            assert_eq!(pulse.path.loss_ratio, Some(0.02));
            assert_eq!(pulse.efficiency, Some(2.5));
            let recent = &pulse.recent;
            assert!((recent.budget_used - 0.8).abs() < 1e-6 && (recent.budget_waits - 0.5).abs() < 1e-6);
            assert_eq!((recent.lanes[0], recent.lanes.len()), (TimeUse::default(), 2));
            let TimeUse { works, credit, room } = pulse.busiest;
            assert!((works - 0.1).abs() < 1e-6 && (credit - 0.05).abs() < 1e-6 && (room - 0.7).abs() < 1e-6);
        }
        assert_eq!(meter.samples.len(), SAMPLES_MAX);
        // Nothing moves any more.
        for second in 100..104 {
            meter.handle(start + SECOND * second, look(99));
        }
        let still = meter.handle(start + SECOND * 104, look(99));
        assert_eq!(still.busiest, TimeUse::default());
    }
}
