//! Failover: the link ends for good, with a statement of what was carried and what was not, compared with a journal.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::admin::committed;
use harness::cluster::Cluster;
use harness::command::{Exit, run, run_at};
use harness::files::LinkFiles;
use harness::journal::{Load, Writer};
use harness::pair::Pair;
use harness::process::{HALTED, Process};
use harness::reader::{Isolation, read};
use harness::record::Contents;
use harness::wait::until_ok;
use harness::{topics, verify, wait};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use crate::groups::{self, Protocol, Stopped};

const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const PARTITIONS: i32 = 4;
/// Time within which lanes store what the sender says of the source's ends.
const STORED_WITHIN: Duration = Duration::from_secs(7);

/// Asks the receiver to promote the link, or for a dry run. Returns the statement.
fn failover(receiver: &Process, link: &str, options: &[&str]) -> Result<Value> {
    let exit = ask(receiver, link, options)?;
    ensure!(exit.code == 0, "exit code {}: {}", exit.code, exit.printed);
    serde_json::from_str(exit.printed.lines().next().unwrap_or_default()).context("the statement is not JSON")
}

fn ask(receiver: &Process, link: &str, options: &[&str]) -> Result<Exit> {
    run_at(receiver, &[&["failover", "--link", link, "--reason", "a drill", "--json"], options].concat())
}

/// A link under load, whose records are being committed.
pub(crate) struct Loaded {
    pub(crate) topic: String,
    pub(crate) link: String,
    pub(crate) files: LinkFiles,
    pub(crate) load: Writer,
    pub(crate) receiver: Process,
    pub(crate) sender: Process,
}

impl Loaded {
    /// Starts a link and `rate` records per second, and waits until as many are committed.
    pub(crate) fn start(pair: &Pair, stem: &str, rate: u32) -> Result<Self> {
        let topic = topics::create_unique(&pair.source, stem, PARTITIONS)?;
        let link = topics::unique(stem);
        let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
        let load = Load::new(&topic, PARTITIONS).rate(rate).value_max(1_000).start(&pair.source)?;
        let (receiver, sender) = files.start()?;
        wait_for_commits(&receiver, u64::from(rate))?;
        Ok(Self { topic, link, files, load, receiver, sender })
    }
}

pub(crate) fn wait_for_commits(receiver: &Process, count: u64) -> Result<()> {
    receiver.admin.wait_for("records to be committed", PATIENCE, |status| committed(status) > count).map(drop)
}

/// Returns where the logs of a topic end, records of open transactions and markers included.
pub(crate) fn ends(cluster: &Cluster, topic: &str) -> Result<Vec<i64>> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", cluster.bootstrap()).create()?;
    (0..PARTITIONS).map(|partition| Ok(consumer.fetch_watermarks(topic, partition, PATIENCE)?.1)).collect()
}

/// Compares a statement with the journal of the source and with the target. Returns how many records it knows to be lost.
pub(crate) fn compare(statement: &Value, topic: &str, written: &Contents, target: &Cluster) -> Result<u64> {
    let found = read(target, &[topic], Isolation::Committed)?;
    let partitions = statement["partitions"].as_array().context("no partitions")?;
    ensure!(partitions.len() == PARTITIONS as usize, "{statement:#}");
    let mut lost = 0;
    for stated in partitions {
        let partition = i32::try_from(stated["partition"].as_i64().context("no number")?)?;
        let carried_to = stated["carried_to"].as_i64().with_context(|| format!("not carried: {stated:#}"))?;
        let end = stated["source_end"].as_i64().with_context(|| format!("no word of the source: {stated:#}"))?;
        let all = written.partition(topic, partition);
        let carried: Vec<u64> = all.iter().filter(|one| one.offset < carried_to).map(|one| one.digest).collect();
        ensure!(carried == found.digests(topic, partition), "{stated:#} is not what the target has");
        let missing = all.iter().filter(|one| (carried_to..end).contains(&one.offset)).count() as u64;
        ensure!(stated["not_carried"] == missing, "the journal has {missing} such records: {stated:#}");
        ensure!(stated["last_written"].is_i64() && stated["unknown_since"].is_i64(), "{stated:#}");
        ensure!(end <= all.len() as i64, "the source ends at {}: {stated:#}", all.len());
        lost += missing;
    }
    Ok(lost)
}

#[test]
fn statement_equals_the_journal_and_an_old_sender_is_fenced() -> Result<()> {
    let pair = Pair::shared()?;
    let Loaded { topic, link, files, load, mut receiver, mut sender } = Loaded::start(&pair, "failover", 2_000)?;
    receiver.kill();
    sender.kill();
    receiver = files.receiver.start()?;
    sender = files.sender.start()?;
    wait_for_commits(&receiver, 2_000)?;
    // Until what the sender says of the source is stored with the lanes; then the source is gone, and the receiver dies too.
    wait::through(STORED_WITHIN, || Ok(()))?;
    sender.kill();
    receiver.kill();
    wait::through(Duration::from_secs(1), || Ok(()))?;
    let written = load.stop()?.written;
    receiver = files.receiver.start()?;
    receiver.admin.wait_until_ready(PATIENCE)?;
    let statement = failover(&receiver, &link, &[])?;
    let lost = compare(&statement, &topic, &written, &pair.target)?;
    ensure!(statement["promoted"]["reason"] == "a drill", "{statement:#}");
    let carried = read(&pair.target, &[&topic], Isolation::Committed)?.len();
    println!("{} records written, {carried} carried, {lost} known to be lost", written.len());
    ensure!(carried < written.len(), "nothing was lost: the test shows nothing");

    let before = ends(&pair.target, &topic)?;
    let mut old = files.sender.start()?;
    ensure!(old.wait(PATIENCE)? == HALTED, "the old sender did not halt");
    let log = old.log()?;
    ensure!(log.contains(&format!("link {link} was promoted at")) && log.contains("(reason: a drill)"), "{log}");
    ensure!(ends(&pair.target, &topic)? == before, "the old sender wrote something");

    receiver.kill();
    receiver = files.receiver.start()?;
    let promoted = |status: &Value| status["links"][0]["promotion"]["state"] == "promoted";
    receiver.admin.wait_for("the promotion to be shown", PATIENCE, promoted)?;
    ensure!(failover(&receiver, &link, &[])? == statement, "another statement");
    ensure!(failover(&receiver, &link, &["--dry-run"])? == statement, "another statement");
    let exit = run_at(&receiver, &["failover", "--link", &link])?;
    exit.expect(0, "It was done before.")?;
    let mut old = files.sender.start()?;
    ensure!(old.wait(PATIENCE)? == HALTED && ends(&pair.target, &topic)? == before, "after a restart");
    Ok(())
}

#[test]
fn dry_run_changes_nothing_and_has_the_same_shape() -> Result<()> {
    let pair = Pair::shared()?;
    let Loaded { topic, link, files: _files, load, receiver, mut sender } = Loaded::start(&pair, "drill", 1_000)?;
    let word = |statement: &Value| statement["partitions"][0]["source_end"].is_i64();
    let dry = until_ok("the sender's word of the source", PATIENCE, || {
        let dry = failover(&receiver, &link, &["--dry-run"])?;
        Ok(word(&dry).then_some(dry))
    })?;
    ensure!(dry["promoted"].is_null() && dry["problems"] == Value::Array(vec![]), "{dry:#}");
    let status = receiver.admin.status()?;
    ensure!(status["links"][0]["promotion"]["state"] == "none" && status["links"][0]["sessions"] == 1, "{status:#}");
    wait_for_commits(&receiver, committed(&status) + 1_000)?;
    ensure!(sender.exit_code()?.is_none(), "the sender has ended");
    let written = load.stop()?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    // All of it is carried, and the sender has said so.
    let is_even = |statement: &Value| {
        let partitions = statement["partitions"].as_array().map_or(&[][..], Vec::as_slice);
        partitions.iter().all(|one| one["not_carried"] == 0 && one["source_end"] == one["carried_to"])
    };
    until_ok("a word of the source's ends", PATIENCE, || {
        Ok(is_even(&failover(&receiver, &link, &["--dry-run"])?).then_some(()))
    })?;
    let statement = failover(&receiver, &link, &[])?;
    ensure!(compare(&statement, &topic, &written, &pair.target)? == 0, "{statement:#}");
    let keys = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
    ensure!(keys(&dry) == keys(&statement), "{dry:#}, {statement:#}");
    ensure!(keys(&dry["partitions"][0]) == keys(&statement["partitions"][0]), "{dry:#}, {statement:#}");
    ensure!(sender.wait(PATIENCE)? == HALTED, "the sender did not halt");
    Ok(())
}

#[test]
fn groups_resume_exactly_where_the_statement_says() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "moved", groups::PARTITIONS)?;
    let load = Load::new(&topic, groups::PARTITIONS).limit(4_000).value_max(40).transactional(20);
    let written = load.start(&pair.source)?.finish()?.written;
    let stem = topics::unique("moved");
    let files = groups::link(&pair, &topic, &format!("{stem}.*"))?;
    let link = files.sender.get("", "link").context("no link")?.trim_matches('"').to_owned();
    let (mut receiver, mut sender) = files.start()?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    let lags = [(Protocol::Classic, 0), (Protocol::Classic, 700)];
    let stopped = lags.map(|(protocol, lag)| Stopped::at_lag(&pair, &topic, &stem, protocol, written.len(), lag));
    let stopped = stopped.into_iter().collect::<Result<Vec<_>>>()?;
    for Stopped { group, .. } in &stopped {
        groups::wait_for_state(&receiver, group, "synced", groups::PARTITIONS as u64)?;
    }
    sender.kill();
    // The one that is asked has heard of no group: the ledger says what was committed.
    receiver.kill();
    receiver = files.receiver.start()?;
    receiver.admin.wait_until_ready(PATIENCE)?;
    let statement = failover(&receiver, &link, &[])?;
    let stated = statement["groups"].as_array().context("no groups")?;
    ensure!(stated.len() == lags.len() * groups::PARTITIONS as usize, "{statement:#}");
    let source = read(&pair.source, &[&topic], Isolation::Committed)?;
    for group in &stopped {
        for partition in 0..groups::PARTITIONS {
            let row = stated.iter().find(|row| row["group"] == group.group.as_str() && row["partition"] == partition);
            let row = row.with_context(|| format!("{} is missing: {statement:#}", group.group))?;
            let found = groups::committed(&pair.target, &group.group, &topic, partition)?;
            ensure!(found.as_ref().is_some_and(|(at, _)| row["resumes_at"] == *at), "{found:?}: {row:#}");
            ensure!(row["again"] == 0, "{row:#}");
        }
        let continued = group.continue_at(&pair, &topic, &source)?;
        println!("{}: {continued} records, 0 missed, 0 read again", group.group);
    }
    Ok(())
}

#[test]
fn failover_killed_at_any_step_is_asked_again_and_finishes() -> Result<()> {
    let pair = Pair::shared()?;
    let Loaded { topic, link, files, load, mut receiver, mut sender } = Loaded::start(&pair, "halfway", 1_000)?;
    // Until the sender's word of the source is stored.
    wait::through(STORED_WITHIN, || Ok(()))?;
    for after in [20, 80, 200, 400] {
        let asked = thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&receiver, &link, &[]).map(|exit| exit.code));
            wait::through(Duration::from_millis(after), || Ok(()))?;
            let _ = std::process::Command::new("kill").args(["-s", "KILL", &receiver.pid().to_string()]).status();
            asked.join().expect("no panic")
        })?;
        println!("killed {after} ms after the request, which ended with {asked}");
        receiver.kill();
        receiver = files.receiver.start()?;
        receiver.admin.wait_until_ready(PATIENCE)?;
    }
    let statement = failover(&receiver, &link, &[])?;
    ensure!(sender.wait(PATIENCE)? == HALTED, "the sender did not halt");
    let written = load.stop()?.written;
    compare(&statement, &topic, &written, &pair.target)?;
    let status = receiver.admin.status()?;
    ensure!(status["links"][0]["promotion"]["state"] == "promoted", "{status:#}");
    ensure!(failover(&receiver, &link, &[])? == statement, "another statement");
    Ok(())
}

#[test]
fn failover_needs_no_receiver_that_runs() -> Result<()> {
    let pair = Pair::shared()?;
    let Loaded { topic, link, files, load, mut receiver, mut sender } = Loaded::start(&pair, "alone", 1_000)?;
    // Until the sender's word of the source is stored.
    wait::through(STORED_WITHIN, || Ok(()))?;
    sender.kill();
    receiver.kill();
    let written = load.stop()?.written;
    let file = files.receiver.write()?.display().to_string();
    let asked = ["failover", "--link", &link, "--json", "--config", &file, "--without-receiver"];
    let exit = run(&asked)?;
    ensure!(exit.code == 0, "exit code {}: {}", exit.code, exit.printed);
    let stated = exit.printed.lines().find(|line| line.starts_with('{')).context("no statement")?;
    let statement: Value = serde_json::from_str(stated)?;
    compare(&statement, &topic, &written, &pair.target)?;
    // A receiver that starts later finds it, and lets no sender in.
    let (receiver, mut old) = files.start()?;
    ensure!(old.wait(PATIENCE)? == HALTED, "the old sender did not halt");
    ensure!(failover(&receiver, &link, &[])? == statement, "another statement");
    Ok(())
}
