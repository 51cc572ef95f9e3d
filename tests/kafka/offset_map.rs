//! Offset maps: `causeway translate` compared with every record of the source and of the target.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::{Process, binary};
use harness::reader::{Isolation, read};
use harness::record::{Contents, small};
use harness::{compaction, topics, verify, wait};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;
/// Records that are carried at least; `CAUSEWAY_MAP_RECORDS` states another number.
const RECORDS: u64 = 10_000;
/// The receiver is killed after each of these parts but the last.
const PARTS: u64 = 4;

/// Offset and its counterpart, of every record of a partition.
type Pairs = BTreeMap<i64, i64>;

/// Translates offsets that standard input has. Returns the state and the offset of each answer.
fn translate(receiver: &Process, arguments: &[&str], offsets: &[String]) -> Result<Vec<(String, Option<i64>)>> {
    let address = receiver.admin.address().to_string();
    let mut command = Command::new(binary()?);
    command.args(["translate", "--json", "--admin", &address]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("no input")?;
    let text = offsets.join("\n");
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    writer.join().expect("the writer does not panic")?;
    let mut answers = Vec::new();
    for (line, asked) in String::from_utf8(output.stdout)?.lines().zip(offsets) {
        let answer: Value = serde_json::from_str(line)?;
        ensure!(answer["asked"] == **asked, "{answer} is not the answer to {asked}");
        answers.push((answer["state"].as_str().unwrap_or_default().to_owned(), answer["offset"].as_i64()));
    }
    ensure!(answers.len() == offsets.len(), "{} answers to {} offsets", answers.len(), offsets.len());
    Ok(answers)
}

/// Compares the translation of all offsets from `from` to the last record of a partition with the truth. Returns how many
/// they are.
fn compare(receiver: &Process, arguments: &[&str], partition: &str, from: i64, pairs: &Pairs) -> Result<usize> {
    let (last, _) = pairs.last_key_value().context("no records")?;
    let offsets: Vec<_> = (from..=*last).map(|offset| format!("{partition}@{offset}")).collect();
    let answers = translate(receiver, arguments, &offsets)?;
    for ((state, found), offset) in answers.iter().zip(from..) {
        let (at, other) = pairs.range(offset..).next().context("beyond the last record")?;
        let expected = if *at == offset { "record" } else { "no-record" };
        ensure!(
            state == expected && *found == Some(*other),
            "{partition}@{offset} is {state} at {found:?}, expected was {expected} at {other}"
        );
    }
    Ok(offsets.len())
}

/// Writes a record of another program to the target.
fn write_as_another(pair: &Pair, topic: &str, timestamp: i64) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", pair.target.bootstrap()).create()?;
    let record = BaseRecord::<[u8], [u8]>::to(topic).partition(0).payload(b"other").timestamp(timestamp);
    producer.send(record).map_err(|(error, _)| error)?;
    Ok(producer.flush(PATIENCE)?)
}

/// Returns where each record of a partition went: records arrive in order, so that the numbers of both are the same.
fn pairs(source: &Contents, target: &Contents, topic: &str, partition: i32) -> Result<Pairs> {
    let written = source.partition(topic, partition);
    let arrived = target.partition(topic, partition);
    ensure!(written.len() == arrived.len(), "{} records, {} arrived", written.len(), arrived.len());
    let same = written.iter().zip(arrived).all(|(written, arrived)| written.digest == arrived.digest);
    ensure!(same, "partition {partition} differs");
    Ok(written.iter().zip(arrived).map(|(written, arrived)| (written.offset, arrived.offset)).collect())
}

/// Writes void records to every partition of the target's topic, as an attempt that was aborted does: offsets shift while
/// the link writes.
fn abort_in_target(pair: &Pair, topic: &str) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", pair.target.bootstrap()).set("transactional.id", topics::unique("void"));
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(PATIENCE)?;
    for _ in 0..3 {
        producer.begin_transaction()?;
        for partition in 0..PARTITIONS {
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(b"void");
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(PATIENCE)?;
        producer.abort_transaction(PATIENCE)?;
    }
    Ok(())
}

/// Makes a topic of which compaction has removed records, and does not remove any more.
fn create_with_holes(pair: &Pair) -> Result<(String, Contents)> {
    let topic = topics::create_unique_with(&pair.source, "map", PARTITIONS, &compaction::SETTINGS)?;
    let mut contents = Contents::default();
    for partition in 0..PARTITIONS {
        contents = compaction::write_with_holes(&pair.source, &topic, partition, PATIENCE)?;
    }
    topics::configure(&pair.source, &topic, "cleanup.policy", "delete")?;
    // The cleaner may be at work still.
    wait::until_ok("the end of compaction", PATIENCE, || {
        let former = std::mem::replace(&mut contents, read(&pair.source, &[&topic], Isolation::Committed)?);
        Ok((former == contents).then_some(()))
    })?;
    Ok((topic, contents))
}

#[test]
fn every_record_is_where_translate_says() -> Result<()> {
    let pair = Pair::shared()?;
    let records = std::env::var("CAUSEWAY_MAP_RECORDS").map_or(Ok(RECORDS), |text| text.parse())?;
    let patience = PATIENCE + Duration::from_millis(records / 2);
    let (topic, old) = create_with_holes(&pair)?;
    let link = topics::unique("map");
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    let (mut receiver, mut sender) = files.start()?;
    let load = Load::new(&topic, PARTITIONS).rate(4_000.max(u32::try_from(records / 40)?));
    let load = load.value_max(200).transactional(25).start(&pair.source)?;
    let committed = |status: &Value| status["links"][0]["counts"]["records"].as_u64() > Some(records / PARTS);
    let moves =
        |receiver: &Process| receiver.admin.metric(&format!("causeway_receiver_moves_total{{link=\"{link}\"}}"));
    let mut moved = 0.0;
    for part in 1..PARTS {
        receiver.admin.wait_for("records to be committed", patience, committed)?;
        abort_in_target(&pair, &topic)?;
        moved += moves(&receiver)?;
        receiver.kill();
        receiver = files.receiver.start()?;
        if part == 2 {
            // Its partitions move to lanes of another class.
            sender.kill();
            files.sender.set("[classes]", "name", "\"moved\"").set("[classes]", "topics", &format!("[{topic:?}]"));
            sender = files.sender.start()?;
        }
    }
    receiver.admin.wait_for("records to be committed", patience, committed)?;
    ensure!(moved + moves(&receiver)? >= f64::from(PARTITIONS), "the partitions were not moved");
    let mut journal = load.stop()?;
    journal.written.merge(&old);
    verify::wait_until_delivered(&journal.written, &pair.target, "{topic}", patience)?;
    ensure!(journal.aborted > 0, "no transaction was aborted at the source");
    let blocks = read(&pair.target, &[&format!("__causeway.{link}.map")], Isolation::Committed)?.len();
    ensure!(blocks > 3, "{blocks} blocks: the map is too short to test them");

    let source = read(&pair.source, &[&topic], Isolation::Committed)?;
    let target = read(&pair.target, &[&topic], Isolation::Committed)?;
    let mut compared = 0;
    for partition in 0..PARTITIONS {
        let forward = pairs(&source, &target, &topic, partition)?;
        let backward: Pairs = forward.iter().map(|(source, target)| (*target, *source)).collect();
        let name = format!("{topic}/{partition}");
        compared += compare(&receiver, &[], &name, 0, &forward)?;
        let (first, _) = backward.first_key_value().context("no records")?;
        compared += compare(&receiver, &["--reverse"], &name, *first, &backward)?;
    }
    let records = source.len();
    println!("{records} records are where the map says: {compared} offsets compared, both ways; {blocks} blocks");

    // A position is not the offset of a record yet, and after a restart there is no lane to ask.
    let end = source.partition(&topic, 0).last().context("no records")?.offset + 1_000_000;
    run_at(&receiver, &["translate", &format!("{topic}/0@{end}")])?.expect(1, "not carried yet")?;
    run_at(&receiver, &["translate", &format!("{topic}/77@0")])?.expect(1, "has not carried such a partition")?;
    sender.kill();
    receiver.kill();
    let receiver = files.receiver.start()?;
    receiver.admin.wait_for("the receiver to listen", PATIENCE, |status| !status["listen"].is_null())?;
    compare(&receiver, &[], &format!("{topic}/0"), 0, &pairs(&source, &target, &topic, 0)?).map(drop)
}

#[test]
fn a_time_leads_to_the_first_carried_record_since_then() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "times", PARTITIONS)?;
    let files = LinkFiles::new(&topics::unique("times"), &pair.source, &pair.target, &[&topic])?;
    let (receiver, _sender) = files.start()?;
    // Their markers in the target are of today, so that its index of times leads to the first of them. The times of the
    // records go back once.
    let mut times = Vec::new();
    for numbers in [0..200, 500..600, 300..400] {
        let records = small(numbers);
        journal::write(&pair.source, &topic, 0, &records)?;
        times.extend(records.iter().map(|record| record.timestamp));
        let all = times.len();
        let are_carried = |status: &Value| status["links"][0]["counts"]["records"] == all;
        receiver.admin.wait_for("the records to be committed", PATIENCE, are_carried)?;
        write_as_another(&pair, &topic, times[0] + 450)?;
        abort_in_target(&pair, &topic)?;
    }
    let target = read(&pair.target, &[&topic], Isolation::Committed)?;
    let source = read(&pair.source, &[&topic], Isolation::Committed)?;
    let arrived: BTreeMap<u64, i64> = target.partition(&topic, 0).iter().map(|at| (at.digest, at.offset)).collect();
    let digests: Vec<u64> = source.partition(&topic, 0).iter().map(|record| record.digest).collect();
    ensure!(digests.len() == times.len(), "{} records at the source", digests.len());
    for arguments in [&["--json"][..], &["--json", "--reverse"]] {
        for number in [0, 1, 199, 200, 300, 399, 400, 450, 500, 599] {
            let asked = format!("{topic}/0@2025-10-09T08:53:20.{number:03}Z");
            let shown = run_at(&receiver, &[&["translate", &asked][..], arguments].concat())?;
            let answer: Value = serde_json::from_str(&shown.printed).with_context(|| format!("{shown:?}"))?;
            let first = times.iter().position(|time| *time >= times[0] + number).context("a later record")?;
            let offsets = [first as i64, arrived[&digests[first]]];
            let [here, there] = if arguments.len() == 1 { offsets } else { [offsets[1], offsets[0]] };
            ensure!(answer["state"] == "record" && answer["asked"] == *asked, "{answer}");
            ensure!(
                answer["asked_offset"] == here && answer["offset"] == there,
                "{answer}, expected {here} and {there}"
            );
        }
    }
    run_at(&receiver, &["translate", &format!("{topic}/0@2025-10-09T08:53:20.600Z")])?.expect(1, "not carried yet")
}
