//! Frames with shapes between real clusters, with state and without: mixed topics arrive exactly, also when both ends are
//! killed, and status says what it saved.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::files::LinkFiles;
use harness::pair::Pair;
use harness::process::Process;
use harness::record::{self, Record};
use harness::{journal, topics, verify};

const DELIVERED: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;
const RECORDS: i64 = 3_000;
/// Bytes that must be in shaped frames at least: a fifth of the orders and log lines of a round.
const SHAPED_MIN: u64 = 400_000;

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
    let kinds =
        kinds.map(|(kind, make)| topics::create_unique(&pair.source, kind, PARTITIONS).map(|topic| (topic, make)));
    let kinds: Vec<(String, Make)> = kinds.into_iter().collect::<Result<_>>()?;
    let names: Vec<&str> = kinds.iter().map(|(topic, _)| topic.as_str()).collect();
    let mut files = LinkFiles::new("shapes", &pair.source, &pair.target, &names)?;
    files.sender.set("lanes", "count", "2");
    // A busy machine would move `auto` to something else.
    files.sender.set("wan", "compression", "\"shape\"");
    let (_receiver, sender) = files.start()?;
    let mut written = record::Contents::default();
    let mut before = 0;
    // The link learns the templates from the first records, however slow the machine is, and uses them for the others.
    // These have no noise, whose frames have blocks, too.
    for round in 0..2 {
        for (topic, make) in &kinds[..kinds.len() - round as usize] {
            for partition in 0..PARTITIONS {
                let numbers = round * RECORDS..(round + 1) * RECORDS;
                let records: Vec<_> =
                    numbers.map(|number| make(number * i64::from(PARTITIONS) + i64::from(partition))).collect();
                written.merge(&journal::write(&pair.source, topic, partition, &records)?.written);
            }
        }
        verify::wait_until_delivered(&written, &pair.target, "{topic}", DELIVERED)?;
        let class = sender.admin.status()?["classes"][0].clone();
        ensure!(class["compression"] == "shape:1" && class["compression_reason"] == "fixed", "{class}");
        let [raw, sent, shaped] =
            ["raw_bytes", "sent_bytes", "shaped_bytes"].map(|field| class[field].as_u64().unwrap_or_default());
        ensure!(class["saved_bytes"].as_u64() == raw.checked_sub(sent), "{class}");
        ensure!(sent < raw && (round == 0 || shaped > before + SHAPED_MIN), "{shaped} of {raw} bytes, {sent} sent");
        before = shaped;
    }
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}

#[test]
fn auto_is_the_default_and_says_what_it_uses_and_why() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "auto", PARTITIONS)?;
    let files = LinkFiles::new("auto", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = files.start()?;
    let mut written = record::Contents::default();
    for partition in 0..PARTITIONS {
        let records: Vec<_> = (0..RECORDS).map(order).collect();
        written.merge(&journal::write(&pair.source, &topic, partition, &records)?.written);
    }
    verify::wait_until_delivered(&written, &pair.target, "{topic}", DELIVERED)?;
    let status = sender.admin.status()?;
    let class = &status["classes"][0];
    let word = |field: &str| class[field].as_str().unwrap_or_default().to_owned();
    ensure!(["start", "bytes", "cpu", "rest", "no-gain"].contains(&word("compression_reason").as_str()), "{class}");
    ensure!(["none", "lz4", "zstd:1", "shape:1", "shape:3"].contains(&word("compression").as_str()), "{class}");
    let number = |field: &str| class[field].as_f64().unwrap_or_default();
    ensure!(number("saved_bytes") == number("raw_bytes") - number("sent_bytes"), "{class}");
    ensure!(number("saved_bytes") > 0.0 && number("compression_cpu_seconds") > 0.0, "{class}");
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}

/// Records of the trickle, which come one by one, and the one from which on both links are measured.
const TRICKLE: i64 = 300;
const KNOWN_FROM: i64 = 100;

/// Small frames of a trickle: below 8 KiB a link without state compresses them by zstd alone, with `shape` too.
#[test]
fn a_trickle_needs_half_of_the_bytes_with_state() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "trickle", PARTITIONS)?;
    let mut links = Vec::new();
    for (name, compression) in [("state", "\"shape\""), ("no-state", "\"zstd\"")] {
        let mut files = LinkFiles::new(&topics::unique(name), &pair.source, &pair.target, &[&topic])?;
        files.receiver.set("[links]", "rename", &format!("\"{name}.{{topic}}\""));
        files.sender.set("wan", "compression", compression);
        let ends = files.start()?;
        links.push((files, ends, format!("{name}.{{topic}}")));
    }
    let writer = journal::TopicWriter::connect(&pair.source, &topic)?;
    let mut written = record::Contents::default();
    let mut sent = Vec::new();
    for number in 0..TRICKLE {
        let records = [trickling(number)];
        let partition = (number % i64::from(PARTITIONS)) as i32;
        written.merge(&writer.write(partition, &records)?.written);
        if number == KNOWN_FROM || number == TRICKLE - 1 {
            for (_, _, rename) in &links {
                verify::wait_until_delivered(&written, &pair.target, rename, DELIVERED)?;
            }
            sent.push(links.iter().map(|(_, (_, sender), _)| sent_bytes(sender)).collect::<Result<Vec<_>>>()?);
        }
    }
    let [with_state, without] = [0, 1].map(|link| sent[1][link] - sent[0][link]);
    println!("{with_state} bytes of frames with state, {without} without: {:.2}", without as f64 / with_state as f64);
    ensure!(with_state > 0 && with_state * 2 <= without, "{with_state} bytes with state, {without} without");
    for (_, _, rename) in &links {
        verify::ensure_exactly_once(&written, &pair.target, rename)?;
    }
    Ok(())
}

/// A record of a trickle: about 300 bytes of JSON.
fn trickling(number: i64) -> Record {
    let value = format!(
        "{{\"order\":{number},\"status\":\"{}\",\"customer\":{{\"id\":\"c-{}\",\"country\":\"{}\",\"segment\":\"retail\"}},\"currency\":\"EUR\",\"total\":{}.{:02},\"items\":{},\"warehouse\":\"fra-{}\",\"created_at\":\"2026-11-30T10:{:02}:{:02}Z\",\"priority\":false,\"source\":\"web-shop\",\"schema\":\"orders.v3\"}}",
        ["open", "paid", "sent"][(number % 3) as usize],
        number * 7_919 % 5_000,
        ["de", "fr", "nl", "pl"][(number % 4) as usize],
        number * 31 % 900,
        number % 100,
        number % 9 + 1,
        number % 5,
        number / 60 % 60,
        number % 60,
    );
    record::numbered(number, value.into_bytes())
}

fn sent_bytes(sender: &Process) -> Result<u64> {
    Ok(sender.admin.status()?["classes"][0]["sent_bytes"].as_u64().unwrap_or_default())
}

/// Kills either end again and again while frames refer to earlier ones.
#[test]
fn kills_of_both_ends_lose_and_double_nothing_with_state() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "state-kills", PARTITIONS)?;
    let mut files = LinkFiles::new(&topics::unique("state-kills"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("wan", "compression", "\"shape\"");
    let (mut receiver, mut sender) = files.start()?;
    let writer = journal::TopicWriter::connect(&pair.source, &topic)?;
    let mut written = record::Contents::default();
    let mut number = 0;
    for round in 0..6 {
        for _ in 0..25 {
            let records: Vec<_> = (number..number + 1 + number % 5).map(trickling).collect();
            number += records.len() as i64;
            let partition = (number % i64::from(PARTITIONS)) as i32;
            written.merge(&writer.write(partition, &records)?.written);
        }
        // Half of the rounds in the middle of what was written last.
        if round % 2 == 0 {
            verify::wait_until_delivered(&written, &pair.target, "{topic}", DELIVERED)?;
            let shaped = sender.admin.status()?["classes"][0]["shaped_bytes"].as_u64().unwrap_or_default();
            ensure!(round == 0 || shaped > 0, "no block has a template");
        }
        if round % 3 < 2 {
            receiver.kill();
            receiver = files.receiver.start()?;
        }
        if round % 3 > 0 {
            sender.kill();
            sender = files.sender.start()?;
        }
    }
    verify::wait_until_delivered(&written, &pair.target, "{topic}", DELIVERED)?;
    let log = sender.log()? + &receiver.log()?;
    ensure!(!log.contains("STATE_LOST"), "a state was lost: {log}");
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}
