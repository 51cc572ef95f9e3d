//! Latency at a steady rate, from the write to a `read_committed` reader of the target.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::journal::millis_now;
use harness::latency::Latencies;
use harness::process::{Process, cpu_seconds_of};
use harness::wait;

use super::Figure;
use super::records::Writer;
use super::stage::{Link, ONE_WAY_MS, PATIENCE, Stage, committed, joined, transactions};

/// Time before the measured records, in which connections and buffers reach their usual state. The writer is the same.
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(20);

pub(super) fn measure(stage: &Stage, binary: &Path, per_second: u32, partitions: i32) -> Result<Vec<Figure>> {
    let topic = stage.create_topic("steady", partitions)?;
    let link = Link::new(stage, binary, &[&topic], 0.0)?;
    let receiver = link.start_receiver()?;
    let sender = link.start_sender()?;
    joined(&sender, partitions)?;
    let latencies = Latencies::start(&stage.pair.target, &topic, partitions)?;
    let writer = Writer::start(&stage.pair.source, &topic, partitions, per_second)?;
    wait::through(WARM_UP, || Ok(()))?;
    let from = millis_now();
    let made = transactions(&receiver)?;
    let pids = [sender.pid(), receiver.pid(), stage.broker(&stage.pair.source), stage.broker(&stage.pair.target)];
    let cpu = || pids.iter().map(|pid| cpu_seconds_of(*pid)).collect::<Result<Vec<f64>>>();
    let before = cpu()?;
    wait::through(MEASURED, || Ok(()))?;
    let used = cpu()?;
    let made = transactions(&receiver)? - made;
    let count = writer.stop()?;
    let committed_by = || committed(&receiver).is_ok_and(|at| at >= count);
    wait::until("the last record", PATIENCE, || committed_by().then_some(()))?;
    let per_second_of = |value: f64| value / MEASURED.as_secs_f64();
    let used: Vec<f64> =
        used.iter().zip(&before).map(|(after, before)| per_second_of(after - before) * 100.0).collect();
    let [_, seen] = latencies.finish_split(from)?;
    ensure!(!seen.is_empty(), "no record was seen");
    let above = |quantile| seen.value_at_quantile(quantile) as f64 - ONE_WAY_MS as f64;
    let mut figures = vec![
        Figure::new("p50 one way +", above(0.5), "ms"),
        Figure::new("p99 one way +", above(0.99), "ms"),
        Figure::new("lanes' parts", per_second_of(made as f64), "/s"),
        Figure::new("sender", used[0], "% CPU"),
        Figure::new("receiver", used[1], "% CPU"),
        Figure::new("source's broker", used[2], "% CPU"),
        Figure::new("target's broker", used[3], "% CPU"),
    ];
    figures.extend(stages(&sender)?);
    Ok(figures)
}

/// Returns the median and the 99th percentile of the stages in which a link itself spends time, as the sender's status
/// has them.
fn stages(sender: &Process) -> Result<Vec<Figure>> {
    const NAMES: [[&str; 2]; 5] = [
        ["read", "read p99"],
        ["pack", "pack p99"],
        ["wire", "wire p99"],
        ["order", "order p99"],
        ["commit", "commit p99"],
    ];
    let status = sender.admin.status()?;
    let of = |[stage, p99]: [&'static str; 2]| {
        let found = status["latency"].as_array()?.iter().find(|found| found["stage"] == stage)?;
        let figure = |name, key: &str| Some(Figure::new(name, found["minute"][key].as_f64()? * 1e3, "ms"));
        Some([figure(stage, "p50_seconds")?, figure(p99, "p99_seconds")?])
    };
    Ok(NAMES.into_iter().filter_map(of).flatten().collect())
}
