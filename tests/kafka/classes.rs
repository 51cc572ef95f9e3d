//! Topics that change their class while records flow and processes are killed.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::journal::Load;
use harness::pair::Pair;
use harness::process::{HALTED, Process};
use harness::{topics, verify};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(30);
const PARTITIONS: i32 = 6;

/// Waits until the sender is active with this number of lanes, all open.
fn wait_for_lanes(sender: &Process, lanes: u64) -> Result<Value> {
    let open =
        |status: &Value| status["state"] == "active" && status["lanes"] == lanes && status["lanes_open"] == lanes;
    sender.admin.wait_for(&format!("{lanes} open lanes"), PATIENCE, open)
}

/// Waits until the sender reads this number of partitions, and 500 more records are committed.
fn wait_for_flow(sender: &Process, receiver: &Process, partitions: i64) -> Result<()> {
    let reading = |status: &Value| status["partitions"] == partitions;
    sender.admin.wait_for("every partition to be read", PATIENCE, reading)?;
    let committed = |status: &Value| status["links"][0]["counts"]["records"].as_u64().unwrap_or_default();
    let before = committed(&receiver.admin.status()?);
    receiver.admin.wait_for("records to be committed", PATIENCE, |status| committed(status) > before + 500).map(drop)
}

/// Number of partitions that the receiver moved between lanes.
fn moves(receiver: &Process) -> Result<u64> {
    Ok(receiver.admin.status()?["links"][0]["counts"]["moves"].as_u64().unwrap_or_default())
}

/// Bytes that the sender has sent for a class.
fn class_bytes(sender: &Process, class: &str) -> Result<u64> {
    let status = sender.admin.status()?;
    let classes = status["classes"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(classes.iter().find(|entry| entry["class"] == class).and_then(|entry| entry["sent_bytes"].as_u64()).unwrap_or(0))
}

#[test]
fn topic_moved_under_load_and_kills_arrives_exactly_once() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "moved", PARTITIONS)?;
    let stays = topics::create_unique(&pair.source, "stays", 2)?;
    let link = topics::unique("classes");
    let state_topic = format!("__causeway.{link}.state");
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic, &stays])?;
    files.sender.set("lanes", "count", "3");
    let plain = files.sender.clone();
    let (mut receiver, mut sender) = files.start()?;
    wait_for_lanes(&sender, 3)?;
    let load = Load::new(&topic, PARTITIONS).rate(2_000).value_max(2_000).seed(1).start(&pair.source)?;
    let other = Load::new(&stays, 2).rate(500).seed(2).start(&pair.source)?;
    wait_for_flow(&sender, &receiver, 8)?;
    ensure!(moves(&receiver)? == 0, "partitions were moved before there was another class");

    // A class is added to the running link: its lanes are appended, and its topic moves to them.
    files.sender.set("[classes]", "name", "\"critical\"").set("[classes]", "topics", &format!("[{topic:?}]"));
    files.sender.set("[classes]", "priority", "\"strict\"").set("[classes]", "lanes", "2").write()?;
    sender.signal(Signal::Hup);
    wait_for_lanes(&sender, 5)?;
    wait_for_flow(&sender, &receiver, 8)?;
    ensure!(topics::partitions(&pair.target, &state_topic)? == 5, "a lane without a partition of the state topic");
    ensure!(moves(&receiver)? == 6, "{} partitions were moved", moves(&receiver)?);
    ensure!(class_bytes(&sender, "critical")? > 0, "nothing was sent for the new class");
    ensure!(class_bytes(&sender, "default")? > 0, "nothing was sent for the default class");

    // The topic moves back and forth, and each time a process is killed during the move.
    for round in 0..4 {
        let side = if round % 2 == 0 { &plain } else { &files.sender };
        side.write()?;
        sender.signal(Signal::Hup);
        if round < 2 {
            receiver.kill();
            receiver = files.receiver.start()?;
        } else {
            sender.kill();
            sender = side.start()?;
        }
        wait_for_lanes(&sender, 5)?;
        wait_for_flow(&sender, &receiver, 8)?;
        println!("round {round}: {} partitions moved since the receiver started", moves(&receiver)?);
    }
    let mut written = load.stop()?.written;
    written.merge(&other.stop()?.written);
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    println!("{}", verify::ensure_exactly_once(&written, &pair.target, "{topic}")?);

    // The number of a class's lanes cannot be changed.
    ensure!(sender.terminate(SOON)? == 0, "another exit code");
    files.sender.set("[classes]", "lanes", "3");
    let mut refused = files.sender.start()?;
    ensure!(refused.wait(SOON)? == HALTED, "another exit code");
    let log = refused.log()?;
    ensure!(log.contains("was made with 2 lanes, 3 are asked for") && log.contains("LANES_CHANGED"), "{log}");
    ensure!(topics::partitions(&pair.target, &state_topic)? == 5, "a refusal changed the state topic");
    Ok(())
}
