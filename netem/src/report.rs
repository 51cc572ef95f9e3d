//! What an emulator did: every packet accounted for, and how late it was itself.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::path::{Counters, DropCause};
use crate::wan::Direction;

/// An emulator whose 99th percentile of lateness is above this has bent what it measures: a hundredth of a
/// 100 ms path, and what issue after issue of a WAN test hangs on.
pub const LATE: Duration = Duration::from_millis(1);

/// The longest time that is told apart, in nanoseconds: one minute.
pub(crate) const LONGEST: u64 = 60_000_000_000;

/// What an emulator did.
#[derive(Debug, Clone)]
pub struct Report {
    /// For how long.
    pub ran: Duration,
    /// From the source to the target.
    pub forward: Counters,
    /// From the target to the source.
    pub back: Counters,
    /// Packets that the machine did not take back from the emulator.
    pub refused: u64,
    /// Packets that the machine dropped before the emulator saw them.
    pub missed: u64,
    /// Processor time that it took.
    pub cpu: Duration,
    /// How late it was.
    pub lateness: Lateness,
}

/// How late an emulator was.
#[derive(Debug, Clone)]
pub struct Lateness {
    /// Whether its thread ran before all others.
    pub real_time: bool,
    /// Nanoseconds from when a packet was to arrive to when it had been handed over.
    delivery: Histogram<u64>,
    /// Nanoseconds in which it did not look for new packets, being busy with others.
    busy: Histogram<u64>,
}

impl Default for Lateness {
    fn default() -> Self {
        let histogram =
            || Histogram::new_with_max(LONGEST, 2).expect("a range and 2 decimals that the histogram takes");
        Self { real_time: false, delivery: histogram(), busy: histogram() }
    }
}

impl Lateness {
    /// How late packets were delivered, at `quantile`.
    pub fn delivery(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.delivery.value_at_quantile(quantile))
    }

    /// How long new packets may have waited to be seen, at `quantile`.
    pub fn busy_for(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.busy.value_at_quantile(quantile))
    }

    fn since(&self, earlier: &Self) -> Self {
        Self {
            real_time: self.real_time,
            delivery: less(&self.delivery, &earlier.delivery),
            busy: less(&self.busy, &earlier.busy),
        }
    }

    pub(crate) fn record(&mut self, late: Duration) {
        self.delivery.saturating_record(nanos(late));
    }

    pub(crate) fn busy(&mut self, busy: Duration) {
        self.busy.saturating_record(nanos(busy));
    }
}

/// What `later` counted and `earlier`, a state of the same histogram, had not yet.
pub(crate) fn less(later: &Histogram<u64>, earlier: &Histogram<u64>) -> Histogram<u64> {
    let mut between = later.clone();
    between.subtract(earlier).expect("a histogram's own past has its range and nothing that it has not");
    between
}

impl Report {
    /// What happened after `earlier`, a report of the same emulator: to leave a warm-up out.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            ran: self.ran - earlier.ran,
            forward: self.forward.since(&earlier.forward),
            back: self.back.since(&earlier.back),
            refused: self.refused - earlier.refused,
            missed: self.missed - earlier.missed,
            cpu: self.cpu.saturating_sub(earlier.cpu),
            lateness: self.lateness.since(&earlier.lateness),
        }
    }

    /// What happened in one direction.
    pub fn direction(&self, direction: Direction) -> &Counters {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Back => &self.back,
        }
    }

    /// Why what was measured over this emulator does not count; nothing if it does.
    pub fn invalid(&self) -> Option<String> {
        let late = self.lateness.delivery(0.99).max(self.lateness.busy_for(0.99));
        if late > LATE {
            return Some(format!("the emulator was late: p99 {late:.1?}, more than {LATE:?}"));
        }
        let overflow: u64 = Direction::BOTH.iter().map(|&d| self.direction(d).dropped_for(DropCause::Overflow)).sum();
        let own = self.refused + self.missed + overflow;
        (own > 0).then(|| format!("the emulator itself dropped {own} packets"))
    }

    /// The report for JSON.
    pub fn summary(&self) -> Summary {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| self.lateness.delivery(quantile).as_secs_f64() * 1e6);
        Summary {
            ran_seconds: self.ran.as_secs_f64(),
            invalid: self.invalid(),
            forward: (&self.forward).into(),
            back: (&self.back).into(),
            refused: self.refused,
            missed: self.missed,
            cpu_seconds: self.cpu.as_secs_f64(),
            real_time: self.lateness.real_time,
            lateness_p50_us: p50,
            lateness_p99_us: p99,
            lateness_max_us: max,
        }
    }
}

/// A report as JSON shows it.
#[derive(Debug, Serialize)]
pub struct Summary {
    ran_seconds: f64,
    /// Why what was measured does not count.
    invalid: Option<String>,
    forward: DirectionSummary,
    back: DirectionSummary,
    refused: u64,
    missed: u64,
    cpu_seconds: f64,
    real_time: bool,
    lateness_p50_us: f64,
    lateness_p99_us: f64,
    lateness_max_us: f64,
}

#[derive(Debug, Serialize)]
struct DirectionSummary {
    offered: u64,
    offered_bytes: u64,
    delivered: u64,
    delivered_bytes: u64,
    dropped: BTreeMap<&'static str, u64>,
    doubled: u64,
    corrupted: u64,
    overtaken: u64,
    queue_max_bytes: u64,
    bottleneck_p50_ms: f64,
    bottleneck_p99_ms: f64,
    bottleneck_max_ms: f64,
}

impl From<&Counters> for DirectionSummary {
    fn from(counters: &Counters) -> Self {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| counters.sojourn(quantile).as_secs_f64() * 1e3);
        Self {
            offered: counters.offered,
            offered_bytes: counters.offered_bytes,
            delivered: counters.delivered,
            delivered_bytes: counters.delivered_bytes,
            dropped: DropCause::ALL.into_iter().map(|cause| (cause.name(), counters.dropped_for(cause))).collect(),
            doubled: counters.doubled,
            corrupted: counters.corrupted,
            overtaken: counters.overtaken,
            queue_max_bytes: counters.backlog_max,
            bottleneck_p50_ms: p50,
            bottleneck_p99_ms: p99,
            bottleneck_max_ms: max,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for direction in Direction::BOTH {
            show(direction, self.direction(direction), self.ran, f)?;
        }
        let Lateness { real_time, .. } = self.lateness;
        let first = if real_time { "real-time" } else { "not real-time" };
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| self.lateness.delivery(quantile));
        write!(f, "lateness p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?} ({first}); refused {}, ", self.refused)?;
        let cpu = self.cpu.as_secs_f64() * 100.0 / self.ran.as_secs_f64().max(1e-9);
        writeln!(f, "missed {}; {cpu:.1} % of a core", self.missed)?;
        match self.invalid() {
            Some(why) => write!(f, "INVALID: {why}"),
            None => f.write_str("valid"),
        }
    }
}

fn show(direction: Direction, counters: &Counters, ran: Duration, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Counters { offered, offered_bytes, delivered, delivered_bytes, .. } = counters;
    let rate = *delivered_bytes as f64 * 8e-6 / ran.as_secs_f64().max(1e-9);
    write!(
        f,
        "{:<8}{offered} packets in ({offered_bytes} B), {delivered} out ({delivered_bytes} B, ",
        direction.name()
    )?;
    write!(f, "{rate:.1} Mbit/s)")?;
    for cause in DropCause::ALL {
        let dropped = counters.dropped_for(cause);
        if dropped > 0 {
            write!(f, ", {} {dropped} ({:.3} %)", cause.name(), dropped as f64 * 100.0 / *offered as f64)?;
        }
    }
    for (what, number) in
        [("doubled", counters.doubled), ("corrupted", counters.corrupted), ("overtaken", counters.overtaken)]
    {
        if number > 0 {
            write!(f, ", {what} {number}")?;
        }
    }
    if counters.backlog_max > 0 {
        let [p50, max] = [0.5, 1.0].map(|quantile| counters.sojourn(quantile));
        write!(f, ", bottleneck p50 {p50:.1?}, max {max:.1?}, queue max {} B", counters.backlog_max)?;
    }
    writeln!(f)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::{Conditions, parse_knobs};
    use crate::profile::Profile;
    use crate::script::Script;
    use crate::wan::Wan;

    #[test]
    fn a_report_since_another_counts_what_came_between_alone() {
        let knobs = parse_knobs("rate 12 Mbit/s, limit 3 kB").unwrap();
        let mut wan = Wan::new(&Profile::both(Conditions::default().with(knobs)), Script::default(), 1);
        let mut lateness = Lateness::default();
        let mut at = |second: u64, packets: usize, late: Duration| {
            let now = Duration::from_secs(second);
            for _ in 0..packets {
                let _ = wan.offer(Direction::Forward, Vec::new(), 1500, now);
            }
            lateness.record(late);
            while wan.poll(now + Duration::from_millis(500)).is_some() {}
            let [forward, back] = Direction::BOTH.map(|direction| wan.counters(direction).clone());
            let lateness = lateness.clone();
            Report { ran: now, forward, back, refused: 0, missed: second, cpu: Duration::ZERO, lateness }
        };
        let earlier = at(1, 5, Duration::from_millis(50));
        let later = at(3, 1, Duration::from_micros(10));
        let between = later.since(&earlier);
        assert_eq!(between.ran, Duration::from_secs(2));
        assert_eq!((between.forward.offered, between.forward.delivered_bytes, between.missed), (1, 1500, 2));
        assert_eq!((earlier.forward.dropped_for(DropCause::Limit), between.forward.dropped_in_all()), (3, 0));
        assert!(between.forward.sojourn(1.0) < Duration::from_micros(1100), "{:?}", between.forward.sojourn(1.0));
        assert!(later.lateness.delivery(1.0) > LATE && between.lateness.delivery(1.0) < LATE);
    }
}
