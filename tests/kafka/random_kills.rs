//! Rounds of random kills of sender, receiver, source broker and target broker, at random times.
//!
//! `CAUSEWAY_ROUNDS` sets the number of rounds (12 unless set), `SEED` repeats the choices of an earlier run.

use std::env;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use harness::admin::committed;
use harness::files::LinkFiles;
use harness::journal::{Load, Writer};
use harness::pair::Pair;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::wait::until;
use harness::{topics, verify};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const PATIENCE: Duration = Duration::from_secs(120);
const ROUNDS: u64 = 12;
const PARTITIONS: i32 = 8;

// Two writers: many small records, and a few of up to 1 MiB. Rates are in records per second, sizes in bytes.
const SMALL_RATE: u32 = 1_500;
const SMALL_MAX: usize = 4 << 10;
const LARGE_RATE: u32 = 10;
const LARGE_MAX: usize = 1 << 20;

#[test]
fn random_kills_lose_and_double_nothing() -> Result<()> {
    let rounds = setting("CAUSEWAY_ROUNDS")?.unwrap_or(ROUNDS);
    let seed = setting("SEED")?.unwrap_or_else(rand::random);
    println!("{rounds} rounds, SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let pair = Pair::start_alone(1, 1)?;
    let mut scene = Scene::start(&pair, &mut rng)?;
    let began = Instant::now();
    for round in 1..=rounds {
        let kill = Kill::random(&mut rng);
        println!("{:6.1} s  round {round}: {kill}", began.elapsed().as_secs_f64());
        scene.play(&kill).with_context(|| format!("round {round}, SEED={seed}"))?;
    }
    let verdict = scene.finish().with_context(|| format!("SEED={seed}"))?;
    println!("{:6.1} s  {verdict}", began.elapsed().as_secs_f64());
    Ok(())
}

pub(crate) fn setting(name: &str) -> Result<Option<u64>> {
    let Ok(text) = env::var(name) else { return Ok(None) };
    Ok(Some(text.parse().with_context(|| format!("{name}={text} is not a number"))?))
}

/// Choices of one round.
#[derive(Debug)]
struct Kill {
    /// Waits first until the link carries records again after the last round.
    recovered: bool,
    /// Waits then until the source has this number of new records.
    records: u64,
    sender: bool,
    receiver: bool,
    source: bool,
    target: bool,
    /// The processes restart before the brokers do.
    processes_first: bool,
}

impl Kill {
    fn random(rng: &mut StdRng) -> Self {
        loop {
            // Brokers are killed less often: they take seconds to restart.
            let kill = Self {
                recovered: rng.random_bool(0.6),
                records: rng.random_range(0..u64::from(SMALL_RATE)),
                sender: rng.random_bool(0.5),
                receiver: rng.random_bool(0.5),
                source: rng.random_bool(0.2),
                target: rng.random_bool(0.3),
                processes_first: rng.random_bool(0.5),
            };
            if kill.sender || kill.receiver || kill.source || kill.target {
                return kill;
            }
        }
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.recovered { "once records flow, " } else { "" };
        write!(f, "{when}after {} records:", self.records)?;
        let victims = [
            (self.sender, "sender"),
            (self.receiver, "receiver"),
            (self.source, "source broker"),
            (self.target, "target broker"),
        ];
        victims.iter().filter(|(killed, _)| *killed).try_for_each(|(_, name)| write!(f, " {name}"))?;
        f.write_str(if self.processes_first { "; processes first" } else { "; brokers first" })
    }
}

struct Scene<'a> {
    pair: &'a Pair,
    topics: [String; 2],
    files: LinkFiles,
    sender: Process,
    receiver: Process,
    small: Writer,
    large: Writer,
}

impl<'a> Scene<'a> {
    fn start(pair: &'a Pair, rng: &mut StdRng) -> Result<Self> {
        let small = topics::create_unique(&pair.source, "rounds-small", PARTITIONS)?;
        let large = topics::create_unique(&pair.source, "rounds-large", PARTITIONS)?;
        let link = topics::unique("rounds");
        let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&small, &large])?;
        let sender = files.sender.start()?;
        let receiver = files.receiver.start()?;
        let load = |topic: &str, rate, max| Load::new(topic, PARTITIONS).rate(rate).value_max(max);
        let small_load = load(&small, SMALL_RATE, SMALL_MAX).seed(rng.random()).start(&pair.source)?;
        let large_load = load(&large, LARGE_RATE, LARGE_MAX).seed(rng.random()).start(&pair.source)?;
        let topics = [small, large];
        Ok(Self { pair, topics, files, sender, receiver, small: small_load, large: large_load })
    }

    fn play(&mut self, kill: &Kill) -> Result<()> {
        if kill.recovered {
            let before = self.receiver.admin.status().map_or(0, |status| committed(&status));
            self.receiver.admin.wait_for("records to flow", PATIENCE, |status| committed(status) > before)?;
        }
        let due = self.small.acknowledged() + kill.records;
        until("records at the source", PATIENCE, || (self.small.acknowledged() >= due).then_some(()))?;
        if kill.sender {
            self.sender.kill();
        }
        if kill.receiver {
            self.receiver.kill();
        }
        if kill.source {
            self.pair.source.kill_all();
        }
        if kill.target {
            self.pair.target.kill_all();
        }
        if kill.processes_first {
            self.restart_processes(kill)?;
            self.restart_brokers()
        } else {
            self.restart_brokers()?;
            self.restart_processes(kill)
        }
    }

    fn restart_processes(&mut self, kill: &Kill) -> Result<()> {
        if kill.sender {
            self.sender = self.files.sender.start()?;
        }
        if kill.receiver {
            self.receiver = self.files.receiver.start()?;
        }
        Ok(())
    }

    /// Restarts the brokers that are down, of both clusters at the same time.
    fn restart_brokers(&self) -> Result<()> {
        thread::scope(|scope| {
            let source = scope.spawn(|| self.pair.source.restart_all());
            self.pair.target.restart_all()?;
            source.join().map_err(|_| anyhow!("restarting the source panicked"))?
        })
    }

    fn finish(self) -> Result<String> {
        let mut written = self.small.stop()?.written;
        written.merge(&self.large.stop()?.written);
        verify::wait_until_delivered(&written, &self.pair.target, "{topic}", PATIENCE)?;
        let verdict = verify::ensure_exactly_once(&written, &self.pair.target, "{topic}")?;
        // Nothing that the kills left in the target passes for the record of another program.
        let is_clean = |status: &serde_json::Value| {
            let found = &status["links"][0]["foreign_writes"];
            found["waiting"] == 0 && found["unread"] == 0 && found["records"] == 0
        };
        self.receiver.admin.wait_for("all gaps to be read", PATIENCE, is_clean)?;
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let all = read(&self.pair.target, &topics, Isolation::Uncommitted)?.len();
        Ok(format!("{verdict}; {} others were aborted at the target", all - written.len()))
    }
}
