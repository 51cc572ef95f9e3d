//! Records arrive byte for byte, with every content that Kafka allows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::pair::Pair;
use harness::raw::{self, RawRecord};
use harness::reader::{Isolation, read};
use harness::record::Record;
use harness::{journal, topics, verify, wait};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const DELIVERED: Duration = Duration::from_secs(120);

/// Topic settings: uncompressed, so that [`raw`] can read the batches; any timestamp is accepted, and no record
/// expires.
const CONFIGS: &[(&str, &str)] = &[
    ("compression.type", "uncompressed"),
    ("retention.ms", "-1"),
    ("max.message.bytes", "10485760"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
];

fn bytes(max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some(Vec::new())),
        6 => vec(any::<u8>(), 0..max).prop_map(Some),
    ]
}

/// Headers with few different keys, so that they repeat within a record. Keys are any bytes but NUL.
fn header() -> impl Strategy<Value = (Vec<u8>, Option<Vec<u8>>)> {
    let key = prop_oneof![
        Just(Vec::new()),
        Just(b"trace-id".to_vec()),
        Just("h\u{e9}ader".as_bytes().to_vec()),
        Just(vec![0xff, 0xfe, 0x80]),
        vec(1..=u8::MAX, 1..20),
    ];
    (key, bytes(40))
}

/// Timestamps: none, long ago, now, far in the future. Other tests have 0 and times before 1970.
fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(-1),
        Just(1),
        Just(946_684_800_000),
        Just(253_402_300_799_999),
        1_600_000_000_000..1_900_000_000_000i64,
    ]
}

fn record() -> impl Strategy<Value = RawRecord> {
    (timestamp(), bytes(200), bytes(4_000), option::of(vec(header(), 0..6))).prop_map(
        |(timestamp, key, value, headers)| RawRecord { timestamp, key, value, headers: headers.unwrap_or_default() },
    )
}

/// Waits until the target's partition has this number of records, and returns them.
fn arrived(target: &Cluster, topic: &str, partition: i32, count: usize) -> Result<Vec<RawRecord>> {
    wait::until(&format!("{count} records in {topic}/{partition}"), DELIVERED, || {
        raw::fetch(target, topic, partition).ok().filter(|records| records.len() >= count)
    })
}

#[test]
fn every_field_arrives_byte_for_byte() -> Result<()> {
    const PARTITIONS: i32 = 12;
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "bytes", PARTITIONS, CONFIGS)?;
    let files = LinkFiles::new("bytes", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, _sender) = files.start()?;
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let mut written = Vec::new();
    for partition in 0..PARTITIONS {
        let mut records = Vec::new();
        for _ in 0..4 {
            let batch = vec(record(), 1..100).new_tree(&mut runner).map_err(anyhow::Error::msg)?.current();
            raw::append(&pair.source, &topic, partition, &batch)?;
            records.extend(batch);
        }
        written.push(records);
    }
    for (partition, records) in (0..).zip(&written) {
        let found = arrived(&pair.target, &topic, partition, records.len())?;
        for (at, (written, found)) in records.iter().zip(&found).enumerate() {
            ensure!(written == found, "record {at} of partition {partition} was {written:?}, is {found:?}");
        }
        ensure!(found.len() == records.len(), "{} records became {}", records.len(), found.len());
    }
    Ok(())
}

/// No client library writes such a timestamp, but brokers accept one in a batch that they do not compress themselves.
#[test]
fn timestamps_before_1970_arrive() -> Result<()> {
    let pair = Pair::shared()?;
    let kept: Vec<_> = CONFIGS.iter().copied().filter(|(key, _)| *key != "compression.type").collect();
    let topic = topics::create_unique_with(&pair.source, "before", 1, &kept)?;
    let files = LinkFiles::new("before", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, _sender) = files.start()?;
    let record = |timestamp| RawRecord { timestamp, key: None, value: Some(vec![7]), headers: Vec::new() };
    raw::append(&pair.source, &topic, 0, &[-5, -86_400_000, -2_208_988_800_000].map(record))?;
    let expected = read(&pair.source, &[&topic], Isolation::Committed)?;
    ensure!(expected.len() == 3, "the source has {} records", expected.len());
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    Ok(())
}

#[test]
fn records_of_8_mib_arrive() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "large", 2, CONFIGS)?;
    let files = LinkFiles::new("large", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, _sender) = files.start()?;
    let mut rng = StdRng::seed_from_u64(8);
    let mut record = |size: usize, timestamp| {
        let mut value = vec![0; size];
        rng.fill_bytes(&mut value);
        Record { key: Some(b"large".to_vec()), value: Some(value), headers: Vec::new(), timestamp }
    };
    let sizes = [8 << 20, 10, 8 << 20, (8 << 20) + 1, 0, 1 << 20];
    let records: Vec<Record> = sizes.into_iter().zip(1_700_000_000_000..).map(|(size, at)| record(size, at)).collect();
    let journal = journal::write(&pair.source, &topic, 0, &records)?;
    verify::wait_until_delivered(&journal.written, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal.written, &pair.target, "{topic}")?;
    Ok(())
}

/// The only two losses: librdkafka writes the current time in place of a timestamp of 0, and returns header keys only
/// up to their first NUL. The receiver counts the first; nothing can see the second.
#[test]
fn timestamp_0_becomes_1_ms_and_header_keys_end_at_nul() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "known", 1, CONFIGS)?;
    let files = LinkFiles::new("known", &pair.source, &pair.target, &[&topic])?;
    let (receiver, _sender) = files.start()?;
    let record = |timestamp, header: &[u8]| RawRecord {
        timestamp,
        key: None,
        value: Some(b"value".to_vec()),
        headers: vec![(header.to_vec(), Some(b"kept".to_vec()))],
    };
    let batch = [record(0, b"plain"), record(5, b"n\0ul"), record(0, b"plain"), record(1, b"plain")];
    raw::append(&pair.source, &topic, 0, &batch)?;
    let found = arrived(&pair.target, &topic, 0, batch.len())?;
    ensure!(found == [record(1, b"plain"), record(5, b"n"), record(1, b"plain"), record(1, b"plain")], "{found:?}");
    let status =
        receiver.admin.wait_for("the counts", DELIVERED, |status| status["links"][0]["counts"]["records"] == 4)?;
    let altered = status["links"][0]["counts"]["timestamps_altered"].as_u64().context("not counted")?;
    ensure!(altered == 2, "{altered} timestamps altered");
    Ok(())
}
