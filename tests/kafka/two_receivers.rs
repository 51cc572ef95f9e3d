//! A second receiver of a link, and a sender that dials it, started by mistake. The receivers do not talk to each
//! other: the target fences the one that lost a lane.

use std::time::Duration;

use anyhow::{Context, Result};
use harness::admin::committed;
use harness::files::LinkFiles;
use harness::journal::Load;
use harness::pair::Pair;
use harness::{topics, verify};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 12;

#[test]
fn second_receiver_takes_the_lanes_exactly_once() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "two-receivers", PARTITIONS)?;
    let files = LinkFiles::new(&topics::unique("two-receivers"), &pair.source, &pair.target, &[&topic])?;
    let load = Load::new(&topic, PARTITIONS).rate(2_000).value_max(4_000).start(&pair.source)?;
    let (first, first_sender) = files.start()?;
    let flows = |status: &Value| committed(status) > 2_000;
    first.admin.wait_for("records through the first receiver", PATIENCE, flows)?;

    let second_side = files.another_receiver("second-receiver")?;
    let mut second_sender = files.another_sender("second-sender")?;
    second_sender.set("wan", "receiver", second_side.get("", "listen").context("no address")?);
    let mut second = second_side.start()?;
    let mut second_sender = second_sender.start()?;
    second.admin.wait_for("records through the second receiver", PATIENCE, flows)?;

    // A lane notices with its next transaction, and says so.
    let contested = |status: &Value| {
        let trouble = status["links"][0]["trouble"].as_array().map_or(&[][..], Vec::as_slice);
        trouble.iter().any(|trouble| trouble.as_str().is_some_and(|text| text.contains("is contested")))
    };
    first.admin.wait_for("the first receiver to show that it lost lanes", PATIENCE, contested)?;
    let superseded = |status: &Value| status["lanes_closed"][0]["reason"] == "superseded";
    first_sender.admin.wait_for("the first sender to show it too", PATIENCE, superseded)?;
    second.admin.wait_for("more records through the second", PATIENCE, |status| committed(status) > 4_000)?;

    // An operator stops the second pair. A sender that starts gets its lanes back without waiting.
    second_sender.terminate(PATIENCE)?;
    second.terminate(PATIENCE)?;
    drop(first_sender);
    let first_sender = files.sender.start()?;
    let before = committed(&first.admin.status()?);
    let continues = |status: &Value| committed(status) > before + 2_000 && !contested(status);
    first.admin.wait_for("the first receiver to continue", PATIENCE, continues)?;

    let written = load.stop()?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    println!("{}", verify::ensure_exactly_once(&written, &pair.target, "{topic}")?);
    drop((first_sender, first));
    Ok(())
}
