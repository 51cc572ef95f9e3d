//! Records that the target, or the receiver's memory, cannot take. The partition halts exactly there, the others
//! continue, and an operator decides what happens to the record.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::halts::{self, jumps};
use harness::journal::Load;
use harness::latency::Latencies;
use harness::pair::Pair;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::{Contents, Record, noise, numbered, small};
use harness::{journal, topics, verify, wait};
use hdrhistogram::Histogram;

const PATIENCE: Duration = Duration::from_secs(60);

/// Times that the receiver opened a lane again after a failed transaction.
fn reopens(receiver: &Process) -> Result<Option<u64>> {
    Ok(receiver.admin.status()?["links"][0]["counts"]["recoveries"].as_u64())
}

#[test]
fn too_large_record_halts_exactly_there_until_skipped() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "poison", 2, &[("max.message.bytes", "2000000")])?;
    // The target accepts smaller records than the source.
    topics::create(&pair.target, &topic, 2, &[("max.message.bytes", "20000")])?;
    let mut files = LinkFiles::new(&topics::unique("poison"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    // Written before the link runs, so that good records and the bad one share a batch.
    let records = [small(0..40), vec![numbered(40, noise(50_000, 1))], small(41..100)].concat();
    let mut written = journal::write(&pair.source, &topic, 0, &records)?.written;
    written.merge(&journal::write(&pair.source, &topic, 1, &small(0..100))?.written);
    let (mut receiver, mut sender) = files.start()?;

    halts::expect(&sender, &topic, 0, "record-rejected", 40)?;
    verify::wait_until_delivered(&written.only(&topic, 1), &pair.target, "{topic}", PATIENCE)?;
    let carried = read(&pair.target, &[&topic], Isolation::Committed)?.partition(&topic, 0).len();
    ensure!(carried == 40, "{carried} records arrived before the rejected one");
    let times = reopens(&receiver)?;
    // In its batch, alone, and alone with zstd.
    ensure!(times.is_some_and(|times| (1..=3).contains(&times)), "the lane was opened again {times:?} times");

    // The new processes know of the halt only from the stored state.
    receiver.kill();
    sender.kill();
    let (receiver, sender) = files.start()?;
    halts::expect(&sender, &topic, 0, "record-rejected", 40)?;
    let frames = sender.admin.status()?["totals"]["frames"].as_u64();
    ensure!(frames == Some(0), "the rejected record crossed the WAN again, in {frames:?} frames");
    ensure!(reopens(&receiver)? == Some(0), "a lane was opened again");

    // The record is still there: a resume without `--skip` halts again.
    let partition = format!("{topic}/0");
    halts::resume(&sender, &[&partition])?;
    let is_sent = |status: &serde_json::Value| status["totals"]["frames"].as_u64() > Some(0);
    sender.admin.wait_for("the record to cross the WAN again", PATIENCE, is_sent)?;
    halts::expect(&sender, &topic, 0, "record-rejected", 40)?;

    run_at(&receiver, &["resume", &partition])?.expect(1, "this is a receiver")?;
    run_at(&sender, &["resume", &format!("{topic}/1")])?.expect(1, "it is not halted")?;
    halts::resume(&sender, &[&partition, "--skip"])?;
    written.merge(&journal::write(&pair.source, &topic, 0, &small(100..120))?.written);
    let expected = written.without(&topic, 0, 40);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let jumps = jumps(&receiver)?;
    let [resumed, skipped] = &jumps[..] else { anyhow::bail!("two jumps are expected: {jumps:?}") };
    ensure!(resumed.is_between(40, 40) && resumed.reason() == "operator: resume", "{resumed:?}");
    ensure!(skipped.is_between(40, 41) && skipped.reason() == "operator: resume --skip", "{skipped:?}");
    ensure!(skipped.halt_reason() == "record-rejected", "{skipped:?}");
    Ok(())
}

#[test]
fn record_that_fits_with_another_codec_is_carried() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "codec", 1, &[("max.message.bytes", "2000000")])?;
    topics::create(&pair.target, &topic, 1, &[("max.message.bytes", "150000")])?;
    // lz4 finds no repetition that is further away than 64 KiB, zstd does.
    let repeats = numbered(3, noise(100_000, 1).repeat(3));
    let records = [small(0..3), vec![repeats], small(4..6), vec![numbered(6, noise(300_000, 2))], small(7..9)].concat();
    let written = journal::write(&pair.source, &topic, 0, &records)?.written;
    let files = LinkFiles::new(&topics::unique("codec"), &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = files.start()?;
    let detail = halts::expect(&sender, &topic, 0, "record-rejected", 6)?;
    let expected =
        format!("was tried with lz4 and zstd, and `max.message.bytes` of {topic} is 150000, at source offset 6");
    ensure!(detail.starts_with("Broker: Message size too large: it has 300"), "{detail}");
    ensure!(detail.ends_with(&expected), "{detail}");
    halts::resume(&sender, &[&format!("{topic}/0"), "--skip"])?;
    let expected = written.without(&topic, 0, 6);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    Ok(())
}

#[test]
fn too_large_batches_become_smaller_and_halt_nothing() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "batches", 1, &[])?;
    topics::create(&pair.target, &topic, 1, &[("max.message.bytes", "20000")])?;
    let records: Vec<_> = (0..400).map(|n| numbered(n, noise(500, n as u64 + 1))).collect();
    let mut expected = journal::write(&pair.source, &topic, 0, &records)?.written;
    let files = LinkFiles::new(&topics::unique("batches"), &pair.source, &pair.target, &[&topic])?;
    let (receiver, sender) = files.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    // Each refused batch halves the size of the next: a few more reopens, and then none.
    let more: Vec<_> = (400..800).map(|n| numbered(n, noise(500, n as u64 + 1))).collect();
    expected.merge(&journal::write(&pair.source, &topic, 0, &more)?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let times = reopens(&receiver)?;
    ensure!(times.is_some_and(|times| (1..=8).contains(&times)), "the lane was opened again {times:?} times");
    ensure!(sender.admin.status()?["halted"].as_array().is_some_and(Vec::is_empty), "a partition is halted");
    Ok(())
}

#[test]
fn refused_timestamps_halt_exactly_there() -> Result<()> {
    let pair = Pair::shared()?;
    // A broker that compresses batches itself fails on a negative timestamp, and its error does not name the record.
    let negative = topics::create_unique_with(&pair.source, "negative", 1, &[("retention.ms", "-1")])?;
    topics::create(&pair.target, &negative, 1, &[("compression.type", "gzip")])?;
    let old = topics::create_unique_with(&pair.source, "old", 1, &[("retention.ms", "-1")])?;
    topics::create(&pair.target, &old, 1, &[("message.timestamp.before.max.ms", "315360000000")])?;
    let mut expected = Contents::default();
    for (topic, timestamp) in [(&negative, -5), (&old, 1_000_000)] {
        let refused = Record { timestamp, ..numbered(3, b"value".to_vec()) };
        let records = [small(0..3), vec![refused], small(4..8)].concat();
        let written = journal::write(&pair.source, topic, 0, &records)?.written;
        expected.merge(&written.without(topic, 0, 3));
    }
    let files = LinkFiles::new(&topics::unique("stamps"), &pair.source, &pair.target, &[&negative, &old])?;
    let (_receiver, sender) = files.start()?;
    for (topic, reason) in [
        (&negative, "Unknown broker error"),
        (
            &old,
            "Broker: Invalid timestamp: it is outside message.timestamp.before.max.ms or \
                message.timestamp.after.max.ms of the topic",
        ),
    ] {
        let detail = halts::expect(&sender, topic, 0, "record-rejected", 3)?;
        ensure!(detail == format!("{reason}, at source offset 3"), "{detail:?}");
        halts::resume(&sender, &[&format!("{topic}/0"), "--skip"])?;
    }
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    Ok(())
}

#[test]
fn refused_record_without_a_key_is_named_exactly() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "keyless", 1)?;
    topics::create(&pair.target, &topic, 1, &[("cleanup.policy", "compact")])?;
    // More than one, so that the broker names them in a batch first.
    let keyless = |number| Record { key: None, ..numbered(number, b"value".to_vec()) };
    let records = [small(0..3), vec![keyless(3)], small(4..6), vec![keyless(6)], small(7..9)].concat();
    let written = journal::write(&pair.source, &topic, 0, &records)?.written;
    let files = LinkFiles::new(&topics::unique("keyless"), &pair.source, &pair.target, &[&topic])?;
    let (receiver, sender) = files.start()?;
    let partition = format!("{topic}/0");
    for offset in [3, 6] {
        let detail = halts::expect(&sender, &topic, 0, "record-rejected", offset)?;
        let expected = format!(
            "Broker: Broker failed to validate record: it has no key, and a compacted topic requires one, at source \
             offset {offset}"
        );
        ensure!(detail == expected, "{detail:?}");
        halts::resume(&sender, &[&partition, "--skip"])?;
    }
    let expected = written.without(&topic, 0, 3).without(&topic, 0, 6);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let jumps = jumps(&receiver)?;
    let [first, second] = &jumps[..] else { anyhow::bail!("two jumps are expected: {jumps:?}") };
    ensure!(first.is_between(3, 4) && second.is_between(6, 7), "{jumps:?}");
    Ok(())
}

#[test]
fn policy_skips_a_rejected_record() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "skipped", 1)?;
    topics::create(&pair.target, &topic, 1, &[("max.message.bytes", "20000")])?;
    let records = [small(0..10), vec![numbered(10, noise(50_000, 1))], small(11..20)].concat();
    let written = journal::write(&pair.source, &topic, 0, &records)?.written;
    let mut expected = written.without(&topic, 0, 10);
    let mut files = LinkFiles::new(&topics::unique("policies"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("[policies]", "topics", &format!("[{topic:?}]")).set("[policies]", "policy", "\"skip\"");
    // The first entry that names a topic is in effect for it.
    files.sender.set("[policies]#2", "topics", "[\".*\"]").set("[policies]#2", "policy", "[\"new-incarnation\"]");
    let (receiver, sender) = files.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    expected.merge(&journal::write(&pair.source, &topic, 0, &small(20..30))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let jump = halts::only_jump(&receiver)?;
    ensure!(jump.reason() == "policy: skip", "{jump:?}");
    let is_empty = |status: &serde_json::Value| status["halted"].as_array().is_some_and(Vec::is_empty);
    sender.admin.wait_for("no halts", PATIENCE, is_empty).map(drop)
}

/// Makes 20,000 records, half of them without a key: 5,000 in a row, then every second one.
fn half_without_keys() -> Vec<Record> {
    let has_key = |number: &i64| *number >= 15_000 || (*number >= 5_000 && number % 2 == 1);
    let record = |number| {
        let record = numbered(number, format!("value {number}").into_bytes());
        Record { key: record.key.filter(|_| has_key(&number)), ..record }
    };
    (0..20_000).map(record).collect()
}

#[test]
fn policy_skips_thousands_of_refused_records_in_seconds() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "many-refused", 1)?;
    topics::create(&pair.target, &topic, 1, &[("cleanup.policy", "compact")])?;
    let neighbour = topics::create_unique(&pair.source, "neighbour", 1)?;
    topics::create(&pair.target, &neighbour, 1, &[])?;
    let mut files = LinkFiles::new(&topics::unique("many"), &pair.source, &pair.target, &[&topic, &neighbour])?;
    files.sender.set("lanes", "count", "1");
    files.sender.set("[policies]", "topics", &format!("[{topic:?}]")).set("[policies]", "policy", "\"skip\"");
    let mut expected = journal::write(&pair.source, &topic, 0, &small(0..1))?.written;
    let (receiver, sender) = files.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    let latencies = Latencies::start(&pair.target, &neighbour, 1)?;
    let load = Load::new(&neighbour, 1).rate(100).value_max(100).stamped_now().start(&pair.source)?;
    // The first records wait for the writer's connections.
    wait::until("the writer to be connected", PATIENCE, || (load.acknowledged() > 200).then_some(()))?;
    let connected = journal::millis_now();
    wait::until("the neighbour's normal latency", PATIENCE, || (load.acknowledged() > 600).then_some(()))?;

    let records = half_without_keys();
    let began = Instant::now();
    let began_at = journal::millis_now();
    let written = journal::write(&pair.source, &topic, 0, &records)?.written;
    let wrote = began.elapsed();
    for (record, entry) in records.iter().zip(written.partition(&topic, 0)) {
        if record.key.is_some() {
            expected.add(&topic, 0, *entry);
        }
    }
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    let took = began.elapsed();
    let neighbours = load.stop()?.written;
    verify::wait_until_delivered(&neighbours, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let p99 = |delays: Histogram<u64>| delays.value_at_quantile(0.99);
    let before = p99(latencies.between(connected, began_at)?);
    let [_, during] = latencies.finish_split(began_at)?.map(p99);

    let counts = receiver.admin.status()?["links"][0]["counts"].clone();
    let sent = sender.admin.status()?["totals"]["records"].as_u64();
    let rate = 10_000.0 / took.as_secs_f64();
    println!(
        "{rate:.0} records per second left out, written in {wrote:.1?}; neighbour's p99 {during} ms, normal {before} ms; {counts}"
    );
    ensure!(counts["skipped"] == 10_000, "{counts}");
    ensure!(counts["halts"] == 0, "the sender had to lift halts: {counts}");
    ensure!(sent == Some((1 + records.len() + neighbours.len()) as u64), "{sent:?} records were sent");
    // One transaction that fails and one that is committed for each batch that the broker names. How long a failed one takes
    // is the broker's: on two cores the neighbour waited between 1 and 3.6 s, of the 10,000 records that are left out.
    ensure!(rate >= 1_000.0 && during <= before + 8_000, "too slow");
    let jumps = jumps(&receiver)?;
    let jump = jumps.first().context("no entry in the log of jumps")?;
    let is_first = jump.from() == Some(1) && jump.reason().starts_with("policy: skip, ");
    ensure!(is_first && jump.halt_reason() == "record-rejected", "{jump:?}");
    Ok(())
}

#[test]
fn record_beyond_the_credit_halts_there_until_memory_is_raised() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "huge", 2)?;
    let mut files = LinkFiles::new(&topics::unique("huge"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    // Three links share the smallest memory that is allowed, which leaves 6 MB for one record.
    files.receiver.set("", "memory", "\"64 MiB\"");
    for number in 2..4 {
        let table = format!("[links]#{number}");
        files.receiver.set(&table, "name", &format!("\"other-{number}\""));
        files.receiver.set(&table, "senders", "[\"sender.test\"]");
    }
    let records = [small(0..5), vec![numbered(5, noise(8_000_000, 1))], small(6..10)].concat();
    let mut written = journal::write(&pair.source, &topic, 0, &records)?.written;
    let neighbour = journal::write(&pair.source, &topic, 1, &small(0..10))?.written;
    let (mut receiver, mut sender) = files.start()?;
    halts::wait_for(&sender, &topic, 0, "record-too-large")?;
    verify::wait_until_delivered(&neighbour, &pair.target, "{topic}", PATIENCE)?;

    sender.kill();
    receiver.kill();
    files.receiver.set("", "memory", "\"512 MiB\"");
    let (_receiver, sender) = files.start()?;
    // More memory does not end the halt: an operator does.
    halts::expect(&sender, &topic, 0, "record-too-large", 5)?;
    halts::resume(&sender, &[&format!("{topic}/0")])?;
    written.merge(&neighbour);
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}
