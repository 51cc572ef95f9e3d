//! Topics that a link carries: new ones, new partitions, their settings and their names at the target.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::command::run;
use harness::files::LinkFiles;
use harness::halts;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::{Record, small};
use harness::rights::Rights;
use harness::{topics, verify, wait};

const DELIVERED: Duration = Duration::from_secs(120);

/// Promised time until a new topic is carried.
const CARRIED: Duration = Duration::from_secs(5);

/// Time that a loaded machine may add: for the creation of the target's topic, and one transaction in a queue.
const MARGIN: Duration = Duration::from_secs(4);

/// Waits until the sender reads this number of partitions.
fn wait_until_joined(sender: &Process, partitions: usize) -> Result<()> {
    sender.admin.wait_for("the partitions to join", DELIVERED, |status| status["partitions"] == partitions).map(drop)
}

/// Waits until the target's partition has a committed record. Returns the time since `since`.
fn shown_after(target: &Cluster, topic: &str, partition: i32, since: Instant) -> Result<Duration> {
    let shown = || {
        Some(read(target, &[topic], Isolation::Committed).ok()?.partition(topic, partition).len()).filter(|n| *n > 0)
    };
    wait::until(&format!("{topic}/{partition} to be carried"), DELIVERED, shown)?;
    Ok(since.elapsed())
}

#[test]
fn new_topics_and_partitions_are_carried_within_5_s() -> Result<()> {
    let pair = Pair::shared()?;
    let stem = topics::unique("grows");
    let name = |suffix: &str| format!("{stem}.{suffix}");
    let first = name("first");
    let excluded = name("secret.one");
    topics::create(&pair.source, &first, 1, &[])?;
    topics::create(&pair.source, &excluded, 1, &[])?;
    journal::write(&pair.source, &first, 0, &small(0..10))?;
    journal::write(&pair.source, &excluded, 0, &small(0..10))?;
    let mut files = LinkFiles::new("grows", &pair.source, &pair.target, &[&format!("{stem}\\..*")])?;
    files.sender.set("source", "exclude", &format!("[{:?}]", format!("{stem}\\.secret\\..*")));
    // Existing records are not carried; later topics are, from their start.
    files.sender.set("source", "start", "\"latest\"");
    let (_receiver, mut sender) = files.start()?;
    wait_until_joined(&sender, 1)?;

    let mut worst = Duration::ZERO;
    for round in 0..3 {
        let topic = name(&format!("late{round}"));
        let created = Instant::now();
        topics::create(&pair.source, &topic, 2, &[])?;
        let written = journal::write(&pair.source, &topic, 1, &small(0..5))?.written;
        worst = worst.max(shown_after(&pair.target, &topic, 1, created)?);
        verify::wait_until_delivered(&written, &pair.target, "{topic}", DELIVERED)?;
        verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;

        let grown = Instant::now();
        topics::grow(&pair.source, &first, 2 + round)?;
        let partition = 1 + round as i32;
        journal::write(&pair.source, &first, partition, &small(0..5))?;
        worst = worst.max(shown_after(&pair.target, &first, partition, grown)?);
    }
    println!("carried within {worst:?}");
    // This partition appears while the sender is down.
    sender.kill();
    topics::grow(&pair.source, &first, 5)?;
    journal::write(&pair.source, &first, 4, &small(0..5))?;
    let _sender = files.sender.start()?;
    shown_after(&pair.target, &first, 4, Instant::now())?;
    ensure!(worst <= CARRIED + MARGIN, "a new topic or partition was carried only after {worst:?}");
    let carried = read(&pair.target, &[&first], Isolation::Committed)?;
    ensure!(carried.partition(&first, 0).is_empty(), "`latest` carried old records");
    ensure!(
        (1..5).all(|partition| carried.partition(&first, partition).len() == 5),
        "a new partition was not carried from its start"
    );
    ensure!(topics::partitions(&pair.target, &excluded)? == 0, "the excluded topic was carried");
    Ok(())
}

#[test]
fn target_topic_has_the_sources_partitions_and_settings() -> Result<()> {
    let pair = Pair::shared()?;
    let copied = [
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "12345678"),
        ("retention.bytes", "987654321"),
        ("max.message.bytes", "7654321"),
        ("segment.ms", "7777777"),
        ("compression.type", "lz4"),
    ];
    let own = [("min.insync.replicas", "1"), ("message.timestamp.type", "LogAppendTime"), ("flush.messages", "1000")];
    let configs: Vec<_> = copied.iter().chain(&own).copied().collect();
    let topic = topics::create_unique_with(&pair.source, "config", 7, &configs)?;
    let files = LinkFiles::new("config", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = files.start()?;
    wait_until_joined(&sender, 7)?;
    ensure!(topics::partitions(&pair.target, &topic)? == 7, "the target has another number of partitions");
    let found = topics::configs(&pair.target, &topic)?;
    let timestamps = [
        ("message.timestamp.type", "CreateTime"),
        ("message.timestamp.before.max.ms", "9223372036854775807"),
        ("message.timestamp.after.max.ms", "9223372036854775807"),
    ];
    for (key, value) in copied.iter().chain(&timestamps) {
        ensure!(found.get(*key).is_some_and(|found| found == value), "{key} is {:?}, not {value}", found.get(*key));
    }
    ensure!(
        found.get("flush.messages").context("flush.messages")? != "1000",
        "a setting of placement or durability was copied"
    );
    Ok(())
}

#[test]
fn two_links_of_one_receiver_rename_by_their_own_rules() -> Result<()> {
    let pair = Pair::shared()?;
    let plain = topics::create_unique(&pair.source, "plain", 4)?;
    let renamed = topics::create_unique(&pair.source, "renamed", 4)?;
    let mut files = LinkFiles::new("one", &pair.source, &pair.target, &[&plain])?;
    files.receiver.set("[links]#2", "name", "\"two\"").set("[links]#2", "senders", "[\"sender.test\"]");
    files.receiver.set("[links]#2", "rename", "\"fra.{topic}\"");
    let mut other = files.another_sender("other")?;
    other.set("", "link", "\"two\"").set("source", "topics", &format!("[{renamed:?}, {plain:?}]"));
    let receiver = files.receiver.start()?;
    let _sender = files.sender.start()?;
    let _other = other.start()?;
    let mut both = Load::new(&plain, 4).limit(3_000).seed(1).start(&pair.source)?.finish()?.written;
    verify::wait_until_delivered(&both, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&both, &pair.target, "{topic}")?;
    both.merge(&Load::new(&renamed, 4).limit(3_000).seed(2).start(&pair.source)?.finish()?.written);
    verify::wait_until_delivered(&both, &pair.target, "fra.{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&both, &pair.target, "fra.{topic}")?;
    let status = receiver.admin.status()?;
    let links = status["links"].as_array().context("no links")?;
    let senders: Vec<_> = links.iter().map(|link| (&link["link"], &link["sender"])).collect();
    ensure!(senders == [(&"one".into(), &"sender".into()), (&"two".into(), &"other".into())], "{senders:?}");
    Ok(())
}

#[test]
fn name_that_kafka_refuses_halts_its_topic_alone() -> Result<()> {
    let pair = Pair::shared()?;
    let stem = topics::unique("names");
    let good = format!("{stem}.good");
    let long = format!("{stem}.{}", "x".repeat(244 - stem.len()));
    for topic in [&good, &long] {
        topics::create(&pair.source, topic, 1, &[])?;
    }
    journal::write(&pair.source, &long, 0, &small(0..10))?;
    let written = journal::write(&pair.source, &good, 0, &small(0..10))?.written;
    let mut files = LinkFiles::new("names", &pair.source, &pair.target, &[&good, &long])?;
    files.sender.set("lanes", "count", "1");
    files.receiver.set("[links]", "rename", "\"prefix-{topic}\"");
    let (receiver, sender) = files.start()?;
    verify::wait_until_delivered(&written, &pair.target, "prefix-{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&written, &pair.target, "prefix-{topic}")?;
    let detail = halts::expect(&sender, &long, 0, "target-refused", -1)?;
    ensure!(detail.contains("has 252 characters, Kafka allows 249"), "{detail}");
    let status = receiver.admin.status()?;
    let trouble = status["links"][0]["trouble"].to_string();
    ensure!(trouble.contains(&format!("target-refused: {long}: ")), "{trouble}");
    let log = receiver.log()?;
    ensure!(!log.contains("trying again"), "{log}");
    Ok(())
}

#[test]
fn new_partition_with_largest_record_joins_under_load() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "flight", 3, &[("max.message.bytes", "10485760")])?;
    let files = LinkFiles::new("flight", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = files.start()?;
    wait_until_joined(&sender, 3)?;
    let load = Load::new(&topic, 3).rate(3_000).seed(5).start(&pair.source)?;
    let flows = |by: u64| {
        let goal = load.acknowledged() + by;
        wait::until("the writer to continue", DELIVERED, || (load.acknowledged() >= goal).then_some(()))
    };
    flows(2_000)?;
    topics::grow(&pair.source, &topic, 4)?;
    // As large as the topic allows a batch, minus the header of the batch.
    let largest = Record {
        key: None,
        value: Some((0..(10 << 20) - 100u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
        headers: Vec::new(),
        timestamp: 1_700_000_000_000,
    };
    let mut all = journal::write(&pair.source, &topic, 3, std::slice::from_ref(&largest))?.written;
    all.merge(
        &journal::write(&pair.source, &topic, 0, std::slice::from_ref(&Record { timestamp: 1, ..largest }))?.written,
    );
    flows(2_000)?;
    all.merge(&load.stop()?.written);
    verify::wait_until_delivered(&all, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&all, &pair.target, "{topic}")?;
    Ok(())
}

#[test]
fn topic_created_while_a_node_restarts_is_carried_later() -> Result<()> {
    let pair = Pair::start(1, 3)?;
    let before = topics::create_unique(&pair.source, "before", 1)?;
    let during = topics::unique("during");
    let mut files = LinkFiles::new(&topics::unique("rolling"), &pair.source, &pair.target, &[&before, &during])?;
    files.receiver.set("target", "replication_factor", "3");
    let (_receiver, sender) = files.start()?;
    let mut expected = journal::write(&pair.source, &before, 0, &small(0..10))?.written;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", DELIVERED)?;

    pair.target.kill(3);
    Rights::of(&pair.target)?.unregister(3)?;
    topics::create(&pair.source, &during, 2, &[])?;
    for partition in 0..2 {
        expected.merge(&journal::write(&pair.source, &during, partition, &small(0..10))?.written);
    }
    let halt = halts::wait_for(&sender, &during, 0, "target-unavailable")?;
    ensure!(halt["detail"].to_string().contains("replication factor"), "{halt}");

    pair.target.restart(3)?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    let status = sender.admin.status()?;
    ensure!(status["halted"].as_array().is_some_and(Vec::is_empty), "{status}");
    Ok(())
}

#[test]
fn setting_that_the_target_refuses_is_replaced_and_named() -> Result<()> {
    let pair = Pair::start_old_to_new()?;
    // The newest line requires segments of at least 1 MiB.
    let configs = [("segment.bytes", "262144"), ("retention.ms", "12345678")];
    let topic = topics::create_unique_with(&pair.source, "segments", 2, &configs)?;
    let written = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    let files = LinkFiles::new(&topics::unique("refused-setting"), &pair.source, &pair.target, &[&topic])?;
    let (receiver, _sender) = files.start()?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    let found = topics::configs(&pair.target, &topic)?;
    ensure!(found["retention.ms"] == "12345678", "another setting was left out too: {found:?}");
    ensure!(found["segment.bytes"] == "1048576", "it is not the nearest accepted value: {found:?}");
    let named = format!("{topic}: segment.bytes is 1048576, at the source 262144");
    let status = receiver.admin.status()?;
    ensure!(status["links"][0]["left_out_settings"][0] == named.as_str(), "{status}");
    ensure!(receiver.log()?.contains("the target refuses settings of a topic"), "the log does not name it");
    let page = run(&["status", &receiver.admin.address().to_string()])?;
    page.expect(0, &named)
}

#[test]
fn only_settings_that_differ_from_the_default_are_set() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "plain", 1, &[("retention.ms", "12345678")])?;
    let mut files = LinkFiles::new(&topics::unique("plain"), &pair.source, &pair.target, &[&topic])?;
    files.receiver.set("[links]", "copy_configs", "false");
    let (_receiver, sender) = files.start()?;
    wait_until_joined(&sender, 1)?;
    let set = topics::set_on_topic(&pair.target, &topic)?;
    let own = set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>();
    // The default of Kafka 4 refuses records whose timestamp is more than an hour ahead.
    ensure!(own == [("message.timestamp.after.max.ms", "9223372036854775807")], "{own:?}");
    Ok(())
}
