//! A topic of every kind of trouble at the same time, next to healthy ones that share their lanes: one look at the status
//! of either end names each of them, and the healthy ones are as fast as without.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::journal::{Load, millis_now};
use harness::latency::Latencies;
use harness::pair::Pair;
use harness::record::{Contents, Record, noise, numbered, small};
use harness::{halts, journal, topics, verify, wait};
use hdrhistogram::Histogram;

const PATIENCE: Duration = Duration::from_secs(120);
const HEALTHY: i32 = 8;
/// Time for which latencies are measured, without trouble and with all of it.
const MEASURED: Duration = Duration::from_secs(10);
/// Latency that all trouble together may add at the 99th percentile: a second.
const ADDED_MS: u64 = 1_000;
/// More bytes than the target accepts, which do not compress.
const TOO_LARGE: usize = 60_000;

/// One topic for each kind of trouble.
struct Topics {
    /// Its source partition loses its leader.
    unread: String,
    /// Its target partition loses its leader.
    unwritable: String,
    /// Its target partition has too few in-sync replicas.
    short: String,
    /// The target is compacted, and a record has no key.
    keyless: String,
    /// A record is larger than the target accepts.
    large: String,
    /// The topic is deleted at the source.
    deleted: String,
    /// The topic is deleted at the source and created again.
    recreated: String,
    /// The target deletes earlier than the source.
    shorter: String,
}

impl Topics {
    fn create(pair: &Pair) -> Result<Self> {
        let source = &pair.source;
        let target = &pair.target;
        let one = |stem| topics::create_unique(source, stem, 1);
        let topics = Self {
            unread: topics::create_unique_on(source, "unread", 1, 3)?,
            unwritable: one("unwritable")?,
            short: one("short")?,
            keyless: one("keyless")?,
            large: one("large")?,
            deleted: one("deleted")?,
            recreated: one("recreated")?,
            shorter: one("shorter")?,
        };
        topics::create_on(target, &topics.unwritable, 1, 3)?;
        topics::create(target, &topics.short, 1, &[("min.insync.replicas", "3")])?;
        topics::create(target, &topics.keyless, 1, &[("cleanup.policy", "compact")])?;
        topics::create(target, &topics.large, 1, &[("max.message.bytes", "20000")])?;
        topics::create(target, &topics.shorter, 1, &[("retention.ms", "86400000")])?;
        Ok(topics)
    }

    fn all(&self) -> [&str; 8] {
        let Self { unread, unwritable, short, keyless, large, deleted, recreated, shorter } = self;
        [unread, unwritable, short, keyless, large, deleted, recreated, shorter].map(String::as_str)
    }

    /// Brings all trouble about.
    fn trouble(&self, pair: &Pair) -> Result<()> {
        let source = &pair.source;
        let target = &pair.target;
        let write = |topic: &str, record| journal::write(source, topic, 0, &[record]).map(drop);
        write(&self.keyless, Record { key: None, ..numbered(10, b"a value".to_vec()) })?;
        write(&self.large, numbered(10, noise(TOO_LARGE, 1)))?;
        topics::delete(source, &self.deleted)?;
        topics::delete(source, &self.recreated)?;
        topics::create(source, &self.recreated, 1, &[])?;
        source.kill_noticed(3, &self.unread, PATIENCE)?;
        target.kill_noticed(3, &self.unwritable, PATIENCE)?;
        write(&self.unwritable, numbered(10, b"a value".to_vec()))?;
        write(&self.short, numbered(10, b"a value".to_vec()))
    }

    /// Returns for each topic words that the status must say in one line with its name.
    fn words(&self) -> [(&str, &str); 8] {
        [
            (&self.unread, "no leader"),
            (&self.unwritable, "no leader"),
            (&self.short, "in-sync replicas"),
            (&self.keyless, "record-rejected"),
            (&self.large, "record-rejected"),
            (&self.deleted, "deleted"),
            (&self.recreated, "topic-recreated"),
            (&self.shorter, "retention.ms is 86400000"),
        ]
        .map(|(topic, words): (&String, &str)| (topic.as_str(), words))
    }
}

/// Measures latencies of the healthy topic for a while.
fn measure(pair: &Pair, topic: &str, seed: u64, written: &mut Contents) -> Result<Histogram<u64>> {
    let latencies = Latencies::start(&pair.target, topic, HEALTHY)?;
    let began = millis_now();
    let writer = Load::new(topic, HEALTHY).rate(100).value_max(500).stamped_now().seed(seed).start(&pair.source)?;
    wait::through(MEASURED, || Ok(()))?;
    written.merge(&writer.stop()?.written);
    verify::wait_until_delivered(written, &pair.target, "{topic}", PATIENCE)?;
    // The first records wait for the writer's connections.
    let [_, measured] = latencies.finish_split(began + 2_000)?;
    Ok(measured)
}

#[test]
fn every_trouble_is_named_and_stops_no_healthy_topic() -> Result<()> {
    let pair = Pair::start(3, 3)?;
    let healthy = topics::create_unique(&pair.source, "healthy", HEALTHY)?;
    let troubled = Topics::create(&pair)?;
    let missing = topics::unique("missing");
    let mut entries = vec![healthy.as_str(), missing.as_str()];
    entries.extend(troubled.all());
    let mut files = LinkFiles::new(&topics::unique("troubles"), &pair.source, &pair.target, &entries)?;
    files.sender.set("lanes", "count", "2");
    let (receiver, sender) = files.start()?;
    let mut begun = Contents::default();
    for topic in troubled.all() {
        begun.merge(&journal::write(&pair.source, topic, 0, &small(0..10))?.written);
    }
    verify::wait_until_delivered(&begun, &pair.target, "{topic}", PATIENCE)?;
    let mut written = Contents::default();
    let without = measure(&pair, &healthy, 1, &mut written)?;

    troubled.trouble(&pair)?;
    let began = Instant::now();
    for (topic, reason) in [
        (&troubled.keyless, "record-rejected"),
        (&troubled.large, "record-rejected"),
        (&troubled.recreated, "topic-recreated"),
        (&troubled.unwritable, "target-unavailable"),
        (&troubled.short, "target-unavailable"),
    ] {
        halts::wait_for(&sender, topic, 0, reason)?;
    }
    let mut named = troubled.words().to_vec();
    named.push((&missing, "matches no topic"));
    for (end, process) in [("sender", &sender), ("receiver", &receiver)] {
        wait::until_ok(&format!("the {end}'s status to name all"), PATIENCE, || {
            let shown = run_at(process, &["status"])?.printed;
            let says =
                |(topic, words): &(&str, &str)| shown.lines().any(|line| line.contains(topic) && line.contains(words));
            let unnamed: Vec<_> = named.iter().filter(|named| !says(named)).collect();
            ensure!(began.elapsed() < PATIENCE / 2, "the {end}'s status does not name {unnamed:?}:\n{shown}");
            Ok(unnamed.is_empty().then(|| println!("{end}, after {:.1?}:\n{shown}", began.elapsed())))
        })?;
    }

    let with = measure(&pair, &healthy, 2, &mut written)?;
    let p99 = |latencies: &Histogram<u64>| latencies.value_at_quantile(0.99);
    println!("healthy topic: p99 {} ms without trouble, {} ms with all of it", p99(&without), p99(&with));
    ensure!(p99(&with) <= p99(&without) + ADDED_MS, "p99 {} ms, without trouble {} ms", p99(&with), p99(&without));
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}
