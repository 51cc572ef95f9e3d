//! Drill: rounds of failover or switch-over between two clusters, each followed by a link the other way, under load, with kills
//! and cuts of the WAN. A consumer group goes along, and what is lost is salvaged.
//!
//! `CAUSEWAY_DRILL_ROUNDS` sets the number of rounds (3 unless set), `SEED` repeats the choices of an earlier run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::command::{Exit, run_at};
use harness::files::LinkFiles;
use harness::journal::{Load, Writer};
use harness::pair::Pair;
use harness::process::{HALTED, Process};
use harness::reader::{Isolation, read};
use harness::record::{Contents, Entry};
use harness::{topics, wait};
use netem::{Conditions, Knob, Profile, Relay, Script, Wan, parse_knobs};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::failback::{Digests, back, count, digests};
use crate::failover::{PARTITIONS, ends, wait_for_commits};
use crate::groups;
use crate::random_kills::setting;
use crate::salvage::{Stated, copies};

const PATIENCE: Duration = Duration::from_secs(120);
const ROUNDS: u64 = 3;
/// Records per second of each of the two producers.
const RATE: u32 = 400;
/// Longest cut of the WAN: shorter than the sender's idle timeout, and longer than some of its patience.
const CUT_MAX: Duration = Duration::from_secs(4);
/// Delay of the WAN, each way.
const ONE_WAY: Duration = Duration::from_millis(20);

#[test]
fn drill_there_and_back_loses_only_what_is_stated() -> Result<()> {
    let rounds = setting("CAUSEWAY_DRILL_ROUNDS")?.unwrap_or(ROUNDS);
    let seed = setting("SEED")?.unwrap_or_else(rand::random);
    println!("{rounds} rounds, SEED={seed}");
    let pair = Pair::start_alone(1, 1)?;
    let topic = topics::create_unique(&pair.source, "drill", PARTITIONS)?;
    let nothing = vec![Vec::new(); PARTITIONS as usize];
    let contents = [nothing.clone(), nothing];
    let lost = [vec![Vec::new(); PARTITIONS as usize], vec![Vec::new(); PARTITIONS as usize]];
    let group = topics::unique("drill");
    let rng = StdRng::seed_from_u64(seed);
    let mut drill = Drill { pair: &pair, topic, group, promoted: None, contents, lost, rng };
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
    /// Consumer group that reads where the applications are.
    group: String,
    /// Link of the round before.
    promoted: Option<String>,
    /// What each cluster must have.
    contents: [Digests; 2],
    /// What each cluster has that was never carried, by partition.
    lost: [Vec<Vec<Entry>>; 2],
    rng: StdRng,
}

impl Drill<'_> {
    /// Plays a round: from the first cluster to the second in even ones.
    fn play(&mut self, round: u64) -> Result<String> {
        let from = (round % 2) as usize;
        let clusters = [&self.pair.source, &self.pair.target];
        let [source, target] = [clusters[from], clusters[1 - from]];
        let link = topics::unique("drill");
        let mut files = match self.promoted.replace(link.clone()) {
            Some(promoted) => back(&link, &promoted, source, target, &self.topic)?,
            None => LinkFiles::new(&link, source, target, &[&self.topic])?,
        };
        files.sender.set("groups", "include", &format!("[{:?}]", self.group)).set("groups", "interval", "\"1 s\"");
        let wan = wan(&mut files)?;
        let (mut receiver, mut sender) = files.start()?;
        let load = Load::new(&self.topic, PARTITIONS).rate(RATE).value_max(2_000).seed(round * 2 + 1);
        let loads = [load.clone().start(source)?, load.seed(round * 2 + 2).transactional(20).start(source)?];
        wait_for_commits(&receiver, 500)?;
        for _ in 0..self.rng.random_range(0..3) {
            match self.rng.random_range(0..5) {
                0 => kill_broker(source, &mut self.rng)?,
                1 => kill_broker(target, &mut self.rng)?,
                2 => cut(&wan, &mut self.rng)?,
                3 => sender = restarted(sender, || files.sender.start(), &mut self.rng)?,
                _ => receiver = restarted(receiver, || files.receiver.start(), &mut self.rng)?,
            }
        }
        // Mostly all there is; a group that always lags is never within what the last link brought.
        let most = if self.rng.random_bool(0.3) { self.rng.random_range(100..2_000) } else { usize::MAX };
        let consumed = groups::consume_some(source, &self.group, &self.topic, most)?;
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
        let groups = self.follow_group(&statement, &consumed, [source, target], switches)?;
        self.salvage(from, &statement, &files)?;
        // A sender that was only cut off writes nothing.
        let before = ends(target, &self.topic)?;
        let mut old = if switches { sender } else { files.sender.start()? };
        ensure!(old.wait(PATIENCE)? == HALTED && ends(target, &self.topic)? == before, "the old sender wrote");
        let what = if switches { "switch-over" } else { "failover" };
        Ok(format!("{what}, {} records written, {lost} stated as lost and salvaged, group {groups}", written.len()))
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
            let behind = all.iter().filter(|one| one.offset >= carried_to);
            lost += behind.clone().count();
            self.lost[from][partition as usize].extend(behind.cloned());
        }
        Ok(lost)
    }

    /// Copies what the statement says was not carried, and compares all copies of that cluster.
    fn salvage(&self, from: usize, statement: &Value, files: &LinkFiles) -> Result<()> {
        Stated::new(&statement.to_string())?.salvage(files, &[])?.expect(0, "records copied")?;
        let lost = &self.lost[from];
        if lost.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let cluster = [&self.pair.source, &self.pair.target][from];
        let found = copies(cluster, &format!("{}.diverged", self.topic))?;
        ensure!(found == *lost, "the copies are not what was left behind");
        Ok(())
    }

    /// Ensures that the group resumes in the target where the statement says: after a switch-over exactly behind what it had
    /// consumed, after a failover not later. Where it has read here what was never carried, or nothing since the promotion
    /// before the last, it stays at its own place. Returns its states.
    fn follow_group(
        &self,
        statement: &Value,
        consumed: &BTreeMap<i32, i64>,
        [source, target]: [&Cluster; 2],
        is_exact: bool,
    ) -> Result<String> {
        let written = read(source, &[&self.topic], Isolation::Committed)?;
        let carried = read(target, &[&self.topic], Isolation::Committed)?;
        let next = |contents: &Contents, partition: i32, from: i64| {
            let all = contents.partition(&self.topic, partition);
            all.iter().find(|one| one.offset >= from).map(|one| one.digest)
        };
        let mut states = BTreeMap::<String, u32>::new();
        for row in statement["groups"].as_array().context("no groups")? {
            let partition = row["partition"].as_i64().context("no number")? as i32;
            let state = row["state"].as_str().context("no state")?;
            *states.entry(state.to_owned()).or_default() += 1;
            let found = groups::committed(target, &self.group, &self.topic, partition)?.map(|(at, _)| at);
            ensure!(row["resumes_at"].as_i64() == found, "{found:?} in the target: {row:#}");
            let (Some(resumes), Some(&was)) = (found, consumed.get(&partition)) else { continue };
            if state == "synced" && is_exact {
                let first = next(&carried, partition, resumes);
                ensure!(first == next(&written, partition, was), "it resumes at another record: {row:#}");
            } else if !["taken-over", "before-map"].contains(&state) {
                let first = next(&carried, partition, resumes);
                let all = written.partition(&self.topic, partition);
                let place = first.and_then(|first| all.iter().find(|one| one.digest == first));
                ensure!(place.is_none_or(|place| place.offset <= was), "it misses records before {was}: {row:#}");
            }
        }
        Ok(format!("{states:?}"))
    }
}

/// Stops the producers. Returns what they have written together, in the order of the log.
fn stop(loads: [Writer; 2]) -> Result<Contents> {
    let [first, second] = loads;
    let mut written = first.stop()?.written;
    written.merge(&second.stop()?.written);
    Ok(written)
}

/// Puts a WAN between the two ends.
fn wan(files: &mut LinkFiles) -> Result<Relay> {
    let receives_at = files.receiver.get("", "listen").context("no address")?.trim_matches('"').parse()?;
    let profile = Profile::both(Conditions::default().with([Knob::Delay(ONE_WAY)]));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = Relay::start(any, receives_at, Wan::new(&profile, Script::default(), 1))?;
    files.sender.set("wan", "receiver", &format!("{:?}", relay.address.to_string()));
    Ok(relay)
}

/// Cuts the WAN for a while.
fn cut(wan: &Relay, rng: &mut StdRng) -> Result<()> {
    wan.emulator.set_both(&parse_knobs("down")?);
    wait::through(rng.random_range(Duration::ZERO..CUT_MAX), || Ok(()))?;
    wan.emulator.set_both(&parse_knobs("up")?);
    Ok(())
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
