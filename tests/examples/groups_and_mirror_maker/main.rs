//! Consumer groups that stop at the source and continue in the target, with Causeway and with MirrorMaker 2 on the same
//! records. Prints, by lag, the records of all partitions that each group would miss or read again.
//!
//!     cargo build --release
//!     CAUSEWAY_BIN=target/release/causeway cargo run --release -p causeway-tests --example groups_and_mirror_maker

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::journal::Load;
use harness::pair::Pair;
use harness::reader::{Isolation, read};
use harness::record::Contents;
use harness::wait::until_ok;
use harness::{topics, verify};
use mirror_maker::MirrorMaker;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

mod mirror_maker;

const PARTITIONS: i32 = 3;
const RECORDS: u64 = 80_000;
const LAGS: [usize; 3] = [0, 500, 50_000];
const PATIENCE: Duration = Duration::from_secs(120);
/// Time after which offsets that do not change any more are final: both sides look every second.
const FINAL_AFTER: Duration = Duration::from_secs(20);

/// A group that has consumed all but a part of each partition.
struct Group {
    name: String,
    lag: usize,
}

impl Group {
    /// Commits what a group would have that stops with this lag in all.
    fn stop(pair: &Pair, topic: &str, stem: &str, source: &Contents, lag: usize) -> Result<Self> {
        let group = Self { name: format!("{stem}-{lag}"), lag };
        let mut offsets = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let records = source.partition(topic, partition);
            let consumed = group.consumed(source, topic, partition);
            let last = records.get(consumed.wrapping_sub(1)).context("a group that has consumed nothing")?;
            offsets.add_partition_offset(topic, partition, Offset::Offset(last.offset + 1))?;
        }
        group.client(&pair.source)?.commit(&offsets, CommitMode::Sync)?;
        Ok(group)
    }

    fn consumed(&self, source: &Contents, topic: &str, partition: i32) -> usize {
        source.partition(topic, partition).len().saturating_sub(self.lag / PARTITIONS as usize)
    }

    fn client(&self, cluster: &Cluster) -> Result<BaseConsumer> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap()).set("group.id", &self.name);
        Ok(config.create()?)
    }

    /// Returns the committed offsets in the target once all are there and none has changed for a while.
    fn final_offsets(&self, pair: &Pair, topic: &str) -> Result<Vec<i64>> {
        let client = self.client(&pair.target)?;
        let mut seen = (Vec::new(), Instant::now());
        until_ok(&format!("final offsets of {} in {topic}", self.name), PATIENCE, || {
            let mut asked = TopicPartitionList::new();
            asked.add_partition_range(topic, 0, PARTITIONS - 1);
            let found = client.committed_offsets(asked, PATIENCE)?;
            let found: Vec<i64> = found.elements().iter().filter_map(|one| one.offset().to_raw()).collect();
            if found != seen.0 {
                seen = (found, Instant::now());
            }
            let is_final = seen.1.elapsed() > FINAL_AFTER && seen.0.iter().all(|offset| *offset >= 0);
            Ok(is_final.then(|| seen.0.clone()))
        })
    }

    /// Counts the records that it would miss and read again in `copy`, the name of the topic in the target.
    fn compare(&self, topic: &str, copy: &str, source: &Contents, target: &Contents, offsets: &[i64]) -> Result<Gaps> {
        let mut gaps = Gaps::default();
        for (partition, from) in (0..PARTITIONS).zip(offsets) {
            let all = source.digests(topic, partition);
            let expected = &all[self.consumed(source, topic, partition)..];
            let found: Vec<u64> = target
                .partition(copy, partition)
                .iter()
                .filter(|one| one.offset >= *from)
                .map(|one| one.digest)
                .collect();
            ensure!(expected.ends_with(&found) || found.ends_with(expected), "{copy}/{partition}: other records");
            gaps.missed += expected.len().saturating_sub(found.len());
            gaps.again += found.len().saturating_sub(expected.len());
        }
        Ok(gaps)
    }
}

/// Records of a group that continued at other offsets than it stopped.
#[derive(Debug, Default)]
struct Gaps {
    missed: usize,
    again: usize,
}

fn main() -> Result<()> {
    let pair = Pair::start(1, 1)?;
    let topic = topics::create_unique(&pair.source, "apps", PARTITIONS)?;
    let stem = topics::unique("app");
    let mirrored = format!("source.{topic}");
    let mut files = LinkFiles::new(&topics::unique("groups"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("groups", "include", &format!("[\"{stem}.*\"]")).set("groups", "interval", "\"1 s\"");
    let (receiver, sender) = files.start()?;
    let _receiver = receiver.quiet();
    let _sender = sender.quiet();
    let _mirror_maker = MirrorMaker::start(&pair, &topic, &format!("{stem}.*"))?;
    let load = Load::new(&topic, PARTITIONS).limit(RECORDS).value_max(40).transactional(20);
    let written = load.start(&pair.source)?.finish()?.written;
    for name in ["{topic}", "source.{topic}"] {
        until_ok(&format!("the topic {name}"), PATIENCE, || {
            let name = verify::renamed(name, &topic);
            Ok((topics::partitions(&pair.target, &name).unwrap_or(0) == PARTITIONS as usize).then_some(()))
        })?;
        verify::wait_until_delivered(&written, &pair.target, name, PATIENCE)?;
    }
    let source = read(&pair.source, &[&topic], Isolation::Committed)?;
    let groups = LAGS.map(|lag| Group::stop(&pair, &topic, &stem, &source, lag));
    let groups = groups.into_iter().collect::<Result<Vec<_>>>()?;
    println!("{} records in {PARTITIONS} partitions, in transactions, a fifth of them aborted", written.len());
    println!("| lag | Causeway: missed, read again | MirrorMaker 2: missed, read again |\n| --- | --- | --- |");
    for group in &groups {
        let mut gaps = Vec::new();
        for copy in [&topic, &mirrored] {
            let offsets = group.final_offsets(&pair, copy)?;
            let target = read(&pair.target, &[copy], Isolation::Committed)?;
            gaps.push(group.compare(&topic, copy, &source, &target, &offsets)?);
        }
        println!("| {} | {}, {} | {}, {} |", group.lag, gaps[0].missed, gaps[0].again, gaps[1].missed, gaps[1].again);
    }
    Ok(())
}
