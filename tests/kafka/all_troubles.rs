//! A topic of every kind of trouble at the same time, next to healthy ones that share their lanes: one look at the status
//! of either end names each of them, and the healthy ones are as fast as without.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::command::run_at;
use harness::journal::{Load, millis_now};
use harness::latency::Latencies;
use harness::pair::Pair;
use harness::process::Process;
use harness::record::{Contents, Record, noise, numbered, small};
use harness::rights::Listed;
use harness::{journal, topics, verify, wait};
use hdrhistogram::Histogram;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::rights::{Secured, topic_right};

const PATIENCE: Duration = Duration::from_secs(120);
const HEALTHY: i32 = 8;
/// Time for which latencies are measured, without trouble and with all of it.
const MEASURED: Duration = Duration::from_secs(6);
/// Latency that all trouble together may add at the 99th percentile, in ms. A lane that stops adds more than that; tests
/// that share the machine add up to 2.5 s to either measurement.
const ADDED_MS: u64 = 5_000;
/// More bytes than the target accepts, which do not compress.
const TOO_LARGE: usize = 60_000;

/// Kinds of trouble, with a topic each: the kind, and words that the status must say in one line with the topic's name.
const KINDS: [(&str, &str); 13] = [
    // Its source partition loses its leader.
    ("unread", "no leader"),
    // The sender's right to read it is revoked: it halts (`source-unauthorized`), or waits if it was about to join again.
    ("barred", "authoriz"),
    // A producer of the source leaves a transaction open.
    ("undecided", "source-transaction-open"),
    // It appears while another link may write it, whose state cannot be read.
    ("unsure", "origin-unknown"),
    // The topic is deleted at the source; and created again.
    ("deleted", "deleted"),
    ("recreated", "topic-recreated"),
    // Its target partition loses its leader; has too few in-sync replicas.
    ("unwritable", "no leader"),
    ("short", "in-sync replicas"),
    // The receiver's right to write it is revoked.
    ("denied", "no right to write"),
    // The target has records of another writer.
    ("foreign", "target-not-empty"),
    // The target is compacted, and a record has no key; a record is larger than the target accepts.
    ("keyless", "record-rejected"),
    ("large", "record-rejected"),
    // The target deletes earlier than the source.
    ("shorter", "retention.ms is 86400000"),
];

/// Name of the topic of each kind.
struct Topics(BTreeMap<&'static str, String>);

impl Topics {
    fn create(pair: &Pair) -> Result<Self> {
        let topics = Self(KINDS.iter().map(|(kind, _)| (*kind, topics::unique(&format!("ill-{kind}")))).collect());
        for (kind, topic) in &topics.0 {
            match *kind {
                "unread" => topics::create_on(&pair.source, topic, 1, 3)?,
                "unsure" => {}
                _ => topics::create(&pair.source, topic, 1, &[])?,
            }
            let with = |configs| topics::create(&pair.target, topic, 1, configs);
            match *kind {
                "unwritable" => topics::create_on(&pair.target, topic, 1, 3)?,
                "short" => with(&[("min.insync.replicas", "3")])?,
                "keyless" => with(&[("cleanup.policy", "compact")])?,
                "large" => with(&[("max.message.bytes", "20000")])?,
                "shorter" => with(&[("retention.ms", "86400000")])?,
                "foreign" => {
                    with(&[])?;
                    journal::write(&pair.target, topic, 0, &small(1000..1005))?;
                }
                _ => {}
            }
        }
        Ok(topics)
    }

    fn of(&self, kind: &str) -> &str {
        &self.0[kind]
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(String::as_str)
    }

    /// Brings all trouble about. Returns the producer whose transaction stays open.
    fn trouble(&self, secured: &mut Secured) -> Result<BaseProducer> {
        let source = &secured.pair.source;
        let target = &secured.pair.target;
        let write = |kind: &str, record| journal::write(source, self.of(kind), 0, &[record]).map(drop);
        write("keyless", Record { key: None, ..numbered(10, b"a value".to_vec()) })?;
        write("large", numbered(10, noise(TOO_LARGE, 1)))?;
        topics::delete(source, self.of("deleted"))?;
        topics::delete(source, self.of("recreated"))?;
        topics::create(source, self.of("recreated"), 1, &[])?;
        secured.source.revoke(&topic_right("sender", self.of("barred"), "Read"))?;
        secured.target.revoke(&topic_right("receiver", self.of("denied"), "Write"))?;
        let producer = journal::leave_open(source, self.of("undecided"))?;
        topics::create(source, "__causeway.left.state", 1, &[("cleanup.policy", "compact")])?;
        // The key of an entry of format 2.
        let newer = BaseRecord::to("__causeway.left.state").key(&[2u8, 16]).payload(&[2u8]);
        let other: BaseProducer = ClientConfig::new().set("bootstrap.servers", source.bootstrap()).create()?;
        other.send(newer).map_err(|(error, _)| error)?;
        other.flush(PATIENCE)?;
        source.kill_noticed(3, self.of("unread"), PATIENCE)?;
        target.kill_noticed(3, self.of("unwritable"), PATIENCE)?;
        for kind in ["unwritable", "short", "denied"] {
            write(kind, numbered(10, b"a value".to_vec()))?;
        }
        Ok(producer)
    }
}

/// Measures latencies of the healthy topic for a while.
fn measure(pair: &Pair, topic: &str, seed: u64, written: &mut Contents) -> Result<Histogram<u64>> {
    let latencies = Latencies::start(&pair.target, topic, HEALTHY)?;
    let written_from = millis_now();
    let writer = Load::new(topic, HEALTHY).rate(100).value_max(500).stamped_now().seed(seed).start(&pair.source)?;
    // The first records wait for the writer's and the reader's connections.
    let is_read = || latencies.newest().is_some_and(|newest| newest >= written_from).then_some(());
    wait::until("the reader to be connected", PATIENCE, is_read)?;
    let began = millis_now();
    wait::through(MEASURED, || Ok(()))?;
    written.merge(&writer.stop()?.written);
    verify::wait_until_delivered(written, &pair.target, "{topic}", PATIENCE)?;
    let [_, measured] = latencies.finish_split(began)?;
    Ok(measured)
}

/// Grants what a link of these topics needs, each topic by its name.
fn secured(topics: &Topics, healthy: &str, pair: Pair) -> Result<Secured> {
    let is_data = |listed: &Listed| listed.right.prefix == "ill-";
    let is_own = |listed: &Listed| is_data(listed) && ["Read", "Write"].contains(&listed.right.operation.as_str());
    let mut secured = Secured::grant_in(pair, "ill-", |listed| !is_own(listed))?;
    secured.source.grant(&topic_right("sender", "__causeway.", "Read"))?;
    for topic in topics.all().chain([healthy]) {
        secured.source.grant(&topic_right("sender", topic, "Read"))?;
        secured.target.grant(&topic_right("receiver", topic, "Write"))?;
    }
    Ok(secured)
}

/// Waits until the status of each end names every kind.
fn wait_until_named(ends: [(&str, &Process); 2], named: &[(&str, &str)]) -> Result<()> {
    let began = Instant::now();
    for (end, process) in ends {
        wait::until_ok(&format!("the {end}'s status to name all"), PATIENCE, || {
            let shown = run_at(process, &["status"])?.printed;
            let says =
                |(topic, words): &(&str, &str)| shown.lines().any(|line| line.contains(topic) && line.contains(words));
            let unnamed: Vec<_> = named.iter().filter(|named| !says(named)).collect();
            ensure!(began.elapsed() < PATIENCE / 2, "the {end}'s status does not name {unnamed:?}:\n{shown}");
            Ok(unnamed.is_empty().then(|| println!("{end}, after {:.1?}:\n{shown}", began.elapsed())))
        })?;
    }
    Ok(())
}

#[test]
fn every_trouble_is_named_and_stops_no_healthy_topic() -> Result<()> {
    let pair = Pair::start_secure(3)?;
    let healthy = topics::create_unique(&pair.source, "ill-healthy", HEALTHY)?;
    let troubled = Topics::create(&pair)?;
    let missing = topics::unique("ill-missing");
    let mut secured = secured(&troubled, &healthy, pair)?;
    let mut entries = vec![healthy.as_str(), missing.as_str()];
    entries.extend(troubled.all());
    let mut files = secured.link("ill-link", &entries)?;
    files.sender.set("lanes", "count", "2");
    let (receiver, sender) = files.start()?;
    let pair = &secured.pair;
    let mut begun = Contents::default();
    for (kind, topic) in &troubled.0 {
        if !["unsure", "foreign"].contains(kind) {
            begun.merge(&journal::write(&pair.source, topic, 0, &small(0..10))?.written);
        }
    }
    verify::wait_until_delivered(&begun, &pair.target, "{topic}", PATIENCE)?;
    let mut written = Contents::default();
    let without = measure(pair, &healthy, 1, &mut written)?;

    let _open = troubled.trouble(&mut secured)?;
    let pair = &secured.pair;
    wait::until_ok("the other link's state to be noticed", PATIENCE, || {
        Ok(sender.admin.get("/status")?.contains("__causeway.left.state").then_some(()))
    })?;
    topics::create(&pair.source, troubled.of("unsure"), 1, &[])?;
    let mut named: Vec<_> = KINDS.iter().map(|(kind, words)| (troubled.of(kind), *words)).collect();
    named.push((&missing, "matches no topic"));
    wait_until_named([("sender", &sender), ("receiver", &receiver)], &named)?;

    let with = measure(pair, &healthy, 2, &mut written)?;
    let p99 = |latencies: &Histogram<u64>| latencies.value_at_quantile(0.99);
    println!("healthy topic: p99 {} ms without trouble, {} ms with all of it", p99(&without), p99(&with));
    ensure!(p99(&with) <= p99(&without) + ADDED_MS, "p99 {} ms, without trouble {} ms", p99(&with), p99(&without));
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}
