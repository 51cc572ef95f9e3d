//! Partitions without a leader, because the only broker that has them is down. Each waits by itself and is named with its
//! reason; all others are carried, and it is carried once its broker is back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::Process;
use harness::record::{Contents, small};
use harness::{topics, verify, wait};
use serde_json::Value;

/// Time within which all partitions with a leader are carried after a start.
const CARRIED: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(90);
/// Time that a clean shutdown may take.
const LEAVES: Duration = Duration::from_secs(15);

/// Kills node 3 and waits until the cluster says that a partition which it alone has is without a leader.
fn take_leader(cluster: &Cluster, topic: &str) -> Result<()> {
    cluster.kill(3);
    wait::until("the partition to lose its leader", PATIENCE, || cluster.leader(topic, 0).is_err().then_some(()))
}

fn write(cluster: &Cluster, topic: &str, partitions: i32, records: u64, seed: u64) -> Result<Contents> {
    let load = Load::new(topic, partitions).limit(records).value_max(200).seed(seed);
    Ok(load.start(cluster)?.finish()?.written)
}

fn partitions(sender: &Process, topic: &str) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&sender.admin.get(&format!("/partitions?topic={topic}"))?)?)
}

/// Returns whether a sentence of the status names the partition and says why it waits.
fn is_named(trouble: &Value, partition: &str, reason: &str) -> bool {
    let mut sentences = trouble.as_array().into_iter().flatten().filter_map(Value::as_str);
    sentences.any(|sentence| sentence.contains(partition) && sentence.contains(reason))
}

/// Waits until the receiver has an orphaned position, or says that it has none.
fn orphaned(receiver: &Process) -> Result<Value> {
    Ok(receiver.admin.status()?["links"][0]["orphaned_positions"].clone())
}

#[test]
fn source_partition_without_a_leader_waits_alone() -> Result<()> {
    let pair = Pair::start(3, 1)?;
    let one = topics::create_unique_on(&pair.source, "source-one", 1, 3)?;
    // As in the target, which has one node: the link would name a lower one.
    let three = topics::create_unique_with(&pair.source, "source-three", 12, &[("min.insync.replicas", "1")])?;
    let mut files = LinkFiles::new("source-leader", &pair.source, &pair.target, &[&one, &three])?;
    files.sender.set("lanes", "count", "1");
    let mut expected = write(&pair.source, &one, 1, 100, 1)?;
    expected.merge(&write(&pair.source, &three, 12, 100, 2)?);
    let (receiver, mut sender) = files.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    ensure!(sender.terminate(LEAVES)? == 0, "the sender exits with another code");

    take_leader(&pair.source, &one)?;
    expected.merge(&write(&pair.source, &three, 12, 1_000, 3)?);
    let began = Instant::now();
    let sender = files.sender.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    println!("carried {:.1?} after the start", began.elapsed());
    ensure!(began.elapsed() < CARRIED, "the others waited for {:.1?}", began.elapsed());

    let named = format!("{one}/0");
    sender.admin.wait_for("the partition to be named", CARRIED, |status| {
        is_named(&status["trouble"], &named, "has no leader") && status["lag_records"].is_null()
    })?;
    let shown = &partitions(&sender, &one)?[0];
    ensure!(shown["state"] == "waiting" && shown["detail"] == "the partition has no leader", "{shown}");
    ensure!(orphaned(&receiver)? == 0, "it counts as orphaned");

    pair.source.restart(3)?;
    expected.merge(&write(&pair.source, &one, 1, 100, 4)?);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    sender.admin.wait_for("no trouble", PATIENCE, |status| {
        status["trouble"].as_array().is_some_and(Vec::is_empty) && status["lag_records"] == 0
    })?;
    Ok(())
}

#[test]
fn waits_of_eight_lanes_are_not_added_up() -> Result<()> {
    let pair = Pair::start(3, 1)?;
    let stuck = topics::create_unique_on(&pair.source, "lanes-stuck", 64, 3)?;
    let three = topics::create_unique(&pair.source, "lanes-three", 24)?;
    let files = LinkFiles::new("lanes-leader", &pair.source, &pair.target, &[&stuck, &three])?;
    let mut expected = write(&pair.source, &three, 24, 200, 1)?;
    expected.merge(&write(&pair.source, &stuck, 64, 200, 2)?);
    let (mut receiver, mut sender) = files.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    let lanes: BTreeSet<_> = partitions(&sender, &stuck)?.iter().map(|one| one["lane"].to_string()).collect();
    ensure!(lanes.len() == 8, "only lanes {lanes:?} have a partition of {stuck}");
    ensure!(sender.terminate(LEAVES)? == 0, "the sender exits with another code");

    take_leader(&pair.source, &stuck)?;
    expected.merge(&write(&pair.source, &three, 24, 1_000, 3)?);
    let began = Instant::now();
    let sender = files.sender.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    println!("carried {:.1?} after the start of the sender", began.elapsed());
    ensure!(began.elapsed() < CARRIED, "the lanes waited for {:.1?}", began.elapsed());

    // The sender runs on, and every lane is offered its partitions again.
    receiver.kill();
    expected.merge(&write(&pair.source, &three, 24, 1_000, 4)?);
    let began = Instant::now();
    let _receiver = files.receiver.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    println!("carried {:.1?} after the start of the receiver", began.elapsed());
    // It includes the path's own time-out and the fences of the killed receiver's transactions.
    ensure!(began.elapsed() < CARRIED * 2, "the lanes waited for {:.1?}", began.elapsed());

    pair.source.restart(3)?;
    expected.merge(&write(&pair.source, &stuck, 64, 200, 5)?);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    drop(sender);
    Ok(())
}

#[test]
fn partition_that_waits_keeps_the_start_policy() -> Result<()> {
    let pair = Pair::start(3, 1)?;
    let prefix = topics::unique("policy");
    let one = format!("{prefix}-one");
    let three = format!("{prefix}-three");
    let new = format!("{prefix}-new");
    topics::create_on(&pair.source, &one, 1, 3)?;
    topics::create(&pair.source, &three, 1, &[])?;
    journal::write(&pair.source, &one, 0, &small(0..10))?;
    journal::write(&pair.source, &three, 0, &small(0..10))?;
    take_leader(&pair.source, &one)?;
    let mut files = LinkFiles::new(&prefix, &pair.source, &pair.target, &[&format!("{prefix}-.*")])?;
    files.sender.set("source", "start", "\"latest\"").set("lanes", "count", "1");
    let (_receiver, sender) = files.start()?;
    sender.admin.wait_for("the other partition to join", PATIENCE, |status| status["partitions"] == 1)?;
    // A topic that appears later is carried from its start, although the first round is not complete.
    topics::create(&pair.source, &new, 1, &[])?;
    let mut expected = journal::write(&pair.source, &new, 0, &small(20..30))?.written;
    expected.merge(&journal::write(&pair.source, &three, 0, &small(30..40))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    pair.source.restart(3)?;
    sender.admin.wait_for("the partition to join", PATIENCE, |status| status["partitions"] == 3)?;
    expected.merge(&journal::write(&pair.source, &one, 0, &small(40..50))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    // Without the records that were in the log before the link first saw its end.
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}").map(drop)
}

#[test]
fn target_partition_without_a_leader_waits_alone() -> Result<()> {
    let pair = Pair::start(1, 3)?;
    let one = topics::create_unique(&pair.source, "target-one", 1)?;
    let three = topics::create_unique(&pair.source, "target-three", 12)?;
    topics::create_on(&pair.target, &one, 1, 3)?;
    let mut expected = write(&pair.source, &three, 12, 1_000, 1)?;
    let waiting = write(&pair.source, &one, 1, 100, 2)?;
    take_leader(&pair.target, &one)?;
    let mut files = LinkFiles::new("target-leader", &pair.source, &pair.target, &[&one, &three])?;
    files.sender.set("lanes", "count", "1");
    let began = Instant::now();
    let (receiver, sender) = files.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    println!("carried {:.1?} after the start", began.elapsed());
    // Most of it is the creation of the topics and of the link's state.
    ensure!(began.elapsed() < CARRIED * 2, "the others waited for {:.1?}", began.elapsed());

    let named = format!("{one}/0");
    receiver.admin.wait_for("the partition to be named", PATIENCE, |status| {
        is_named(&status["links"][0]["trouble"], &named, "has no leader")
    })?;
    let status = sender.admin.wait_for("the sender to show it", PATIENCE, |status| {
        status["waiting"].as_array().is_some_and(|waiting| waiting.len() == 1) && status["lag_records"] == 100
    })?;
    let waits = &status["waiting"][0];
    ensure!(waits["topic"] == one && waits["cluster"] == "target", "{waits}");
    ensure!(waits["detail"].as_str().context("a detail")?.contains("has no leader"), "{waits}");
    ensure!(status["halted"].as_array().is_some_and(Vec::is_empty), "what waits is not halted: {status}");
    ensure!(status["limited_by"] == "target", "what waits at the target is not the source's fault: {status}");
    let shown = &partitions(&sender, &one)?[0];
    ensure!(shown["state"] == "waiting", "{shown}");

    pair.target.restart(3)?;
    expected.merge(&waiting);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    sender.admin.wait_for("nothing to wait", PATIENCE, |status| {
        status["waiting"].as_array().is_some_and(Vec::is_empty) && status["lag_records"] == 0
    })?;
    Ok(())
}
