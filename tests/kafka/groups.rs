//! Consumer groups that stop at the source and continue in the target, compared record by record.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::jars::Kafka;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::{Contents, digest_of, small};
use harness::wait::{until, until_ok};
use harness::{compaction, topics, verify};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Time for which a group of the drill consumes.
const CONSUMED_WITHIN: Duration = Duration::from_secs(3);
pub(crate) const PARTITIONS: i32 = 3;

/// Digests of the records that a consumer has read, by partition and in order.
type Consumed = BTreeMap<i32, Vec<u64>>;

/// Protocol of a group's members.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    Classic,
    /// KIP-848.
    Consumer,
}

/// Settings of a client that joins or names a group.
fn client(cluster: &Cluster, group: &str, protocol: Protocol) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap()).set("group.id", group);
    config.set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    // A group that has no offset would end the test instead of starting anywhere.
    config.set("auto.offset.reset", "error").set("fetch.wait.max.ms", "50");
    match protocol {
        Protocol::Classic => config.set("session.timeout.ms", "6000"),
        Protocol::Consumer => config.set("group.protocol", "consumer"),
    };
    config
}

/// Consumes `count` records as a member of the group, from its committed offsets, or else the start at the source. Commits
/// what was consumed, and leaves.
fn consume(config: &mut ClientConfig, topic: &str, count: usize, from_start: bool) -> Result<Consumed> {
    if from_start {
        config.set("auto.offset.reset", "earliest");
    }
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[topic])?;
    let mut consumed = Consumed::new();
    let mut next = BTreeMap::new();
    let mut total = 0;
    let deadline = Instant::now() + PATIENCE;
    while total < count {
        ensure!(Instant::now() < deadline, "{total} of {count} records consumed");
        let Some(message) = consumer.poll(POLL) else { continue };
        let message = message?;
        consumed.entry(message.partition()).or_default().push(digest_of(&message));
        next.insert(message.partition(), message.offset() + 1);
        total += 1;
    }
    // Partitions of which nothing was consumed have an offset too, as those of an application.
    let assigned = until("an assignment", PATIENCE, || {
        consumer.poll(Duration::from_millis(10));
        consumer.assignment().ok().filter(|assigned| assigned.count() > 0)
    })?;
    let mut offsets = TopicPartitionList::new();
    for element in assigned.elements() {
        let at = next.get(&element.partition()).copied();
        if at.is_some() || from_start {
            offsets.add_partition_offset(topic, element.partition(), Offset::Offset(at.unwrap_or(0)))?;
        }
    }
    if offsets.count() > 0 {
        consumer.commit(&offsets, CommitMode::Sync)?;
    }
    consumer.unsubscribe();
    Ok(consumed)
}

/// Consumes up to `count` records as a member of the group, from its committed offsets or else the start, and commits. It
/// stops after [`CONSUMED_WITHIN`], which suffices for all that is there. Returns its offsets of the partitions that it has
/// read.
pub(crate) fn consume_some(cluster: &Cluster, group: &str, topic: &str, count: usize) -> Result<BTreeMap<i32, i64>> {
    let mut config = client(cluster, group, Protocol::Classic);
    let consumer: BaseConsumer = config.set("auto.offset.reset", "earliest").create()?;
    consumer.subscribe(&[topic])?;
    let mut next = BTreeMap::new();
    let first = until("a record", PATIENCE, || consumer.poll(POLL))??;
    next.insert(first.partition(), first.offset() + 1);
    let deadline = Instant::now() + CONSUMED_WITHIN;
    for _ in 1..count {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(message) = consumer.poll(left).filter(|_| !left.is_zero()) else { break };
        let message = message?;
        next.insert(message.partition(), message.offset() + 1);
    }
    let mut offsets = TopicPartitionList::new();
    for (&partition, &at) in &next {
        offsets.add_partition_offset(topic, partition, Offset::Offset(at))?;
    }
    consumer.commit(&offsets, CommitMode::Sync)?;
    consumer.unsubscribe();
    Ok(next)
}

/// Commits an offset of partition 0 for a group without members.
pub(crate) fn commit(cluster: &Cluster, group: &str, topic: &str, offset: i64) -> Result<()> {
    let consumer: BaseConsumer = client(cluster, group, Protocol::Classic).create()?;
    let mut offsets = TopicPartitionList::new();
    let mut element = offsets.add_partition(topic, 0);
    element.set_offset(Offset::Offset(offset))?;
    element.set_metadata("by hand");
    Ok(consumer.commit(&offsets, CommitMode::Sync)?)
}

/// Returns the committed offset of a partition and its metadata.
pub(crate) fn committed(cluster: &Cluster, group: &str, topic: &str, partition: i32) -> Result<Option<(i64, String)>> {
    let consumer: BaseConsumer = client(cluster, group, Protocol::Classic).create()?;
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, partition);
    let offsets = consumer.committed_offsets(asked, PATIENCE)?;
    let element = offsets.find_partition(topic, partition).context("no such partition")?;
    Ok(match element.offset() {
        Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
        _ => None,
    })
}

/// Returns the states of a group's offsets, as the receiver shows them; none before it responds.
fn states(receiver: &Process, group: &str) -> Result<BTreeMap<String, u64>> {
    let Ok(shown) = receiver.admin.get("/groups") else { return Ok(BTreeMap::new()) };
    let groups: Vec<Value> = serde_json::from_str(&shown)?;
    let found = groups.into_iter().find(|one| one["group"] == group);
    Ok(found.map(|one| serde_json::from_value(one["offsets"].clone())).transpose()?.unwrap_or_default())
}

pub(crate) fn wait_for_state(receiver: &Process, group: &str, state: &str, count: u64) -> Result<()> {
    let mut seen = BTreeMap::new();
    let waited = until_ok(&format!("{count} offsets of {group} to be {state}"), PATIENCE, || {
        seen = states(receiver, group)?;
        Ok((seen.get(state) == Some(&count) && seen.len() == 1).then_some(()))
    });
    waited.with_context(|| format!("{group} is {seen:?}"))
}

/// Makes files of a link that carries these groups every second.
pub(crate) fn link(pair: &Pair, topic: &str, include: &str) -> Result<LinkFiles> {
    let mut files = LinkFiles::new(&topics::unique("groups"), &pair.source, &pair.target, &[topic])?;
    files.sender.set("groups", "include", &format!("[{include:?}]")).set("groups", "interval", "\"1 s\"");
    Ok(files)
}

/// Group of the comparison, and what it consumed at the source.
pub(crate) struct Stopped {
    pub(crate) group: String,
    protocol: Protocol,
    consumed: Consumed,
}

impl Stopped {
    /// Lets a group consume all but `lag` of the records at the source.
    pub(crate) fn at_lag(
        pair: &Pair,
        topic: &str,
        stem: &str,
        protocol: Protocol,
        written: usize,
        lag: usize,
    ) -> Result<Self> {
        let group = topics::unique(&format!("{stem}-{lag}-{protocol:?}"));
        let consumed = consume(&mut client(&pair.source, &group, protocol), topic, written - lag, true)?;
        Ok(Self { group, protocol, consumed })
    }

    /// Continues in the target, and compares: every record that the group has not consumed, once and in order.
    pub(crate) fn continue_at(&self, pair: &Pair, topic: &str, source: &Contents) -> Result<usize> {
        let mut expected = Consumed::new();
        for partition in 0..PARTITIONS {
            let all = source.digests(topic, partition);
            let consumed = self.consumed.get(&partition).map_or(0, Vec::len);
            expected.insert(partition, all[consumed.min(all.len())..].to_vec());
        }
        expected.retain(|_, records| !records.is_empty());
        let count = expected.values().map(Vec::len).sum();
        let found = consume(&mut client(&pair.target, &self.group, self.protocol), topic, count, false)?;
        ensure!(found == expected, "{}: missed or read again", self.group);
        Ok(count)
    }
}

#[test]
fn groups_continue_where_they_stopped() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "apps", PARTITIONS)?;
    let load = |seed, limit| Load::new(&topic, PARTITIONS).seed(seed).limit(limit).value_max(40).transactional(20);
    let mut journal = load(1, 64_000).start(&pair.source)?.finish()?;
    ensure!(journal.aborted > 0, "no transaction was aborted at the source");
    let written = journal.written.len();
    let stem = topics::unique("app");
    let groups = [
        (Protocol::Classic, 0),
        (Protocol::Consumer, 0),
        (Protocol::Classic, 500),
        (Protocol::Consumer, 500),
        (Protocol::Classic, written.min(50_000)),
    ];
    let stopped = groups.map(|(protocol, lag)| Stopped::at_lag(&pair, &topic, &stem, protocol, written, lag));
    let stopped = stopped.into_iter().collect::<Result<Vec<_>>>()?;
    let files = link(&pair, &topic, &format!("{stem}.*"))?;
    let (receiver, sender) = files.start()?;
    verify::wait_until_delivered(&journal.written, &pair.target, "{topic}", PATIENCE)?;
    for Stopped { group, .. } in &stopped {
        wait_for_state(&receiver, group, "synced", PARTITIONS as u64)?;
    }
    let known: Vec<Value> = serde_json::from_str(&sender.admin.get("/groups")?)?;
    ensure!(known.len() == stopped.len() && known[0]["offsets"] == PARTITIONS, "{known:?}");
    // Those without a lag have something to continue with.
    journal.written.merge(&load(2, 300).start(&pair.source)?.finish()?.written);
    verify::wait_until_delivered(&journal.written, &pair.target, "{topic}", PATIENCE)?;
    let source = read(&pair.source, &[&topic], Isolation::Committed)?;
    for group in &stopped {
        let continued = group.continue_at(&pair, &topic, &source)?;
        println!("{}: {continued} records, 0 missed, 0 read again", group.group);
    }
    Ok(())
}

#[test]
fn a_group_continues_in_a_compacted_topic() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique_with(&pair.source, "compacted", 1, &compaction::SETTINGS)?;
    // The target keeps what it gets, so that the test can compare it.
    topics::create(&pair.target, &topic, 1, &[])?;
    let compacted = compaction::write_with_holes(&pair.source, &topic, 0, PATIENCE)?;
    let records = compacted.partition(&topic, 0);
    // The last record before a hole: the next offset has no record.
    let at = records.windows(2).position(|pair| pair[1].offset > pair[0].offset + 1).context("no hole")?;
    let group = topics::unique("compacted");
    commit(&pair.source, &group, &topic, records[at].offset + 1)?;
    let files = link(&pair, &topic, &group)?;
    let (receiver, _sender) = files.start()?;
    wait_for_state(&receiver, &group, "synced", 1)?;
    let (_, metadata) = committed(&pair.target, &group, &topic, 0)?.context("no offset")?;
    ensure!(metadata == "by hand", "metadata is {metadata:?}");
    let expected: Vec<u64> = records[at + 1..].iter().map(|record| record.digest).collect();
    let mut config = client(&pair.target, &group, Protocol::Classic);
    let found = consume(&mut config, &topic, expected.len(), false)?;
    ensure!(found == Consumed::from([(0, expected)]), "missed or read again");
    Ok(())
}

#[test]
fn groups_of_other_clients_are_left_alone() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "owned", 1)?;
    let written = journal::write(&pair.source, &topic, 0, &small(0..1_000))?.written;
    let group = topics::unique("owned");
    let mut files = link(&pair, &topic, &group)?;
    files.receiver.set("[links]", "rename_groups", "\"fra.{group}\"");
    // Its name in the target.
    let there = format!("fra.{group}");
    let (mut receiver, _sender) = files.start()?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    let target = read(&pair.target, &[&topic], Isolation::Committed)?;
    // Records arrive in order, so that the offset of a number is that of the record with the same place.
    let offset_of = |number: usize| target.partition(&topic, 0)[number].offset;
    let follow = |number: usize| -> Result<()> {
        commit(&pair.source, &group, &topic, number as i64)?;
        let expected = (offset_of(number), "by hand".to_owned());
        until_ok(&format!("offset {number}"), PATIENCE, || {
            Ok((committed(&pair.target, &there, &topic, 0)?.as_ref() == Some(&expected)).then_some(()))
        })
    };
    follow(100)?;
    ensure!(committed(&pair.target, &group, &topic, 0)?.is_none(), "the source's name is used too");
    // Backwards too.
    follow(50)?;

    // A member in the target that has not committed anything.
    let member: BaseConsumer = client(&pair.target, &there, Protocol::Classic).create()?;
    member.subscribe(&[&topic])?;
    until("the member to join", PATIENCE, || {
        let _ = member.poll(POLL);
        member.assignment().ok().filter(|assigned| assigned.count() > 0)
    })?;
    commit(&pair.source, &group, &topic, 200)?;
    until_ok("the member to be seen", PATIENCE, || {
        let _ = member.poll(POLL);
        Ok((states(&receiver, &there)?.get("has-members") == Some(&1)).then_some(()))
    })?;
    ensure!(committed(&pair.target, &there, &topic, 0)?.context("no offset")?.0 == offset_of(50), "it was moved");
    drop(member);
    follow(200)?;

    receiver.kill();
    commit(&pair.source, &group, &topic, 300)?;
    receiver = files.receiver.start()?;
    follow(300)?;

    // Another client commits, and keeps the group also after a restart.
    let theirs = offset_of(777);
    commit(&pair.target, &there, &topic, theirs)?;
    commit(&pair.source, &group, &topic, 400)?;
    wait_for_state(&receiver, &there, "taken-over", 1)?;
    receiver.kill();
    receiver = files.receiver.start()?;
    commit(&pair.source, &group, &topic, 450)?;
    wait_for_state(&receiver, &there, "taken-over", 1)?;
    ensure!(committed(&pair.target, &there, &topic, 0)?.context("no offset")?.0 == theirs, "it was moved");
    Ok(())
}

/// Consumes with Kafka's own client. Returns the offsets of what was consumed, by partition.
fn consume_in_java(cluster: &Cluster, group: &str, protocol: &str, from: &From<'_>) -> Result<BTreeMap<i32, Vec<i64>>> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/harness/GroupConsumer.java");
    let count = from.count.to_string();
    let mut java = Kafka::get()?.java(&[], source);
    java.args([&cluster.bootstrap(), group, protocol, from.topic, &count, from.reset]);
    let output = java.output().context("cannot start java")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut consumed: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let (partition, offset) = line.split_once(' ').context("no offset")?;
        consumed.entry(partition.parse()?).or_default().push(offset.parse()?);
    }
    Ok(consumed)
}

/// Records that a Java consumer reads.
struct From<'a> {
    topic: &'a str,
    count: usize,
    /// Beginning of a group without offsets.
    reset: &'a str,
}

#[test]
fn groups_of_java_clients_continue_where_they_stopped() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "java", PARTITIONS)?;
    let journal = Load::new(&topic, PARTITIONS).limit(3_000).value_max(40).transactional(20).start(&pair.source)?;
    let written = journal.finish()?.written;
    let stem = topics::unique("java");
    let files = link(&pair, &topic, &format!("{stem}.*"))?;
    let (receiver, _sender) = files.start()?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    let target = read(&pair.target, &[&topic], Isolation::Committed)?;
    let continues = |protocol: &str| -> Result<()> {
        let group = format!("{stem}-{protocol}");
        let count = written.len() - 500;
        let stops = From { topic: &topic, count, reset: "earliest" };
        let consumed = consume_in_java(&pair.source, &group, protocol, &stops)?;
        wait_for_state(&receiver, &group, "synced", PARTITIONS as u64)?;
        let found = consume_in_java(&pair.target, &group, protocol, &From { count: 500, reset: "none", ..stops })?;
        for partition in 0..PARTITIONS {
            let done = consumed.get(&partition).map_or(0, Vec::len);
            let rest = target.partition(&topic, partition).iter().skip(done).map(|record| record.offset);
            let found = found.get(&partition).cloned().unwrap_or_default();
            ensure!(rest.collect::<Vec<_>>() == found, "{protocol}, {partition}: missed or read again");
        }
        Ok(())
    };
    thread::scope(|scope| {
        let classic = scope.spawn(|| continues("classic"));
        continues("consumer")?;
        classic.join().expect("no panic")
    })
}

#[test]
fn two_hundred_groups_are_fresh_within_seconds() -> Result<()> {
    const GROUPS: usize = 200;
    const EACH: i32 = 100;
    let pair = Pair::shared_alone()?;
    let topic = topics::create_unique(&pair.source, "fresh", EACH)?;
    let written = Load::new(&topic, EACH).limit(3_000).value_max(40).start(&pair.source)?.finish()?.written;
    let stem = topics::unique("fresh");
    let names: Vec<String> = (0..GROUPS).map(|number| format!("{stem}-{number}")).collect();
    let mut files = link(&pair, &topic, &format!("{stem}.*"))?;
    files.sender.set("groups", "interval", "\"5 s\"");
    let clients: Vec<BaseConsumer> =
        names.iter().map(|group| client(&pair.source, group, Protocol::Classic).create()).collect::<Result<_, _>>()?;
    let commit_all = |offset: i64| -> Result<()> {
        let mut offsets = TopicPartitionList::new();
        for partition in 0..EACH {
            offsets.add_partition_offset(&topic, partition, Offset::Offset(offset))?;
        }
        clients.iter().try_for_each(|client| Ok(client.commit(&offsets, CommitMode::Sync)?))
    };
    commit_all(1)?;
    let (receiver, _sender) = files.start()?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    let all = GROUPS as u64 * EACH as u64;
    let is_synced = |status: &Value| status["links"][0]["consumer_groups"]["offsets"]["synced"] == all;
    receiver.admin.wait_for("all offsets to be synced", PATIENCE, is_synced)?;
    // A new client for each look would take longer than the link.
    let watched: Vec<BaseConsumer> = names
        .iter()
        .step_by(20)
        .chain(names.last())
        .map(|group| client(&pair.target, group, Protocol::Classic).create())
        .collect::<Result<_, _>>()?;
    let offset = |client: &BaseConsumer| -> Result<Offset> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&topic, EACH - 1);
        let offsets = client.committed_offsets(asked, PATIENCE)?;
        Ok(offsets.find_partition(&topic, EACH - 1).context("no such partition")?.offset())
    };
    let before: Vec<Offset> = watched.iter().map(&offset).collect::<Result<_>>()?;
    commit_all(2)?;
    let began = Instant::now();
    for (client, before) in watched.iter().zip(&before) {
        until_ok("a group to follow", PATIENCE, || Ok((offset(client)? != *before).then_some(())))?;
    }
    let last = began.elapsed();
    println!("{GROUPS} groups of {EACH} partitions followed within {last:.1?} of the last commit");
    // Interval, way and 1 s, and as much again for a machine that has two busy cores.
    ensure!(last < Duration::from_secs(2 * (5 + 1)), "{last:?}");
    Ok(())
}
