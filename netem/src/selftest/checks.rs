//! What the emulator promises of itself, each with how it is measured.

use std::io;
use std::time::Duration;

use wire::units::Rate;

use super::Finding;
use super::rig::{Rig, Way};
use super::traffic::{Arrival, Load, PACKET, carry, ping};
use crate::report::{LATE, Report};

/// One promise.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// How it is measured.
    pub make: fn(Way) -> io::Result<Finding>,
}

/// All of them.
pub const CHECKS: &[Check] = &[
    Check { name: "rtt", make: rtt },
    Check { name: "load", make: load },
    Check { name: "loss", make: loss },
    Check { name: "bursts", make: bursts },
    Check { name: "seed", make: seed },
    Check { name: "rate", make: rate },
    Check { name: "limit", make: limit },
    Check { name: "throughput", make: throughput },
];

const fn mbit(rate: u64) -> Rate {
    Rate::from_bits_per_second(rate * 1_000_000)
}

/// The round trip of small packets over an idle path.
fn rtt(way: Way) -> io::Result<Finding> {
    const EXPECTED: Duration = Duration::from_millis(100);
    let rig = Rig::build(way, "delay 50 ms")?;
    let mut times = ping(1000, Duration::from_millis(1), &rig.source, &rig.target)?;
    let report = rig.finish()?;
    times.sort_unstable();
    let (Some(&least), [p50, p99]) = (times.first(), [0.5, 0.99].map(|part| quantile(&times, part))) else {
        return Ok(nothing_arrived(&report));
    };
    let kept = times.len() == 1000 && least >= EXPECTED && p99 <= EXPECTED + LATE;
    let measured =
        format!("{} of 1000 pings over 2 x 50 ms: min {least:.2?}, p50 {p50:.2?}, p99 {p99:.2?}", times.len());
    Ok(finding(measured, "p99 within 1 ms of 100 ms, none lost or early", kept, &report))
}

/// How late packets are at 500 Mbit/s.
fn load(way: Way) -> io::Result<Finding> {
    const DELAY: Duration = Duration::from_millis(50);
    let (arrivals, report) = through(way, "delay 50 ms", Load { packets: 125_000, rate: mbit(500) })?;
    let mut late: Vec<Duration> = arrivals.iter().map(|arrival| arrival.took.saturating_sub(DELAY)).collect();
    late.sort_unstable();
    let [p50, p99] = [0.5, 0.99].map(|part| quantile(&late, part));
    let own = report.lateness.delivery(0.99);
    let kept = arrivals.len() == 125_000 && own < LATE && arrivals.iter().all(|arrival| arrival.took >= DELAY);
    let measured = format!(
        "500 Mbit/s for 3 s: emulator late by p99 {own:.1?}, socket to socket p50 {p50:.1?}, p99 {p99:.1?}, \
         {} lost, {}",
        125_000 - arrivals.len(),
        core(&report)
    );
    Ok(finding(measured, "emulator's p99 below 1 ms, none lost or early", kept, &report))
}

fn loss(way: Way) -> io::Result<Finding> {
    loses(way, "loss 2 %", 1.0)
}

fn bursts(way: Way) -> io::Result<Finding> {
    loses(way, "loss 2 % in bursts of 10", 10.0)
}

/// What arrives of many packets, against the binomial bound; bursts of n widen it by about sqrt(2n - 1).
fn loses(way: Way, knobs: &str, burst: f64) -> io::Result<Finding> {
    const PACKETS: u64 = 50_000;
    const MEAN: f64 = PACKETS as f64 * 0.02;
    let (arrivals, report) =
        through(way, &format!("delay 10 ms, {knobs}"), Load { packets: PACKETS, rate: mbit(300) })?;
    let lost = PACKETS - arrivals.len() as u64;
    let spread = 4.0 * (MEAN * 0.98 * (2.0 * burst - 1.0)).sqrt();
    let kept = (lost as f64 - MEAN).abs() <= spread && lost == report.forward.dropped_in_all();
    let counted = report.forward.dropped_in_all();
    let measured = format!("{lost} of {PACKETS} did not arrive, {counted} counted as dropped");
    Ok(finding(measured, &format!("{MEAN} +- {spread:.0}, and as counted"), kept, &report))
}

/// The same packets are lost again.
fn seed(way: Way) -> io::Result<Finding> {
    const LOAD: Load = Load { packets: 10_000, rate: mbit(100) };
    let (first, _) = through(way, "delay 10 ms, loss 2 %", LOAD)?;
    let (second, report) = through(way, "delay 30 ms, loss 2 %, rate 200 Mbit/s", LOAD)?;
    let [first, second] = [first, second].map(numbers);
    let kept = first == second && first.len() < 10_000;
    let measured = format!("{} and {} of 10000 arrived in two runs", first.len(), second.len());
    Ok(finding(measured, "the very same packets", kept, &report))
}

/// How fast a full bottleneck lets packets through.
fn rate(way: Way) -> io::Result<Finding> {
    let (arrivals, report) =
        through(way, "delay 10 ms, rate 100 Mbit/s, limit 20 ms", Load { packets: 30_000, rate: mbit(120) })?;
    let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else {
        return Ok(nothing_arrived(&report));
    };
    let bits = (arrivals.len() as f64 - 1.0) * PACKET as f64 * 8.0;
    let measured = bits / (last.at - first.at).as_secs_f64() / 1e6;
    let kept = (measured / 100.0 - 1.0).abs() < 0.01;
    Ok(finding(format!("{measured:.2} Mbit/s of 120 offered"), "100 Mbit/s within 1 %", kept, &report))
}

/// How much a queue takes that drains too slowly to matter meanwhile.
fn limit(way: Way) -> io::Result<Finding> {
    // 150 packets; each takes a second to send, longer than anybody waits for the first.
    let load = Load { packets: 400, rate: Rate::from_bits_per_second(u64::MAX / 2) };
    let rig = Rig::build(way, "rate 12 kbit/s, limit 225000 B")?;
    carry(load, &rig.source, &rig.target)?;
    let report = rig.finish()?;
    let counters = &report.forward;
    let taken = counters.offered - counters.dropped_for(crate::path::DropCause::Limit);
    let kept = counters.offered == 400 && taken == 150 && counters.backlog_max == 225_000;
    let measured = format!("{taken} of {} packets taken, queue max {} B", counters.offered, counters.backlog_max);
    Ok(finding(measured, "150 of 400: 225000 B", kept, &report))
}

/// What the emulator can carry here.
fn throughput(way: Way) -> io::Result<Finding> {
    const LOAD: Load = Load { packets: 280_000, rate: mbit(840) };
    let (arrivals, report) = through(way, "delay 20 ms", LOAD)?;
    let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else {
        return Ok(nothing_arrived(&report));
    };
    let carried = arrivals.len() as f64 * PACKET as f64 * 8.0 / (last.at - first.at).as_secs_f64() / 1e6;
    let late = report.lateness.delivery(0.99);
    let measured = format!("{carried:.0} Mbit/s of 1500-byte packets, late by p99 {late:.1?}, {}", core(&report));
    Ok(finding(measured, "800 Mbit/s at least", carried >= 800.0, &report))
}

fn through(way: Way, knobs: &str, load: Load) -> io::Result<(Vec<Arrival>, Report)> {
    let rig = Rig::build(way, knobs)?;
    let arrivals = carry(load, &rig.source, &rig.target)?;
    Ok((arrivals, rig.finish()?))
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

fn finding(measured: String, bound: &str, kept: bool, report: &Report) -> Finding {
    Finding { measured, bound: bound.to_owned(), kept, invalid: report.invalid() }
}

fn nothing_arrived(report: &Report) -> Finding {
    finding("nothing arrived".to_owned(), "something", false, report)
}
