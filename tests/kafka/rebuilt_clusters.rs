//! Clusters that are rebuilt at their old address, with another id: noticed on an idle link too, and accepted only by an
//! operator, once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::cluster::Cluster;
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::halts;
use harness::journal;
use harness::pair::Pair;
use harness::process::{HALTED, Process};
use harness::record::small;
use harness::{topics, verify};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Promised time until both sides notice, and the time that a loaded machine may add.
const NOTICED: Duration = Duration::from_secs(10 + 5);

/// Waits until a sender exits because of a rebuilt cluster.
fn wait_until_halted(sender: &mut Process, words: &str) -> Result<()> {
    ensure!(sender.wait(PATIENCE)? == HALTED, "another exit code");
    let log = sender.log()?;
    let last = log.lines().rfind(|line| line.contains("halted, a human must act")).unwrap_or_default();
    println!("{last}");
    ensure!(last.contains(words), "{words:?} is not in {last}");
    Ok(())
}

/// Lets the receiver accept the cluster with this id, without a restart.
fn accept(files: &mut LinkFiles, receiver: &mut Process, id: &str) -> Result<()> {
    files.receiver.set("[links]", "accept_cluster", &format!("{id:?}")).write()?;
    receiver.signal(Signal::Hup);
    let is_read = || receiver.log().ok()?.contains("link changed; its sessions restart").then_some(());
    harness::wait::until("the receiver to read its file", PATIENCE, is_read)
}

#[test]
fn a_rebuilt_target_begins_again_only_when_accepted() -> Result<()> {
    let pair = Pair::shared()?;
    let mut target = Cluster::start(1)?;
    let topic = topics::create_unique(&pair.source, "rebuilt-target", 2)?;
    let mut files = LinkFiles::new(&topics::unique("rebuilt-target"), &pair.source, &target, &[&topic])?;
    let (mut receiver, mut sender) = files.start()?;
    let mut all = journal::write(&pair.source, &topic, 0, &small(0..20))?.written;
    verify::wait_until_delivered(&all, &target, "{topic}", PATIENCE)?;

    target.rebuild()?;
    let rebuilt = Instant::now();
    wait_until_halted(&mut sender, "CLUSTER_CHANGED")?;
    println!("noticed after {:?}", rebuilt.elapsed());
    ensure!(rebuilt.elapsed() < NOTICED, "noticed after {:?}", rebuilt.elapsed());
    let is_said = |status: &Value| status["trouble"].to_string().contains("the target cluster's id was");
    receiver.admin.wait_for("the receiver to say so", PATIENCE, is_said)?;
    ensure!(receiver.admin.get("/ready").is_err(), "the receiver claims to be ready");
    let mut sender = files.sender.start()?;
    wait_until_halted(&mut sender, target.id())?;

    accept(&mut files, &mut receiver, target.id())?;
    let mut sender = files.sender.start()?;
    verify::wait_until_delivered(&all, &target, "{topic}", PATIENCE)?;
    receiver.admin.wait_until_ready(PATIENCE)?;
    // The new id is stored: restarts of both sides do not need the setting any more.
    sender.kill();
    receiver.kill();
    files.receiver.set("[links]", "accept_cluster", "\"none\"");
    let (_receiver, _sender) = files.start()?;
    all.merge(&journal::write(&pair.source, &topic, 1, &small(20..30))?.written);
    verify::wait_until_delivered(&all, &target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&all, &target, "{topic}").map(drop)
}

#[test]
fn a_rebuilt_source_is_carried_only_when_accepted() -> Result<()> {
    let pair = Pair::shared()?;
    let mut source = Cluster::start(1)?;
    let topic = topics::create_unique(&source, "rebuilt-source", 1)?;
    let mut files = LinkFiles::new(&topics::unique("rebuilt-source"), &source, &pair.target, &[&topic])?;
    let (mut receiver, mut sender) = files.start()?;
    let old = journal::write(&source, &topic, 0, &small(0..20))?.written;
    verify::wait_until_delivered(&old, &pair.target, "{topic}", PATIENCE)?;

    source.rebuild()?;
    let rebuilt = Instant::now();
    wait_until_halted(&mut sender, "the source cluster's id was")?;
    println!("noticed after {:?}", rebuilt.elapsed());
    ensure!(rebuilt.elapsed() < NOTICED, "noticed after {:?}", rebuilt.elapsed());
    let is_said = |status: &Value| status["links"][0]["trouble"].to_string().contains("the source cluster's id was");
    receiver.admin.wait_for("the receiver to say so", PATIENCE, is_said)?;
    topics::create(&source, &topic, 1, &[])?;
    let mut new = journal::write(&source, &topic, 0, &small(100..110))?.written;
    let mut sender = files.sender.start()?;
    wait_until_halted(&mut sender, &format!("accept_cluster = \"{}", source.id()))?;

    accept(&mut files, &mut receiver, source.id())?;
    let mut sender = files.sender.start()?;
    halts::wait_for(&sender, &topic, 0, "topic-recreated")?;
    verify::ensure_exactly_once(&old, &pair.target, "{topic}")?;
    run_at(&sender, &["resume", "--all", "topic-recreated", "--skip"])?.expect(0, "")?;
    let digests = |new: &harness::record::Contents| [old.digests(&topic, 0), new.digests(&topic, 0)].concat();
    verify::wait_until_holds(&pair.target, &topic, 0, &digests(&new), PATIENCE)?;
    let jumps = halts::jumps(&receiver)?;
    ensure!(jumps.iter().any(|jump| jump.accepted().starts_with("source cluster")), "{jumps:?}");
    sender.kill();
    receiver.kill();
    files.receiver.set("[links]", "accept_cluster", "\"none\"");
    let (_receiver, _sender) = files.start()?;
    new.merge(&journal::write(&source, &topic, 0, &small(110..120))?.written);
    verify::wait_until_holds(&pair.target, &topic, 0, &digests(&new), PATIENCE)
}
