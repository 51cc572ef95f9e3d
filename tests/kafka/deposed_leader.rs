//! A broker that was suspended while another one became leader of a partition. When it continues, it answers readers
//! from its old log until it learns that it was replaced. No answer of that kind may decide where a lane continues.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::record::small;
use harness::{topics, verify, wait};
use kafka::Properties;
use kafka::log::LogReader;
use wire::ids::Offset;

const PATIENCE: Duration = Duration::from_secs(120);

/// Number of times that a leader is suspended in each test. Each costs the cluster's session timeout.
const ROUNDS: i64 = 2;

/// Starts a reader that knows the cluster only through one of its nodes.
fn reader_at(cluster: &Cluster, node: u32) -> Result<LogReader> {
    let bootstrap_servers = vec![cluster.addresses()[node as usize - 1].clone()];
    let properties = Properties { bootstrap_servers, ..Properties::default() };
    Ok(LogReader::start(&properties, "deposed")?)
}

#[test]
fn reading_through_an_offset_is_never_shorter() -> Result<()> {
    let pair = Pair::start(1, 3)?;
    let cluster = &pair.target;
    let topic = topics::create_unique(cluster, "deposed", 1)?;
    journal::write(cluster, &topic, 0, &small(0..10))?;
    let mut short = 0;
    for round in 1..=ROUNDS {
        let reader = reader_at(cluster, cluster.leader(&topic, 0)?)?;
        let before = reader.read(&topic, 0)?.len();
        let deposed = cluster.suspend_leader(&topic, 0, PATIENCE)?;
        journal::write(cluster, &topic, 0, &small(round * 10..round * 10 + 10))?;
        let last = Offset(round * 10 + 9);
        let other = reader.clone();
        let name = topic.clone();
        // Both requests wait at the suspended node, which answers them before it learns anything.
        let to_the_end = std::thread::spawn(move || other.read(&name, 0));
        let name = topic.clone();
        // An attempt may fail, as a lane's may. It must not be short.
        let through = std::thread::spawn(move || {
            wait::until_ok("a reading through the last offset", PATIENCE, || {
                Ok(reader.read_through(&name, 0, last).ok())
            })
        });
        cluster.signal(deposed, Signal::Cont);
        let to_the_end = to_the_end.join().ok().context("the reader panicked")?.map_or(0, |entries| entries.len());
        let through = through.join().ok().context("the reader panicked")??.len();
        ensure!(through == before + 10, "round {round}: {through} records through offset {last}");
        short += u32::from(to_the_end < through);
        cluster.wait_until_in_sync(PATIENCE)?;
    }
    println!("{short} of {ROUNDS} readings without an offset ended at the old leader's end");
    Ok(())
}

#[test]
fn lanes_that_open_next_to_a_deposed_leader_carry_once() -> Result<()> {
    let pair = Pair::start(1, 3)?;
    let topic = topics::create_unique(&pair.source, "deposed-lane", 4)?;
    let link = topics::unique("deposed-lane");
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    files.receiver.set("target", "transaction_timeout", "\"10 s\"");
    let load = Load::new(&topic, 4).rate(500).start(&pair.source)?;
    let (mut receiver, _sender) = files.start()?;
    let committed = |status: &serde_json::Value| status["links"][0]["counts"]["records"].as_u64().unwrap_or(0);
    for _ in 0..ROUNDS {
        receiver.admin.wait_for("records to be committed", PATIENCE, |status| committed(status) > 500)?;
        let deposed = pair.target.suspend_leader(&format!("__causeway.{link}.state"), 0, PATIENCE)?;
        let before = committed(&receiver.admin.status()?);
        receiver
            .admin
            .wait_for("records through the new leader", PATIENCE, |status| committed(status) > before + 500)?;
        receiver.kill();
        pair.target.signal(deposed, Signal::Cont);
        receiver = files.receiver.start()?;
        pair.target.wait_until_in_sync(PATIENCE)?;
    }
    let written = load.stop()?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    println!("{}", verify::ensure_exactly_once(&written, &pair.target, "{topic}")?);
    Ok(())
}
