//! Limits of memory, start time and idle CPU. These tests run alone, because they measure processes.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::Process;
use harness::record::{Contents, small};
use harness::{topics, verify, wait};

const DELIVERED: Duration = Duration::from_secs(120);

/// Environment variable: if set, the backlog is 2 GB and the stall 60 s, in place of 350 MB and 15 s.
const FULL: &str = "CAUSEWAY_FULL";

#[test]
fn sender_stays_within_its_memory_while_the_receiver_stalls() -> Result<()> {
    const MEMORY: u64 = 128 << 20;
    const OVERHEAD: u64 = 64 << 20;
    // Values of at most 64 KiB have a mean of 5.9 KiB.
    let (records, stall) = match std::env::var_os(FULL) {
        Some(_) => (380_000, Duration::from_secs(60)),
        None => (60_000, Duration::from_secs(15)),
    };
    let pair = Pair::shared_alone()?;
    let topic = topics::create_unique(&pair.source, "stall", 16)?;
    let mut backlog = Contents::default();
    let writer = |seed| Load::new(&topic, 16).limit(records / 2).seed(seed).value_max(64 << 10).start(&pair.source);
    for writer in [writer(1)?, writer(2)?] {
        backlog.merge(&writer.finish()?.written);
    }
    let mut files = LinkFiles::new("stall", &pair.source, &pair.target, &[&topic])?;
    files.sender.set("", "memory", "\"128 MiB\"");
    let (mut receiver, sender) = files.start()?;
    let flows = |status: &serde_json::Value| status["links"][0]["counts"]["records"].as_u64() > Some(0);
    receiver.admin.wait_for("records to flow", DELIVERED, flows)?;
    receiver.signal(Signal::Stop);
    let mut most = 0;
    wait::through(stall, || {
        most = most.max(sender.resident()?);
        Ok(())
    })?;
    receiver.signal(Signal::Cont);
    verify::wait_until_delivered(&backlog, &pair.target, "{topic}", DELIVERED * 5)?;
    verify::ensure_exactly_once(&backlog, &pair.target, "{topic}")?;
    let peak = sender.resident_peak()?;
    let sent = sender.admin.status()?["totals"]["raw_bytes"].as_u64().unwrap_or(0);
    println!("sender: {} MiB while stalled, {} MiB at most, of {} MiB sent", most >> 20, peak >> 20, sent >> 20);
    println!("receiver: {} MiB at most", receiver.resident_peak()? >> 20);
    ensure!(
        peak <= MEMORY + OVERHEAD,
        "{peak} bytes are resident, {MEMORY} are configured and {OVERHEAD} allowed on top"
    );
    Ok(())
}

/// Waits until the sender reads this number of partitions. Returns the time since `since`.
fn reads_after(sender: &Process, partitions: usize, since: Instant) -> Result<Duration> {
    sender.admin.wait_for("every partition to be read", DELIVERED, |status| status["partitions"] == partitions)?;
    Ok(since.elapsed())
}

#[test]
fn link_of_2000_partitions_starts_in_15_s_and_idles_cheaply() -> Result<()> {
    const TOPICS: usize = 20;
    const PARTITIONS: i32 = 100;
    const ALL: usize = TOPICS * PARTITIONS as usize;
    const STARTED: Duration = Duration::from_secs(15);
    const IDLE: Duration = Duration::from_secs(20);
    const CORES: f64 = 0.10;
    const NEW_TOPIC: Duration = Duration::from_secs(5);
    // Clusters of its own: 2,000 partitions would slow the other tests.
    let pair = Pair::start_alone(1, 1)?;
    let stem = topics::unique("scale");
    let names: Vec<String> = (0..TOPICS).map(|n| format!("{stem}.{n}")).collect();
    let since = Instant::now();
    for name in &names {
        topics::create(&pair.source, name, PARTITIONS, &[])?;
    }
    // A broker has the partitions long after it has responded that they are created.
    let count = || names.iter().map(|name| topics::partitions(&pair.source, name)).sum::<Result<usize>>();
    wait::until("the source to have every partition", DELIVERED, || count().ok().filter(|&count| count == ALL))?;
    let created = since.elapsed();
    let files = LinkFiles::new("scale", &pair.source, &pair.target, &[&format!("{stem}\\..*")])?;
    let receiver = files.receiver.start()?;
    let since = Instant::now();
    let mut sender = files.sender.start()?;
    let first = reads_after(&sender, ALL, since)?;
    println!("first start: {first:?}; creating the same partitions at the source took {created:?}");
    sender.kill();
    drop(sender);
    let since = Instant::now();
    let sender = files.sender.start()?;
    let started = reads_after(&sender, ALL, since)?;
    println!("started: {started:?}");

    let load = Load::new(&names[0], PARTITIONS).limit(2_000).start(&pair.source)?.finish()?;
    verify::wait_until_delivered(&load.written, &pair.target, "{topic}", DELIVERED)?;
    sender.admin.wait_for("a lag of 0", DELIVERED, |status| status["lag_records"] == 0)?;
    let sender_before = sender.cpu_seconds()?;
    let receiver_before = receiver.cpu_seconds()?;
    let idle_since = Instant::now();
    wait::through(IDLE, || Ok(()))?;
    let idle = idle_since.elapsed().as_secs_f64();
    let sends = (sender.cpu_seconds()? - sender_before) / idle;
    let receives = (receiver.cpu_seconds()? - receiver_before) / idle;
    let since = Instant::now();
    let new = format!("{stem}.new");
    topics::create(&pair.source, &new, 1, &[])?;
    let record = journal::write(&pair.source, &new, 0, &small(0..1))?.written;
    verify::wait_until_delivered(&record, &pair.target, "{topic}", DELIVERED)?;
    let carried = since.elapsed();
    println!("record of a new topic: carried after {carried:?}");
    println!("idle: sender {:.1} % of a core, receiver {:.1} %", sends * 100.0, receives * 100.0);
    println!("memory: sender {} MiB, receiver {} MiB", sender.resident()? >> 20, receiver.resident()? >> 20);
    ensure!(
        first <= STARTED + created,
        "the first start took {first:?}, of which the creation of partitions may take {created:?}"
    );
    ensure!(started <= STARTED, "the start took {started:?}");
    ensure!(carried <= NEW_TOPIC, "the record of a new topic took {carried:?}");
    ensure!(
        sends <= CORES && receives <= CORES,
        "the idle sender uses {sends:.3} cores, the idle receiver {receives:.3}"
    );
    Ok(())
}
