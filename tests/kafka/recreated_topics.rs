//! Topics of the source that are deleted and created again under a link. The new topic is another one: its records
//! are not carried until an operator or a policy accepts it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::cluster::Cluster;
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::halts;
use harness::pair::Pair;
use harness::reader::{Isolation, read};
use harness::record::small;
use harness::{journal, topics, verify, wait};

const PATIENCE: Duration = Duration::from_secs(60);

/// Promised time until a link notices, and the time that a loaded machine may add.
const NOTICED: Duration = Duration::from_secs(5 + 4);

/// Waits until the target's partition has this number of records.
fn wait_for_records(target: &Cluster, topic: &str, count: usize) -> Result<()> {
    wait::until_ok(&format!("{count} records of {topic}"), PATIENCE, || {
        let seen = read(target, &[topic], Isolation::Committed)?;
        Ok((seen.partition(topic, 0).len() == count).then_some(()))
    })
}

#[test]
fn halts_within_5_s_until_accepted() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "recreated", 1)?;
    let files = LinkFiles::new(&topics::unique("recreated"), &pair.source, &pair.target, &[&topic])?;
    let (mut receiver, mut sender) = files.start()?;
    let old = journal::write(&pair.source, &topic, 0, &small(0..30))?.written;
    verify::wait_until_delivered(&old, &pair.target, "{topic}", PATIENCE)?;
    topics::delete(&pair.source, &topic)?;
    topics::create(&pair.source, &topic, 1, &[])?;
    let created = Instant::now();
    halts::wait_for(&sender, &topic, 0, "topic-recreated")?;
    println!("halted after {:?}", created.elapsed());
    ensure!(created.elapsed() < NOTICED, "halted after {:?}", created.elapsed());

    sender.kill();
    receiver.kill();
    let new = journal::write(&pair.source, &topic, 0, &small(100..110))?.written;
    let (_receiver, sender) = files.start()?;
    halts::wait_for(&sender, &topic, 0, "topic-recreated")?;
    let partition = format!("{topic}/0");
    run_at(&sender, &["resume", &partition])?.expect(1, "--skip")?;
    verify::ensure_exactly_once(&old, &pair.target, "{topic}")?;
    halts::resume(&sender, &[&partition, "--skip"])?;
    wait_for_records(&pair.target, &topic, old.len() + new.len())
}

#[test]
fn policy_carries_the_new_topic_behind_the_old_one() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "again", 1)?;
    let old = journal::write(&pair.source, &topic, 0, &small(0..30))?.written;
    let mut files = LinkFiles::new(&topics::unique("again"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("[policies]", "topics", "[\".*\"]").set("[policies]", "policy", "[\"new-incarnation\"]");
    let (receiver, sender) = files.start()?;
    verify::wait_until_delivered(&old, &pair.target, "{topic}", PATIENCE)?;

    topics::delete(&pair.source, &topic)?;
    topics::create(&pair.source, &topic, 1, &[])?;
    let new = journal::write(&pair.source, &topic, 0, &small(1_000..1_010))?.written;
    let both = [old.digests(&topic, 0), new.digests(&topic, 0)].concat();
    verify::wait_until_holds(&pair.target, &topic, 0, &both, PATIENCE)?;
    let jump = halts::only_jump(&receiver)?;
    ensure!(jump.reason() == "policy: new-incarnation", "{jump:?}");
    let is_empty = |status: &serde_json::Value| status["halted"].as_array().is_some_and(Vec::is_empty);
    sender.admin.wait_for("no halts", PATIENCE, is_empty).map(drop)
}

#[test]
fn a_recreated_topic_is_not_taken_for_the_deleted_one() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "deleted", 1)?;
    let neighbour = topics::create_unique(&pair.source, "sound", 1)?;
    let mut files = LinkFiles::new(&topics::unique("deleted"), &pair.source, &pair.target, &[&topic, &neighbour])?;
    files.sender.set("lanes", "count", "1");
    let (_receiver, sender) = files.start()?;
    let mut expected = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    expected.merge(&journal::write(&pair.source, &neighbour, 0, &small(0..10))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    topics::delete(&pair.source, &topic)?;
    halts::wait_for_deleted(&sender, &[(&topic, 1)])?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    expected.merge(&journal::write(&pair.source, &neighbour, 0, &small(10..20))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    topics::create(&pair.source, &topic, 1, &[])?;
    let new = journal::write(&pair.source, &topic, 0, &small(100..110))?.written;
    halts::expect(&sender, &topic, 0, "topic-recreated", 10)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    halts::resume(&sender, &[&format!("{topic}/0"), "--skip"])?;
    wait_for_records(&pair.target, &topic, expected.partition(&topic, 0).len() + new.len())
}
