//! Topics that are deleted at the source: one trouble each, which ends when the topic is forgotten or leaves the filter.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::halts;
use harness::journal;
use harness::pair::Pair;
use harness::process::Process;
use harness::record::{Contents, small};
use harness::{topics, verify};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

const PARTITIONS: i32 = 6;

/// Ensures that nothing of a deleted topic is left in the gauges of either side.
fn ensure_clean(receiver: &Process, sender: &Process, link: &str) -> Result<()> {
    halts::wait_for_deleted(sender, &[])?;
    halts::wait_for_stored(receiver, 0, 0)?;
    let label = format!("{{link={link:?}}}");
    ensure!(sender.admin.metric(&format!("causeway_sender_deleted_topics{label}"))? == 0.0);
    for gauge in ["halted_partitions", "orphaned_positions"] {
        ensure!(receiver.admin.metric(&format!("causeway_receiver_{gauge}{label}"))? == 0.0, "{gauge}");
    }
    Ok(())
}

#[test]
fn a_deleted_topic_is_one_trouble_until_forgotten() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("forgotten");
    let topic = topics::create_unique(&pair.source, "forgotten", PARTITIONS)?;
    let other = topics::create_unique(&pair.source, "sound", 1)?;
    let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic, &other])?;
    let (mut receiver, mut sender) = files.start()?;
    let mut old = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    let mut sound = journal::write(&pair.source, &other, 0, &small(0..10))?.written;
    old.merge(&sound);
    verify::wait_until_delivered(&old, &pair.target, "{topic}", PATIENCE)?;
    sender.admin.wait_for("all partitions", PATIENCE, |status| status["partitions"] == PARTITIONS + 1)?;
    run_at(&sender, &["forget", &topic])?.expect(1, "exists at the source and is carried")?;
    run_at(&sender, &["forget", "unheard-of"])?.expect(1, "no position of unheard-of is stored")?;
    run_at(&receiver, &["forget", &topic])?.expect(1, "topics are forgotten at the sender")?;

    topics::delete(&pair.source, &topic)?;
    halts::wait_for_deleted(&sender, &[(&topic, 6)])?;
    halts::wait_for_stored(&receiver, 0, 6)?;
    let log = sender.log()?;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("ERROR") || line.contains("source-deleted")).collect();
    ensure!(lines.len() == 1 && lines[0].contains("causeway forget"), "{lines:#?}");
    let more = journal::write(&pair.source, &other, 0, &small(10..20))?.written;
    sound.merge(&more);
    verify::wait_until_delivered(&sound, &pair.target, "{topic}", PATIENCE)?;

    // Both sides still know it after a restart, and forget it for good.
    sender.kill();
    receiver.kill();
    let (mut receiver, mut sender) = files.start()?;
    halts::wait_for_deleted(&sender, &[(&topic, 6)])?;
    halts::forget(&sender, &topic)?;
    ensure_clean(&receiver, &sender, &link)?;
    let jumps = halts::jumps(&receiver)?;
    ensure!(jumps.len() == 6 && jumps.iter().any(|jump| jump.is_between(10, -1)), "{jumps:?}");
    ensure!(jumps.iter().all(|jump| jump.reason() == "operator: forget"), "{jumps:?}");
    sender.kill();
    receiver.kill();
    let (receiver, sender) = files.start()?;
    sender.admin.wait_for("the other topic", PATIENCE, |status| status["partitions"] == 1)?;
    ensure_clean(&receiver, &sender, &link)?;

    topics::delete(&pair.target, &topic)?;
    topics::create(&pair.source, &topic, PARTITIONS, &[])?;
    let new = journal::write(&pair.source, &topic, 0, &small(100..110))?.written;
    verify::wait_until_delivered(&new, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&new, &pair.target, "{topic}")?;
    ensure_clean(&receiver, &sender, &link)
}

#[test]
fn kept_halts_end_with_their_topic_or_its_filter() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("kept");
    let topic = topics::create_unique(&pair.source, "kept", 3)?;
    let other = topics::create_unique(&pair.source, "sound", 1)?;
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic, &other])?;
    let (receiver, mut sender) = files.start()?;
    let old = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    verify::wait_until_delivered(&old, &pair.target, "{topic}", PATIENCE)?;
    sender.admin.wait_for("all partitions", PATIENCE, |status| status["partitions"] == 4)?;
    topics::delete(&pair.source, &topic)?;
    halts::wait_for_deleted(&sender, &[(&topic, 3)])?;
    topics::create(&pair.source, &topic, 3, &[])?;
    halts::wait_for_stored(&receiver, 3, 0)?;
    halts::wait_for(&sender, &topic, 2, "topic-recreated")?;
    topics::delete(&pair.source, &topic)?;
    halts::wait_for_deleted(&sender, &[(&topic, 3)])?;
    halts::wait_for_stored(&receiver, 0, 3)?;

    files.sender.set("source", "topics", &format!("[{other:?}]")).write()?;
    sender.signal(Signal::Hup);
    halts::wait_for_deleted(&sender, &[])?;
    halts::wait_for_stored(&receiver, 0, 3)?;
    halts::forget(&sender, &topic)?;
    ensure_clean(&receiver, &sender, &link)
}

#[test]
fn a_policy_forgets_a_deleted_topic_after_its_time() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("forgotten-later");
    let stem = topics::unique("later");
    let [gone, back, kept] = ["gone", "back", "kept"].map(|name| format!("{stem}.{name}"));
    let mut written = Contents::default();
    for topic in [&gone, &back, &kept] {
        topics::create(&pair.source, topic, 2, &[])?;
        written.merge(&journal::write(&pair.source, topic, 0, &small(0..10))?.written);
    }
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&format!("{stem}\\..*")])?;
    files.sender.set("[policies]", "topics", &format!("[{gone:?}, {back:?}]"));
    files.sender.set("[policies]", "forget_after", "\"45 s\"");
    let (mut receiver, mut sender) = files.start()?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    sender.admin.wait_for("all partitions", PATIENCE, |status| status["partitions"] == 6)?;

    for topic in [&gone, &back, &kept] {
        topics::delete(&pair.source, topic)?;
    }
    let deleted = Instant::now();
    sender.admin.wait_for("the deleted topics", PATIENCE, |status| {
        let left = |at: usize| status["deleted_topics"][at]["forgotten_in_seconds"].as_u64();
        left(0).is_some() && left(1).is_some_and(|left| left <= 43)
    })?;
    // A restart of both ends does not begin the time again.
    sender.kill();
    receiver.kill();
    let (receiver, sender) = files.start()?;
    topics::create(&pair.source, &back, 2, &[])?;
    halts::wait_for(&sender, &back, 0, "topic-recreated")?;
    let orphaned = |count: u64| move |status: &Value| status["links"][0]["orphaned_positions"] == count;
    receiver.admin.wait_for("one of them to be back", PATIENCE, orphaned(4))?;
    receiver.admin.wait_for("one to be forgotten", PATIENCE, orphaned(2))?;
    let after = deleted.elapsed();
    println!("forgotten {after:?} after its deletion");
    let early = Duration::from_secs(45);
    ensure!(after >= early && after < early + Duration::from_secs(15), "it was forgotten after {after:?}");
    let jumps = halts::jumps(&receiver)?;
    ensure!(jumps.len() == 2 && jumps.iter().all(|jump| jump.reason() == "policy: forget-after"), "{jumps:?}");
    let status = sender.admin.status()?;
    let expected = serde_json::json!([{ "topic": kept, "positions": 2 }]);
    ensure!(status["deleted_topics"] == expected, "{status:#}");

    // The one that came back has its positions and halts, and when it is deleted again, its time begins again.
    topics::delete(&pair.source, &back)?;
    let status = sender.admin.wait_for("the second deletion", PATIENCE, |status| {
        status["deleted_topics"][0]["forgotten_in_seconds"].is_u64()
    })?;
    let left = status["deleted_topics"][0]["forgotten_in_seconds"].as_u64();
    ensure!(left.is_some_and(|left| left >= 35), "its time did not begin again: {left:?}");
    receiver.admin.wait_for("it to be forgotten, too", PATIENCE, orphaned(2))?;
    Ok(())
}
