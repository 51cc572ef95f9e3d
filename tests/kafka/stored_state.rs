//! State topics of a link that are wrong: the link is refused with a sentence, nothing is appended, and a receiver that
//! owns the lanes is not disturbed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::command::run;
use harness::files::LinkFiles;
use harness::halts;
use harness::journal::{self, Load, Writer};
use harness::pair::Pair;
use harness::process::{HALTED, Process};
use harness::reader::{Isolation, read};
use harness::record::{Record, small};
use harness::{topics, verify};
use receiver::state::{self, LaneRecord};
use serde_json::Value;
use wire::ids::Epoch;

const PATIENCE: Duration = Duration::from_secs(60);

/// Number of records in a topic, with uncommitted ones.
fn count(cluster: &Cluster, topic: &str) -> Result<usize> {
    Ok(read(cluster, &[topic], Isolation::Uncommitted)?.len())
}

/// A link that works, with its epochs when it began.
struct Healthy {
    receiver: Process,
    _sender: Process,
    files: LinkFiles,
    topic: String,
    epochs: Vec<u64>,
}

/// Records that are written while a second receiver and sender try to use a link.
struct Traffic {
    load: Writer,
    committed_before: u64,
}

impl Healthy {
    fn start(pair: &Pair, link: &str) -> Result<Self> {
        let topic = topics::create_unique(&pair.source, "healthy", 4)?;
        let files = LinkFiles::new(link, &pair.source, &pair.target, &[&topic])?;
        let (receiver, sender) = files.start()?;
        let written = Load::new(&topic, 4).limit(500).seed(1).start(&pair.source)?.finish()?.written;
        verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
        let epochs = epochs(&receiver)?;
        Ok(Self { receiver, _sender: sender, files, topic, epochs })
    }

    /// Starts another receiver and another sender of the link, changed by `change`. The sender must exit; returns its
    /// sentence.
    fn intrude(&self, what: &str, change: impl FnOnce(&mut LinkFiles)) -> Result<String> {
        let mut other = self.files.twin(&topics::unique("intruder"))?;
        change(&mut other);
        let (_receiver, mut sender) = other.start()?;
        let code = sender.wait(PATIENCE).with_context(|| format!("{what}: {}", sender.log().unwrap_or_default()))?;
        ensure!(code == HALTED, "{what}: exit code {code}");
        let log = sender.log()?;
        let sentence = log
            .lines()
            .find(|line| line.contains("halted, a human must act"))
            .context("the log does not say why it exited")?;
        println!("{what}: {sentence}");
        Ok(sentence.to_owned())
    }

    /// Starts to write records, and waits until some are committed.
    fn start_traffic(&self, pair: &Pair) -> Result<Traffic> {
        let load = Load::new(&self.topic, 4).rate(200).seed(3).start(&pair.source)?;
        self.wait_until_committed(self.committed()? + 1)?;
        Ok(Traffic { load, committed_before: self.committed()? })
    }

    /// Ensures that the owner still commits, and stops the traffic.
    fn ensure_committing(&self, traffic: Traffic) -> Result<()> {
        self.wait_until_committed(traffic.committed_before + 1)?;
        traffic.load.stop().map(drop)
    }

    fn wait_until_committed(&self, count: u64) -> Result<()> {
        let is_reached = |status: &Value| status["links"][0]["counts"]["records"].as_u64() >= Some(count);
        self.receiver.admin.wait_for("the owner to commit", PATIENCE, is_reached).map(drop)
    }

    fn committed(&self) -> Result<u64> {
        self.receiver.admin.status()?["links"][0]["counts"]["records"].as_u64().context("no count of records")
    }

    /// Ensures that the link carries records exactly once, and that no lane was opened again or fenced.
    fn ensure_undisturbed(&self, pair: &Pair) -> Result<()> {
        let more = Load::new(&self.topic, 4).limit(500).seed(2).start(&pair.source)?.finish()?.written;
        let all = read(&pair.source, &[&self.topic], Isolation::Committed)?;
        verify::wait_until_delivered(&all, &pair.target, "{topic}", PATIENCE)?;
        verify::ensure_exactly_once(&all, &pair.target, "{topic}")?;
        ensure!(!more.topics().is_empty(), "no records were written");
        ensure!(epochs(&self.receiver)? == self.epochs, "the owner's lanes were opened again");
        ensure!(self.receiver.admin.status()?["links"][0]["counts"]["recoveries"] == 0, "the owner was fenced");
        Ok(())
    }
}

/// Epoch of each lane of the receiver's first link.
fn epochs(receiver: &Process) -> Result<Vec<u64>> {
    let status = receiver.admin.status()?;
    let lanes = status["links"][0]["by_lane"].as_array().context("no lanes")?;
    lanes.iter().map(|lane| lane["epoch"].as_u64().context("a lane is closed")).collect()
}

#[test]
fn wrong_state_is_refused_and_fences_no_healthy_owner() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("owner");
    let healthy = Healthy::start(&pair, &link)?;
    let state_topic = format!("__causeway.{link}.state");
    let traffic = healthy.start_traffic(&pair)?;

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
    healthy.ensure_committing(traffic)?;
    healthy.ensure_undisturbed(&pair)
}

#[test]
fn link_renamed_at_both_sides_is_a_stranger_to_its_target() -> Result<()> {
    let pair = Pair::shared()?;
    let healthy = Healthy::start(&pair, &topics::unique("named"))?;
    let mut files = healthy.files.twin("renamed")?;
    let name = format!("{:?}", topics::unique("renamed"));
    files.sender.set("", "link", &name);
    files.receiver.set("[links]", "name", &name);
    let (_receiver, sender) = files.start()?;
    halts::wait_for(&sender, &healthy.topic, 0, "target-not-empty")?;
    healthy.ensure_undisturbed(&pair)
}

/// Makes the stored record of a lane that another pair of clusters has opened.
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
    Record { key: Some(state::lane_key()), value: Some(state::encode(&theirs)), ..small(0..1).remove(0) }
}

#[test]
fn state_of_another_pair_of_clusters_is_refused_unchanged() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("pair");
    let topic = topics::create_unique(&pair.source, "pair", 1)?;
    let state_topic = format!("__causeway.{link}.state");
    topics::create(&pair.target, &state_topic, 1, &[("cleanup.policy", "compact")])?;
    journal::write(&pair.target, &state_topic, 0, &[of_another_pair(&pair, &link, 1)])?;
    journal::write(&pair.source, &topic, 0, &small(0..10))?;
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let (_receiver, mut sender) = files.start()?;
    ensure!(sender.wait(PATIENCE)? == HALTED, "another exit code");
    let log = sender.log()?;
    ensure!(
        log.contains("CLUSTER_CHANGED") && log.contains("another-source") && log.contains("another link name"),
        "{log}"
    );
    ensure!(count(&pair.target, &state_topic)? == 1, "the state was written");
    ensure!(topics::partitions(&pair.target, &topic)? == 0, "its topics were created");
    Ok(())
}

#[test]
fn sender_of_another_source_is_refused_without_any_effect() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("own");
    let healthy = Healthy::start(&pair, &link)?;
    // Another source cluster, with a topic that the link would create and write at the target.
    let elsewhere = Cluster::start(1)?;
    let foreign = topics::create_unique(&elsewhere, "foreign-source", 4)?;
    journal::write(&elsewhere, &foreign, 0, &small(0..10))?;
    let traffic = healthy.start_traffic(&pair)?;
    let refused = healthy.intrude("a sender of another source", |files| {
        files.sender.set("source", "bootstrap_servers", &format!("{:?}", elsewhere.addresses()));
        files.sender.set("source", "topics", &format!("[{foreign:?}]"));
        files.receiver.set("[links]", "topics", "[\".*\"]");
    })?;
    ensure!(refused.contains("CLUSTER_CHANGED") && refused.contains(elsewhere.id()), "{refused}");
    healthy.ensure_committing(traffic)?;
    healthy.ensure_undisturbed(&pair)?;
    ensure!(topics::partitions(&pair.target, &foreign)? == 0, "its topics were created");
    Ok(())
}

#[test]
fn state_topic_that_cannot_be_written_is_refused_first() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("never");
    let topic = topics::create_unique(&pair.source, "never", 1)?;
    let state_topic = format!("__causeway.{link}.state");
    topics::create(&pair.target, &state_topic, 1, &[("cleanup.policy", "compact"), ("min.insync.replicas", "2")])?;
    journal::write(&pair.source, &topic, 0, &small(0..10))?;
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let (_receiver, mut sender) = files.start()?;
    ensure!(sender.wait(PATIENCE)? == HALTED, "another exit code");
    let log = sender.log()?;
    let sentence = "has min.insync.replicas=2 and 1 replicas: no position can be stored; set it to 1";
    ensure!(log.contains("STATE_REFUSED") && log.contains(sentence), "{log}");
    ensure!(count(&pair.target, &state_topic)? == 0, "the state topic was written");
    ensure!(topics::partitions(&pair.target, &topic)? == 0, "the topic was created");
    topics::configure(&pair.target, &state_topic, "cleanup.policy", "compact")?;
    let _sender = files.sender.start()?;
    let written = read(&pair.source, &[&topic], Isolation::Committed)?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)
}

#[test]
fn refused_positions_are_logged_once_and_shown_until_accepted() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("refuses");
    let topic = topics::create_unique(&pair.source, "refuses", 1)?;
    let state_topic = format!("__causeway.{link}.state");
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let (receiver, _sender) = files.start()?;
    let mut written = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;

    // Large enough for transaction markers, and for nothing else.
    topics::configure(&pair.target, &state_topic, "max.message.bytes", "100")?;
    let before = written.clone();
    written.merge(&journal::write(&pair.source, &topic, 0, &small(10..20))?.written);
    let sentence = "refuses this lane's positions: ";
    let link_of = |status: &Value| status["links"][0].clone();
    let shown = |status: &Value| {
        let trouble = link_of(status)["trouble"].to_string();
        trouble.contains(sentence) && link_of(status)["counts"]["recoveries"].as_u64() >= Some(4)
    };
    let status = receiver.admin.wait_for("the refusal to be shown over several attempts", PATIENCE, shown)?;
    println!("{}", status["links"][0]["trouble"]);
    ensure!(receiver.admin.metric(&format!("causeway_receiver_lanes_failing{{link={link:?}}}"))? == 1.0);
    let shown = run(&["status", &receiver.admin.address().to_string()])?.printed;
    ensure!(shown.contains("check the topic's settings and rights"), "{shown}");
    let log = receiver.log()?;
    let lines = log.lines().filter(|line| line.contains(sentence)).count();
    ensure!(lines == 1, "logged {lines} times: {log}");
    verify::ensure_exactly_once(&before, &pair.target, "{topic}")?;

    topics::configure(&pair.target, &state_topic, "cleanup.policy", "compact")?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    receiver.admin.wait_for("the trouble to end", PATIENCE, |status| {
        link_of(status)["trouble"].as_array().is_some_and(Vec::is_empty)
    })?;
    Ok(())
}

#[test]
fn deleted_state_topic_stops_the_link_and_carries_nothing_twice() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("gone");
    let topic = topics::create_unique(&pair.source, "gone", 1)?;
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    files.receiver.set("target", "transaction_timeout", "\"5 s\"");
    let (_receiver, mut sender) = files.start()?;
    let written = journal::write(&pair.source, &topic, 0, &small(0..50))?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    topics::delete(&pair.target, &format!("__causeway.{link}.state"))?;
    journal::write(&pair.source, &topic, 0, &small(50..60))?;
    ensure!(sender.wait(PATIENCE)? == HALTED, "another exit code");
    let log = sender.log()?;
    ensure!(log.contains("STATE_REFUSED") && log.contains("is gone, and with it every position"), "{log}");
    let sender = files.sender.start()?;
    halts::wait_for(&sender, &topic, 0, "target-not-empty")?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    Ok(())
}

#[test]
fn positions_of_a_topic_not_offered_are_shown_as_orphaned() -> Result<()> {
    let pair = Pair::shared()?;
    let stays = topics::create_unique(&pair.source, "stays", 1)?;
    let goes = topics::create_unique(&pair.source, "goes", 2)?;
    let mut files = LinkFiles::new(&topics::unique("orphans"), &pair.source, &pair.target, &[&stays, &goes])?;
    let receiver = files.receiver.start()?;
    let orphans = |count: usize| {
        let is_shown = |status: &Value| {
            let link = &status["links"][0];
            link["lanes_open"] == 8 && link["orphaned_positions"] == count
        };
        receiver.admin.wait_for(&format!("{count} orphans"), PATIENCE, is_shown)
    };
    for (carried, count) in [(vec![&stays, &goes], 0), (vec![&stays], 2), (vec![&stays, &goes], 0)] {
        files.sender.set("source", "topics", &format!("{carried:?}"));
        let sender = files.sender.start()?;
        let partitions = if count == 0 { 3 } else { 1 };
        sender.admin.wait_for("the partitions to join", PATIENCE, |status| status["partitions"] == partitions)?;
        let status = orphans(count)?;
        let named = status["links"][0]["orphaned"].as_array().context("no list of orphans")?;
        let is_of_topic = |name: &Value| name.as_str().is_some_and(|name| name.starts_with(&goes));
        ensure!(named.len() == count && named.iter().all(is_of_topic), "{named:?}");
    }
    Ok(())
}
