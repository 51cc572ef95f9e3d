//! Targets that are not what a link left or expects: refused or halted with a sentence, with nothing appended and no
//! healthy owner disturbed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::cluster::{Cluster, Pair};
use harness::command::run;
use harness::files::LinkFiles;
use harness::halts::{jumps, lift, wait_until_halted};
use harness::journal::{self, Load, Writer};
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::Record;
use harness::{topics, verify};
use receiver::target::state::{self, LaneRecord};
use wire::ids::Epoch;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a process says when a human must act.
const HALTED: i32 = 3;

fn records(numbers: std::ops::Range<i64>) -> Vec<Record> {
    let record = |n: i64| Record {
        key: Some(n.to_be_bytes().to_vec()),
        value: Some(b"value".to_vec()),
        headers: Vec::new(),
        timestamp: 1_790_000_000_000 + n,
    };
    numbers.map(record).collect()
}

fn held(cluster: &Cluster, topic: &str) -> Result<usize> {
    Ok(read(cluster, &[topic], Isolation::Uncommitted)?.len())
}

#[test]
fn a_topic_of_somebody_else_is_left_alone_until_it_is_adopted() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "foreign", 2)?;
    topics::create(&pair.target, &topic, 2, &[])?;
    let theirs = journal::write(&pair.target, &topic, 0, &records(1000..1005))?.written;
    let mut expected = journal::write(&pair.source, &topic, 0, &records(0..20))?.written;
    let neighbour = journal::write(&pair.source, &topic, 1, &records(0..20))?.written;
    let files = LinkFiles::new(&topics::unique("foreign"), &pair.source, &pair.target, &[&topic])?;
    let (receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    let halt = wait_until_halted(&sender, &topic, 0, "target-not-empty", PATIENCE)?;
    println!("{}: {}", halt["reason"], halt["detail"]);
    verify::wait_until_delivered(&neighbour, &pair.target, "{topic}", PATIENCE)?;
    ensure!(read(&pair.target, &[&topic], Isolation::Uncommitted)?.partition(&topic, 0).len() == 5, "appended to it");

    println!("{}", lift(&sender, "adopt", &[&topic])?);
    let behind = journal::write(&pair.source, &topic, 0, &records(20..30))?.written;
    expected.merge(&behind);
    let carried =
        || Ok::<_, anyhow::Error>(read(&pair.target, &[&topic], Isolation::Committed)?.partition(&topic, 0).len());
    harness::wait::until_ok("the records behind theirs", PATIENCE, || Ok((carried()? == 35).then_some(())))?;
    let seen = read(&pair.target, &[&topic], Isolation::Committed)?;
    let digests = |entries: &[harness::record::Entry]| entries.iter().map(|entry| entry.digest).collect::<Vec<_>>();
    let all = [digests(theirs.partition(&topic, 0)), digests(expected.partition(&topic, 0))].concat();
    ensure!(digests(seen.partition(&topic, 0)) == all, "theirs, then ours, in order");
    let jumps = jumps(&receiver)?;
    ensure!(jumps.len() == 1 && jumps[0]["accepted"] == "the target as it is" && jumps[0]["from"] == -1, "{jumps:?}");
    Ok(())
}

#[test]
fn a_target_made_again_is_noticed_across_a_restart_and_before_anything_is_committed_to_it() -> Result<()> {
    let pair = Pair::shared()?;
    let (between, within) =
        (topics::create_unique(&pair.source, "again", 1)?, topics::create_unique(&pair.source, "flow", 1)?);
    let files = LinkFiles::new(&topics::unique("again"), &pair.source, &pair.target, &[&between, &within])?;
    let (mut receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    let mut written = journal::write(&pair.source, &between, 0, &records(0..50))?.written;
    written.merge(&journal::write(&pair.source, &within, 0, &records(0..50))?.written);
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;

    // While records are expected: the log answers from its beginning.
    topics::delete(&pair.target, &within)?;
    topics::create(&pair.target, &within, 1, &[])?;
    journal::write(&pair.source, &within, 0, &records(50..60))?;
    let halt = wait_until_halted(&sender, &within, 0, "target-replaced", PATIENCE)?;
    println!("{}: {}", halt["reason"], halt["detail"]);
    ensure!(halt["position"] == 50, "{halt}");
    ensure!(read(&pair.target, &[&within], Isolation::Committed)?.partition(&within, 0).is_empty(), "committed to it");

    // While nobody looks, and the new one is as long as the old one.
    sender.kill();
    receiver.kill();
    topics::delete(&pair.target, &between)?;
    topics::create(&pair.target, &between, 1, &[])?;
    journal::write(&pair.target, &between, 0, &records(2000..2100))?;
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    journal::write(&pair.source, &between, 0, &records(50..60))?;
    let halt = wait_until_halted(&sender, &between, 0, "target-replaced", PATIENCE)?;
    println!("{}: {}", halt["reason"], halt["detail"]);
    wait_until_halted(&sender, &within, 0, "target-replaced", PATIENCE)?;
    ensure!(held(&pair.target, &between)? == 100, "appended to it");

    println!("{}", lift(&sender, "adopt", &[&format!("{within}/0")])?);
    let carried =
        || Ok::<_, anyhow::Error>(read(&pair.target, &[&within], Isolation::Committed)?.partition(&within, 0).len());
    harness::wait::until_ok("the records after the loss", PATIENCE, || Ok((carried()? == 10).then_some(())))
}

/// A link that works, and the counts that show whether somebody disturbs it.
struct Healthy {
    files: LinkFiles,
    receiver: Process,
    _sender: Process,
    topic: String,
}

impl Healthy {
    fn start(pair: &Pair, link: &str) -> Result<Self> {
        let topic = topics::create_unique(&pair.source, "healthy", 4)?;
        let files = LinkFiles::new(link, &pair.source, &pair.target, &[&topic])?;
        let (receiver, sender) = (files.receiver.start()?, files.sender.start()?);
        let written = Load::new(&topic, 4).limit(500).seed(1).start(&pair.source)?.finish()?.written;
        verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
        Ok(Self { files, receiver, _sender: sender, topic })
    }

    /// Starts another receiver and another sender of the link, made wrong by `change`; says how the sender ends.
    fn intrude(&self, what: &str, change: impl FnOnce(&mut LinkFiles)) -> Result<String> {
        let mut other = self.files.twin(&topics::unique("intruder"))?;
        change(&mut other);
        let (_receiver, mut sender) = (other.receiver.start()?, other.sender.start()?);
        let code = sender.wait(PATIENCE).with_context(|| format!("{what}: {}", sender.log().unwrap_or_default()))?;
        ensure!(code == HALTED, "{what}: exit code {code}");
        let log = sender.log()?;
        let sentence = log.lines().find(|line| line.contains("halted, a human must act")).context("no sentence")?;
        println!("{what}: {sentence}");
        Ok(sentence.to_owned())
    }

    /// Records that keep coming while somebody intrudes.
    fn load(&self, pair: &Pair) -> Result<(Writer, u64)> {
        let load = Load::new(&self.topic, 4).rate(200).seed(3).start(&pair.source)?;
        self.wait_until_committed(self.committed()? + 1)?;
        Ok((load, self.committed()?))
    }

    /// It committed while that load ran and somebody else was refused.
    fn ensure_went_on(&self, (load, before): (Writer, u64)) -> Result<()> {
        self.wait_until_committed(before + 1)?;
        load.stop().map(drop)
    }

    fn wait_until_committed(&self, count: u64) -> Result<()> {
        let holds = |status: &serde_json::Value| status["links"][0]["counts"]["records"].as_u64() >= Some(count);
        self.receiver.admin.wait_for("the owner to commit", PATIENCE, holds).map(drop)
    }

    fn committed(&self) -> Result<u64> {
        self.receiver.admin.status()?["links"][0]["counts"]["records"].as_u64().context("no count")
    }

    fn epochs(&self) -> Result<Vec<u64>> {
        let status = self.receiver.admin.status()?;
        let lanes = status["links"][0]["by_lane"].as_array().context("no lanes")?;
        lanes.iter().map(|lane| lane["epoch"].as_u64().context("closed")).collect()
    }

    /// Carries on as if nothing had been.
    fn ensure_undisturbed(&self, pair: &Pair, epochs: &[u64]) -> Result<()> {
        let more = Load::new(&self.topic, 4).limit(500).seed(2).start(&pair.source)?.finish()?.written;
        let all = read(&pair.source, &[&self.topic], Isolation::Committed)?;
        verify::wait_until_delivered(&all, &pair.target, "{topic}", PATIENCE)?;
        verify::ensure_exactly_once(&all, &pair.target, "{topic}")?;
        ensure!(!more.topics().is_empty());
        ensure!(self.epochs()? == epochs, "its lanes were opened again");
        ensure!(self.receiver.admin.status()?["links"][0]["counts"]["recoveries"] == 0, "it was fenced");
        Ok(())
    }
}

#[test]
fn a_wrong_state_is_refused_with_a_sentence_and_fences_no_healthy_owner() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("owner");
    let healthy = Healthy::start(pair, &link)?;
    let epochs = healthy.epochs()?;
    let state_topic = format!("__causeway.{link}.state");
    let load = healthy.load(pair)?;

    let lanes = healthy.intrude("another lane count", |files| {
        files.sender.set("lanes", "count", "4");
    })?;
    ensure!(lanes.contains("LANES_CHANGED") && lanes.contains("set it back"), "{lanes}");
    let renamed = healthy.intrude("a link renamed at the sender", |files| {
        files.sender.set("", "link", "\"renamed\"");
    })?;
    ensure!(renamed.contains("LINK_UNKNOWN"), "{renamed}");
    topics::configure(&pair.target, &state_topic, "cleanup.policy", "delete")?;
    let expires = healthy.intrude("cleanup.policy=delete", |_| ())?;
    ensure!(expires.contains("STATE_REFUSED") && expires.contains("set it to compact"), "{expires}");
    topics::configure(&pair.target, &state_topic, "cleanup.policy", "compact")?;
    topics::grow(&pair.target, &state_topic, 9)?;
    let grown = healthy.intrude("a state topic with more partitions", |_| ())?;
    ensure!(grown.contains("LANES_CHANGED") && grown.contains("has 9 partitions, one per lane"), "{grown}");
    healthy.ensure_went_on(load)?;
    healthy.ensure_undisturbed(pair, &epochs)?;

    // The same topics under another name on both sides: another link, to which the target is somebody else's.
    let mut files = healthy.files.twin("renamed")?;
    let name = topics::unique("renamed");
    files.sender.set("", "link", &format!("{name:?}"));
    files.receiver.set("[links]", "name", &format!("{name:?}"));
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    wait_until_halted(&sender, &healthy.topic, 0, "target-not-empty", PATIENCE)?;
    healthy.ensure_undisturbed(pair, &epochs)
}

/// The record of a lane that another pair of clusters has opened.
fn of_another_pair(pair: &Pair, link: &str, lanes: u16) -> Record {
    let theirs = LaneRecord {
        link: link.to_owned(),
        lanes,
        lane_hash: "xxh3-64".to_owned(),
        epoch: Epoch(7),
        source_cluster: "another-source".to_owned(),
        target_cluster: pair.target.id().to_owned(),
        filter_hash: None,
        sender: "theirs".to_owned(),
        classes: vec![("default".to_owned(), 0, 0)],
    };
    Record { key: Some(state::lane_key()), value: Some(state::encode(&theirs)), ..records(0..1).remove(0) }
}

#[test]
fn the_state_of_another_pair_of_clusters_is_refused_and_left_as_it_is() -> Result<()> {
    let pair = Pair::shared()?;
    let (link, topic) = (topics::unique("pair"), topics::create_unique(&pair.source, "pair", 1)?);
    let state_topic = format!("__causeway.{link}.state");
    topics::create(&pair.target, &state_topic, 1, &[("cleanup.policy", "compact")])?;
    journal::write(&pair.target, &state_topic, 0, &[of_another_pair(pair, &link, 1)])?;
    journal::write(&pair.source, &topic, 0, &records(0..10))?;
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let (_receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    ensure!(sender.wait(PATIENCE)? == HALTED);
    let log = sender.log()?;
    ensure!(
        log.contains("CLUSTER_CHANGED") && log.contains("another-source") && log.contains("another link name"),
        "{log}"
    );
    ensure!(held(&pair.target, &state_topic)? == 1, "its state was written to");
    ensure!(topics::partitions(&pair.target, &topic)? == 0, "its topics were made");
    Ok(())
}

#[test]
fn a_sender_of_another_source_is_refused_while_the_owner_of_the_state_goes_on_committing() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("own");
    let healthy = Healthy::start(pair, &link)?;
    let epochs = healthy.epochs()?;
    // Another source cluster of this link, with topics of its own that would be made and written in the target.
    let elsewhere = Cluster::start(1)?;
    let foreign = topics::create_unique(&elsewhere, "foreign-source", 4)?;
    journal::write(&elsewhere, &foreign, 0, &records(0..10))?;
    let load = healthy.load(pair)?;
    let refused = healthy.intrude("a sender of another source", |files| {
        files.sender.set("source", "bootstrap_servers", &format!("{:?}", elsewhere.addresses()));
        files.sender.set("source", "topics", &format!("[{foreign:?}]"));
        files.receiver.set("[links]", "topics", "[\".*\"]");
    })?;
    ensure!(refused.contains("CLUSTER_CHANGED") && refused.contains(elsewhere.id()), "{refused}");
    healthy.ensure_went_on(load)?;
    healthy.ensure_undisturbed(pair, &epochs)?;
    ensure!(topics::partitions(&pair.target, &foreign)? == 0, "its topics were made");
    Ok(())
}

#[test]
fn a_state_that_can_never_be_stored_is_refused_before_anything_is_made_or_written() -> Result<()> {
    let pair = Pair::shared()?;
    let (link, topic) = (topics::unique("never"), topics::create_unique(&pair.source, "never", 1)?);
    let state_topic = format!("__causeway.{link}.state");
    topics::create(&pair.target, &state_topic, 1, &[("cleanup.policy", "compact"), ("min.insync.replicas", "2")])?;
    journal::write(&pair.source, &topic, 0, &records(0..10))?;
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let (_receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    ensure!(sender.wait(PATIENCE)? == HALTED);
    let log = sender.log()?;
    let sentence = "has min.insync.replicas=2 and 1 replicas: no position can be stored; set it to 1";
    ensure!(log.contains("STATE_REFUSED") && log.contains(sentence), "{log}");
    ensure!(held(&pair.target, &state_topic)? == 0 && topics::partitions(&pair.target, &topic)? == 0, "written to");
    topics::configure(&pair.target, &state_topic, "cleanup.policy", "compact")?;
    let _sender = files.sender.start()?;
    verify::wait_until_delivered(
        &read(&pair.source, &[&topic], Isolation::Committed)?,
        &pair.target,
        "{topic}",
        PATIENCE,
    )
}

#[test]
fn positions_that_the_state_topic_refuses_are_said_once_and_shown_until_it_takes_them() -> Result<()> {
    let pair = Pair::shared()?;
    let (link, topic) = (topics::unique("refuses"), topics::create_unique(&pair.source, "refuses", 1)?);
    let state_topic = format!("__causeway.{link}.state");
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let (receiver, _sender) = (files.receiver.start()?, files.sender.start()?);
    let mut written = journal::write(&pair.source, &topic, 0, &records(0..10))?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;

    // Room for the markers of transactions, and for nothing else.
    topics::configure(&pair.target, &state_topic, "max.message.bytes", "100")?;
    let before = written.clone();
    written.merge(&journal::write(&pair.source, &topic, 0, &records(10..20))?.written);
    let sentence = "refuses this lane's positions: ";
    let link_of = |status: &serde_json::Value| status["links"][0].clone();
    let shown = |status: &serde_json::Value| {
        let trouble = link_of(status)["trouble"].to_string();
        trouble.contains(sentence) && link_of(status)["counts"]["recoveries"].as_u64() >= Some(4)
    };
    let status = receiver.admin.wait_for("the refusal to be shown over several attempts", PATIENCE, shown)?;
    println!("{}", status["links"][0]["trouble"]);
    ensure!(receiver.admin.metric(&format!("causeway_receiver_lanes_failing{{link={link:?}}}"))? == 1.0);
    let (_, said) = run(&["status", &receiver.admin.address().to_string()])?;
    ensure!(said.contains("look at the topic's settings and rights"), "{said}");
    let log = receiver.log()?;
    let lines = log.lines().filter(|line| line.contains(sentence)).count();
    ensure!(lines == 1, "said {lines} times: {log}");
    verify::ensure_exactly_once(&before, &pair.target, "{topic}")?;

    topics::configure(&pair.target, &state_topic, "cleanup.policy", "compact")?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    receiver.admin.wait_for("the trouble to be over", PATIENCE, |status| {
        link_of(status)["trouble"].as_array().is_some_and(Vec::is_empty)
    })?;
    Ok(())
}

#[test]
fn a_state_topic_deleted_under_a_link_ends_it_with_a_sentence_and_nothing_is_carried_twice() -> Result<()> {
    let pair = Pair::shared()?;
    let (link, topic) = (topics::unique("gone"), topics::create_unique(&pair.source, "gone", 1)?);
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    files.receiver.set("target", "transaction_timeout", "\"5 s\"");
    let (_receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    let written = journal::write(&pair.source, &topic, 0, &records(0..50))?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    topics::delete(&pair.target, &format!("__causeway.{link}.state"))?;
    journal::write(&pair.source, &topic, 0, &records(50..60))?;
    ensure!(sender.wait(PATIENCE)? == HALTED);
    let log = sender.log()?;
    ensure!(log.contains("STATE_REFUSED") && log.contains("is gone, and with it every position"), "{log}");
    let sender = files.sender.start()?;
    wait_until_halted(&sender, &topic, 0, "target-not-empty", PATIENCE)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    Ok(())
}

#[test]
fn positions_whose_topic_is_not_offered_any_more_are_named_as_orphaned_until_it_is_back() -> Result<()> {
    let pair = Pair::shared()?;
    let (stays, goes) =
        (topics::create_unique(&pair.source, "stays", 1)?, topics::create_unique(&pair.source, "goes", 2)?);
    let mut files = LinkFiles::new(&topics::unique("orphans"), &pair.source, &pair.target, &[&stays, &goes])?;
    let receiver = files.receiver.start()?;
    let orphans = |count: usize| {
        let holds = |status: &serde_json::Value| {
            let link = &status["links"][0];
            link["lanes_open"] == 8 && link["orphaned_positions"] == count
        };
        receiver.admin.wait_for(&format!("{count} orphans"), PATIENCE, holds)
    };
    for (carried, count) in [(vec![&stays, &goes], 0), (vec![&stays], 2), (vec![&stays, &goes], 0)] {
        files.sender.set("source", "topics", &format!("{carried:?}"));
        let sender = files.sender.start()?;
        let partitions = if count == 0 { 3 } else { 1 };
        sender.admin.wait_for("the partitions to join", PATIENCE, |status| status["partitions"] == partitions)?;
        let status = orphans(count)?;
        let named = status["links"][0]["orphaned"].as_array().context("no list")?;
        ensure!(
            named.len() == count && named.iter().all(|name| name.as_str().is_some_and(|name| name.starts_with(&goes)))
        );
    }
    Ok(())
}
