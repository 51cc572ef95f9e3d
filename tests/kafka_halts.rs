//! Partitions that cannot go on: each is halted by name while its neighbours go on, stays so across restarts, and
//! goes on when an operator says how.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::cluster::Pair;
use harness::command::run;
use harness::files::LinkFiles;
use harness::halts::{jumps, lift, wait_until_halted};
use harness::journal;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::{Contents, Record};
use harness::{topics, verify, wait};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn record(number: i64, value: Vec<u8>) -> Record {
    Record {
        key: Some(number.to_be_bytes().to_vec()),
        value: Some(value),
        headers: Vec::new(),
        timestamp: 1_790_000_000_000 + number,
    }
}

fn small(numbers: std::ops::Range<i64>) -> Vec<Record> {
    numbers.map(|number| record(number, b"value".to_vec())).collect()
}

/// Bytes that no codec makes fewer of.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(byte).collect()
}

fn halted(sender: &Process, topic: &str, partition: i32) -> Result<Value> {
    wait_until_halted(sender, topic, partition, "record-rejected", PATIENCE)
}

/// Everything of `written` but the record at one offset of a partition.
fn without(written: &Contents, topic: &str, partition: i32, offset: i64) -> Contents {
    let mut rest = Contents::default();
    for (of, number, entries) in written.iter() {
        let keep = |entry: &&harness::record::Entry| (of, number, entry.offset) != (topic, partition, offset);
        entries.iter().filter(keep).for_each(|entry| rest.add(of, number, *entry));
    }
    rest
}

#[test]
fn a_record_too_large_for_the_target_halts_its_partition_exactly_there_until_it_is_skipped() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "poison", 2, &[("max.message.bytes", "2000000")])?;
    // The target takes less than the source.
    topics::create(&pair.target, &topic, 2, &[("max.message.bytes", "20000")])?;
    let link = topics::unique("poison");
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    // Written before the link runs, so that good records and the bad one share a batch.
    let bad = record(40, noise(50_000, 1));
    let records = [small(0..40), vec![bad], small(41..100)].concat();
    let mut written = journal::write(&pair.source, &topic, 0, &records)?.written;
    written.merge(&journal::write(&pair.source, &topic, 1, &small(0..100))?.written);
    let (mut receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);

    let halt = halted(&sender, &topic, 0)?;
    ensure!(halt["reason"] == "record-rejected" && halt["position"] == 40, "{halt}");
    let neighbour = without_partition(&written, &topic, 0);
    verify::wait_until_delivered(&neighbour, &pair.target, "{topic}", PATIENCE)?;
    let carried = read(&pair.target, &[&topic], Isolation::Committed)?;
    ensure!(carried.partition(&topic, 0).len() == 40, "{} good records before it", carried.partition(&topic, 0).len());
    let recoveries = receiver.admin.status()?["links"][0]["counts"]["recoveries"].as_u64();
    ensure!(recoveries.is_some_and(|times| (1..=2).contains(&times)), "{recoveries:?} re-opens");

    // Neither process remembers anything; the state does.
    let idle = |sender: &Process| Ok::<_, anyhow::Error>(sender.admin.status()?["totals"]["frames"].as_u64());
    receiver.kill();
    sender.kill();
    let (receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    let halt = halted(&sender, &topic, 0)?;
    ensure!(halt["reason"] == "record-rejected" && halt["position"] == 40, "{halt}");
    ensure!(idle(&sender)? == Some(0), "the poison crossed the WAN again: {:?} frames", idle(&sender)?);
    ensure!(receiver.admin.status()?["links"][0]["counts"]["recoveries"] == 0);
    // Where it stands nothing has changed: it is found again, with the same result.
    lift(&sender, "resume", &[&format!("{topic}/0")])?;
    let halt = halted(&sender, &topic, 0)?;
    ensure!(halt["reason"] == "record-rejected" && halt["position"] == 40, "{halt}");

    let wrong = run(&["resume", &format!("{topic}/0"), "--admin", &receiver.admin.address().to_string()])?;
    ensure!(wrong.0 == 1 && wrong.1.contains("this is a receiver"), "{wrong:?}");
    let wrong = run(&["resume", &format!("{topic}/1"), "--admin", &sender.admin.address().to_string()])?;
    ensure!(wrong.0 == 1 && wrong.1.contains("it is not halted"), "{wrong:?}");
    println!("{}", lift(&sender, "resume", &[&format!("{topic}/0"), "--skip"])?);
    written.merge(&journal::write(&pair.source, &topic, 0, &small(100..120))?.written);
    let expected = without(&written, &topic, 0, 40);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let jumps = jumps(&receiver)?;
    let moves: Vec<_> =
        jumps.iter().map(|jump| (jump["from"].as_i64(), jump["to"].as_i64(), jump["reason"].as_str())).collect();
    ensure!(
        moves
            == [(Some(40), Some(40), Some("operator: resume")), (Some(40), Some(41), Some("operator: resume --skip"))],
        "{jumps:?}"
    );
    ensure!(jumps[1]["halt"]["reason"] == "record-rejected", "{jumps:?}");
    Ok(())
}

/// What was written to the topic's other partitions.
fn without_partition(written: &Contents, topic: &str, partition: i32) -> Contents {
    let mut rest = Contents::default();
    for (of, number, entries) in written.iter().filter(|(of, number, _)| (*of, *number) != (topic, partition)) {
        entries.iter().for_each(|entry| rest.add(of, number, *entry));
    }
    rest
}

#[test]
fn batches_too_large_for_the_target_become_smaller_and_halt_nothing() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "batches", 1, &[])?;
    topics::create(&pair.target, &topic, 1, &[("max.message.bytes", "20000")])?;
    let records: Vec<_> = (0..400).map(|n| record(n, noise(500, n as u64 + 1))).collect();
    let mut expected = journal::write(&pair.source, &topic, 0, &records)?.written;
    let files = LinkFiles::new(&topics::unique("batches"), &pair.source, &pair.target, &[&topic])?;
    let (receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    // The next batch is half as large, and so on: some more re-opens, and then none.
    let more: Vec<_> = (400..800).map(|n| record(n, noise(500, n as u64 + 1))).collect();
    expected.merge(&journal::write(&pair.source, &topic, 0, &more)?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let recoveries = receiver.admin.status()?["links"][0]["counts"]["recoveries"].as_u64();
    println!("{recoveries:?} re-opens");
    ensure!(recoveries.is_some_and(|times| (1..=8).contains(&times)), "{recoveries:?} re-opens");
    ensure!(sender.admin.status()?["halted"].as_array().is_some_and(Vec::is_empty));
    Ok(())
}

#[test]
fn timestamps_that_the_target_cannot_take_halt_exactly_where_they_are() -> Result<()> {
    let pair = Pair::shared()?;
    // A broker that writes batches anew stumbles over a negative timestamp and does not say over what.
    let stumbles = topics::create_unique_with(&pair.source, "negative", 1, &[("retention.ms", "-1")])?;
    topics::create(&pair.target, &stumbles, 1, &[("compression.type", "gzip")])?;
    let refuses = topics::create_unique_with(&pair.source, "old", 1, &[("retention.ms", "-1")])?;
    topics::create(&pair.target, &refuses, 1, &[("message.timestamp.before.max.ms", "315360000000")])?;
    let stamped = |timestamp| Record { timestamp, ..record(3, b"value".to_vec()) };
    let mut expected = Contents::default();
    for (topic, timestamp) in [(&stumbles, -5), (&refuses, 1_000_000)] {
        let recent = |n| Record { timestamp: 1_760_000_000_000 + n, ..record(n, b"value".to_vec()) };
        let records: Vec<_> = (0..3).map(recent).chain([stamped(timestamp)]).chain((4..8).map(recent)).collect();
        let written = journal::write(&pair.source, topic, 0, &records)?.written;
        expected.merge(&without(&written, topic, 0, 3));
    }
    let files = LinkFiles::new(&topics::unique("stamps"), &pair.source, &pair.target, &[&stumbles, &refuses])?;
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    for topic in [&stumbles, &refuses] {
        let halt = halted(&sender, topic, 0)?;
        ensure!(halt["reason"] == "record-rejected" && halt["position"] == 3, "{halt}");
        println!("{}: {}", halt["reason"], halt["detail"]);
        lift(&sender, "resume", &[&format!("{topic}/0"), "--skip"])?;
    }
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    Ok(())
}

#[test]
fn policies_skip_what_cannot_be_carried_and_carry_what_was_made_again() -> Result<()> {
    let pair = Pair::shared()?;
    let link = topics::unique("policies");
    let poisoned = topics::create_unique(&pair.source, "skipped", 1)?;
    let again = topics::create_unique(&pair.source, "again", 1)?;
    topics::create(&pair.target, &poisoned, 1, &[("max.message.bytes", "20000")])?;
    let records = [small(0..10), vec![record(10, noise(50_000, 1))], small(11..20)].concat();
    let written = journal::write(&pair.source, &poisoned, 0, &records)?.written;
    let mut expected = without(&written, &poisoned, 0, 10);
    let old = journal::write(&pair.source, &again, 0, &small(0..30))?.written;
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&poisoned, &again])?;
    files.sender.set("[policies]", "topics", &format!("[{poisoned:?}]")).set("[policies]", "policy", "\"skip\"");
    files.sender.set("[policies]#2", "topics", "[\".*\"]").set("[policies]#2", "policy", "[\"new-incarnation\"]");
    let (receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    verify::wait_until_delivered(&old, &pair.target, "{topic}", PATIENCE)?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    topics::delete(&pair.source, &again)?;
    topics::create(&pair.source, &again, 1, &[])?;
    let new = journal::write(&pair.source, &again, 0, &small(1_000..1_010))?.written;
    wait::until_ok("the new incarnation", PATIENCE, || {
        let seen = read(&pair.target, &[&again], Isolation::Committed)?;
        Ok((seen.partition(&again, 0).len() == 40).then_some(()))
    })?;
    let seen = read(&pair.target, &[&again], Isolation::Committed)?;
    let digests = |entries: &[harness::record::Entry]| entries.iter().map(|entry| entry.digest).collect::<Vec<_>>();
    let both = [digests(old.partition(&again, 0)), digests(new.partition(&again, 0))].concat();
    ensure!(digests(seen.partition(&again, 0)) == both, "the old incarnation, then the new one");
    expected.merge(&journal::write(&pair.source, &poisoned, 0, &small(20..30))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let mut why: Vec<_> = jumps(&receiver)?.iter().map(|jump| jump["reason"].to_string()).collect();
    why.sort();
    ensure!(why == ["\"policy: new-incarnation\"", "\"policy: skip\""], "{why:?}");
    sender
        .admin
        .wait_for("no halts", PATIENCE, |status| status["halted"].as_array().is_some_and(Vec::is_empty))
        .map(drop)
}

#[test]
fn a_record_beyond_the_credit_halts_exactly_there_until_there_is_more_memory() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "huge", 2)?;
    let mut files = LinkFiles::new(&topics::unique("huge"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    // Three links share the least memory there may be: 6 MB for one record.
    files.receiver.set("", "memory", "\"64 MiB\"");
    for number in 2..4 {
        let table = format!("[links]#{number}");
        files.receiver.set(&table, "name", &format!("\"other-{number}\""));
        files.receiver.set(&table, "senders", "[\"sender.test\"]");
    }
    let records = [small(0..5), vec![record(5, noise(8_000_000, 1))], small(6..10)].concat();
    let mut written = journal::write(&pair.source, &topic, 0, &records)?.written;
    let neighbour = journal::write(&pair.source, &topic, 1, &small(0..10))?.written;
    let (mut receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    let halt = wait_until_halted(&sender, &topic, 0, "record-too-large", PATIENCE)?;
    println!("{}: {}", halt["reason"], halt["detail"]);
    verify::wait_until_delivered(&neighbour, &pair.target, "{topic}", PATIENCE)?;
    sender.kill();
    receiver.kill();
    files.receiver.set("", "memory", "\"512 MiB\"");
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    let halt = wait_until_halted(&sender, &topic, 0, "record-too-large", PATIENCE)?;
    ensure!(halt["position"] == 5, "it is kept: {halt}");
    println!("{}", lift(&sender, "resume", &[&format!("{topic}/0")])?);
    written.merge(&neighbour);
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}

#[test]
fn what_retention_took_is_skipped_under_a_policy_and_kept_as_a_range() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "taken", 1)?;
    let mut files = LinkFiles::new(&topics::unique("taken"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("[policies]", "topics", "[\".*\"]").set("[policies]", "policy", "\"skip\"");
    let (receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    let mut expected = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    sender.kill();
    journal::write(&pair.source, &topic, 0, &small(10..30))?;
    topics::delete_records(&pair.source, &topic, 0, 20)?;
    let sender = files.sender.start()?;
    expected.merge(&below(&read(&pair.source, &[&topic], Isolation::Committed)?, &topic));
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let jumps = jumps(&receiver)?;
    ensure!(jumps.len() == 1 && jumps[0]["from"] == 10 && jumps[0]["to"] == 20, "{jumps:?}");
    ensure!(jumps[0]["reason"] == "policy: skip" && jumps[0]["halt"]["reason"] == "retention-overtook", "{jumps:?}");
    ensure!(sender.log()?.contains("retention-overtook"), "it is not silent");
    ensure!(sender.admin.status()?["halted"] == serde_json::json!([]));
    Ok(())
}

#[test]
fn what_the_source_has_lost_halts_by_name_and_goes_on_where_an_operator_says() -> Result<()> {
    let pair = Pair::shared()?;
    let (lost, damaged) =
        (topics::create_unique(&pair.source, "lost", 2)?, topics::create_unique(&pair.source, "bad", 1)?);
    let sound = journal::write(&pair.source, &damaged, 0, &small(0..10))?.written;
    journal::write(&pair.source, &damaged, 0, &[record(10, b"never to be read".to_vec())])?;
    let behind = journal::write(&pair.source, &damaged, 0, &small(11..20))?.written;
    pair.source.damage(&damaged, 0, b"never to be read")?;
    let carried = journal::write(&pair.source, &lost, 0, &small(0..10))?.written;
    let files = LinkFiles::new(&topics::unique("lost"), &pair.source, &pair.target, &[&lost, &damaged])?;
    let (receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    verify::wait_until_delivered(&carried, &pair.target, "{topic}", PATIENCE)?;
    let halt = wait_until_halted(&sender, &damaged, 0, "corrupt", PATIENCE)?;
    println!("{}: {}", halt["reason"], halt["detail"]);
    ensure!(halt["position"] == 10, "{halt}");
    let nowhere = run(&["resume", &format!("{damaged}/0"), "--skip", "--admin", &sender.admin.address().to_string()])?;
    ensure!(nowhere.0 == 1 && nowhere.1.contains("--from N"), "{nowhere:?}");
    println!("{}", lift(&sender, "resume", &[&format!("{damaged}/0"), "--from", "11"])?);
    let mut expected = carried;
    expected.merge(&sound);
    expected.merge(&behind);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    sender.kill();
    journal::write(&pair.source, &lost, 0, &small(10..30))?;
    topics::delete_records(&pair.source, &lost, 0, 20)?;
    expected.merge(&journal::write(&pair.source, &lost, 1, &small(0..10))?.written);
    let sender = files.sender.start()?;
    let halt = wait_until_halted(&sender, &lost, 0, "retention-overtook", PATIENCE)?;
    println!("{}: {}", halt["reason"], halt["detail"]);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    let behind = sender.admin.wait_for("the lag", PATIENCE, |status| status["lag_records"] == 20)?;
    ensure!(behind["halted"].as_array().is_some_and(|halted| halted.len() == 1), "what is halted counts as behind");
    println!("{}", lift(&sender, "resume", &[&format!("{lost}/0"), "--skip"])?);
    expected.merge(&below(&read(&pair.source, &[&lost], Isolation::Committed)?, &lost));
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let moved: Vec<_> = jumps(&receiver)?.iter().map(|jump| (jump["from"].as_i64(), jump["to"].as_i64())).collect();
    ensure!(moved.contains(&(Some(10), Some(11))) && moved.contains(&(Some(10), Some(20))), "{moved:?}");
    Ok(())
}

/// What is left of partition 0.
fn below(seen: &Contents, topic: &str) -> Contents {
    let mut rest = Contents::default();
    seen.partition(topic, 0).iter().for_each(|entry| rest.add(topic, 0, *entry));
    rest
}

#[test]
fn a_topic_made_again_under_a_running_link_halts_within_5_s_and_stays_so_until_it_is_accepted() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "anew", 1)?;
    let link = topics::unique("anew");
    let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    let (mut receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    let old = journal::write(&pair.source, &topic, 0, &small(0..30))?.written;
    verify::wait_until_delivered(&old, &pair.target, "{topic}", PATIENCE)?;
    topics::delete(&pair.source, &topic)?;
    topics::create(&pair.source, &topic, 1, &[])?;
    let made = Instant::now();
    wait_until_halted(&sender, &topic, 0, "topic-recreated", PATIENCE)?;
    println!("noticed after {:?}", made.elapsed());
    // What is promised, and what a loaded machine may add to it.
    ensure!(made.elapsed() < Duration::from_secs(5 + 4), "noticed after {:?}", made.elapsed());
    sender.kill();
    receiver.kill();
    let new = journal::write(&pair.source, &topic, 0, &small(100..110))?.written;
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    wait_until_halted(&sender, &topic, 0, "topic-recreated", PATIENCE)?;
    let refused = run(&["resume", &format!("{topic}/0"), "--admin", &sender.admin.address().to_string()])?;
    ensure!(refused.0 == 1 && refused.1.contains("--skip"), "{refused:?}");
    verify::ensure_exactly_once(&old, &pair.target, "{topic}")?;
    println!("{}", lift(&sender, "resume", &[&format!("{topic}/0"), "--skip"])?);
    let seen =
        || Ok::<_, anyhow::Error>(read(&pair.target, &[&topic], Isolation::Committed)?.partition(&topic, 0).len());
    wait::until_ok("the new topic", PATIENCE, || Ok((seen()? == old.len() + new.len()).then_some(())))
}

#[test]
fn a_transaction_left_open_at_the_source_is_shown_with_its_age_until_it_is_decided() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "open", 1)?;
    let link = topics::unique("open");
    let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    let mut config = rdkafka::ClientConfig::new();
    config.set("bootstrap.servers", pair.source.bootstrap()).set("transactional.id", topics::unique("hangs"));
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(PATIENCE)?;
    producer.begin_transaction()?;
    producer.send(BaseRecord::<[u8], [u8]>::to(&topic).payload(b"undecided")).map_err(|(error, _)| error)?;
    producer.flush(PATIENCE)?;
    let behind = journal::write(&pair.source, &topic, 0, &small(0..4))?.written;
    let open = |status: &Value| status["source_transactions_open"][0]["seconds"].as_f64();
    let status = sender.admin.wait_for("the transaction to be shown", PATIENCE, |status| open(status).is_some())?;
    ensure!(open(&status).is_some_and(|age| (10.0..20.0).contains(&age)), "{status}");
    ensure!(status["source_transactions_open"][0]["held_back"] == 5 && status["lag_records"] == 5, "{status}");
    let metric = format!("causeway_sender_source_transaction_open_seconds{{link={link:?}}}");
    ensure!(sender.admin.metric(&metric)? >= 10.0);
    let (_, said) = run(&["status", &sender.admin.address().to_string()])?;
    ensure!(said.contains("source-transaction-open"), "{said}");
    producer.abort_transaction(PATIENCE)?;
    verify::wait_until_delivered(&behind, &pair.target, "{topic}", PATIENCE)?;
    sender.admin.wait_for("it to be gone", PATIENCE, |status| open(status).is_none()).map(drop)
}
