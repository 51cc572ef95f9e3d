//! SIGKILL of the sender, the receiver, both, and of brokers on either side, while records flow.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::cluster::{Cluster, Pair};
use harness::files::LinkFiles;
use harness::journal::{Load, Writer};
use harness::process::Process;
use harness::record::Contents;
use harness::{topics, verify};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const PARTITIONS: i32 = 12;
const RATE: u32 = 3_000;

/// How long records may stand still after a process came back. A peer that waits for a time-out takes longer.
const RESUMED: Duration = Duration::from_secs(9);

/// A link at work.
struct Scene<'a> {
    source: &'a Cluster,
    target: &'a Cluster,
    files: LinkFiles,
    load: Writer,
    sender: Process,
    receiver: Process,
}

/// Its processes, with the files that their logs are among.
struct AtWork {
    sender: Process,
    receiver: Process,
    _files: LinkFiles,
}

impl<'a> Scene<'a> {
    fn start(stem: &str, pair: &'a Pair) -> Result<Self> {
        Self::start_with(stem, pair, |_| ())
    }

    fn start_with(stem: &str, pair: &'a Pair, settings: impl FnOnce(&mut LinkFiles)) -> Result<Self> {
        let (source, target) = (&pair.source, &pair.target);
        let topic = topics::create_unique(source, stem, PARTITIONS)?;
        let mut files = LinkFiles::new(&topics::unique(stem), source, target, &[&topic])?;
        settings(&mut files);
        let load = Load::new(&topic, PARTITIONS).rate(RATE).value_max(4_000).start(source)?;
        let (sender, receiver) = (files.sender.start()?, files.receiver.start()?);
        let scene = Self { source, target, files, load, sender, receiver };
        scene.wait_for_commits(0)?;
        Ok(scene)
    }

    /// Waits until the receiver has committed `more` than it has now, one at the least.
    fn wait_for_commits(&self, more: u64) -> Result<Value> {
        let before = self.receiver.admin.status().map_or(0, |status| committed(&status));
        let flows = |status: &Value| committed(status) > before + more;
        self.receiver.admin.wait_for("records to be committed", PATIENCE, flows)
    }

    fn restart_sender(&mut self) -> Result<()> {
        self.sender = self.files.sender.start()?;
        Ok(())
    }

    /// What the receiver commits before that came from the sender's predecessor.
    fn wait_for_frames(&self) -> Result<()> {
        let sends = |status: &Value| status["totals"]["frames"].as_u64() > Some(0);
        self.sender.admin.wait_for("the sender to send", PATIENCE, sends).map(drop)
    }

    fn restart_receiver(&mut self) -> Result<()> {
        self.receiver = self.files.receiver.start()?;
        Ok(())
    }

    /// The process is back: commits must be too.
    fn ensure_resumed(&self, what: &str) -> Result<()> {
        let began = Instant::now();
        self.wait_for_frames()?;
        self.wait_for_commits(0)?;
        let stood = began.elapsed();
        println!("{what}: committing again after {stood:.1?}");
        ensure!(stood < RESUMED, "{what}: records stood still for {stood:?}");
        Ok(())
    }

    /// Every record, once, in order, unchanged. Hands over what was written and the link, still at work.
    fn finish(self) -> Result<(Contents, AtWork)> {
        let at_work = AtWork { sender: self.sender, receiver: self.receiver, _files: self.files };
        let written = self.load.stop()?.written;
        verify::wait_until_delivered(&written, self.target, "{topic}", PATIENCE)?;
        println!("{}", verify::ensure_exactly_once(&written, self.target, "{topic}")?);
        Ok((written, at_work))
    }
}

/// Records committed by a receiver since its process started.
fn committed(status: &Value) -> u64 {
    status["links"][0]["counts"]["records"].as_u64().unwrap_or_default()
}

#[test]
fn a_sender_killed_while_records_flow_loses_and_doubles_nothing() -> Result<()> {
    let mut scene = Scene::start("sender-killed", Pair::shared()?)?;
    for _ in 0..4 {
        scene.wait_for_commits(2_000)?;
        scene.sender.kill();
        scene.restart_sender()?;
        scene.ensure_resumed("sender killed")?;
    }
    scene.finish().map(drop)
}

#[test]
fn a_receiver_killed_while_records_flow_loses_and_doubles_nothing() -> Result<()> {
    let mut scene = Scene::start("receiver-killed", Pair::shared()?)?;
    for _ in 0..4 {
        scene.wait_for_commits(2_000)?;
        scene.receiver.kill();
        scene.restart_receiver()?;
        scene.ensure_resumed("receiver killed")?;
    }
    scene.finish().map(drop)
}

#[test]
fn both_ends_killed_at_once_lose_and_double_nothing() -> Result<()> {
    let mut scene = Scene::start("both-killed", Pair::shared()?)?;
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
fn a_target_that_goes_and_comes_back_costs_no_record_a_second_crossing() -> Result<()> {
    let pair = Pair::start(1, 1)?;
    // Short, so that transactions fail in earnest: the client sits a shorter absence out by itself.
    let scene = Scene::start_with("target-hiccup", &pair, |files| {
        files.receiver.set("target", "transaction_timeout", "\"5 s\"");
    })?;
    for _ in 0..2 {
        scene.wait_for_commits(2_000)?;
        pair.target.kill(1);
        let in_trouble = |status: &Value| status["links"][0]["trouble"][0].is_string();
        scene.receiver.admin.wait_for("a transaction to fail", PATIENCE, in_trouble)?;
        pair.target.restart(1)?;
        scene.wait_for_commits(2_000)?;
    }
    let (written, link) = scene.finish()?;
    let (sent, received) = (link.sender.admin.status()?, link.receiver.admin.status()?);
    let recoveries = received["links"][0]["counts"]["recoveries"].as_u64().context("recoveries")?;
    let crossed = sent["totals"]["records"].as_u64().context("totals.records")?;
    println!("{recoveries} lanes recovered; {} records written, {crossed} sent", written.len());
    ensure!(sent["sessions"] == 1, "the session ended: {sent:#}");
    ensure!(recoveries > 0, "no lane was in trouble: {received:#}");
    ensure!(crossed == written.len() as u64, "{crossed} records crossed, {} were written", written.len());
    Ok(())
}

#[test]
fn brokers_of_a_replicated_target_killed_one_after_the_other_lose_and_double_nothing() -> Result<()> {
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
fn a_source_broker_killed_and_restarted_loses_and_doubles_nothing() -> Result<()> {
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
