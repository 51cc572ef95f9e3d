//! Cost of a link between real clusters: what its topics take on the wire is what the sockets count, and the producers' own
//! batches are those of the source's log.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::pair::Pair;
use harness::process::Process;
use harness::record::{self, Contents, Record};
use harness::wait::until_ok;
use harness::{command, journal, raw, topics, verify};
use sender::{CostStatus, TopicCost};

const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 2;
/// Records of a batch.
const BATCH: i64 = 100;
/// Price of a gigabyte, before and after it is changed.
const PRICES: [f64; 2] = [0.02, 0.04];

fn order(number: i64) -> Record {
    let total = number * 7 % 900;
    let value = format!("{{\"order\":{number},\"customer\":\"c-{}\",\"total\":{total},\"paid\":true}}", number % 300);
    record::numbered(number, value.into_bytes())
}

fn noise(number: i64) -> Record {
    record::numbered(number, record::noise(800, number as u64))
}

fn cost(sender: &Process) -> Result<CostStatus> {
    Ok(serde_json::from_str(&sender.admin.get("/cost")?)?)
}

/// Waits until nothing is in flight, so that all bytes are shared out, and `topic` has `record_bytes`.
fn done(sender: &Process, topic: &str, record_bytes: u64) -> Result<CostStatus> {
    until_ok(&format!("{record_bytes} bytes of {topic} to be counted"), PATIENCE, || {
        let cost = cost(sender)?;
        let is_counted = cost.topics.iter().any(|one| one.topic == topic && one.record_bytes == record_bytes);
        Ok((is_counted && cost.in_flight_bytes * 1_000 < cost.sent_bytes).then_some(cost))
    })
}

/// Writes this many batches to each partition, one after the other: a fetch that has no room for the next batch would get
/// a part of it, and later all of it. Returns the bytes of all keys and values.
fn write(pair: &Pair, topic: &str, batches: i64, make: fn(i64) -> Record, written: &mut Contents) -> Result<u64> {
    let writer = journal::TopicWriter::connect(&pair.source, topic)?;
    let len = |field: &Option<Vec<u8>>| field.as_ref().map_or(0, Vec::len) as u64;
    let mut bytes = 0;
    for number in 0..batches * i64::from(PARTITIONS) {
        let records: Vec<_> = (number * BATCH..(number + 1) * BATCH).map(make).collect();
        bytes += records.iter().map(|record| len(&record.key) + len(&record.value)).sum::<u64>();
        written.merge(&writer.write((number % i64::from(PARTITIONS)) as i32, &records)?.written);
    }
    verify::wait_until_delivered(written, &pair.target, "{topic}", PATIENCE)?;
    Ok(bytes)
}

fn of<'c>(cost: &'c CostStatus, topic: &str) -> Result<&'c TopicCost> {
    cost.topics.iter().find(|one| one.topic == topic).with_context(|| format!("{topic} is not in {cost:?}"))
}

/// Ensures that two numbers differ by at most so many percent.
fn ensure_close(what: &str, found: f64, wanted: f64, percent: f64) -> Result<()> {
    println!("{what}: {found}, {:+.2} % of {wanted}", (found / wanted - 1.0) * 100.0);
    ensure!((found / wanted - 1.0).abs() * 100.0 <= percent, "{what}: {found} where {wanted} is expected");
    Ok(())
}

#[test]
fn the_topics_make_up_what_the_sockets_count() -> Result<()> {
    let pair = Pair::shared()?;
    let orders = topics::create_unique(&pair.source, "cost-orders", PARTITIONS)?;
    let random = topics::create_unique(&pair.source, "cost-noise", PARTITIONS)?;
    let link = topics::unique("cost");
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&orders, &random])?;
    files.sender.set("cost", "price_per_gb", &PRICES[0].to_string());
    let (_receiver, mut sender) = files.start()?;
    let all_read = |status: &serde_json::Value| status["partitions"] == 2 * PARTITIONS;
    sender.admin.wait_for("all partitions to be read", PATIENCE, all_read)?;
    let before = cost(&sender)?;
    ensure!(before.total.source_bytes.is_none_or(|bytes| bytes < 10_000), "nothing is fetched yet: {before:?}");

    let mut written = Contents::default();
    let orders_bytes = write(&pair, &orders, 50, order, &mut written)?;
    let quiet = done(&sender, &orders, orders_bytes)?;
    let random_bytes = write(&pair, &random, 30, noise, &mut written)?;
    let cost = done(&sender, &random, random_bytes)?;

    // All that was sent for records belongs to their topics, headers and acks with it.
    let topics_bytes: u64 = cost.topics.iter().map(|topic| topic.wire_bytes).sum();
    let sent = cost.sent_bytes - before.sent_bytes;
    ensure_close("bytes of the topics", topics_bytes as f64, sent as f64, 1.0)?;
    let whole = topics_bytes + cost.no_topic_bytes + cost.in_flight_bytes + cost.gone.wire_bytes;
    ensure!(whole == cost.sent_bytes, "{whole} of {cost:?}");
    let socket = sender.admin.status()?["rate"]["sent_bytes"].as_f64().context("no counter")?;
    ensure_close("the sockets' counter", cost.sent_bytes as f64, socket, 1.0)?;
    let frames = sender.admin.status()?["totals"]["frame_bytes"].as_f64().context("no counter")?;
    ensure!(topics_bytes as f64 > frames * 1.015, "headers are shared out: {topics_bytes} for {frames} of frames");

    // Each has what it costs: noise does not shrink, orders do.
    let noise_ratio = of(&cost, &random)?.ratio.context("no ratio")?;
    let orders_ratio = of(&quiet, &orders)?.ratio.context("no ratio")?;
    ensure!((0.85..1.0).contains(&noise_ratio) && orders_ratio > 3.0, "{noise_ratio}, {orders_ratio}");
    let mut logs = 0.0;
    for topic in [&orders, &random] {
        let of_partition = |partition| raw::log_bytes(&pair.source, topic, partition);
        let log = (0..PARTITIONS).map(of_partition).sum::<Result<u64>>()? as f64;
        let source = of(&cost, topic)?.source_bytes.context("the source's bytes are unknown")?;
        // What answers have besides batches is estimated, and small batches have as much of that as of records.
        ensure_close("the producers' batches", source as f64, log, 15.0)?;
        logs += log;
    }
    let source = cost.total.source_bytes.context("the source's bytes are unknown")?;
    ensure_close("the batches of all producers", source as f64, logs, 2.0)?;
    ensure_money(&sender, &link, &cost)?;
    change_price(&files, &mut sender)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}

/// Ensures that the bytes have a price, in the status and in the metrics.
fn ensure_money(sender: &Process, link: &str, cost: &CostStatus) -> Result<()> {
    let TopicCost { wire_bytes, source_bytes, cost: money, saved, .. } = &cost.total;
    let source = source_bytes.context("unknown")? as f64;
    ensure_close("money", money.context("no money")?, *wire_bytes as f64 / 1e9 * PRICES[0], 0.01)?;
    ensure_close("saved", saved.context("unknown")?, (source - *wire_bytes as f64) / 1e9 * PRICES[0], 0.01)?;
    ensure!(cost.total.cost_per_month.is_some_and(|month| month > 0.0), "{cost:?}");
    let shown = command::run_at(sender, &["status", "--cost"])?;
    let scraped = sender.admin.get("/metrics")?;
    for topic in &cost.topics {
        shown.expect(0, &topic.topic)?;
        let labels = format!("{{link=\"{link}\",topic=\"{}\"}}", topic.topic);
        let series = format!("causeway_sender_topic_wire_bytes_total{labels}");
        ensure!(scraped.contains(&series), "{series} is not in {scraped}");
    }
    shown.expect(0, " EUR per month, at the rate of the last ")
}

/// Changes the price of a running sender.
fn change_price(files: &LinkFiles, sender: &mut Process) -> Result<()> {
    let mut changed = files.sender.clone();
    changed.set("cost", "price_per_gb", &PRICES[1].to_string()).set("cost", "currency", "\"USD\"").write()?;
    sender.signal(Signal::Hup);
    until_ok("the new price", PATIENCE, || {
        let cost = cost(sender)?;
        Ok((cost.price_per_gb == Some(PRICES[1]) && cost.currency == "USD").then_some(()))
    })
}
