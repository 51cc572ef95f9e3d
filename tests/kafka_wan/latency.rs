//! Replication latency at a round trip of 200 ms: from a record's timestamp, set as it is written to the source,
//! until a `read_committed` reader of the target has it.
//!
//! The numbers are the path's and the link's only while the emulator is on time: a run in which it was not is done
//! again, twice at most.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use harness::cluster::Pair;
use harness::journal::Load;
use harness::latency::Latencies;
use harness::topics;
use hdrhistogram::Histogram;

use crate::alone;
use crate::link::{ONE_WAY, PARTITIONS, WanLink};

const ATTEMPTS: u32 = 3;

/// The path's rate and its queue: one round trip's worth.
const PATH: &str = "rate 50 Mbit/s, limit 200 ms";

/// What an idle link may add to the path at the median: ten times what it takes on two cores.
const IDLE_MAX: Duration = Duration::from_millis(500);

/// How much is written: name, records per second, records. A record of this load is about 0.85 kB on the wire. Half
/// a load comes last, so that the congestion controller has found the path's rate by then.
const LOADS: [(&str, u32, u64); 3] = [("idle", 20, 100), ("saturated", 12_000, 50_000), ("half", 3_500, 18_000)];

#[test]
fn records_take_the_path_and_little_more_until_the_path_is_full() -> Result<()> {
    let _alone = alone();
    for attempt in 1..=ATTEMPTS {
        let (rows, late) = measure()?;
        let Some(late) = late else { return judge(&rows) };
        println!("attempt {attempt} does not count: {late}");
    }
    bail!("the emulator was late {ATTEMPTS} times")
}

/// Latencies in milliseconds by load, and what was wrong with the emulator.
fn measure() -> Result<(Vec<Histogram<u64>>, Option<String>)> {
    let pair = Pair::shared()?;
    let names = LOADS.map(|(name, ..)| topics::create_unique(&pair.source, name, PARTITIONS));
    let names = names.into_iter().collect::<Result<Vec<String>>>()?;
    let link = WanLink::start("latency", PATH, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    println!("{:<11}{:>9}{:>10}{:>10}{:>10}{:>10}", "link", "records", "min ms", "p50 ms", "p99 ms", "max ms");
    // All before the first record, so that none waits for its reader.
    let readers = names.iter().map(|topic| Latencies::start(&pair.target, topic, PARTITIONS));
    let readers = readers.collect::<Result<Vec<Latencies>>>()?;
    let mut rows = Vec::new();
    for (((name, rate, records), topic), latencies) in LOADS.into_iter().zip(&names).zip(readers) {
        let load = Load::new(topic, PARTITIONS).rate(rate).limit(records).stamped_now();
        let journal = load.start(&pair.source)?.finish()?;
        link.ensure_delivered_in_one_session(&journal)?;
        let row = latencies.finish()?;
        ensure!(row.len() == records, "{name}: {} of {records} records were timed", row.len());
        let [p50, p99] = [0.5, 0.99].map(|quantile| row.value_at_quantile(quantile));
        println!("{name:<11}{records:>9}{:>10}{p50:>10}{p99:>10}{:>10}", row.min(), row.max());
        if rows.is_empty() {
            ensure_stages_add_up(&link.status()?, &row)?;
        }
        rows.push(row);
    }
    let report = link.report();
    println!("{report}");
    let limit = 50_000_000 / 8 / 5;
    let queue = report.forward.backlog_max;
    ensure!(queue > limit / 2, "the path was not what saturated the link: its queue held {queue} of {limit} B at most");
    Ok((rows, report.invalid()))
}

/// What the sender says of an idle link, against the path and against the reader that `seen` is of.
fn ensure_stages_add_up(status: &serde_json::Value, seen: &Histogram<u64>) -> Result<()> {
    let stages = status["latency"].as_array().context("a list of stages")?;
    let of = |stage: &str, what: &str| -> Result<f64> {
        let found = stages.iter().find(|entry| entry["stage"] == stage).with_context(|| format!("no stage {stage}"))?;
        let seconds = found["total"][what].as_f64();
        Ok(seconds.with_context(|| format!("{what} of {stage} was not measured: {found}"))? * 1e3)
    };
    let mut sum = 0.0;
    for stage in ["read", "pack", "budget", "wire", "order", "commit"] {
        let (mean, p50) = (of(stage, "mean_seconds")?, of(stage, "p50_seconds")?);
        println!("  {stage:<8} mean {mean:>7.1} ms, p50 {p50:>7.1} ms");
        sum += mean;
    }
    let (whole, wire) = (of("whole", "mean_seconds")?, of("wire", "p50_seconds")?);
    println!("  {:<8} mean {whole:>7.1} ms; the stages {sum:.1} ms; clocks: {}", "whole", status["peer_clock"]);
    // Histograms hold values within 1 %.
    ensure!((whole - sum).abs() <= whole * 0.02 + 1.0, "the stages sum up to {sum} ms, the whole is {whole} ms");
    let one_way = ONE_WAY.as_secs_f64() * 1e3;
    ensure!((one_way * 0.97..one_way * 1.4).contains(&wire), "the wire takes {wire} ms on a path of {one_way} ms");
    // A reader sees a record once it is committed; the sender times the first record of a frame, which waits for others.
    let (p50, seen) = (of("whole", "p50_seconds")?, seen.value_at_quantile(0.5) as f64);
    ensure!(p50 <= seen * 1.1 + 10.0, "the sender says {p50} ms, a reader sees records after {seen} ms");
    Ok(())
}

fn judge(rows: &[Histogram<u64>]) -> Result<()> {
    let [idle, saturated, half] = rows else { bail!("{} rows", rows.len()) };
    let one_way = u64::try_from(ONE_WAY.as_millis())?;
    for row in rows {
        // Timestamps are cut to the millisecond, which makes latencies longer and never shorter.
        ensure!(row.min() >= one_way, "a record took {} ms over a path of {one_way} ms", row.min());
    }
    let p50 = |row: &Histogram<u64>| row.value_at_quantile(0.5);
    let most = one_way + u64::try_from(IDLE_MAX.as_millis()).context("half a second")?;
    ensure!(p50(idle) <= most, "an idle link takes {} ms at the median, more than {most} ms", p50(idle));
    ensure!(p50(half) <= p50(saturated), "half a load takes longer than a full one");
    Ok(())
}
