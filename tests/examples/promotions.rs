//! Measures how long a switch-over and a failover of a large link take, over an emulated WAN between two real clusters.
//!
//!     cargo build --release
//!     CAUSEWAY_BIN=target/release/causeway cargo run --release -p causeway-tests --example promotions -- \
//!         [PARTITIONS] [GROUPS] [RTT]
//!
//! The defaults are 1,000 partitions, 100 groups with 10 offsets each, and 200 ms. The switch-over is asked for when the
//! last record is written, so its time has `--quiet` in it; the failover while records flow, with the sender killed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::admin::committed;
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::journal::Load;
use harness::pair::Pair;
use harness::process::Process;
use harness::{topics, wait};
use netem::{Conditions, Profile, Relay, Script, Wan, parse_knobs};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(600);
const RECORDS: u64 = 20_000;
/// Offsets of each group.
const OFFSETS: i32 = 10;

/// A link over the WAN that has carried its topic and its groups.
struct Link {
    name: String,
    topic: String,
    partitions: i32,
    // Before the files, which the processes need.
    sender: Process,
    receiver: Process,
    _relay: Relay,
    _files: LinkFiles,
}

fn main() -> Result<()> {
    let arguments: Vec<i32> = std::env::args().skip(1).map(|one| Ok(one.parse()?)).collect::<Result<_>>()?;
    let number = |at: usize, default: i32| arguments.get(at).copied().unwrap_or(default);
    let partitions = number(0, 1_000);
    let groups = number(1, 100);
    let rtt = number(2, 200);
    let pair = Pair::start(1, 1)?;
    println!("{partitions} partitions, {groups} groups with {OFFSETS} offsets each, round trip {rtt} ms");

    let link = start(&pair, "switched", partitions, groups, rtt)?;
    let load = Load::new(&link.topic, partitions).limit(RECORDS).value_max(300).start(&pair.source)?;
    load.finish()?;
    let began = Instant::now();
    let exit = run_at(&link.receiver, &["switch-over", "--link", &link.name, "--json"])?;
    let took = began.elapsed();
    judge(&link, &exit.printed, groups)?;
    println!("switch-over: {:.1} s from the last record to the statement, nothing lost", took.as_secs_f64());
    drop(link);

    let mut link = start(&pair, "failed", partitions, groups, rtt)?;
    let load = Load::new(&link.topic, partitions).rate(2_000).value_max(300).start(&pair.source)?;
    wait::through(Duration::from_secs(10), || Ok(()))?;
    link.sender.kill();
    load.stop()?;
    let began = Instant::now();
    let exit = run_at(&link.receiver, &["failover", "--link", &link.name, "--json"])?;
    let took = began.elapsed();
    let lost = judge(&link, &exit.printed, groups)?;
    println!("failover: {:.1} s, {lost} offsets known and not carried", took.as_secs_f64());
    Ok(())
}

fn start(pair: &Pair, stem: &str, partitions: i32, groups: i32, rtt: i32) -> Result<Link> {
    let name = topics::unique(stem);
    let topic = topics::create_unique(&pair.source, stem, partitions)?;
    let mut files = LinkFiles::new(&name, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("groups", "include", &format!("[{:?}]", format!("{name}.*")));
    let listen = files.receiver.get("", "listen").context("no address to listen on")?.trim_matches('"').to_owned();
    let knobs = parse_knobs(&format!("delay {} ms, rate 500 Mbit/s, limit {rtt} ms", rtt / 2))?;
    let profile = Profile::both(Conditions::default().with(knobs));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = Relay::start(any, listen.parse()?, Wan::new(&profile, Script::default(), 1))?;
    files.sender.set("wan", "receiver", &format!("{:?}", relay.address.to_string()));
    Load::new(&topic, partitions).limit(RECORDS).value_max(300).start(&pair.source)?.finish()?;
    for group in 0..groups {
        commit(pair, &format!("{name}-{group}"), &topic, group, partitions)?;
    }
    let receiver = files.receiver.start()?;
    receiver.admin.wait_until_ready(PATIENCE)?;
    let sender = files.sender.start()?;
    wait::until_ok("the records to be committed", PATIENCE, || {
        let Ok(status) = receiver.admin.status() else { return Ok(None) };
        let synced = status["links"][0]["consumer_groups"]["offsets"]["synced"].as_u64();
        Ok((committed(&status) >= RECORDS && synced == Some((groups * OFFSETS) as u64)).then_some(()))
    })?;
    Ok(Link { name, topic, partitions, sender, receiver, _relay: relay, _files: files })
}

fn commit(pair: &Pair, group: &str, topic: &str, number: i32, partitions: i32) -> Result<()> {
    let config = ClientConfig::new().set("bootstrap.servers", pair.source.bootstrap()).set("group.id", group).clone();
    let consumer: BaseConsumer = config.create()?;
    let mut offsets = TopicPartitionList::new();
    for partition in (0..OFFSETS).map(|at| (number * OFFSETS + at) % partitions) {
        offsets.add_partition_offset(topic, partition, Offset::Offset(3))?;
    }
    Ok(consumer.commit(&offsets, CommitMode::Sync)?)
}

/// Ensures that the statement has every partition and group. Returns the number of offsets that are known to be lost.
fn judge(link: &Link, printed: &str, groups: i32) -> Result<u64> {
    let statement = printed.lines().find(|line| line.starts_with('{'));
    let statement: Value = serde_json::from_str(statement.with_context(|| format!("no statement: {printed}"))?)?;
    let partitions = statement["partitions"].as_array().context("no partitions")?;
    ensure!(partitions.len() == link.partitions as usize, "{} partitions are stated", partitions.len());
    let stated = statement["groups"].as_array().map_or(0, Vec::len);
    ensure!(stated == (groups * OFFSETS) as usize, "{stated} offsets of groups are stated");
    Ok(partitions.iter().filter_map(|one| one["not_carried"].as_u64()).sum())
}
