//! Carries a backlog from one real cluster to another over an emulated WAN. Prints goodput, WAN bytes and CPU time, and
//! whether every record arrived exactly once.
//!
//!     cargo build --release
//!     CAUSEWAY_BIN=target/release/causeway cargo run --release -p causeway-tests --example backlog_over_wan -- \
//!         LINES RTT LOSS [PARTITIONS]
//!
//! `LINES` is a text file; each line becomes a record's value, three times over. `RTT` is in milliseconds, `LOSS` in
//! percent, each way. The path has 500 Mbit/s and a queue of one round trip; the sender's configuration has that rate.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::files::LinkFiles;
use harness::pair::Pair;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::Record;
use harness::{journal, topics, verify, wait};
use netem::{Conditions, Profile, Relay, Script, Wan, parse_knobs};

const COPIES: usize = 3;
const RATE: &str = "500 Mbit/s";
const PATIENCE: Duration = Duration::from_secs(3600);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [lines, rtt, loss, rest @ ..] = &arguments[..] else {
        anyhow::bail!("usage: LINES RTT_MS LOSS_PERCENT [PARTITIONS]")
    };
    let rtt: u64 = rtt.parse()?;
    let loss: f64 = loss.parse()?;
    let partitions: i32 = rest.first().map_or(Ok(1), |count| count.parse())?;
    let pair = Pair::start(1, 1)?;
    let topic = topics::unique("backlog");
    // The records have old timestamps: any finite retention would delete them.
    for cluster in [&pair.source, &pair.target] {
        topics::create(cluster, &topic, partitions, &[("retention.ms", "-1")])?;
    }
    let slices = Record::of_lines(Path::new(lines), partitions as usize)?;
    let bytes = slices.iter().flatten().map(value_bytes).sum::<usize>() * COPIES;
    let records = slices.iter().map(Vec::len).sum::<usize>() * COPIES;
    thread::scope(|scope| -> Result<()> {
        let write = |partition, slice| {
            (0..COPIES).try_for_each(|_| journal::write(&pair.source, &topic, partition, slice).map(drop))
        };
        let writers: Vec<_> =
            slices.iter().zip(0..).map(|(slice, partition)| scope.spawn(move || write(partition, slice))).collect();
        writers.into_iter().try_for_each(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
    })?;
    println!("{records} records of {} bytes wait in {partitions} partitions", bytes / records);

    let mut files = LinkFiles::new("backlog", &pair.source, &pair.target, &[&topic])?;
    let listen = files.receiver.get("", "listen").context("no address to listen on")?.trim_matches('"').to_owned();
    let knobs = parse_knobs(&format!("delay {} ms, loss {loss}%, rate {RATE}, limit {rtt} ms", rtt / 2))?;
    let profile = Profile::both(Conditions::default().with(knobs));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = Relay::start(any, listen.parse()?, Wan::new(&profile, Script::default(), 1))?;
    files.sender.set("wan", "receiver", &format!("{:?}", relay.address.to_string()));
    files.sender.set("wan", "rate", &format!("{RATE:?}"));
    let receiver = files.receiver.start()?;
    receiver.admin.wait_until_ready(PATIENCE)?;
    let sender = files.sender.start()?;

    let began = Instant::now();
    let (first, before) = wait::until_ok("the first commit", PATIENCE, || {
        let at = committed(&receiver)?;
        Ok((at > 0).then(|| (Instant::now(), at)))
    })?;
    wait::until_ok("the last commit", PATIENCE, || Ok((committed(&receiver)? >= records as u64).then_some(())))?;
    let took = first.elapsed();
    let share = (records as u64 - before) as f64 / records as f64;
    let report = relay.emulator.report();
    println!("first commit after {:.1} s, last {:.1} s later", (first - began).as_secs_f64(), took.as_secs_f64());
    println!("goodput {:.0} Mbit/s of record bytes", bytes as f64 * share * 8.0 / took.as_secs_f64() / 1e6);
    println!("WAN bytes per record byte {:.3}", report.forward.offered_bytes as f64 / bytes as f64);
    for (name, process) in [("sender", &sender), ("receiver", &receiver)] {
        let per_gigabyte = process.cpu_seconds()? / (bytes as f64 / 1e9);
        println!("{name}: {per_gigabyte:.1} CPU s per GB, {} MiB at most", process.resident_peak()? >> 20);
    }
    println!(
        "{}",
        report.invalid().map_or_else(|| "emulator on time".to_owned(), |late| format!("EMULATOR LATE: {late}"))
    );
    let expected = read(&pair.source, &[&topic], Isolation::Committed)?;
    let verdict = verify::compare(&expected, &read(&pair.target, &[&topic], Isolation::Committed)?, "{topic}");
    println!("{verdict}");
    ensure!(verdict.is_clean() && expected.len() == records, "not exactly once");
    Ok(())
}

fn committed(receiver: &Process) -> Result<u64> {
    Ok(receiver.admin.status()?["links"][0]["counts"]["records"].as_u64().unwrap_or_default())
}

fn value_bytes(record: &Record) -> usize {
    record.value.as_ref().map_or(0, Vec::len)
}
