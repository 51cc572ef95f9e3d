//! Configurations that change while a link runs.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::journal::Load;
use harness::pair::Pair;
use harness::process::{HALTED, Process};
use harness::record::Contents;
use harness::wait::until;
use harness::{topics, verify};

const DELIVERED: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

fn wait_until_active(sender: &Process) -> Result<serde_json::Value> {
    let open = |status: &serde_json::Value| status["state"] == "active" && status["lanes_open"] == status["lanes"];
    sender.admin.wait_for("the sender to be active", DELIVERED, open)
}

fn wait_for_log(process: &Process, words: &str) -> Result<()> {
    until(&format!("{words:?} in the log"), SOON, || process.log().ok()?.contains(words).then_some(()))
}

fn write(pair: &Pair, topic: &str, seed: u64) -> Result<Contents> {
    Ok(Load::new(topic, 2).limit(500).seed(seed).start(&pair.source)?.finish()?.written)
}

fn ensure_arrived(pair: &Pair, journal: &Contents) -> Result<()> {
    verify::wait_until_delivered(journal, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(journal, &pair.target, "{topic}").map(drop)
}

#[test]
fn topic_lists_change_under_load_and_lose_nothing() -> Result<()> {
    let pair = Pair::shared()?;
    let first = topics::create_unique(&pair.source, "reload-first", 2)?;
    let second = topics::create_unique(&pair.source, "reload-second", 2)?;
    let mut files = LinkFiles::new("reload-topics", &pair.source, &pair.target, &[&first])?;
    let (mut receiver, mut sender) = files.start()?;
    wait_until_active(&sender)?;
    let load = Load::new(&first, 2).rate(2_000).seed(1).start(&pair.source)?;
    let late = write(&pair, &second, 2)?;

    // The sender first: the topic that the receiver does not allow yet halts, and no other.
    let both = format!("[{first:?}, {second:?}]");
    files.sender.set("source", "topics", &both).write()?;
    sender.signal(Signal::Hup);
    wait_for_log(&sender, "setting changed setting=\"source.topics\"")?;
    let unauthorised = |status: &serde_json::Value| {
        let halted = status["halted"].as_array().map(Vec::as_slice).unwrap_or_default();
        halted.len() == 2 && halted.iter().all(|halt| halt["reason"] == "topic-unauthorized")
    };
    sender.admin.wait_for("two halted partitions", SOON, unauthorised)?;
    files.receiver.set("[links]", "topics", &both).write()?;
    receiver.signal(Signal::Hup);
    ensure_arrived(&pair, &late)?;
    let status = wait_until_active(&sender)?;
    ensure!(status["halted"].as_array().is_some_and(Vec::is_empty), "{status:#}");

    // Then the topic is removed from the list again.
    files.sender.set("source", "topics", &format!("[{first:?}]")).write()?;
    sender.signal(Signal::Hup);
    wait_for_log(&sender, &format!("from=\"[\\\"{first}\\\", \\\"{second}\\\"]\" to=\"[\\\"{first}\\\"]\""))?;
    sender.admin.wait_for("a third session", SOON, |status| {
        status["closes"]["RECONFIGURED"] == 2 && status["state"] == "active"
    })?;
    let mut unwanted = late;
    unwanted.merge(&write(&pair, &second, 3)?);
    ensure_arrived(&pair, &load.stop()?.written)?;
    ensure!(
        verify::ensure_exactly_once(&unwanted, &pair.target, "{topic}").is_err(),
        "a topic that was removed is still carried"
    );
    Ok(())
}

#[test]
fn links_are_added_to_and_removed_from_a_running_receiver() -> Result<()> {
    let pair = Pair::shared()?;
    let first = topics::create_unique(&pair.source, "link-first", 2)?;
    let second = topics::create_unique(&pair.source, "link-second", 2)?;
    let mut files = LinkFiles::new("link-a", &pair.source, &pair.target, &[&first])?;
    let (mut receiver, sender) = files.start()?;
    wait_until_active(&sender)?;
    let load = Load::new(&first, 2).rate(2_000).seed(1).start(&pair.source)?;
    let journal = write(&pair, &second, 2)?;

    let alone = files.receiver.clone();
    files.receiver.set("[links]#2", "name", "\"link-b\"").set("[links]#2", "senders", "[\"sender.test\"]");
    files.receiver.write()?;
    receiver.signal(Signal::Hup);
    wait_for_log(&receiver, "setting changed setting=\"links.link-b\" from=\"(none)\" to=\"stated\"")?;
    let mut other = files.another_sender("other")?;
    other.set("", "link", "\"link-b\"").set("source", "topics", &format!("[{second:?}]"));
    let mut other = other.start()?;
    ensure_arrived(&pair, &journal)?;
    let links = receiver.admin.status()?["links"].clone();
    ensure!(
        links[0]["credit_bytes"] == links[1]["credit_bytes"],
        "the links have different shares of the memory: {links:#}"
    );

    alone.write()?;
    receiver.signal(Signal::Hup);
    ensure!(other.wait(SOON)? == HALTED, "another exit code");
    ensure!(other.log()?.contains("the receiver has no such link (LINK_UNKNOWN)"), "{}", other.log()?);
    wait_until_active(&sender)?;
    ensure_arrived(&pair, &load.stop()?.written)
}

#[test]
fn certificates_are_renewed_within_a_session() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "renewed", 2)?;
    let files = LinkFiles::new("renewed", &pair.source, &pair.target, &[&topic])?;
    let (mut receiver, mut sender) = files.start()?;
    wait_until_active(&sender)?;
    let load = Load::new(&topic, 2).rate(2_000).seed(1).start(&pair.source)?;

    // New certificates of a new authority, with the same file names.
    let pki = files.pki();
    let new = LinkFiles::new("renewed", &pair.source, &pair.target, &[&topic])?;
    for file in fs::read_dir(new.pki())? {
        let file = file?;
        fs::copy(file.path(), pki.join(file.file_name()))?;
    }
    for process in [&mut receiver, &mut sender] {
        process.signal(Signal::Hup);
        wait_for_log(process, "setting changed setting=\"tls: contents of the files\"")?;
    }
    let status = wait_until_active(&sender)?;
    ensure!(status["sessions"] == 1, "the session ended with its certificates: {status:#}");
    // The next session uses the new authority.
    receiver.kill();
    let _receiver = files.receiver.start()?;
    let is_second = |status: &serde_json::Value| status["sessions"] == 2 && status["state"] == "active";
    sender.admin.wait_for("a second session", DELIVERED, is_second)?;
    ensure_arrived(&pair, &load.stop()?.written)
}

#[test]
fn sender_removed_from_the_list_is_refused() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "removed", 1)?;
    let mut files = LinkFiles::new("removed", &pair.source, &pair.target, &[&topic])?;
    let (mut receiver, mut sender) = files.start()?;
    wait_until_active(&sender)?;
    files.receiver.set("[links]", "senders", "[\"another.sender\"]").write()?;
    receiver.signal(Signal::Hup);
    ensure!(sender.wait(SOON)? == HALTED, "another exit code");
    let log = sender.log()?;
    let last = log.lines().last().context("the log is empty")?;
    let sentence = "certificate is not authorised for this link: its DNS names are [sender.test]";
    ensure!(last.contains(sentence), "the last line is {last:?}");
    Ok(())
}
