//! Latency at a round trip of 200 ms, from a record's timestamp, set at its write to the source, until a
//! `read_committed` reader of the target has it.
//!
//! A run that misses a bound while the emulator was late is repeated, at most twice.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use harness::journal::Load;
use harness::latency::Latencies;
use harness::pair::Pair;
use harness::topics;
use hdrhistogram::Histogram;

use crate::link::{ONE_WAY, PARTITIONS, WanLink};

const ATTEMPTS: u32 = 3;

/// Path with a queue of one round trip, slow enough that two clusters on two cores fill it.
const PATH: &str = "rate 20 Mbit/s, limit 200 ms";

/// Latency that an idle link may add to the path at the median: ten times the usual one on two cores.
const IDLE_MAX: Duration = Duration::from_millis(500);

/// Load of one measurement.
struct Step {
    name: &'static str,
    per_second: u32,
    records: u64,
}

/// The loads, in their order. A record has about 0.85 kB on the wire. Half a load is last: the congestion controller
/// has found the path's rate by then.
const STEPS: [Step; 3] = [
    Step { name: "idle", per_second: 20, records: 100 },
    Step { name: "saturated", per_second: 9_000, records: 36_000 },
    Step { name: "half", per_second: 1_400, records: 7_000 },
];

#[test]
fn latency_is_near_the_path_until_it_is_full() -> Result<()> {
    let pair = Pair::shared_alone()?;
    for attempt in 1..=ATTEMPTS {
        let (rows, late) = measure(&pair)?;
        let Err(error) = judge(&rows) else { return Ok(()) };
        // A late emulator only makes latencies longer: what keeps the bounds despite it has kept them.
        let Some(late) = late else { return Err(error) };
        println!("attempt {attempt} does not count: {late}; {error:#}");
    }
    bail!("no attempt of {ATTEMPTS} counts")
}

/// Measures once. Returns the latencies in milliseconds by load, and how late the emulator was if it was late.
fn measure(pair: &Pair) -> Result<(Vec<Histogram<u64>>, Option<String>)> {
    let names = STEPS.map(|step| topics::create_unique(&pair.source, step.name, PARTITIONS));
    let names = names.into_iter().collect::<Result<Vec<String>>>()?;
    let link = WanLink::start(pair, "latency", PATH, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    println!("{:<11}{:>9}{:>10}{:>10}{:>10}{:>10}", "link", "records", "min ms", "p50 ms", "p99 ms", "max ms");
    // All readers start before the first record is written, so that no record waits for its reader.
    let readers = names.iter().map(|topic| Latencies::start(&pair.target, topic, PARTITIONS));
    let readers = readers.collect::<Result<Vec<Latencies>>>()?;
    let mut rows = Vec::new();
    for ((Step { name, per_second, records }, topic), latencies) in STEPS.into_iter().zip(&names).zip(readers) {
        let load = Load::new(topic, PARTITIONS).rate(per_second).limit(records).stamped_now();
        let journal = load.start(&pair.source)?.finish()?;
        link.ensure_delivered_in_one_session(&journal)?;
        let row = latencies.finish()?;
        ensure!(row.len() == records, "{name}: {} of {records} records were timed", row.len());
        let [p50, p99] = [0.5, 0.99].map(|quantile| row.value_at_quantile(quantile));
        println!("{name:<11}{records:>9}{:>10}{p50:>10}{p99:>10}{:>10}", row.min(), row.max());
        rows.push(row);
    }
    let report = link.report();
    println!("{report}");
    let limit = 20_000_000 / 8 / 5;
    let queue = report.forward.backlog_max;
    ensure!(queue > limit / 2, "the path did not limit the link: its queue had at most {queue} of {limit} B");
    Ok((rows, report.invalid()))
}

fn judge(rows: &[Histogram<u64>]) -> Result<()> {
    let [idle, saturated, half] = rows else { bail!("{} loads were measured", rows.len()) };
    let one_way = u64::try_from(ONE_WAY.as_millis())?;
    for row in rows {
        // Timestamps are rounded down to a millisecond, which never makes a latency shorter.
        ensure!(row.min() >= one_way, "a record took {} ms over a path of {one_way} ms", row.min());
    }
    let p50 = |row: &Histogram<u64>| row.value_at_quantile(0.5);
    let most = one_way + u64::try_from(IDLE_MAX.as_millis()).context("half a second")?;
    ensure!(p50(idle) <= most, "an idle link takes {} ms at the median, more than {most} ms", p50(idle));
    ensure!(p50(half) <= p50(saturated), "half a load takes longer than a full one");
    Ok(())
}
