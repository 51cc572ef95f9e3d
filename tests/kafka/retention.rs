//! Records that the source's retention deletes before the link has read them.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::files::LinkFiles;
use harness::halts;
use harness::pair::Pair;
use harness::reader::{Isolation, read};
use harness::record::small;
use harness::{journal, topics, verify};
use rdkafka::producer::Producer;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn policy_skips_expired_records_and_stores_the_range() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "taken", 1)?;
    let mut files = LinkFiles::new(&topics::unique("taken"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("[policies]", "topics", "[\".*\"]").set("[policies]", "policy", "\"skip\"");
    let (receiver, mut sender) = files.start()?;
    let mut expected = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    sender.kill();
    journal::write(&pair.source, &topic, 0, &small(10..30))?;
    topics::delete_records(&pair.source, &topic, 0, 20)?;
    let sender = files.sender.start()?;
    expected.merge(&read(&pair.source, &[&topic], Isolation::Committed)?.only(&topic, 0));
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let jump = halts::only_jump(&receiver)?;
    ensure!(jump.is_between(10, 20), "{jump:?}");
    ensure!(jump.reason() == "policy: skip" && jump.halt_reason() == "retention-overtook", "{jump:?}");
    ensure!(sender.log()?.contains("retention-overtook"), "the skip was not logged");
    ensure!(sender.admin.status()?["halted"] == serde_json::json!([]), "a partition is halted");
    Ok(())
}

#[test]
fn halts_when_records_expire_while_the_sender_is_down() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "lost", 2)?;
    let mut expected = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    let files = LinkFiles::new(&topics::unique("lost"), &pair.source, &pair.target, &[&topic])?;
    let (receiver, mut sender) = files.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    sender.kill();
    journal::write(&pair.source, &topic, 0, &small(10..30))?;
    topics::delete_records(&pair.source, &topic, 0, 20)?;
    expected.merge(&journal::write(&pair.source, &topic, 1, &small(0..10))?.written);
    let sender = files.sender.start()?;
    halts::wait_for(&sender, &topic, 0, "retention-overtook")?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    let status =
        sender.admin.wait_for("the halted records to count as lag", PATIENCE, |status| status["lag_records"] == 20)?;
    ensure!(status["halted"].as_array().is_some_and(|halted| halted.len() == 1), "one halt is expected: {status}");

    halts::resume(&sender, &[&format!("{topic}/0"), "--skip"])?;
    expected.merge(&read(&pair.source, &[&topic], Isolation::Committed)?.only(&topic, 0));
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let jump = halts::only_jump(&receiver)?;
    ensure!(jump.is_between(10, 20), "{jump:?}");
    Ok(())
}

#[test]
fn halts_when_records_expire_before_a_running_link_reads_them() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "overtaken", 1)?;
    let neighbour = topics::create_unique(&pair.source, "sound", 1)?;
    let mut files = LinkFiles::new(&topics::unique("overtaken"), &pair.source, &pair.target, &[&topic, &neighbour])?;
    files.sender.set("lanes", "count", "1");
    let (receiver, sender) = files.start()?;
    let mut expected = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    expected.merge(&journal::write(&pair.source, &neighbour, 0, &small(0..10))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    // Readers of committed records wait before an open transaction; retention does not.
    let producer = journal::leave_open(&pair.source, &topic)?;
    journal::write(&pair.source, &topic, 0, &small(11..30))?;
    expected.merge(&journal::write(&pair.source, &neighbour, 0, &small(10..20))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    topics::delete_records(&pair.source, &topic, 0, 20)?;
    let detail = halts::expect(&sender, &topic, 0, "retention-overtook", 10)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    ensure!(detail.contains("source log starts at 20, next wanted is 10"), "{detail}");
    ensure!(receiver.log()?.contains("out-of-range"), "the session's own reader did not find it");
    expected.merge(&journal::write(&pair.source, &neighbour, 0, &small(20..30))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    producer.abort_transaction(PATIENCE)?;
    halts::resume(&sender, &[&format!("{topic}/0"), "--skip"])?;
    let left = read(&pair.source, &[&topic], Isolation::Committed)?.only(&topic, 0);
    ensure!(left.len() == 10, "{} records are left at the source", left.len());
    expected.merge(&left);
    for carried in [&topic, &neighbour] {
        expected.merge(&journal::write(&pair.source, carried, 0, &small(30..40))?.written);
    }
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let jump = halts::only_jump(&receiver)?;
    ensure!(jump.is_between(10, 20), "{jump:?}");
    Ok(())
}
