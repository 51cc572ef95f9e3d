//! Target partitions that cannot be written, because brokers are down. Each is left out of its lane with its reason, the
//! others continue within a transaction timeout, and it continues by itself.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::journal::Load;
use harness::pair::Pair;
use harness::process::Process;
use harness::record::Contents;
use harness::{topics, verify, wait};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
/// Time within which the other partitions of the lane are carried: the default transaction timeout.
const CARRIED: Duration = Duration::from_secs(30);
const NO_LEADER: &str = "has no leader";
const TOO_FEW: &str = "the partition has 2 in-sync replicas, `min.insync.replicas` is 3";

fn write(cluster: &Cluster, topic: &str, partitions: i32, records: u64, seed: u64) -> Result<Contents> {
    let load = Load::new(topic, partitions).limit(records).value_max(200).seed(seed);
    Ok(load.start(cluster)?.finish()?.written)
}

fn names(trouble: &Value, words: &[&str]) -> bool {
    let mut sentences = trouble.as_array().into_iter().flatten().filter_map(Value::as_str);
    sentences.any(|sentence| words.iter().all(|word| sentence.contains(word)))
}

/// Waits until both sides name these partitions as waiting, with their reasons and their lag, and no others.
fn wait_until_named(sender: &Process, receiver: &Process, waiting: &[(&str, &str)]) -> Result<()> {
    receiver.admin.wait_for("the receiver to name them", PATIENCE, |status| {
        let trouble = &status["links"][0]["trouble"];
        waiting.iter().all(|(topic, reason)| names(trouble, &[&format!("{topic}/0"), reason]))
    })?;
    sender.admin.wait_for("the sender to name them", PATIENCE, |status| {
        let shown = status["waiting"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_named = |(topic, reason): &(&str, &str)| {
            shown.iter().any(|one| {
                one["topic"] == *topic
                    && one["cluster"] == "target"
                    && one["detail"].as_str().is_some_and(|detail| detail.contains(reason))
            })
        };
        shown.len() == waiting.len()
            && waiting.iter().all(is_named)
            && status["halted"].as_array().is_some_and(Vec::is_empty)
    })?;
    for (topic, _) in waiting {
        wait::until_ok("the partition's lag", PATIENCE, || {
            let shown: Vec<Value> = serde_json::from_str(&sender.admin.get(&format!("/partitions?topic={topic}"))?)?;
            let is_behind = shown[0]["lag_records"].as_i64().is_some_and(|lag| lag > 0);
            Ok((shown[0]["state"] == "waiting" && is_behind).then_some(()))
        })?;
    }
    Ok(())
}

/// Waits until these records are carried, and checks that it took no longer than a transaction timeout.
fn ensure_carried(what: &str, expected: &Contents, target: &Cluster) -> Result<()> {
    let began = Instant::now();
    verify::wait_until_delivered(expected, target, "{topic}", PATIENCE)?;
    println!("{what}: the others are carried after {:.1?}", began.elapsed());
    ensure!(began.elapsed() < CARRIED, "{what}: the others waited for {:.1?}", began.elapsed());
    Ok(())
}

#[test]
fn partitions_that_cannot_be_written_wait_alone() -> Result<()> {
    let pair = Pair::start(1, 3)?;
    let one = topics::create_unique(&pair.source, "left-one", 1)?;
    let short = topics::create_unique(&pair.source, "left-short", 1)?;
    let three = topics::create_unique(&pair.source, "left-three", 4)?;
    topics::create_on(&pair.target, &one, 1, 3)?;
    topics::create(&pair.target, &short, 1, &[("min.insync.replicas", "3")])?;
    let mut files = LinkFiles::new(&topics::unique("left"), &pair.source, &pair.target, &[&one, &short, &three])?;
    files.sender.set("lanes", "count", "1");
    let mut stuck = write(&pair.source, &one, 1, 100, 1)?;
    stuck.merge(&write(&pair.source, &short, 1, 100, 2)?);
    let mut others = write(&pair.source, &three, 4, 100, 3)?;
    let (mut receiver, mut sender) = files.start()?;
    verify::wait_until_delivered(&stuck, &pair.target, "{topic}", PATIENCE)?;
    verify::wait_until_delivered(&others, &pair.target, "{topic}", PATIENCE)?;

    // Under traffic to all of them.
    let load_one = Load::new(&one, 1).rate(20).seed(4).start(&pair.source)?;
    let load_short = Load::new(&short, 1).rate(20).seed(5).start(&pair.source)?;
    pair.target.kill_noticed(3, &one, PATIENCE)?;
    others.merge(&write(&pair.source, &three, 4, 1_000, 6)?);
    ensure_carried("after the kill", &others, &pair.target)?;
    wait_until_named(&sender, &receiver, &[(&one, NO_LEADER), (&short, TOO_FEW)])?;

    receiver.kill();
    others.merge(&write(&pair.source, &three, 4, 1_000, 7)?);
    let receiver = files.receiver.start()?;
    ensure_carried("after a restart of the receiver", &others, &pair.target)?;
    wait_until_named(&sender, &receiver, &[(&one, NO_LEADER), (&short, TOO_FEW)])?;

    // A topic that an operator takes from the list delays nothing.
    files.sender.set("source", "topics", &format!("[{short:?}, {three:?}]")).write()?;
    sender.signal(Signal::Hup);
    sender.admin.wait_for("a session without it", PATIENCE, |status| {
        status["closes"]["RECONFIGURED"] == 1 && status["state"] == "active"
    })?;
    wait_until_named(&sender, &receiver, &[(&short, TOO_FEW)])?;
    others.merge(&write(&pair.source, &three, 4, 100, 8)?);
    ensure_carried("without its topic", &others, &pair.target)?;
    files.sender.set("source", "topics", &format!("[{one:?}, {short:?}, {three:?}]")).write()?;
    sender.signal(Signal::Hup);

    stuck.merge(&load_one.stop()?.written);
    stuck.merge(&load_short.stop()?.written);
    pair.target.restart(3)?;
    stuck.merge(&others);
    verify::wait_until_delivered(&stuck, &pair.target, "{topic}", PATIENCE)?;
    println!("{}", verify::ensure_exactly_once(&stuck, &pair.target, "{topic}")?);
    sender.admin.wait_for("nothing to wait", PATIENCE, |status| {
        status["waiting"].as_array().is_some_and(Vec::is_empty) && status["lag_records"] == 0
    })?;
    Ok(())
}

#[test]
fn lane_whose_state_cannot_be_written_says_so() -> Result<()> {
    let pair = Pair::start(1, 3)?;
    let topic = topics::create_unique(&pair.source, "left-state", 4)?;
    let on_three = topics::create_unique_on(&pair.target, "left-state-node", 1, 3)?;
    let link = topics::unique("left-state");
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let mut expected = write(&pair.source, &topic, 4, 100, 1)?;
    let (receiver, sender) = files.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    let state = format!("__causeway.{link}.state");
    topics::configure(&pair.target, &state, "min.insync.replicas", "3")?;
    pair.target.kill_noticed(3, &on_three, PATIENCE)?;
    expected.merge(&write(&pair.source, &topic, 4, 100, 2)?);
    receiver.admin.wait_for("the state partition to be named", PATIENCE, |status| {
        names(&status["links"][0]["trouble"], &[&format!("{state}/0"), TOO_FEW])
    })?;
    ensure!(sender.admin.status()?["waiting"].as_array().is_some_and(Vec::is_empty), "a partition waits");
    pair.target.restart(3)?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}").map(drop)
}
