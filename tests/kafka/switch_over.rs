//! Switch-over: the link ends once nothing is written to its source any more and all of it is carried, or is not changed.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::admin::committed;
use harness::command::{Exit, run_at};
use harness::files::LinkFiles;
use harness::halts;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::{HALTED, Process, binary};
use harness::reader::{Isolation, read};
use harness::record::small;
use harness::{topics, verify};
use rdkafka::producer::Producer;
use serde_json::Value;

use crate::failover::{Loaded, compare, wait_for_commits};
use crate::groups::{self, Protocol, Stopped};

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn switch_over(receiver: &Process, link: &str, options: &[&str]) -> Result<Exit> {
    run_at(receiver, &[&["switch-over", "--link", link, "--reason", "a move", "--json"], options].concat())
}

pub(crate) fn statement(exit: &Exit) -> Result<Value> {
    ensure!(exit.code == 0, "exit code {}: {}", exit.code, exit.printed);
    serde_json::from_str(exit.printed.lines().next().unwrap_or_default()).context("the statement is not JSON")
}

fn wait_for_promotion(receiver: &Process, state: &str) -> Result<()> {
    let is = |status: &Value| status["links"][0]["promotion"]["state"] == state;
    receiver.admin.wait_for(&format!("the promotion to be {state}"), PATIENCE, is).map(drop)
}

#[test]
fn switch_over_waits_until_nothing_is_written_and_loses_nothing() -> Result<()> {
    let pair = Pair::shared()?;
    let Loaded { topic, link, files: _files, load, receiver, mut sender } = Loaded::start(&pair, "move", 1_000)?;

    let timed_out = switch_over(&receiver, &link, &["--timeout", "5s"])?;
    timed_out
        .expect(1, &format!("the link was not changed: still written at the source, or not readable there: {topic}"))?;
    let status = receiver.admin.status()?;
    ensure!(status["links"][0]["promotion"]["state"] == "none" && status["links"][0]["sessions"] == 1, "{status:#}");
    wait_for_commits(&receiver, committed(&status) + 500)?;

    let exit = thread::scope(|scope| {
        let asked = scope.spawn(|| switch_over(&receiver, &link, &[]));
        wait_for_promotion(&receiver, "switching-over")?;
        wait_for_commits(&receiver, committed(&receiver.admin.status()?) + 1_000)?;
        let written = load.stop()?.written;
        let exit = asked.join().ok().context("the command panicked")??;
        anyhow::Ok((exit, written))
    });
    let (exit, written) = exit?;
    let statement = statement(&exit)?;
    ensure!(compare(&statement, &topic, &written, &pair.target)? == 0, "{statement:#}");
    ensure!(statement["quiet_since"].is_i64() && statement["promoted"]["reason"] == "a move", "{statement:#}");
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    ensure!(sender.wait(PATIENCE)? == HALTED, "the sender did not halt");
    run_at(&receiver, &["switch-over", "--link", &link])?.expect(0, "and all of it is carried")
}

#[test]
fn switch_over_takes_groups_and_waits_for_open_transactions() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "taken", groups::PARTITIONS)?;
    let load = Load::new(&topic, groups::PARTITIONS).limit(2_000).value_max(40).transactional(20);
    let written = load.start(&pair.source)?.finish()?.written;
    let stem = topics::unique("taken");
    let files = groups::link(&pair, &topic, &format!("{stem}.*"))?;
    let link = files.sender.get("", "link").context("no link")?.trim_matches('"').to_owned();
    let (receiver, _sender) = files.start()?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;

    let producer = journal::leave_open(&pair.source, &topic)?;
    let timed_out = switch_over(&receiver, &link, &["--timeout", "6s"])?;
    timed_out.expect(1, "the link was not changed: transactions are open at the source in")?;
    producer.abort_transaction(PATIENCE)?;

    // The command follows the last commits of the groups at once.
    let source = read(&pair.source, &[&topic], Isolation::Committed)?;
    let lags = [0, 300].map(|lag| Stopped::at_lag(&pair, &topic, &stem, Protocol::Classic, written.len(), lag));
    let stopped = lags.into_iter().collect::<Result<Vec<_>>>()?;
    let statement = statement(&switch_over(&receiver, &link, &[])?)?;
    let stated = statement["groups"].as_array().context("no groups")?;
    ensure!(stated.len() == stopped.len() * groups::PARTITIONS as usize, "{statement:#}");
    ensure!(stated.iter().all(|row| row["again"] == 0), "{statement:#}");
    for group in &stopped {
        group.continue_at(&pair, &topic, &source)?;
    }
    Ok(())
}

#[test]
fn a_deleted_topic_holds_up_a_switch_over_until_forgotten() -> Result<()> {
    let pair = Pair::shared()?;
    let stem = topics::unique("left");
    let topics = ["kept", "gone", "lost"].map(|name| topics::create_unique(&pair.source, &format!("{stem}-{name}"), 1));
    let [kept, gone, lost] = topics.map(|topic| topic.expect("a topic"));
    let link = topics::unique("left");
    let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&kept, &gone, &lost])?;
    let (receiver, mut sender) = files.start()?;
    for topic in [&kept, &gone, &lost] {
        let written = journal::write(&pair.source, topic, 0, &small(0..5))?.written;
        verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    }
    for topic in [&gone, &lost] {
        topics::delete(&pair.source, topic)?;
        let is_gone = |status: &Value| status["deleted_topics"].to_string().contains(topic.as_str());
        sender.admin.wait_for("the topic to be shown as deleted", PATIENCE, is_gone)?;
    }
    switch_over(&receiver, &link, &["--timeout", "5s"])?.expect(1, "see `causeway forget`")?;
    halts::forget(&sender, &gone)?;
    sender.kill();
    sender = files.sender.start()?;
    sender.admin.wait_for("a session", PATIENCE, |status| status["state"] == "active")?;
    let statement = statement(&switch_over(&receiver, &link, &[])?)?;
    ensure!(statement["quiet_since"].is_i64(), "{statement:#}");
    let problems = statement["problems"].as_array().context("problems")?;
    let names = |problem: &Value| problem.as_str().is_some_and(|problem| problem.ends_with(&format!("{lost}/0")));
    ensure!(problems.len() == 1 && names(&problems[0]), "{statement:#}");
    // Asked again, the stored statement is enough.
    ensure!(switch_over(&receiver, &link, &[])?.code == 0, "it fails when asked again");
    Ok(())
}

#[test]
fn a_switch_over_whose_command_is_killed_changes_nothing() -> Result<()> {
    let pair = Pair::shared()?;
    let Loaded { topic: _, link, files: _files, load, receiver, sender } = Loaded::start(&pair, "asked", 200)?;
    let address = receiver.admin.address().to_string();
    let mut command = Command::new(binary()?);
    command.args(["switch-over", "--link", &link, "--admin", &address]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut asked = command.spawn()?;
    let waits = wait_for_promotion(&receiver, "switching-over");
    asked.kill()?;
    asked.wait()?;
    waits?;
    // Nothing is written any more: it would be switched over now if a client still asked.
    let written = load.stop()?.written;
    wait_for_promotion(&receiver, "none")?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    ensure!(sender.admin.status()?["session"].is_object() || receiver.admin.status()?["links"][0]["sessions"] == 1);
    Ok(())
}
