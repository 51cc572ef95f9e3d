//! Other programs that write to the target topics of a link: every record that readers see is counted, and nothing else.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::files::LinkFiles;
use harness::journal::Load;
use harness::pair::Pair;
use harness::{topics, verify};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Producer of another program.
#[derive(Debug, Clone, Copy)]
enum Other {
    Plain,
    Idempotent,
    Committed,
    Aborted,
}

/// Writes records to one target partition, as another program does.
fn write_as(pair: &Pair, other: Other, topic: &str, partition: i32, count: usize) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", pair.target.bootstrap()).set("acks", "all");
    let is_transactional = matches!(other, Other::Committed | Other::Aborted);
    if matches!(other, Other::Idempotent) {
        config.set("enable.idempotence", "true");
    }
    if is_transactional {
        config.set("transactional.id", topics::unique("other"));
    }
    let producer: BaseProducer = config.create()?;
    if is_transactional {
        producer.init_transactions(PATIENCE)?;
        producer.begin_transaction()?;
    }
    for _ in 0..count {
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(b"other");
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(PATIENCE)?;
    match other {
        Other::Committed => producer.commit_transaction(PATIENCE)?,
        Other::Aborted => producer.abort_transaction(PATIENCE)?,
        Other::Plain | Other::Idempotent => {}
    }
    Ok(())
}

fn foreign(status: &Value) -> &Value {
    &status["links"][0]["foreign_writes"]
}

/// Returns whether everything was read, with this number of records.
fn has_found(status: &Value, records: u64) -> bool {
    let found = foreign(status);
    found["records"] == records && found["waiting"] == 0
}

#[test]
fn records_of_other_programs_in_the_target_are_counted() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "foreign", 2)?;
    let link = topics::unique("foreign");
    let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    let (mut receiver, _sender) = files.start()?;
    let load = Load::new(&topic, 2).rate(500).value_max(100).start(&pair.source)?;
    let carried = |more: u64| {
        move |status: &Value| status["links"][0]["counts"]["records"].as_u64().is_some_and(|records| records > more)
    };
    let committed = |status: &Value| status["links"][0]["counts"]["records"].as_u64().unwrap_or_default();
    receiver.admin.wait_for("records to be committed", PATIENCE, carried(500))?;
    receiver.admin.wait_for("no foreign records", PATIENCE, |status| has_found(status, 0))?;

    // Records between the link's transactions and within them: it writes all the time.
    let mut expected = 0;
    for (other, partition, count, are_seen) in [
        (Other::Plain, 0, 3, true),
        (Other::Aborted, 1, 5, false),
        (Other::Idempotent, 0, 1, true),
        (Other::Committed, 1, 4, true),
        (Other::Aborted, 0, 1, false),
        (Other::Plain, 1, 1, true),
    ] {
        write_as(&pair, other, &topic, partition, count)?;
        expected += if are_seen { count as u64 } else { 0 };
        let status = receiver.admin.status()?;
        receiver.admin.wait_for("further records", PATIENCE, carried(committed(&status) + 500))?;
        receiver
            .admin
            .wait_for("the records to be found", PATIENCE, |status| has_found(status, expected))
            .with_context(|| format!("{count} records: {other:?}"))?;
    }
    let status = receiver.admin.status()?;
    let found = foreign(&status);
    ensure!(found["unread"] == 0 && found["partitions_count"] == 2, "{found}");
    ensure!(found["partitions"][0]["records"] == 4 && found["partitions"][1]["records"] == 5, "{found}");
    let trouble = format!("other programs wrote 9 records to 2 target partitions, such as {topic}/0@");
    ensure!(status["links"][0]["trouble"].to_string().contains(&trouble), "{status:#}");
    let metric = format!("causeway_receiver_foreign_records{{link=\"{link}\"}}");
    ensure!(receiver.admin.metric(&metric)? == 9.0, "{metric}");

    // What is written while no receiver runs is found with the first transactions of the next.
    receiver.kill();
    write_as(&pair, Other::Plain, &topic, 0, 7)?;
    receiver = files.receiver.start()?;
    receiver.admin.wait_for("the records to be found", PATIENCE, |status| {
        // Some of those before were in the newest ranges.
        foreign(status)["records"].as_u64().is_some_and(|records| records >= 7) && foreign(status)["waiting"] == 0
    })?;
    let records = foreign(&receiver.admin.status()?)["records"].clone();
    println!("{records} records are known after the restart");
    load.stop()?;
    Ok(())
}

#[test]
fn aborted_transactions_of_the_link_are_no_foreign_records() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "own", 3)?;
    let files = LinkFiles::new(&topics::unique("own"), &pair.source, &pair.target, &[&topic])?;
    let (mut receiver, _sender) = files.start()?;
    let load = Load::new(&topic, 3).rate(3_000).value_max(300).start(&pair.source)?;
    let flows =
        |status: &Value| status["links"][0]["counts"]["records"].as_u64().is_some_and(|records| records > 2_000);
    for _ in 0..4 {
        receiver.admin.wait_for("records to be committed", PATIENCE, flows)?;
        receiver.kill();
        receiver = files.receiver.start()?;
    }
    receiver.admin.wait_for("records to be committed", PATIENCE, flows)?;
    let journal = load.stop()?;
    verify::wait_until_delivered(&journal.written, &pair.target, "{topic}", PATIENCE)?;
    let status = receiver.admin.wait_for("all gaps to be read", PATIENCE, |status| has_found(status, 0))?;
    ensure!(foreign(&status)["unread"] == 0, "{status:#}");
    Ok(())
}
