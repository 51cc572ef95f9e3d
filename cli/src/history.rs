//! The last 15 minutes of a process as curves: a bounded number of samples, kept in memory. Sans-IO.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Time between two samples.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);
/// Time that the curves show.
pub(crate) const SPAN: Duration = Duration::from_secs(15 * 60);
/// Samples that are kept: those of the span, and the one before it.
const SAMPLES_MAX: usize = samples_in(SPAN);
/// Samples of a link that are kept: those of a minute.
const LINK_SAMPLES_MAX: usize = samples_in(Duration::from_secs(60));

/// Samples of a time, its ends included.
const fn samples_in(time: Duration) -> usize {
    (time.as_secs() / INTERVAL.as_secs()) as usize + 1
}

/// Counters and levels of a process at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Sample {
    /// Records so far: sent by a sender, committed by a receiver.
    pub(crate) records: u64,
    /// Bytes so far: on the wire at a sender, of committed records at a receiver.
    pub(crate) bytes: u64,
    /// Records that the target lacks; `None` while unknown.
    pub(crate) lag: Option<u64>,
    /// What waits on the way: seconds in the path's queue at a sender, bytes at a receiver; `None` while unknown.
    pub(crate) queue: Option<f64>,
}

impl Sample {
    pub(crate) fn of_sender(status: &sender::Status) -> Self {
        Self {
            records: status.totals.records,
            bytes: status.rate.sent_bytes,
            lag: status.lag_records,
            queue: status.path.queue_seconds,
        }
    }

    pub(crate) fn of_receiver(status: &receiver::status::Status) -> Self {
        let links = || status.links.iter();
        Self {
            records: links().map(|link| link.counts.records).sum(),
            bytes: links().map(|link| link.counts.bytes).sum(),
            lag: None,
            queue: status.listen.map(|_| links().map(|link| link.held_bytes as f64).sum()),
        }
    }
}

/// One of the curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    /// Records per second.
    Records,
    /// Bytes per second.
    Bytes,
    /// The lag.
    Lag,
    /// What waits on the way.
    Queue,
}

/// A value of a curve; `None` where it is unknown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// Seconds before the newest sample.
    pub(crate) age: f64,
    pub(crate) value: Option<f64>,
}

/// Samples of a process, the oldest first, and the records of each link of a receiver.
#[derive(Debug, Default)]
pub(crate) struct History {
    samples: VecDeque<(Duration, Option<Sample>)>,
    links: BTreeMap<String, VecDeque<(Duration, u64)>>,
}

impl History {
    /// Takes in a sample; `at` is the time since the process started.
    pub(crate) fn handle(&mut self, at: Duration, sample: Sample) {
        push(&mut self.samples, (at, Some(sample)), SAMPLES_MAX);
    }

    /// Notes that nothing is known of this time: the curves get a gap, and the rates of links begin again.
    pub(crate) fn handle_silence(&mut self, at: Duration) {
        push(&mut self.samples, (at, None), SAMPLES_MAX);
        self.links.clear();
    }

    /// Takes in the records of each link, and forgets links that are not there any more.
    pub(crate) fn handle_links(&mut self, at: Duration, links: Vec<(String, u64)>) {
        let mut before = std::mem::take(&mut self.links);
        for (name, records) in links {
            let mut samples = before.remove(&name).unwrap_or_default();
            push(&mut samples, (at, records), LINK_SAMPLES_MAX);
            self.links.insert(name, samples);
        }
    }

    /// Returns the records per second of a link over the last minute; `None` while two samples are missing.
    pub(crate) fn link_rate(&self, name: &str) -> Option<f64> {
        let samples = self.links.get(name)?;
        let (from, before) = *samples.front()?;
        let (to, after) = *samples.back()?;
        per_second(after.checked_sub(before)?, to - from)
    }

    /// Returns the points of a curve, the oldest first.
    pub(crate) fn points(&self, curve: Curve) -> Vec<Point> {
        let Some((newest, _)) = self.samples.back() else { return Vec::new() };
        let age = |at: &Duration| (*newest - *at).as_secs_f64();
        let level = |of: fn(&Sample) -> Option<f64>| -> Vec<Point> {
            self.samples
                .iter()
                .map(|(at, sample)| Point { age: age(at), value: sample.as_ref().and_then(of) })
                .collect()
        };
        let rate = |of: fn(&Sample) -> u64| -> Vec<Point> {
            let pairs = self.samples.iter().zip(self.samples.iter().skip(1));
            pairs
                .map(|((from, before), (to, after))| {
                    // A process that restarted counts from 0 again.
                    let both = before.as_ref().zip(after.as_ref());
                    let grown = both.and_then(|(before, after)| of(after).checked_sub(of(before)));
                    Point { age: age(to), value: grown.and_then(|grown| per_second(grown, *to - *from)) }
                })
                .collect()
        };
        match curve {
            Curve::Records => rate(|sample| sample.records),
            Curve::Bytes => rate(|sample| sample.bytes),
            Curve::Lag => level(|sample| sample.lag.map(|lag| lag as f64)),
            Curve::Queue => level(|sample| sample.queue),
        }
    }
}

/// Adds a sample, and forgets the oldest beyond `most`.
fn push<T>(samples: &mut VecDeque<T>, sample: T, most: usize) {
    samples.push_back(sample);
    while samples.len() > most {
        samples.pop_front();
    }
}

fn per_second(amount: u64, time: Duration) -> Option<f64> {
    (time > Duration::ZERO).then(|| amount as f64 / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_rates_levels_and_gaps() {
        let mut history = History::default();
        assert!(history.points(Curve::Records).is_empty());
        let lags = [Some(4), None, Some(0)];
        for (step, (records, lag)) in [0, 50, 10].into_iter().zip(lags).enumerate() {
            let sample = Sample { records, lag, ..Sample::default() };
            history.handle(INTERVAL * u32::try_from(step).unwrap(), sample);
        }
        // The counter went back: the process restarted.
        let point = |age, value| Point { age, value };
        assert_eq!(history.points(Curve::Records), [point(5.0, Some(10.0)), point(0.0, None)]);
        let expected = [point(10.0, Some(4.0)), point(5.0, None), point(0.0, Some(0.0))];
        assert_eq!(history.points(Curve::Lag), expected);
        assert!(history.points(Curve::Queue).iter().all(|point| point.value.is_none()));
    }

    #[test]
    fn silence_is_a_gap() {
        let mut history = History::default();
        let sample = Sample { lag: Some(7), ..Sample::default() };
        for (step, is_silent) in [false, false, true, false, false].into_iter().enumerate() {
            let at = INTERVAL * u32::try_from(step).unwrap();
            if is_silent {
                history.handle_silence(at);
            } else {
                history.handle(at, sample);
                history.handle_links(at, vec![("a".into(), 1)]);
            }
        }
        let values = |curve| history.points(curve).iter().map(|point| point.value).collect::<Vec<_>>();
        assert_eq!(values(Curve::Lag), [Some(7.0), Some(7.0), None, Some(7.0), Some(7.0)]);
        assert_eq!(values(Curve::Records), [Some(0.0), None, None, Some(0.0)]);
        assert_eq!(history.link_rate("a"), Some(0.0));
        history.handle_silence(INTERVAL * 5);
        assert_eq!(history.link_rate("a"), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut history = History::default();
        for step in 0..1_000 {
            let at = INTERVAL * step;
            history.handle(at, Sample { records: u64::from(step) * 50, ..Sample::default() });
            history.handle_links(at, vec![("a".into(), u64::from(step) * 20), (format!("b{step}"), 1)]);
        }
        let points = history.points(Curve::Records);
        assert_eq!((points.len(), points[0].age), (180, 895.0));
        assert_eq!(points[0].age + INTERVAL.as_secs_f64(), SPAN.as_secs_f64());
        assert_eq!(history.links.len(), 2);
        assert_eq!(history.link_rate("a"), Some(4.0));
        assert_eq!(history.link_rate("b999"), None, "one sample is no rate");
        assert_eq!(history.link_rate("b1"), None);
    }
}
