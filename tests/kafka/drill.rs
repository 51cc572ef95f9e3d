//! Drill: rounds of failover or switch-over between two clusters, each followed by a link the other way, under load, with kills.
//!
//! `CAUSEWAY_DRILL_ROUNDS` sets the number of rounds (3 unless set), `SEED` repeats the choices of an earlier run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::command::{Exit, run_at};
use harness::files::LinkFiles;
use harness::journal::{Load, Writer};
use harness::pair::Pair;
use harness::process::{HALTED, Process};
use harness::record::Contents;
use harness::{topics, wait};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::failback::{Digests, count, digests};
use crate::failover::{PARTITIONS, ends, wait_for_commits};
use crate::random_kills::setting;

const PATIENCE: Duration = Duration::from_secs(120);
const ROUNDS: u64 = 3;
/// Records per second of each of the two producers.
const RATE: u32 = 400;

#[test]
fn drill_there_and_back_loses_only_what_is_stated() -> Result<()> {
    let rounds = setting("CAUSEWAY_DRILL_ROUNDS")?.unwrap_or(ROUNDS);
    let seed = setting("SEED")?.unwrap_or_else(rand::random);
    println!("{rounds} rounds, SEED={seed}");
    let pair = Pair::start_alone(1, 1)?;
    let topic = topics::create_unique(&pair.source, "drill", PARTITIONS)?;
    let nothing = vec![Vec::new(); PARTITIONS as usize];
    let contents = [nothing.clone(), nothing];
    let mut drill = Drill { pair: &pair, topic, promoted: None, contents, rng: StdRng::seed_from_u64(seed) };
    let began = Instant::now();
    for round in 0..rounds {
        let done = drill.play(round).with_context(|| format!("round {}, SEED={seed}", round + 1))?;
        println!("{:6.1} s  round {}: {done}", began.elapsed().as_secs_f64(), round + 1);
    }
    Ok(())
}

struct Drill<'a> {
    pair: &'a Pair,
    topic: String,
    /// Link of the round before.
    promoted: Option<String>,
    /// What each cluster must have.
    contents: [Digests; 2],
    rng: StdRng,
}

impl Drill<'_> {
    /// Plays a round: from the first cluster to the second in even ones.
    fn play(&mut self, round: u64) -> Result<String> {
        let from = (round % 2) as usize;
        let clusters = [&self.pair.source, &self.pair.target];
        let [source, target] = [clusters[from], clusters[1 - from]];
        let link = topics::unique("drill");
        let mut files = LinkFiles::new(&link, source, target, &[&self.topic])?;
        if let Some(promoted) = self.promoted.replace(link.clone()) {
            files.sender.set("source", "start", "\"promotion\"");
            files.sender.set("source", "promoted_link", &format!("{promoted:?}"));
        }
        let (mut receiver, mut sender) = files.start()?;
        let load = Load::new(&self.topic, PARTITIONS).rate(RATE).value_max(2_000).seed(round * 2 + 1);
        let loads = [load.clone().start(source)?, load.seed(round * 2 + 2).transactional(20).start(source)?];
        wait_for_commits(&receiver, 500)?;
        for _ in 0..self.rng.random_range(0..3) {
            match self.rng.random_range(0..4) {
                0 => kill_broker(source, &mut self.rng)?,
                1 => kill_broker(target, &mut self.rng)?,
                2 => sender = restarted(sender, || files.sender.start(), &mut self.rng)?,
                _ => receiver = restarted(receiver, || files.receiver.start(), &mut self.rng)?,
            }
        }
        let switches = self.rng.random_bool(0.5);
        let (statement, written) = if switches {
            let written = stop(loads)?;
            (self.ask("switch-over", &link, &files, &mut receiver)?, written)
        } else {
            sender.kill();
            let statement = self.ask("failover", &link, &files, &mut receiver)?;
            (statement, stop(loads)?)
        };
        let lost = self.account(from, &statement, &written)?;
        ensure!(!switches || lost == 0, "a switch-over lost {lost} records: {statement:#}");
        for (cluster, expected) in clusters.into_iter().zip(&self.contents) {
            let found = digests(cluster, &self.topic)?;
            ensure!(found == *expected, "{} records where {} are expected", count(&found), count(expected));
        }
        // A sender that was only cut off writes nothing.
        let before = ends(target, &self.topic)?;
        let mut old = if switches { sender } else { files.sender.start()? };
        ensure!(old.wait(PATIENCE)? == HALTED && ends(target, &self.topic)? == before, "the old sender wrote");
        let what = if switches { "switch-over" } else { "failover" };
        Ok(format!("{what}, {} records written, {lost} stated as lost", written.len()))
    }

    /// Asks until the link is promoted; the receiver may be killed meanwhile.
    fn ask(&mut self, command: &str, link: &str, files: &LinkFiles, receiver: &mut Process) -> Result<Value> {
        let kills = self.rng.random_range(0..3);
        for _ in 0..kills {
            let after = Duration::from_millis(self.rng.random_range(0..3_000));
            let exit = std::thread::scope(|scope| -> Result<Exit> {
                let asked = scope.spawn(|| run_at(receiver, &[command, "--link", link, "--json"]));
                wait::through(after, || Ok(()))?;
                let _ = std::process::Command::new("kill").args(["-s", "KILL", &receiver.pid().to_string()]).status();
                asked.join().expect("no panic")
            })?;
            receiver.kill();
            *receiver = files.receiver.start()?;
            receiver.admin.wait_until_ready(PATIENCE)?;
            println!("  killed {after:.1?} after the request, which ended with {}", exit.code);
        }
        let exit = run_at(receiver, &[command, "--link", link, "--json"])?;
        ensure!(exit.code == 0, "exit code {}: {}", exit.code, exit.printed);
        let stated = exit.printed.lines().find(|line| line.starts_with('{')).context("no statement")?;
        Ok(serde_json::from_str(stated)?)
    }

    /// Adds what was written to the one cluster, and what the statement says was carried to the other. Returns the number of
    /// records that are stated as not carried.
    fn account(&mut self, from: usize, statement: &Value, written: &Contents) -> Result<usize> {
        let partitions = statement["partitions"].as_array().context("no partitions")?;
        ensure!(partitions.len() == PARTITIONS as usize, "{statement:#}");
        let mut lost = 0;
        for stated in partitions {
            let partition = stated["partition"].as_i64().context("no number")?;
            let carried_to = stated["carried_to"].as_i64().context("not carried")?;
            let all = written.partition(&self.topic, partition as i32);
            let carried = all.iter().filter(|one| one.offset < carried_to);
            self.contents[1 - from][partition as usize].extend(carried.map(|one| one.digest));
            self.contents[from][partition as usize].extend(all.iter().map(|one| one.digest));
            lost += all.iter().filter(|one| one.offset >= carried_to).count();
        }
        Ok(lost)
    }
}

/// Stops the producers. Returns what they have written together, in the order of the log.
fn stop(loads: [Writer; 2]) -> Result<Contents> {
    let [first, second] = loads;
    let mut written = first.stop()?.written;
    written.merge(&second.stop()?.written);
    Ok(written)
}

fn kill_broker(cluster: &Cluster, rng: &mut StdRng) -> Result<()> {
    cluster.kill_all();
    wait::through(Duration::from_millis(rng.random_range(0..1_000)), || Ok(()))?;
    cluster.restart_all()
}

fn restarted(mut killed: Process, start: impl Fn() -> Result<Process>, rng: &mut StdRng) -> Result<Process> {
    killed.kill();
    wait::through(Duration::from_millis(rng.random_range(0..1_000)), || Ok(()))?;
    let process = start()?;
    wait::through(Duration::from_millis(rng.random_range(0..2_000)), || Ok(()))?;
    Ok(process)
}
