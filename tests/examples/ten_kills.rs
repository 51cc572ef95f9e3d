//! Carries the lines of a file, three times, and a million records of mixed sizes from one real cluster to another,
//! while both ends and both brokers are killed at random. Prints how many records were lost, doubled and reordered, and
//! the CPU time.
//!
//!     cargo build --release
//!     CAUSEWAY_BIN=target/release/causeway cargo run --release -p causeway-tests --example ten_kills -- LINES [SEED]
//!
//! `LINES` is a text file; each line becomes a record's value.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::files::{LinkFiles, Side};
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::Record;
use harness::{topics, verify, wait};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const PARTITIONS: i32 = 8;
const COPIES: usize = 3;
const MIXED: u64 = 1_000_000;
const MIXED_VALUE_MAX: usize = 4096;
const KILLS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(600);

/// Mixed records per second: slow enough that records flow during all ten kills and restarts.
const RATE: u32 = 12_000;

/// A `causeway` process that is killed and restarted, and the CPU time of all its runs.
struct End<'a> {
    name: &'static str,
    side: &'a Side,
    process: Process,
    cpu_seconds: f64,
}

impl<'a> End<'a> {
    fn start(name: &'static str, side: &'a Side) -> Result<Self> {
        Ok(Self { name, side, process: side.start()?, cpu_seconds: 0.0 })
    }

    fn kill_and_restart(&mut self) -> Result<()> {
        self.cpu_seconds += self.process.cpu_seconds()?;
        self.process.kill();
        self.process = self.side.start()?;
        Ok(())
    }

    fn finish(mut self, gigabytes: f64) -> Result<()> {
        self.cpu_seconds += self.process.cpu_seconds()?;
        println!("{}: {:.1} CPU seconds, {:.1} per GB", self.name, self.cpu_seconds, self.cpu_seconds / gigabytes);
        Ok(())
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let lines = arguments.next().context("name a text file")?;
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse())?;
    let pair = Pair::start(1, 1)?;
    let lines_topic = topics::unique("lines");
    let mixed = topics::unique("mixed");
    for topic in [&lines_topic, &mixed] {
        // The lines have timestamps of 2013: any finite retention would delete them.
        topics::create(&pair.source, topic, PARTITIONS, &[("retention.ms", "-1")])?;
    }
    let files = LinkFiles::new("ten-kills", &pair.source, &pair.target, &[&lines_topic, &mixed])?;
    let mut ends = [End::start("receiver", &files.receiver)?, End::start("sender", &files.sender)?];
    let began = Instant::now();
    let slices = Record::of_lines(Path::new(&lines), PARTITIONS as usize)?;
    let written = thread::scope(|scope| -> Result<u64> {
        let writers: Vec<_> = slices
            .iter()
            .zip(0..)
            .map(|(slice, partition)| {
                let source = &pair.source;
                let lines_topic = &lines_topic;
                scope.spawn(move || (0..COPIES).try_for_each(|_| write(source, lines_topic, partition, slice)))
            })
            .collect();
        let load = Load::new(&mixed, PARTITIONS).limit(MIXED).rate(RATE).seed(seed).value_max(MIXED_VALUE_MAX);
        let load = load.start(&pair.source)?;
        let mut rng = StdRng::seed_from_u64(seed);
        for kill in 1..=KILLS {
            let moment = (MIXED / (KILLS as u64 + 1)) * kill as u64 + rng.random_range(0..20_000);
            wait::until("the moment of a kill", PATIENCE, || (load.acknowledged() >= moment).then_some(()))?;
            kill_one(kill, &mut rng, &mut ends, &pair)?;
        }
        for writer in writers {
            writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        load.finish()?;
        Ok(slices.iter().map(|slice| slice.len() * COPIES).sum::<usize>() as u64 + MIXED)
    })?;
    println!("written: {written} records in {:.1} s; waiting for the target", began.elapsed().as_secs_f64());
    let expected = read(&pair.source, &[&lines_topic, &mixed], Isolation::Committed)?;
    ensure!(expected.len() as u64 >= written, "the source has {} of {written} records", expected.len());
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    let seconds = began.elapsed().as_secs_f64();
    let seen = read(&pair.target, &[&lines_topic, &mixed], Isolation::Committed)?;
    let verdict = verify::compare(&expected, &seen, "{topic}");
    println!("{verdict}");
    let status = wait::until_ok("the receiver's status", PATIENCE, || Ok(ends[0].process.admin.status().ok()))?;
    println!("receiver: {}", status["links"][0]["counts"]);
    println!("{:.0} records/s over {seconds:.1} s, kills included", expected.len() as f64 / seconds);
    let gigabytes = bytes(&slices) / 1e9;
    println!("record bytes: {gigabytes:.2} GB");
    ends.into_iter().try_for_each(|end| end.finish(gigabytes))?;
    ensure!(verdict.is_clean(), "not exactly once");
    Ok(())
}

fn write(source: &Cluster, topic: &str, partition: i32, records: &[Record]) -> Result<()> {
    journal::write(source, topic, partition, records).map(drop)
}

/// Bytes of all values. Those of the mixed records are estimated: their sizes are spread evenly over the orders of
/// magnitude below 4 KiB, with a mean of 443 bytes.
fn bytes(slices: &[Vec<Record>]) -> f64 {
    let lines: usize = slices.iter().flatten().map(|record| record.value.as_ref().map_or(0, Vec::len)).sum();
    (lines * COPIES) as f64 + MIXED as f64 * 443.0
}

fn kill_one(kill: usize, rng: &mut StdRng, ends: &mut [End<'_>; 2], pair: &Pair) -> Result<()> {
    let broker = |name, cluster: &Cluster| -> Result<()> {
        println!("kill {kill}: {name} broker");
        cluster.kill(1);
        cluster.restart(1)
    };
    match rng.random_range(0..4) {
        end @ 0..2 => {
            let end: &mut End<'_> = &mut ends[end];
            println!("kill {kill}: {}", end.name);
            end.kill_and_restart()
        }
        2 => broker("source", &pair.source),
        _ => broker("target", &pair.target),
    }
}
