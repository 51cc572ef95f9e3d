//! Deletions of keys that compaction at the source removes while the link is away.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use harness::files::LinkFiles;
use harness::halts::{self, jumps};
use harness::pair::Pair;
use harness::reader::{Isolation, read};
use harness::record::{Contents, Record};
use harness::{journal, topics, verify};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
/// Shortest time for which the sender takes deletions to be kept.
const KEPT: Duration = Duration::from_secs(10);

/// Makes a record of this moment; without a value it deletes its key.
fn record(key: &str, value: Option<&str>) -> Result<Record> {
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
    let value = value.map(|value| value.as_bytes().to_vec());
    Ok(Record { key: Some(key.as_bytes().to_vec()), value, headers: Vec::new(), timestamp })
}

#[test]
fn lost_deletions_halt_until_accepted_by_operator_or_policy() -> Result<()> {
    let pair = Pair::shared()?;
    let configs = [
        ("cleanup.policy", "compact"),
        ("delete.retention.ms", "1000"),
        ("segment.ms", "1000"),
        ("segment.jitter.ms", "0"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "1000"),
    ];
    let asks = topics::create_unique_with(&pair.source, "asks", 1, &configs)?;
    let accepts = topics::create_unique_with(&pair.source, "accepts", 1, &configs)?;
    let both = [&asks, &accepts];
    for topic in both {
        // The target keeps all records, so that the test can compare them.
        topics::create(&pair.target, topic, 1, &[])?;
    }
    let link = topics::unique("deletions");
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&asks, &accepts])?;
    let policy = format!("[\"{accepts}\"]");
    files.sender.set("[policies]", "topics", &policy).set("[policies]", "policy", "\"skip\"");
    let (receiver, mut sender) = files.start()?;
    let mut carried = Contents::default();
    for topic in both {
        let records = [record("k1", Some("v1"))?, record("k2", Some("v2"))?];
        carried.merge(&journal::write(&pair.source, topic, 0, &records)?.written);
    }
    verify::wait_until_delivered(&carried, &pair.target, "{topic}", PATIENCE)?;
    sender.kill();
    let away = Instant::now();
    for topic in both {
        journal::write(&pair.source, topic, 0, &[record("k1", None)?])?;
    }
    // The deletion is gone, and the log's start has not moved.
    let has_deletion = |topic: &str| -> Result<bool> {
        let left = read(&pair.source, &[topic], Isolation::Committed)?;
        Ok(left.partition(topic, 0).iter().any(|entry| entry.offset == 2))
    };
    let mut number = 0;
    while away.elapsed() < KEPT + Duration::from_secs(1) || has_deletion(&asks)? || has_deletion(&accepts)? {
        ensure!(away.elapsed() < PATIENCE, "the source does not remove the deletions");
        for topic in both {
            journal::write(&pair.source, topic, 0, &[record(&format!("f{}", number % 3), Some("filler"))?])?;
        }
        number += 1;
        // The next segment begins when the present one is a second old.
        harness::wait::through(Duration::from_secs(1), || Ok(()))?;
    }
    for topic in both {
        journal::write(&pair.source, topic, 0, &[record("last", Some("value"))?])?;
    }

    let sender = files.sender.start()?;
    let detail = halts::expect(&sender, &asks, 0, "deletes-lost", 2)?;
    ensure!(detail.contains("deletions between source offsets 2 and "), "{detail}");
    let is_delivered = |topic: &str| -> Result<bool> {
        let last = |cluster, topic: &str| -> Result<Option<u64>> {
            Ok(read(cluster, &[topic], Isolation::Committed)?.digests(topic, 0).pop())
        };
        Ok(last(&pair.source, topic)? == last(&pair.target, topic)?)
    };
    harness::wait::until_ok("the policy to continue", PATIENCE, || Ok(is_delivered(&accepts)?.then_some(())))?;
    ensure!(!is_delivered(&asks)?, "records were carried behind the halt");
    let [accepted] = &jumps(&receiver)?[..] else { anyhow::bail!("one jump is expected: {:?}", jumps(&receiver)?) };
    ensure!(accepted.is_between(2, 2) && accepted.reason() == "policy: skip", "{accepted:?}");
    ensure!(accepted.halt_reason() == "deletes-lost", "{accepted:?}");

    halts::resume(&sender, &[&format!("{asks}/0")])?;
    harness::wait::until_ok("the operator's topic to continue", PATIENCE, || Ok(is_delivered(&asks)?.then_some(())))?;
    let none = |status: &Value| status["halted"] == serde_json::json!([]) && status["lag_records"] == 0;
    sender.admin.wait_for("no partition to be halted", PATIENCE, none)?;
    // A link that keeps up is not asked again, not even after a restart.
    drop(sender);
    journal::write(&pair.source, &asks, 0, &[record("k2", None)?])?;
    let sender = files.sender.start()?;
    harness::wait::until_ok("the next deletion to be carried", PATIENCE, || Ok(is_delivered(&asks)?.then_some(())))?;
    ensure!(!halts::is_halted(&sender, &asks, 0)?, "a short restart halts the topic");
    let metric = format!("causeway_receiver_jumps_total{{link=\"{link}\"}}");
    ensure!(receiver.admin.metric(&metric)? == 2.0, "accepted losses are not counted");
    Ok(())
}
