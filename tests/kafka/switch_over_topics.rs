//! Switch-over of single topics: they are halted for good once all of them is carried, and the link carries the others.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::admin::committed;
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::small;
use harness::wait::until_ok;
use harness::{topics, verify};
use serde_json::Value;

use crate::failback::{Digests, back, digests};
use crate::failover::{PARTITIONS, wait_for_commits};
use crate::switch_over::{statement, switch_over};

const PATIENCE: Duration = Duration::from_secs(60);

/// Ensures that a sender shows these partitions as switched over, and no partition as halted.
fn ensure_shown(sender: &Process, topic: &str, partitions: i32) -> Result<()> {
    let shown: Value = serde_json::from_str(&sender.admin.get(&format!("/partitions?topic={topic}"))?)?;
    let rows = shown.as_array().context("a list of partitions")?;
    let switched = rows.iter().filter(|row| row["topic"] == topic && row["state"] == "switched-over").count();
    ensure!(switched == partitions as usize, "{switched} partitions are shown as switched over: {shown:#}");
    ensure!(sender.admin.status()?["halted"].as_array().is_some_and(Vec::is_empty), "something is halted");
    Ok(())
}

#[test]
fn a_topic_switches_over_alone_while_others_are_carried() -> Result<()> {
    let pair = Pair::shared()?;
    let moved = topics::create_unique(&pair.source, "moved", PARTITIONS)?;
    let stays = topics::create_unique(&pair.source, "stays", PARTITIONS)?;
    let link = topics::unique("wave");
    let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&moved, &stays])?;
    let [moving, staying] =
        [&moved, &stays].map(|topic| Load::new(topic, PARTITIONS).rate(200).value_max(200).start(&pair.source));
    let moving = moving?;
    let staying = staying?;
    let (mut receiver, mut sender) = files.start()?;
    wait_for_commits(&receiver, 400)?;

    switch_over(&receiver, &link, &["--topics", "nothing"])?.expect(1, "the link does not carry nothing")?;
    let timed_out = switch_over(&receiver, &link, &["--topics", &moved, "--timeout", "4s"])?;
    timed_out
        .expect(1, &format!("the link was not changed: still written at the source, or not readable there: {moved}"))?;
    let written = moving.stop()?.written;
    let stated = statement(&switch_over(&receiver, &link, &["--topics", &moved])?)?;
    ensure!(stated["quiet_since"].is_i64() && stated["topics"][0] == *moved, "{stated:#}");
    let rows = stated["partitions"].as_array().context("no partitions")?;
    let is_whole = |row: &Value| row["topic"] == *moved && row["not_carried"] == 0 && row["halt"] == "switched-over";
    ensure!(rows.len() == PARTITIONS as usize && rows.iter().all(is_whole), "{stated:#}");
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    ensure_shown(&sender, &moved, PARTITIONS)?;
    wait_for_commits(&receiver, committed(&receiver.admin.status()?) + 400)?;

    // What is written at the source now stays there, also in a partition that is new, and after both ends were killed.
    let at_target = digests(&pair.target, &moved)?;
    let late = journal::write(&pair.source, &moved, 0, &small(0..5))?;
    topics::grow(&pair.source, &moved, PARTITIONS as usize + 1)?;
    journal::write(&pair.source, &moved, PARTITIONS, &small(0..5))?;
    sender.kill();
    receiver.kill();
    receiver = files.receiver.start()?;
    sender = files.sender.start()?;
    let carried = staying.stop()?.written;
    verify::wait_until_delivered(&carried, &pair.target, "{topic}", PATIENCE)?;
    until_ok("the new partition to be refused", PATIENCE, || Ok(ensure_shown(&sender, &moved, PARTITIONS + 1).ok()))?;
    ensure!(digests(&pair.target, &moved)? == at_target, "the topic was carried further");
    ensure!(read(&pair.target, &[&moved], Isolation::Committed)?.digests(&moved, PARTITIONS).is_empty());
    let again = run_at(&receiver, &["switch-over", "--link", &link, "--topics", &moved])?;
    again.expect(1, "It was done before.")?;
    again.expect(1, "it is switched over, and halted, and not carried to the end")?;

    // It goes back while the link carries the other topic.
    let of_application = journal::write(&pair.target, &moved, 1, &small(0..7))?.written;
    let home = back(&topics::unique("home"), &link, &pair.target, &pair.source, &moved)?;
    let mut expected = digests(&pair.source, &moved)?;
    expected[1].extend(of_application.digests(&moved, 1));
    let (_home_receiver, _home_sender) = home.start()?;
    let arrived = || Ok(Some(digests(&pair.source, &moved)?).filter(|found| found[1].len() >= expected[1].len()));
    let found = until_ok("the records of the application to go back", PATIENCE, arrived)?;
    let counts = |digests: &Digests| digests.iter().map(Vec::len).collect::<Vec<_>>();
    ensure!(found == expected, "{:?} records where {:?} are expected", counts(&found), counts(&expected));
    ensure!(!late.written.digests(&moved, 0).is_empty(), "nothing was written late");

    // What is left of the link is switched over without it.
    let stated = statement(&switch_over(&receiver, &link, &[])?)?;
    ensure!(stated["quiet_since"].is_i64() && stated["topics"].is_null(), "{stated:#}");
    ensure!(digests(&pair.target, &moved)?[0] == at_target[0], "the topic was carried further");
    Ok(())
}
