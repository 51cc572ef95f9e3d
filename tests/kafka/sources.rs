//! Logs that a source may have: transactions, aborted or not, and gaps where compaction removed records. And the points
//! that a link can start from.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::files::LinkFiles;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::{Contents, Record};
use harness::{topics, verify, wait};

const DELIVERED: Duration = Duration::from_secs(120);

/// Time that a clean shutdown may take.
const LEAVES: Duration = Duration::from_secs(15);

/// Timestamps are hours apart, so that a topic's `segment.ms` rolls its segments.
const HOUR: i64 = 3_600_000;
const PAST: i64 = 1_700_000_000_000;

fn record(key: u8, timestamp: i64) -> Record {
    Record { key: Some(vec![key]), value: Some(timestamp.to_be_bytes().to_vec()), headers: Vec::new(), timestamp }
}

fn wait_until_joined(sender: &Process, partitions: usize) -> Result<()> {
    sender.admin.wait_for("the partitions to join", DELIVERED, |status| status["partitions"] == partitions).map(drop)
}

/// Waits for a lag of 0. Gaps count as lag, so positions must advance over them.
fn wait_until_caught_up(sender: &Process) -> Result<()> {
    sender.admin.wait_for("a lag of 0", DELIVERED, |status| status["lag_records"] == 0).map(drop)
}

#[test]
fn only_committed_records_arrive_and_the_lag_becomes_0() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "aborts", 4)?;
    // One half is written before the link exists, the other while it runs.
    let mut journal = Load::new(&topic, 4).limit(6_000).seed(1).transactional(40).start(&pair.source)?.finish()?;
    let files = LinkFiles::new("aborts", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = files.start()?;
    let more = Load::new(&topic, 4).limit(6_000).rate(2_000).seed(2).transactional(40).start(&pair.source)?.finish()?;
    journal.written.merge(&more.written);
    ensure!(journal.aborted > 0 && more.aborted > 0, "nothing was aborted");
    verify::wait_until_delivered(&journal.written, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal.written, &pair.target, "{topic}")?;
    wait_until_caught_up(&sender)
}

#[test]
fn compacted_topic_arrives_and_the_lag_becomes_0() -> Result<()> {
    let pair = Pair::shared()?;
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "60000"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "100"),
        ("delete.retention.ms", "0"),
        ("segment.jitter.ms", "0"),
    ];
    let topic = topics::create_unique_with(&pair.source, "holes", 2, &configs)?;
    for partition in 0..2 {
        for round in 0..3 {
            let records: Vec<_> = (0..500).map(|n| record((n % 7) as u8, PAST + round * HOUR + n)).collect();
            journal::write(&pair.source, &topic, partition, &records)?;
        }
        let last = [record(100, PAST + 4 * HOUR), record(101, PAST + 4 * HOUR)];
        journal::write(&pair.source, &topic, partition, &last)?;
    }
    // Each partition has seven keys left, and the two records of its active segment.
    let compacted = |contents: &Contents| contents.len() == 2 * (7 + 2);
    wait::until("the source to be compacted", DELIVERED, || {
        read(&pair.source, &[&topic], Isolation::Committed).ok().filter(compacted)
    })?;
    let files = LinkFiles::new("holes", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = files.start()?;
    let expected = read(&pair.source, &[&topic], Isolation::Committed)?;
    ensure!(compacted(&expected), "the source has {} records", expected.len());
    wait_until_joined(&sender, 2)?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", DELIVERED)?;
    wait_until_caught_up(&sender)?;
    // The target compacts too. No key is left twice, so it removes nothing.
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    Ok(())
}

#[test]
fn quiet_latest_topic_misses_nothing_across_a_restart() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "quiet", 6)?;
    Load::new(&topic, 6).limit(500).seed(1).start(&pair.source)?.finish()?;
    let mut files = LinkFiles::new("quiet", &pair.source, &pair.target, &[&topic])?;
    files.sender.set("source", "start", "\"latest\"");
    let (mut receiver, mut sender) = files.start()?;
    wait_until_joined(&sender, 6)?;
    // No record has crossed, so only the stored state shows where the link began.
    ensure!(sender.terminate(LEAVES)? == 0, "the sender exits with another code");
    ensure!(receiver.terminate(LEAVES)? == 0, "the receiver exits with another code");
    let mut journal = Load::new(&topic, 6).limit(500).seed(2).start(&pair.source)?.finish()?.written;
    let (_receiver, sender) = files.start()?;
    wait_until_joined(&sender, 6)?;
    journal.merge(&Load::new(&topic, 6).limit(500).seed(3).start(&pair.source)?.finish()?.written);
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal, &pair.target, "{topic}")?;
    wait_until_caught_up(&sender)
}

#[test]
fn link_starts_at_a_time_in_the_middle_of_the_log() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "time", 3, &[("retention.ms", "-1")])?;
    // 2026-01-31T06:00:00Z: in the middle of partition 0, after all of partition 1, before all of partition 2.
    let start = 1_769_839_200_000;
    let write = |partition, first: i64, count: i64| {
        let records: Vec<_> = (0..count).map(|n| record(n as u8, first + n * 1_000)).collect();
        journal::write(&pair.source, &topic, partition, &records)
    };
    write(0, start - 50_000, 50)?;
    write(1, start - 100_000, 100)?;
    let mut expected = write(0, start, 50)?.written;
    expected.merge(&write(2, start + 1, 20)?.written);
    let mut files = LinkFiles::new("time", &pair.source, &pair.target, &[&topic])?;
    files.sender.set("source", "start", "\"2026-01-31T06:00:00Z\"");
    let (_receiver, sender) = files.start()?;
    wait_until_joined(&sender, 3)?;
    // After its first start, the link carries new records with any timestamp.
    expected.merge(&write(1, start - 100_000, 5)?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    wait_until_caught_up(&sender)
}
