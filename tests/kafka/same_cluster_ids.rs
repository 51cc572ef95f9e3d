//! Two clusters with one cluster id, as a common image gives it to them, and one cluster at both ends of a link.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::cluster::Cluster;
use harness::command;
use harness::files::LinkFiles;
use harness::pair::Pair;
use harness::process::{HALTED, Process};
use harness::record::{Contents, small};
use harness::topics::Listing;
use harness::{journal, topics, verify, wait};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `causeway check` of the sender, which must print `sentence`.
fn check(files: &LinkFiles, code: i32, sentence: &str) -> Result<()> {
    let file = files.sender.write()?;
    command::run(&["check", &file.display().to_string()])?.expect(code, sentence)
}

/// Waits until the sender exits because the receiver refuses it for good.
fn ensure_refused(sender: &mut Process, sentence: &str) -> Result<()> {
    ensure!(sender.wait(PATIENCE)? == HALTED, "another exit code");
    ensure!(sender.log()?.contains(sentence), "{sentence:?} is not in the log");
    Ok(())
}

/// Waits until a cluster has no probe topic.
fn ensure_no_probe(cluster: &Cluster) -> Result<()> {
    let listing = Listing::of(cluster)?;
    wait::until("no probe topic", PATIENCE, || {
        let names = listing.all_names().ok()?;
        (!names.iter().any(|name| name.contains(".probe."))).then_some(())
    })
}

#[test]
fn two_clusters_of_one_id_are_proven_by_a_probe() -> Result<()> {
    let pair = Pair::start_with_one_id()?;
    let topic = topics::create_unique(&pair.source, "one-id", 1)?;
    let mut files = LinkFiles::new("one-id", &pair.source, &pair.target, &[&topic])?;
    let mut receiver = files.receiver.start()?;
    receiver.admin.wait_until_ready(PATIENCE)?;
    let target =
        format!("both have id {}; the target's bootstrap servers are {}", pair.source.id(), pair.target.bootstrap());
    let sentence = format!("{target}; the source's are {}", pair.source.bootstrap());
    check(&files, 1, &sentence)?;
    ensure_refused(&mut files.sender.start()?, &sentence)?;

    files.sender.set("source", "allow_same_cluster_id", "true");
    check(&files, 0, "a probe topic must prove in each session that they are two")?;
    let mut written = Contents::default();
    let mut write = |numbers| -> Result<Contents> {
        written.merge(&journal::write(&pair.source, &topic, 0, &small(numbers))?.written);
        Ok(written.clone())
    };
    let arrive = |written: &Contents| verify::wait_until_delivered(written, &pair.target, "{topic}", PATIENCE);
    let sender = files.sender.start()?;
    arrive(&write(0..10)?)?;
    receiver.kill();
    let _receiver = files.receiver.start()?;
    let written = write(10..20)?;
    arrive(&written)?;
    let proven = sender.log()?.matches("proving with a probe topic").count();
    ensure!(proven == 1, "the sender noticed {proven} times that the ids are equal");
    ensure_no_probe(&pair.source)?;
    ensure_no_probe(&pair.target)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}

#[test]
fn one_cluster_is_refused_despite_the_setting() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "one-cluster", 1)?;
    let mut files = LinkFiles::new("one-cluster", &pair.source, &pair.source, &[&topic])?;
    files.sender.set("source", "allow_same_cluster_id", "true");
    let _receiver = files.receiver.start()?;
    ensure_refused(&mut files.sender.start()?, "which the sender has just created at the source")?;
    ensure_no_probe(&pair.source)?;
    ensure!(
        topics::partitions(&pair.source, "__causeway.one-cluster.state")? == 0,
        "a refusal created the state topic"
    );
    Ok(())
}
