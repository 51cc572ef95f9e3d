//! Carries thousands of topics of one partition and one record each. Prints the time of the first start, of a restart
//! after a kill, until all partitions have joined again after a black-out of the path, and until a new topic's record is
//! at the target; and what the idle link costs both ends and both brokers.
//!
//!     cargo build --release
//!     CAUSEWAY_BIN=target/release/causeway cargo run --release -p causeway-tests --example many_topics -- [TOPICS]
//!
//! The harness starts brokers with Java options for a fast start: half a GiB, a serial collector, one compiler. With
//! thousands of topics they spend most of their time in the collector. These are the options of Kafka's own scripts:
//!
//!     _JAVA_OPTIONS="-XX:TieredStopAtLevel=4 -XX:-UseSerialGC -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -Xms1g -Xmx1g"

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::pair::Pair;
use harness::process::{Process, cpu_seconds_of};
use harness::{topics, wait};
use netem::{Conditions, Profile, Relay, Script, Wan, parse_knobs};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const TOPICS: usize = 5_000;
const PATIENCE: Duration = Duration::from_secs(600);
const BLACK_OUT: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let count = std::env::args().nth(1).map_or(Ok(TOPICS), |count| count.parse())?;
    let pair = Pair::start(1, 1)?;
    let stem = topics::unique("many");
    let names: Vec<String> = (0..count).map(|n| format!("{stem}.{n}")).collect();
    let since = Instant::now();
    topics::create_many(&pair.source, &names)?;
    println!("{count} topics created at the source in {}", seconds(since));
    write(&pair.source, &names)?;

    let mut files = LinkFiles::new("many", &pair.source, &pair.target, &[&format!("{stem}\\..*")])?;
    let listen = files.receiver.get("", "listen").context("no address to listen on")?.trim_matches('"').to_owned();
    let profile = Profile::both(Conditions::default().with(parse_knobs("delay 20 ms")?));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = Relay::start(any, listen.parse()?, Wan::new(&profile, Script::default(), 1))?;
    files.sender.set("wan", "receiver", &format!("{:?}", relay.address.to_string()));
    let receiver = files.receiver.start()?;
    receiver.admin.wait_until_ready(PATIENCE)?;

    let since = Instant::now();
    let mut sender = files.sender.start()?;
    joined(&sender, count)?;
    println!("first start: all joined after {}", seconds(since));
    caught_up(&sender)?;
    println!("             lag 0 after {}", seconds(since));
    sender.kill();
    drop(sender);
    let since = Instant::now();
    let sender = files.sender.start()?;
    joined(&sender, count)?;
    println!("restart: all joined after {}", seconds(since));

    caught_up(&sender)?;
    let with_link = [("sender", sender.pid()), ("receiver", receiver.pid())].into_iter().chain(brokers(&pair));
    measure_idle("idle", with_link.collect())?;
    black_out(&relay, &sender, count)?;

    for round in 0..5 {
        let name = format!("{stem}.new{round}");
        let since = Instant::now();
        topics::create(&pair.source, &name, 1, &[])?;
        write(&pair.source, std::slice::from_ref(&name))?;
        let exists = || topics::partitions(&pair.target, &name).is_ok_and(|count| count > 0);
        wait::until("the new topic", PATIENCE, || exists().then_some(()))?;
        let target: BaseConsumer = ClientConfig::new().set("bootstrap.servers", pair.target.bootstrap()).create()?;
        let end = || target.fetch_watermarks(&name, 0, Duration::from_secs(5));
        wait::until("the new topic's record", PATIENCE, || end().is_ok_and(|(_, end)| end > 0).then_some(()))?;
        println!("new topic: at the target after {}", seconds(since));
    }

    println!("memory: sender {} MiB, receiver {} MiB", sender.resident_peak()? >> 20, receiver.resident_peak()? >> 20);
    drop(sender);
    drop(receiver);
    measure_idle("without the link", brokers(&pair).collect())
}

/// Returns the brokers' names and process ids.
fn brokers(pair: &Pair) -> impl Iterator<Item = (&'static str, u32)> {
    let pid = |cluster: &Cluster| cluster.pid(1).unwrap_or_default();
    [("source's broker", pid(&pair.source)), ("target's broker", pid(&pair.target))].into_iter()
}

/// Prints what these processes cost for a minute.
fn measure_idle(when: &str, processes: Vec<(&str, u32)>) -> Result<()> {
    let cpu = || processes.iter().map(|(_, pid)| cpu_seconds_of(*pid)).collect::<Result<Vec<f64>>>();
    let before = cpu()?;
    let since = Instant::now();
    wait::through(IDLE, || Ok(()))?;
    let idle = since.elapsed().as_secs_f64();
    for (((name, _), before), after) in processes.iter().zip(before).zip(cpu()?) {
        println!("{when}: {name} {:.3} of a core", (after - before) / idle);
    }
    Ok(())
}

/// Lets the path carry nothing for a while, and prints how long the link then takes.
fn black_out(relay: &Relay, sender: &Process, count: usize) -> Result<()> {
    let sessions = sender.admin.status()?["sessions"].clone();
    relay.emulator.set_both(&parse_knobs("loss 100%")?);
    wait::through(BLACK_OUT, || Ok(()))?;
    relay.emulator.set_both(&parse_knobs("loss 0%")?);
    let since = Instant::now();
    wait::until_ok("a new session", PATIENCE, || Ok((sender.admin.status()?["sessions"] != sessions).then_some(())))?;
    println!("black-out of {BLACK_OUT:?}: new session after {}", seconds(since));
    joined(sender, count)?;
    println!("             all joined after {}", seconds(since));
    Ok(())
}

fn joined(sender: &Process, count: usize) -> Result<()> {
    sender.admin.wait_for("every partition to be read", PATIENCE, |status| status["partitions"] == count).map(drop)
}

fn caught_up(sender: &Process) -> Result<()> {
    sender.admin.wait_for("a lag of 0", PATIENCE, |status| status["lag_records"] == 0).map(drop)
}

/// Writes one record to each topic.
fn write(cluster: &Cluster, names: &[String]) -> Result<()> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", cluster.bootstrap()).set("queue.buffering.max.messages", "100000");
    let producer: BaseProducer = client.create()?;
    for name in names {
        let sent = producer.send(BaseRecord::<(), str>::to(name).payload("a record"));
        sent.map_err(|(error, _)| error)?;
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE)?;
    Ok(())
}

fn seconds(since: Instant) -> String {
    format!("{:.1} s", since.elapsed().as_secs_f64())
}
