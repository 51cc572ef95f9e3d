//! A broker that hangs without closing its connections, as a paused virtual machine does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::journal::Load;
use harness::pair::Pair;
use harness::process::Process;
use harness::record::{Contents, small};
use harness::{journal, topics, verify, wait};
use serde_json::Value;

const PARTITIONS: i32 = 16;
const PATIENCE: Duration = Duration::from_secs(120);

/// Less than the 30 s after which a client looks for new leaders without a reason, and than the 60 s for which it waits
/// for an answer by default.
const WITHOUT_THE_BROKER: Duration = Duration::from_secs(25);

/// Least time that a hung broker costs, the limit of one probe less the time to start writing: a client that is not
/// stopped by it does not read from it.
const AT_LEAST: Duration = Duration::from_millis(2_500);

/// Time within which the sender's status must not look healthy any longer: the last healthy look, the next one, and its
/// limit, with as much again.
const SHOWN_WITHIN: Duration = Duration::from_secs(15);

/// Longest time without a committed record while a broker of the target hangs.
const HUNG_TARGET: Duration = Duration::from_secs(15);
/// The same for lanes whose state lacks a commit's marker, because the broker hung during a commit: other brokers repeat it
/// after 30 s.
const WITHOUT_MARKERS: Duration = Duration::from_secs(45);
/// Lanes of a link by default.
const LANES: i32 = 8;

fn is_unhealthy(status: &Value) -> bool {
    status["lag_records"].is_null() && status["trouble"].as_array().is_some_and(|trouble| !trouble.is_empty())
}

/// The hung node leads the partition of one link, and is the follower from which another link reads. It is also the only
/// broker that both clients can ask for the new leaders.
#[test]
fn hung_source_broker_costs_its_partitions_seconds() -> Result<()> {
    let pair = Pair::start_alone(3, 1)?;
    let source = &pair.source;
    let led = topics::create_unique(source, "hung-led", 1)?;
    let followed = topics::create_unique(source, "hung-followed", 3)?;
    let leader = |topic: &str, partition| wait::until("a leader", PATIENCE, || source.leader(topic, partition).ok());
    let node = leader(&led, 0)?;
    let leads = |partition: &i32| leader(&followed, *partition).is_ok_and(|leader| leader != node);
    let other = (0..3).find(leads).context("one node leads every partition")?;

    let link = |topic: &str| -> Result<LinkFiles> {
        let mut files = LinkFiles::new(&topics::unique("hung"), source, &pair.target, &[topic])?;
        files.sender.set("source", "bootstrap_servers", &format!("[{:?}]", source.address(node)));
        Ok(files)
    };
    let mut leader_files = link(&led)?;
    // As for most of thousands of partitions.
    leader_files.sender.set("source.client", "\"fetch.wait.max.ms\"", "\"1500\"");
    let mut follower_files = link(&followed)?;
    follower_files.sender.set("source.client", "\"client.rack\"", &format!("\"r{node}\""));
    let (_receiver, sender) = leader_files.start()?;
    let (_other_receiver, _other_sender) = follower_files.start()?;
    let mut written = [Contents::default(), Contents::default()];
    let write = |written: &mut [Contents; 2], numbers: std::ops::Range<i64>| -> Result<()> {
        written[0].merge(&journal::write(source, &led, 0, &small(numbers.clone()))?.written);
        written[1].merge(&journal::write(source, &followed, other, &small(numbers))?.written);
        Ok(())
    };
    let arrive = |written: &Contents, timeout| verify::wait_until_delivered(written, &pair.target, "{topic}", timeout);
    write(&mut written, 0..10)?;
    written.iter().try_for_each(|written| arrive(written, PATIENCE))?;

    let hung = Instant::now();
    let watch = || sender.admin.wait_for("the status to tell of the broker", SHOWN_WITHIN, is_unhealthy).map(drop);
    std::thread::scope(|scope| -> Result<()> {
        let noticed = scope.spawn(watch);
        source.suspend_leader(&led, 0, PATIENCE)?;
        write(&mut written, 10..20)?;
        noticed.join().map_err(|_| anyhow!("the watcher panicked"))?
    })?;
    let acked = Instant::now();
    for (what, written) in ["leader", "follower"].iter().zip(&written) {
        arrive(written, WITHOUT_THE_BROKER.saturating_sub(acked.elapsed()))?;
        println!("{what}: carried {:.1?} after its broker hung", hung.elapsed());
        ensure!(hung.elapsed() > AT_LEAST, "the link did not read from the hung {what}");
    }
    source.signal(node, Signal::Cont);
    written.iter().try_for_each(|written| verify::ensure_exactly_once(written, &pair.target, "{topic}").map(drop))
}

/// Longest time without a committed record, by partition, as the sender shows the positions of a topic.
#[derive(Debug, Default)]
struct Pauses(BTreeMap<i32, Pause>);

#[derive(Debug)]
struct Pause {
    lane: i32,
    position: i64,
    since: Instant,
    longest: Duration,
}

impl Pauses {
    fn look(&mut self, sender: &Process, topic: &str) -> Result<()> {
        let rows: Vec<Value> = serde_json::from_str(&sender.admin.get(&format!("/partitions?topic={topic}"))?)?;
        for row in rows {
            let number = |name: &str| row[name].as_i64().and_then(|number| i32::try_from(number).ok());
            let partition = number("partition").context("no partition")?;
            let position = row["position"].as_i64().unwrap_or(-1);
            let since = Instant::now();
            let new = Pause { lane: number("lane").context("no lane")?, position, since, longest: Duration::ZERO };
            let known = self.0.entry(partition).or_insert(new);
            known.longest = known.longest.max(known.since.elapsed());
            if position > known.position {
                known.position = position;
                known.since = since;
            }
        }
        Ok(())
    }

    fn longest(&self, is_wanted: impl Fn(i32, &Pause) -> bool) -> Duration {
        let wanted = self.0.iter().filter(|(partition, pause)| is_wanted(**partition, pause));
        wanted.map(|(_, pause)| pause.longest).max().unwrap_or_default()
    }

    /// Returns whether each partition has a record that was committed after `then`.
    fn all_passed(&self, then: Instant) -> bool {
        !self.0.is_empty() && self.0.values().all(|pause| pause.since > then)
    }
}

/// The hung node leads a part of the partitions and of the link's state, and coordinates a part of the lanes'
/// transactions. Every partition has a replica on it.
#[test]
fn hung_target_broker_costs_its_partitions_seconds() -> Result<()> {
    let pair = Pair::start_alone(1, 3)?;
    let topic = topics::create_unique(&pair.source, "hung-target", PARTITIONS)?;
    let link = topics::unique("hung-target");
    let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = files.start()?;
    let mut written = Load::new(&topic, PARTITIONS).limit(1_000).seed(1).start(&pair.source)?.finish()?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;

    let load = Load::new(&topic, PARTITIONS).rate(200).seed(2).start(&pair.source)?;
    let mut before = Pauses::default();
    wait::through(Duration::from_secs(5), || before.look(&sender, &topic))?;
    let node = pair.target.leader(&topic, 0)?;
    let led_by_node = |topic: &str, partitions: i32| -> Result<Vec<i32>> {
        let leaders = (0..partitions).map(|at| Ok((at, pair.target.leader(topic, at)?))).collect::<Result<Vec<_>>>()?;
        Ok(leaders.into_iter().filter(|(_, leader)| *leader == node).map(|(at, _)| at).collect())
    };
    let led = led_by_node(&topic, PARTITIONS)?;
    let lanes = led_by_node(&format!("__causeway.{link}.state"), LANES)?;
    let hung = Instant::now();
    pair.target.signal(node, Signal::Stop);
    let mut pauses = Pauses::default();
    // The acks that were on their way when it hung are over by then.
    let passed = hung + Duration::from_secs(3);
    wait::until_ok("every partition to continue", PATIENCE, || {
        pauses.look(&sender, &topic)?;
        Ok(pauses.all_passed(passed).then_some(()))
    })?;
    wait::through(Duration::from_secs(3), || pauses.look(&sender, &topic))?;
    let state_hung = pauses.longest(|_, pause| lanes.contains(&pause.lane));
    let own = pauses.longest(|at, pause| led.contains(&at) && !lanes.contains(&pause.lane));
    let others = pauses.longest(|at, pause| !led.contains(&at) && !lanes.contains(&pause.lane));
    let measured = format!(
        "node {node} led partitions {led:?} and lanes {lanes:?}; longest pause of these partitions {own:.1?}, of the \
         others {others:.1?}, of these lanes {state_hung:.1?}; before {:.1?}",
        before.longest(|_, _| true)
    );
    println!("{measured}");
    written.merge(&load.stop()?.written);
    pair.target.signal(node, Signal::Cont);
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    ensure!(own.max(others) <= HUNG_TARGET && state_hung <= WITHOUT_MARKERS, "it did not continue in time: {measured}");
    Ok(())
}
