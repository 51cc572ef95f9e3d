//! Transactions that a producer of the source leaves open: readers of committed records wait before them.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::command::run;
use harness::files::LinkFiles;
use harness::pair::Pair;
use harness::record::small;
use harness::{journal, topics, verify};
use rdkafka::producer::Producer;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn open_transaction_is_shown_with_its_age_until_it_ends() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "open", 1)?;
    let link = topics::unique("open");
    let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = files.start()?;
    let producer = journal::leave_open(&pair.source, &topic)?;
    let behind = journal::write(&pair.source, &topic, 0, &small(0..4))?.written;
    let age = |status: &Value| status["source_transactions_open"][0]["seconds"].as_f64();
    let status = sender.admin.wait_for("the transaction to be shown", PATIENCE, |status| age(status).is_some())?;
    ensure!(age(&status).is_some_and(|age| (10.0..20.0).contains(&age)), "{status}");
    ensure!(status["source_transactions_open"][0]["held_back"] == 5 && status["lag_records"] == 5, "{status}");
    let metric = format!("causeway_sender_source_transaction_open_seconds{{link={link:?}}}");
    ensure!(sender.admin.metric(&metric)? >= 10.0, "the metric shows another age");
    let shown = run(&["status", &sender.admin.address().to_string()])?.printed;
    ensure!(shown.contains("source-transaction-open"), "{shown}");

    producer.abort_transaction(PATIENCE)?;
    verify::wait_until_delivered(&behind, &pair.target, "{topic}", PATIENCE)?;
    sender.admin.wait_for("the transaction to be gone", PATIENCE, |status| age(status).is_none()).map(drop)
}
