//! SIGKILL of the sender, the receiver, both, and brokers of either cluster, while records flow.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::admin::committed;
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::journal::{Load, Writer};
use harness::pair::Pair;
use harness::process::Process;
use harness::record::Contents;
use harness::{topics, verify};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 12;
const RATE: u32 = 3_000;

/// Time until records are committed again after a process restarts. A peer that waits for a time-out takes longer.
const RESUMED: Duration = Duration::from_secs(9);

/// A link that carries the records of a running writer.
struct Scene<'a> {
    source: &'a Cluster,
    target: &'a Cluster,
    files: LinkFiles,
    load: Writer,
    sender: Process,
    receiver: Process,
}

/// The processes of a link. The files are last, so that they outlive them.
struct Running {
    sender: Process,
    receiver: Process,
    _files: LinkFiles,
}

impl<'a> Scene<'a> {
    fn start(stem: &str, pair: &'a Pair) -> Result<Self> {
        Self::start_with(stem, pair, |_| ())
    }

    fn start_with(stem: &str, pair: &'a Pair, settings: impl FnOnce(&mut LinkFiles)) -> Result<Self> {
        let source = &pair.source;
        let target = &pair.target;
        let topic = topics::create_unique(source, stem, PARTITIONS)?;
        let mut files = LinkFiles::new(&topics::unique(stem), source, target, &[&topic])?;
        settings(&mut files);
        let load = Load::new(&topic, PARTITIONS).rate(RATE).value_max(4_000).start(source)?;
        let sender = files.sender.start()?;
        let receiver = files.receiver.start()?;
        let scene = Self { source, target, files, load, sender, receiver };
        scene.wait_for_commits(0)?;
        Ok(scene)
    }

    /// Waits until the receiver has committed more than `more` records from now on.
    fn wait_for_commits(&self, more: u64) -> Result<Value> {
        let before = self.receiver.admin.status().map_or(0, |status| committed(&status));
        let flows = |status: &Value| committed(status) > before + more;
        self.receiver.admin.wait_for("records to be committed", PATIENCE, flows)
    }

    fn restart_sender(&mut self) -> Result<()> {
        self.sender = self.files.sender.start()?;
        Ok(())
    }

    /// Waits for frames of this sender: the receiver may still commit those of the killed one.
    fn wait_for_frames(&self) -> Result<()> {
        let sends = |status: &Value| status["totals"]["frames"].as_u64() > Some(0);
        self.sender.admin.wait_for("the sender to send", PATIENCE, sends).map(drop)
    }

    fn restart_receiver(&mut self) -> Result<()> {
        self.receiver = self.files.receiver.start()?;
        Ok(())
    }

    /// Ensures that records are committed again soon.
    fn ensure_resumed(&self, what: &str) -> Result<()> {
        let began = Instant::now();
        self.wait_for_frames()?;
        self.wait_for_commits(0)?;
        let took = began.elapsed();
        println!("{what}: committing again after {took:.1?}");
        ensure!(took < RESUMED, "{what}: no record was committed for {took:?}");
        Ok(())
    }

    /// Ensures that every record arrives exactly once. Returns the records written and the link, which still runs.
    fn finish(self) -> Result<(Contents, Running)> {
        let running = Running { sender: self.sender, receiver: self.receiver, _files: self.files };
        let written = self.load.stop()?.written;
        verify::wait_until_delivered(&written, self.target, "{topic}", PATIENCE)?;
        println!("{}", verify::ensure_exactly_once(&written, self.target, "{topic}")?);
        Ok((written, running))
    }
}

#[test]
fn killed_sender_loses_and_doubles_nothing() -> Result<()> {
    let pair = Pair::shared()?;
    let mut scene = Scene::start("sender-killed", &pair)?;
    for _ in 0..4 {
        scene.wait_for_commits(2_000)?;
        scene.sender.kill();
        scene.restart_sender()?;
        scene.ensure_resumed("sender killed")?;
    }
    scene.finish().map(drop)
}

#[test]
fn killed_receiver_loses_and_doubles_nothing() -> Result<()> {
    let pair = Pair::shared()?;
    let mut scene = Scene::start("receiver-killed", &pair)?;
    for _ in 0..4 {
        scene.wait_for_commits(2_000)?;
        scene.receiver.kill();
        scene.restart_receiver()?;
        scene.ensure_resumed("receiver killed")?;
    }
    scene.finish().map(drop)
}

#[test]
fn both_ends_killed_together_lose_and_double_nothing() -> Result<()> {
    let pair = Pair::shared()?;
    let mut scene = Scene::start("both-killed", &pair)?;
    for _ in 0..4 {
        scene.wait_for_commits(2_000)?;
        scene.sender.kill();
        scene.receiver.kill();
        scene.restart_receiver()?;
        scene.restart_sender()?;
        scene.ensure_resumed("both killed")?;
    }
    scene.finish().map(drop)
}

#[test]
fn restarted_target_makes_no_record_cross_twice() -> Result<()> {
    let pair = Pair::start(1, 1)?;
    // A short time-out, so that transactions fail: the client retries through a shorter absence by itself.
    let scene = Scene::start_with("target-hiccup", &pair, |files| {
        files.receiver.set("target", "transaction_timeout", "\"5 s\"");
    })?;
    scene.wait_for_commits(2_000)?;
    pair.target.kill(1);
    let has_trouble = |status: &Value| status["links"][0]["trouble"][0].is_string();
    scene.receiver.admin.wait_for("a transaction to fail", PATIENCE, has_trouble)?;
    pair.target.restart(1)?;
    scene.wait_for_commits(2_000)?;
    let (written, link) = scene.finish()?;
    let sent = link.sender.admin.status()?;
    let received = link.receiver.admin.status()?;
    let recoveries = received["links"][0]["counts"]["recoveries"].as_u64().context("recoveries")?;
    let crossed = sent["totals"]["records"].as_u64().context("totals.records")?;
    println!("{recoveries} lanes recovered; {} records written, {crossed} sent", written.len());
    ensure!(sent["sessions"] == 1, "the session ended: {sent:#}");
    ensure!(recoveries > 0, "no lane had to recover: {received:#}");
    ensure!(crossed == written.len() as u64, "{crossed} records crossed, {} were written", written.len());
    Ok(())
}

#[test]
fn killed_target_brokers_lose_and_double_nothing() -> Result<()> {
    let pair = Pair::start(1, 3)?;
    let scene = Scene::start("target-brokers", &pair)?;
    for node in pair.target.ids() {
        scene.wait_for_commits(2_000)?;
        pair.target.kill(node);
        scene.wait_for_commits(2_000).with_context(|| format!("with node {node} down"))?;
        pair.target.restart(node)?;
        pair.target.wait_until_in_sync(PATIENCE)?;
    }
    scene.finish().map(drop)
}

#[test]
fn killed_source_broker_loses_and_doubles_nothing() -> Result<()> {
    let pair = Pair::start(1, 1)?;
    let scene = Scene::start("source-broker", &pair)?;
    for _ in 0..2 {
        scene.wait_for_commits(2_000)?;
        scene.source.kill(1);
        scene.source.restart(1)?;
        scene.wait_for_commits(2_000)?;
    }
    scene.finish().map(drop)
}
