//! Checks of the emulator's accuracy, each with its bound.

use std::fmt;
use std::io;
use std::time::Duration;

use wire::units::Rate;

use super::rig::{CarrierKind, Rig};
use super::traffic::{Arrival, Load, PACKET, ping, send_and_receive};
use crate::emulator::report::LATENESS_MAX;
use crate::{DropCause, Report};

/// A function that measures one property of the emulator.
pub(super) type Check = fn(CarrierKind) -> io::Result<Finding>;

/// All checks with their names on the command line, in the order in which they run.
pub(super) const CHECKS: [(&str, Check); 8] = [
    ("rtt", rtt),
    ("load", load),
    ("loss", |carrier| loss(carrier, "loss 2 %", 1.0)),
    ("bursts", |carrier| loss(carrier, "loss 2 % in bursts of 10", 10.0)),
    ("seed", seed),
    ("rate", rate),
    ("limit", limit),
    ("throughput", throughput),
];

#[derive(Debug, Clone)]
pub(super) struct Finding {
    measured: String,
    bound: String,
    kept: bool,
    /// Reason why the measurement is invalid, if it is.
    invalid: Option<String>,
}

impl Finding {
    /// A finding about packets that arrive, not about when: it holds on a busy machine, where the emulator is late.
    fn of_packets(measured: String, bound: &str, kept: bool, report: &Report) -> Self {
        Self { measured, bound: bound.to_owned(), kept, invalid: report.own_drops() }
    }

    fn new(measured: String, bound: &str, kept: bool, report: &Report) -> Self {
        Self { measured, bound: bound.to_owned(), kept, invalid: report.invalid() }
    }

    fn nothing_arrived(report: &Report) -> Self {
        Self::new("nothing arrived".to_owned(), "something", false, report)
    }

    pub(super) fn counts_as_passed(&self) -> bool {
        self.kept && self.invalid.is_none()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (must be {})", self.measured, self.bound)?;
        if let Some(why) = &self.invalid {
            write!(f, " [{why}]")?;
        }
        Ok(())
    }
}

const fn mbit(rate: u64) -> Rate {
    Rate::from_bits_per_second(rate * 1_000_000)
}

fn rtt(carrier: CarrierKind) -> io::Result<Finding> {
    const EXPECTED: Duration = Duration::from_millis(100);
    let rig = Rig::build(carrier, "delay 50 ms")?;
    let mut times = ping(1000, Duration::from_millis(1), &rig.source, &rig.target)?;
    let report = rig.finish()?;
    times.sort_unstable();
    let [p50, p99] = [0.5, 0.99].map(|part| quantile(&times, part));
    let Some(&least) = times.first() else {
        return Ok(Finding::nothing_arrived(&report));
    };
    let kept = times.len() == 1000 && least >= EXPECTED && p99 <= EXPECTED + LATENESS_MAX;
    let measured =
        format!("{} of 1000 pings over 2 x 50 ms: min {least:.2?}, p50 {p50:.2?}, p99 {p99:.2?}", times.len());
    Ok(Finding::new(measured, "p99 within 1 ms of 100 ms, none lost or early", kept, &report))
}

fn load(carrier: CarrierKind) -> io::Result<Finding> {
    const DELAY: Duration = Duration::from_millis(50);
    let (arrivals, report) = send_over(carrier, "delay 50 ms", Load { packets: 125_000, rate: mbit(500) })?;
    let mut late: Vec<Duration> = arrivals.iter().map(|arrival| arrival.took.saturating_sub(DELAY)).collect();
    late.sort_unstable();
    let [p50, p99] = [0.5, 0.99].map(|part| quantile(&late, part));
    let own = report.lateness.delivery.quantile(0.99);
    let kept = arrivals.len() == 125_000 && own < LATENESS_MAX && arrivals.iter().all(|arrival| arrival.took >= DELAY);
    let measured = format!(
        "500 Mbit/s for 3 s: emulator late by p99 {own:.1?}, socket to socket p50 {p50:.1?}, p99 {p99:.1?}, \
         {} lost, {}",
        125_000 - arrivals.len(),
        core(&report)
    );
    Ok(Finding::new(measured, "emulator's p99 below 1 ms, none lost or early", kept, &report))
}

/// Compares the number of lost packets with the binomial bound. Bursts of n packets widen it by about sqrt(2n - 1).
fn loss(carrier: CarrierKind, knobs: &str, burst: f64) -> io::Result<Finding> {
    const PACKETS: u64 = 50_000;
    const MEAN: f64 = PACKETS as f64 * 0.02;
    let (arrivals, report) =
        send_over(carrier, &format!("delay 10 ms, {knobs}"), Load { packets: PACKETS, rate: mbit(300) })?;
    let lost = PACKETS - arrivals.len() as u64;
    let spread = 4.0 * (MEAN * 0.98 * (2.0 * burst - 1.0)).sqrt();
    let kept = (lost as f64 - MEAN).abs() <= spread && lost == report.forward.dropped_in_all();
    let counted = report.forward.dropped_in_all();
    let measured = format!("{lost} of {PACKETS} did not arrive, {counted} counted as dropped");
    Ok(Finding::of_packets(measured, &format!("{MEAN} +- {spread:.0}, and as counted"), kept, &report))
}

/// Compares the packets that arrive in two runs with the same seed.
fn seed(carrier: CarrierKind) -> io::Result<Finding> {
    const LOAD: Load = Load { packets: 10_000, rate: mbit(100) };
    let (first, _) = send_over(carrier, "delay 10 ms, loss 2 %", LOAD)?;
    let (second, report) = send_over(carrier, "delay 30 ms, loss 2 %, rate 200 Mbit/s", LOAD)?;
    let [first, second] = [first, second].map(numbers);
    let kept = first == second && first.len() < 10_000;
    let measured = format!("{} and {} of 10000 arrived in two runs", first.len(), second.len());
    Ok(Finding::of_packets(measured, "the very same packets", kept, &report))
}

/// Measures the rate of a bottleneck that is never idle.
fn rate(carrier: CarrierKind) -> io::Result<Finding> {
    let (arrivals, report) =
        send_over(carrier, "delay 10 ms, rate 100 Mbit/s, limit 20 ms", Load { packets: 30_000, rate: mbit(120) })?;
    let Some([first, last]) = first_and_last(&arrivals) else {
        return Ok(Finding::nothing_arrived(&report));
    };
    let bits = (arrivals.len() as f64 - 1.0) * PACKET as f64 * 8.0;
    let measured = bits / (last.at - first.at).as_secs_f64() / 1e6;
    let kept = (measured / 100.0 - 1.0).abs() < 0.01;
    Ok(Finding::of_packets(format!("{measured:.2} Mbit/s of 120 offered"), "100 Mbit/s within 1 %", kept, &report))
}

/// Counts the packets that a queue accepts while it drains so slowly that none leaves.
fn limit(carrier: CarrierKind) -> io::Result<Finding> {
    // The queue holds 150 packets. Each takes a second to send, longer than the receiver waits for the first.
    let load = Load { packets: 400, rate: Rate::from_bits_per_second(u64::MAX / 2) };
    let rig = Rig::build(carrier, "rate 12 kbit/s, limit 225000 B")?;
    send_and_receive(load, &rig.source, &rig.target)?;
    let report = rig.finish()?;
    let counters = &report.forward;
    let accepted = counters.offered - counters.dropped_for(DropCause::Limit);
    let kept = counters.offered == 400 && accepted == 150 && counters.backlog_max == 225_000;
    let measured = format!("{accepted} of {} packets taken, queue max {} B", counters.offered, counters.backlog_max);
    Ok(Finding::of_packets(measured, "150 of 400: 225000 B", kept, &report))
}

fn throughput(carrier: CarrierKind) -> io::Result<Finding> {
    const LOAD: Load = Load { packets: 280_000, rate: mbit(840) };
    let (arrivals, report) = send_over(carrier, "delay 20 ms", LOAD)?;
    let Some([first, last]) = first_and_last(&arrivals) else {
        return Ok(Finding::nothing_arrived(&report));
    };
    let carried = arrivals.len() as f64 * PACKET as f64 * 8.0 / (last.at - first.at).as_secs_f64() / 1e6;
    let late = report.lateness.delivery.quantile(0.99);
    let measured = format!("{carried:.0} Mbit/s of 1500-byte packets, late by p99 {late:.1?}, {}", core(&report));
    Ok(Finding::new(measured, "800 Mbit/s at least", carried >= 800.0, &report))
}

fn send_over(carrier: CarrierKind, knobs: &str, load: Load) -> io::Result<(Vec<Arrival>, Report)> {
    let rig = Rig::build(carrier, knobs)?;
    let arrivals = send_and_receive(load, &rig.source, &rig.target)?;
    Ok((arrivals, rig.finish()?))
}

fn first_and_last(arrivals: &[Arrival]) -> Option<[&Arrival; 2]> {
    Some([arrivals.first()?, arrivals.last()?])
}

fn numbers(arrivals: Vec<Arrival>) -> Vec<u64> {
    let mut numbers: Vec<u64> = arrivals.into_iter().map(|arrival| arrival.number).collect();
    numbers.sort_unstable();
    numbers
}

fn quantile(sorted: &[Duration], part: f64) -> Duration {
    let index = (sorted.len() as f64 * part) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn core(report: &Report) -> String {
    let share = report.cpu.as_secs_f64() / report.ran.as_secs_f64() * 100.0;
    format!("{share:.0} % of a core")
}
