//! The emulator's report: every packet accounted for, and how late the emulator was.

use std::fmt;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::histogram::TimeHistogram;
use crate::{Counters, Direction, DropCause};

/// The largest 99th percentile of lateness with which a measurement is valid. It is a hundredth of a path of 100 ms.
pub(crate) const LATENESS_MAX: Duration = Duration::from_millis(1);

#[derive(Debug, Clone)]
pub struct Report {
    pub ran: Duration,
    pub forward: Counters,
    pub back: Counters,
    /// Packets that the system refused to take from the emulator.
    pub refused: u64,
    /// Packets that the system dropped before the emulator read them.
    pub missed: u64,
    /// Processor time of the emulator's thread.
    pub cpu: Duration,
    pub lateness: Lateness,
}

/// The emulator's own delays: how far its timing was from the model's.
#[derive(Debug, Clone, Default)]
pub struct Lateness {
    /// Real-time priority of the emulator's thread, if the system granted it.
    pub real_time: bool,
    /// Time from when a packet was to arrive until it was delivered.
    pub delivery: TimeHistogram,
    /// Time in which the emulator did not read new packets because it was busy with others.
    pub busy: TimeHistogram,
}

impl Lateness {
    fn since(&self, earlier: &Self) -> Self {
        let delivery = self.delivery.since(&earlier.delivery);
        Self { real_time: self.real_time, delivery, busy: self.busy.since(&earlier.busy) }
    }
}

impl Report {
    /// Returns a report of what happened after `earlier`, an earlier report of the same emulator. It leaves a warm-up out.
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

    pub fn direction(&self, direction: Direction) -> &Counters {
        match direction {
            Direction::Forward => &self.forward,
            Direction::Back => &self.back,
        }
    }

    /// Returns why a measurement over this emulator is invalid; none if it is valid.
    pub fn invalid(&self) -> Option<String> {
        let late = self.lateness.delivery.quantile(0.99).max(self.lateness.busy.quantile(0.99));
        if late > LATENESS_MAX {
            return Some(format!("the emulator was late: p99 {late:.1?}, more than {LATENESS_MAX:?}"));
        }
        self.own_drops()
    }

    /// Returns how many packets the emulator dropped that its knobs did not ask it to drop; none if it dropped none.
    pub(crate) fn own_drops(&self) -> Option<String> {
        let overflow: u64 = Direction::BOTH.iter().map(|&d| self.direction(d).dropped_for(DropCause::Overflow)).sum();
        let own = self.refused + self.missed + overflow;
        (own > 0).then(|| format!("the emulator itself dropped {own} packets"))
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_map(None)?;
        report.serialize_entry("ran_seconds", &self.ran.as_secs_f64())?;
        report.serialize_entry("invalid", &self.invalid())?;
        report.serialize_entry("forward", &self.forward)?;
        report.serialize_entry("back", &self.back)?;
        report.serialize_entry("refused", &self.refused)?;
        report.serialize_entry("missed", &self.missed)?;
        report.serialize_entry("cpu_seconds", &self.cpu.as_secs_f64())?;
        report.serialize_entry("real_time", &self.lateness.real_time)?;
        for (name, quantile) in [("lateness_p50_us", 0.5), ("lateness_p99_us", 0.99), ("lateness_max_us", 1.0)] {
            report.serialize_entry(name, &(self.lateness.delivery.quantile(quantile).as_secs_f64() * 1e6))?;
        }
        report.end()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for direction in Direction::BOTH {
            show(direction, self.direction(direction), self.ran, f)?;
        }
        let priority = if self.lateness.real_time { "real-time" } else { "not real-time" };
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|quantile| self.lateness.delivery.quantile(quantile));
        write!(f, "lateness p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?} ({priority}); refused {}, ", self.refused)?;
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
    write!(f, "{:<8}{offered} packets in ({offered_bytes} B), {delivered} out ", direction.name())?;
    write!(f, "({delivered_bytes} B, {rate:.1} Mbit/s)")?;
    for cause in DropCause::ALL {
        let dropped = counters.dropped_for(cause);
        if dropped > 0 {
            write!(f, ", {} {dropped} ({:.3} %)", cause.name(), dropped as f64 * 100.0 / *offered as f64)?;
        }
    }
    for (name, number) in
        [("doubled", counters.doubled), ("corrupted", counters.corrupted), ("overtaken", counters.overtaken)]
    {
        if number > 0 {
            write!(f, ", {name} {number}")?;
        }
    }
    if counters.backlog_max > 0 {
        let [p50, max] = [0.5, 1.0].map(|quantile| counters.sojourn.quantile(quantile));
        write!(f, ", bottleneck p50 {p50:.1?}, max {max:.1?}, queue max {} B", counters.backlog_max)?;
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conditions, Profile, Script, Wan, parse_knobs};

    #[test]
    fn a_difference_of_reports_leaves_out_the_earlier_one() {
        let knobs = parse_knobs("rate 12 Mbit/s, limit 3 kB").unwrap();
        let mut wan = Wan::new(&Profile::both(Conditions::default().with(knobs)), Script::default(), 1);
        let mut lateness = Lateness::default();
        let mut at = |second: u64, packets: usize, late: Duration| {
            let now = Duration::from_secs(second);
            for _ in 0..packets {
                let _ = wan.offer(Direction::Forward, Vec::new(), 1500, now);
            }
            lateness.delivery.record(late);
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
        let sojourn = between.forward.sojourn.quantile(1.0);
        assert!(sojourn < Duration::from_micros(1100), "{sojourn:?}");
        assert!(later.lateness.delivery.quantile(1.0) > LATENESS_MAX);
        assert!(between.lateness.delivery.quantile(1.0) < LATENESS_MAX);
    }
}
