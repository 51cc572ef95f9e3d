//! Frames with shapes between real clusters: a mixed set of topics arrives exactly, and status says what it saved.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::files::LinkFiles;
use harness::pair::Pair;
use harness::record::{self, Record};
use harness::{journal, topics, verify};

const DELIVERED: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;
const RECORDS: i64 = 4_000;

/// Makes the record with a number.
type Make = fn(i64) -> Record;

/// An order as JSON, with every field of a record that may be absent or empty.
fn order(number: i64) -> Record {
    let value = format!(
        "{{\"order\":{number},\"customer\":\"c-{}\",\"total\":{}.{:02},\"at\":\"2026-11-{:02}T10:{:02}:00Z\",\"paid\":{}}}",
        number % 300,
        number * 7 % 900,
        number % 100,
        number % 28 + 1,
        number % 60,
        number % 3 == 0
    );
    let mut order = record::numbered(number, value.into_bytes());
    match number % 50 {
        0 => order.value = None,
        1 => order.value = Some(Vec::new()),
        2 => order.key = None,
        3 => order.key = Some(Vec::new()),
        4 => {
            order.headers =
                vec![("id".into(), Some(b"1".to_vec())), ("a".into(), None), ("id".into(), Some(Vec::new()))]
        }
        _ => order.headers = vec![("trace".into(), Some(format!("00-{number:016x}-01").into_bytes()))],
    }
    order
}

fn log_line(number: i64) -> Record {
    let line = format!("10.0.{}.{} GET /items/{} 200 {}", number % 9, number % 250, number % 400, number * 31 % 9_000);
    record::numbered(number, line.into_bytes())
}

fn noise(number: i64) -> Record {
    record::numbered(number, record::noise(600, number as u64))
}

#[test]
fn mixed_topics_are_carried_exactly_by_their_shapes() -> Result<()> {
    let pair = Pair::shared()?;
    let kinds: [(&str, Make); 3] = [("orders", order), ("log", log_line), ("noise", noise)];
    let mut written = record::Contents::default();
    let mut names = Vec::new();
    for (kind, make) in kinds {
        let topic = topics::create_unique(&pair.source, kind, PARTITIONS)?;
        for partition in 0..PARTITIONS {
            let numbers = 0..RECORDS;
            let records: Vec<_> =
                numbers.map(|number| make(number * i64::from(PARTITIONS) + i64::from(partition))).collect();
            written.merge(&journal::write(&pair.source, &topic, partition, &records)?.written);
        }
        names.push(topic);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut files = LinkFiles::new("shapes", &pair.source, &pair.target, &names)?;
    // Small frames, so that most are made after the templates are known.
    files.sender.set("lanes", "count", "2").set("wan", "rate", "\"16 Mbit/s\"");
    let (_receiver, sender) = files.start()?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    let status = sender.admin.status()?;
    let class = &status["classes"][0];
    ensure!(class["compression"] == "shape:1", "the default: {class}");
    let [raw, sent, shaped] =
        ["raw_bytes", "sent_bytes", "shaped_bytes"].map(|field| class[field].as_u64().unwrap_or_default());
    ensure!(shaped > raw / 4 && sent < raw, "{shaped} of {raw} bytes were shaped, {sent} sent");
    Ok(())
}
