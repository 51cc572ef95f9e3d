//! Commands for a link between two real clusters: `check` and `status` while it runs, and clean shutdowns.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::command::{Exit, run};
use harness::files::{LinkFiles, Side};
use harness::journal::Load;
use harness::pair::Pair;
use harness::process::Process;
use harness::topics;

const DELIVERED: Duration = Duration::from_secs(60);

/// Time that a clean shutdown may take, with a second for a slow machine.
const LEFT: Duration = Duration::from_secs(11);

/// Runs `causeway check` of a configuration, which must succeed and print `sentence`.
fn check(side: &Side, sentence: &str) -> Result<()> {
    let file = side.write()?.display().to_string();
    run(&["check", &file])?.expect(0, sentence)
}

/// Runs `causeway status` of a process, with these arguments.
fn status(process: &Process, arguments: &[&str]) -> Result<Exit> {
    let address = process.admin.address().to_string();
    run(&[&["status", &address], arguments].concat())
}

/// A link over a topic with 1,000 records, all carried.
struct Fixture {
    receiver: Process,
    sender: Process,
    files: LinkFiles,
    link: String,
    topic: String,
    pair: Pair,
}

impl Fixture {
    fn start() -> Result<Self> {
        let pair = Pair::shared()?;
        let link = topics::unique("commands");
        let topic = topics::create_unique(&pair.source, "commands", 4)?;
        let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
        check(&files.receiver, &format!("__causeway.{link}.state does not exist"))?;
        let (receiver, sender) = files.start()?;
        Load::new(&topic, 4).limit(1_000).seed(1).start(&pair.source)?.finish()?;
        sender.admin.wait_for("a lag of 0", DELIVERED, |status| status["lag_records"] == 0)?;
        Ok(Self { receiver, sender, files, link, topic, pair })
    }
}

#[test]
fn check_describes_a_running_link_without_disturbing_it() -> Result<()> {
    let link = Fixture::start()?;
    check(&link.files.sender, &format!("source cluster   {}", link.pair.source.id()))?;
    check(&link.files.sender, "1 matches, with 4 partitions")?;
    check(&link.files.sender, "accepts our certificate")?;
    check(&link.files.receiver, &format!("__causeway.{}.state: 8 lanes, compacted", link.link))?;

    let label = format!("{{link={:?}}}", link.link);
    let sessions = link.sender.admin.metric(&format!("causeway_sender_sessions_total{label}"))?;
    ensure!(sessions == 1.0, "the sender had {sessions} sessions");
    let sessions = link.receiver.admin.metric(&format!("causeway_receiver_sessions_total{label}"))?;
    ensure!(sessions == 1.0, "the receiver had {sessions} sessions");
    let records = link.receiver.admin.metric(&format!("causeway_receiver_records_total{label}"))?;
    ensure!(records == 1_000.0, "{records} records were committed");
    ensure!(link.receiver.admin.status()?["refusals"] == serde_json::json!({}), "a check counts as a refusal");
    Ok(())
}

#[test]
fn status_shows_the_link_and_its_topics() -> Result<()> {
    let link = Fixture::start()?;
    let topic = link.topic.as_str();
    status(&link.sender, &[])?.expect(0, "keeping up  yes: the target has everything")?;
    status(&link.sender, &[])?.expect(0, "state       active")?;
    status(&link.receiver, &[])?.expect(0, "state       sender sender holds it")?;
    status(&link.receiver, &[])?.expect(0, "lanes       8 of 8 open")?;

    status(&link.sender, &["--topics"])?.expect(0, &format!("{topic}           4       0        0               0"))?;
    let shown = status(&link.sender, &["--topic", topic, "--json"])?;
    shown.expect(0, "")?;
    let partitions: Vec<serde_json::Value> = serde_json::from_str(&shown.printed)?;
    let committed: i64 = partitions.iter().filter_map(|one| one["position"].as_i64()).sum();
    ensure!(partitions.len() == 4 && committed == 1_000, "{partitions:?}");
    let is_carried = |one: &serde_json::Value| one["state"] == "carried" && one["position"] == one["log_end"];
    ensure!(partitions.iter().all(is_carried), "{partitions:?}");
    let unknown = "this sender carries no topic unheard-of: see `source.topics`";
    status(&link.sender, &["--topic", "unheard-of"])?.expect(1, unknown)?;
    let other_side = "the sender of the link knows the source's logs: ask it";
    status(&link.receiver, &["--topic", topic])?.expect(1, other_side)
}

#[test]
fn both_ends_shut_down_in_time_without_the_other() -> Result<()> {
    let Fixture { mut receiver, mut sender, files, pair: _pair, .. } = Fixture::start()?;
    receiver.kill();
    ensure!(sender.terminate(LEFT)? == 0, "the sender exits with another code without its receiver");
    let (mut receiver, mut sender) = files.start()?;
    sender.admin.wait_for("a session", DELIVERED, |status| status["lanes_open"] == 8)?;
    ensure!(receiver.terminate(LEFT)? == 0, "the receiver exits with another code");
    ensure!(sender.terminate(LEFT)? == 0, "the sender exits with another code");
    Ok(())
}
