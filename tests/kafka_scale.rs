//! Room for scale: memory stays what it was configured to be, and partitions cost what they carry.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::cluster::Pair;
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::journal::Load;
use harness::process::Process;
use harness::record::Contents;
use harness::{topics, verify, wait};

const DELIVERED: Duration = Duration::from_secs(120);

/// One at a time: each measures what a process uses.
static ALONE: Mutex<()> = Mutex::new(());

/// Set to measure with 2 GB of backlog and a stall of 60 s, in place of what fits every run.
const FULL: &str = "CAUSEWAY_FULL";

#[test]
fn a_sender_stays_within_its_memory_while_its_receiver_stands_still_before_a_backlog() -> Result<()> {
    const MEMORY: u64 = 128 << 20;
    const BESIDE: u64 = 64 << 20;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Records of 64 KiB at most have 5.9 KiB in the mean.
    let (records, stall) = match std::env::var_os(FULL) {
        Some(_) => (380_000, Duration::from_secs(60)),
        None => (60_000, Duration::from_secs(15)),
    };
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "stall", 16)?;
    let mut backlog = Contents::default();
    let writer = |seed| Load::new(&topic, 16).limit(records / 2).seed(seed).value_max(64 << 10).start(&pair.source);
    for writer in [writer(1)?, writer(2)?] {
        backlog.merge(&writer.finish()?.written);
    }
    let mut files = LinkFiles::new("stall", &pair.source, &pair.target, &[&topic])?;
    files.sender.set("", "memory", "\"128 MiB\"");
    let (mut receiver, sender) = (files.receiver.start()?, files.sender.start()?);
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
    ensure!(peak <= MEMORY + BESIDE, "{peak} bytes resident of {MEMORY} and {BESIDE} beside");
    Ok(())
}

/// How long after `since` the sender reads all of `partitions`.
fn reads_after(sender: &Process, partitions: usize, since: Instant) -> Result<Duration> {
    sender.admin.wait_for("every partition to be read", DELIVERED, |status| status["partitions"] == partitions)?;
    Ok(since.elapsed())
}

#[test]
fn a_link_of_2000_partitions_starts_within_15_s_and_idles_at_a_tenth_of_a_core_per_side() -> Result<()> {
    const TOPICS: usize = 20;
    const PARTITIONS: i32 = 100;
    const ALL: usize = TOPICS * PARTITIONS as usize;
    const STARTED: Duration = Duration::from_secs(15);
    const IDLE: Duration = Duration::from_secs(20);
    const CORES: f64 = 0.10;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let pair = Pair::shared()?;
    let stem = topics::unique("scale");
    let names: Vec<String> = (0..TOPICS).map(|n| format!("{stem}.{n}")).collect();
    let since = Instant::now();
    for name in &names {
        topics::create(&pair.source, name, PARTITIONS, &[])?;
    }
    // A broker takes partitions up long after it has answered that they are created.
    let count = || names.iter().map(|name| topics::partitions(&pair.source, name)).sum::<Result<usize>>();
    wait::until("the source to have every partition", DELIVERED, || count().ok().filter(|&count| count == ALL))?;
    let created = since.elapsed();
    let files = LinkFiles::new("scale", &pair.source, &pair.target, &[&format!("{stem}\\..*")])?;
    let receiver = files.receiver.start()?;
    let since = Instant::now();
    let mut sender = files.sender.start()?;
    let first = reads_after(&sender, ALL, since)?;
    println!(
        "first start: {first:?}; the source took {created:?} to create as many partitions as the target then does"
    );
    sender.kill();
    drop(sender);
    let since = Instant::now();
    let sender = files.sender.start()?;
    let started = reads_after(&sender, ALL, since)?;
    println!("started: {started:?}");

    let load = Load::new(&names[0], PARTITIONS).limit(2_000).start(&pair.source)?.finish()?;
    verify::wait_until_delivered(&load.written, &pair.target, "{topic}", DELIVERED)?;
    sender.admin.wait_for("a lag of 0", DELIVERED, |status| status["lag_records"] == 0)?;
    let used = || -> Result<(f64, f64)> { Ok((sender.cpu_seconds()?, receiver.cpu_seconds()?)) };
    let (before, idle_since) = (used()?, Instant::now());
    wait::through(IDLE, || Ok(()))?;
    let (after, idle) = (used()?, idle_since.elapsed().as_secs_f64());
    let (sends, receives) = ((after.0 - before.0) / idle, (after.1 - before.1) / idle);
    println!("idle: sender {:.1} % of a core, receiver {:.1} %", sends * 100.0, receives * 100.0);
    println!("memory: sender {} MiB, receiver {} MiB", sender.resident()? >> 20, receiver.resident()? >> 20);
    ensure!(first <= STARTED + created, "first started only after {first:?}, of which creation may take {created:?}");
    ensure!(started <= STARTED, "started only after {started:?}");
    ensure!(sends <= CORES && receives <= CORES, "idle, the sender uses {sends:.3} cores, the receiver {receives:.3}");
    Ok(())
}
