//! What a source may be made of: transactions, aborted ones included, holes where records were compacted away,
//! and any point to start from.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::cluster::Pair;
use harness::files::LinkFiles;
use harness::journal::{self, Load};
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::{Contents, Record};
use harness::{topics, verify, wait};

const DELIVERED: Duration = Duration::from_secs(120);

/// How long a process that was asked to leave may take.
const LEAVES: Duration = Duration::from_secs(15);

/// Hours apart, so that a topic's `segment.ms` rolls its segments by the records' own time.
const HOUR: i64 = 3_600_000;
const PAST: i64 = 1_700_000_000_000;

fn record(key: u8, timestamp: i64) -> Record {
    Record { key: Some(vec![key]), value: Some(timestamp.to_be_bytes().to_vec()), headers: Vec::new(), timestamp }
}

fn wait_until_joined(sender: &Process, partitions: usize) -> Result<()> {
    sender.admin.wait_for("the partitions to join", DELIVERED, |status| status["partitions"] == partitions).map(drop)
}

/// Holes count in the lag: it reaches 0 only if positions advance over them.
fn wait_until_caught_up(sender: &Process) -> Result<()> {
    sender.admin.wait_for("a lag of 0", DELIVERED, |status| status["lag_records"] == 0).map(drop)
}

#[test]
fn only_committed_records_arrive_and_the_lag_reaches_0_behind_the_last_marker() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "aborts", 4)?;
    // Half before the link exists, half while it runs.
    let mut journal = Load::new(&topic, 4).limit(6_000).seed(1).transactional(40).start(&pair.source)?.finish()?;
    let files = LinkFiles::new("aborts", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    let more = Load::new(&topic, 4).limit(6_000).rate(2_000).seed(2).transactional(40).start(&pair.source)?.finish()?;
    journal.written.merge(&more.written);
    ensure!(journal.aborted > 0 && more.aborted > 0, "nothing was aborted");
    verify::wait_until_delivered(&journal.written, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal.written, &pair.target, "{topic}")?;
    wait_until_caught_up(&sender)
}

#[test]
fn a_compacted_source_arrives_as_it_is_and_the_lag_reaches_0_over_its_holes() -> Result<()> {
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
    // Of each partition: seven keys, and the segment that is still written.
    let compacted = |contents: &Contents| contents.len() == 2 * (7 + 2);
    wait::until("the source to be compacted", DELIVERED, || {
        read(&pair.source, &[&topic], Isolation::Committed).ok().filter(compacted)
    })?;
    let files = LinkFiles::new("holes", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    let expected = read(&pair.source, &[&topic], Isolation::Committed)?;
    ensure!(compacted(&expected));
    wait_until_joined(&sender, 2)?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", DELIVERED)?;
    wait_until_caught_up(&sender)?;
    // The target compacts, too: no key is left twice, so that it finds nothing to remove.
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    Ok(())
}

#[test]
fn a_quiet_latest_topic_misses_nothing_that_is_written_across_a_restart_of_both_ends() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "quiet", 6)?;
    Load::new(&topic, 6).limit(500).seed(1).start(&pair.source)?.finish()?;
    let mut files = LinkFiles::new("quiet", &pair.source, &pair.target, &[&topic])?;
    files.sender.set("source", "start", "\"latest\"");
    let (mut receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    wait_until_joined(&sender, 6)?;
    // Not one record has crossed: that the link has begun is known from the target's state alone.
    ensure!(sender.terminate(LEAVES)? == 0 && receiver.terminate(LEAVES)? == 0);
    let mut journal = Load::new(&topic, 6).limit(500).seed(2).start(&pair.source)?.finish()?.written;
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    wait_until_joined(&sender, 6)?;
    journal.merge(&Load::new(&topic, 6).limit(500).seed(3).start(&pair.source)?.finish()?.written);
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal, &pair.target, "{topic}")?;
    wait_until_caught_up(&sender)
}

#[test]
fn a_link_starts_at_a_time_in_the_middle_of_the_log() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "time", 3, &[("retention.ms", "-1")])?;
    // 2026-01-31T06:00:00Z, in the middle of what is written to partition 0, after all of partition 1, and
    // before all of partition 2.
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
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    wait_until_joined(&sender, 3)?;
    // After its first start, what is written is wanted whatever it is stamped.
    expected.merge(&write(1, start - 100_000, 5)?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    wait_until_caught_up(&sender)
}
