//! The test harness itself, with real Kafka: it must find faults, and leave no process and no file behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::journal::{Load, write};
use harness::pair::{Machine, Pair};
use harness::reader::{Isolation, read};
use harness::record::Record;
use harness::verify::{compare, ensure_exactly_once, wait_until_delivered};
use harness::{scratch, topics, wait};
use rand::SeedableRng;
use rand::rngs::StdRng;

const SAME: &str = "{topic}";
const SOON: Duration = Duration::from_secs(30);

fn random_records(count: i64) -> Vec<Record> {
    let mut rng = StdRng::seed_from_u64(7);
    (0..count).map(|n| Record::random(&mut rng, 2_000, 1_700_000_000_000 + n)).collect()
}

#[test]
fn cluster_has_exactly_the_journal() -> Result<()> {
    let pair = Pair::shared()?;
    let source = &pair.source;
    let topic = topics::create_unique(source, "noted", 3)?;
    let plain = Load::new(&topic, 3).limit(3_000).seed(1).start(source)?.finish()?;
    wait_until_delivered(&plain.written, source, SAME, SOON)?;
    let verdict = ensure_exactly_once(&plain.written, source, SAME)?;
    ensure!(verdict.seen == 3_000, "{verdict}");

    topics::grow(source, &topic, 5)?;
    let mut all = plain.written;
    all.merge(&Load::new(&topic, 5).limit(1_000).seed(2).value_max(4 << 20).start(source)?.finish()?.written);
    wait_until_delivered(&all, source, SAME, SOON)?;
    let verdict = ensure_exactly_once(&all, source, SAME)?;
    ensure!(verdict.seen == 4_000, "{verdict}");
    Ok(())
}

#[test]
fn aborted_records_are_not_in_the_journal() -> Result<()> {
    let pair = Pair::shared()?;
    let source = &pair.source;
    let topic = topics::create_unique(source, "aborted", 2)?;
    let journal = Load::new(&topic, 2).limit(3_000).transactional(40).start(source)?.finish()?;
    ensure_exactly_once(&journal.written, source, SAME)?;
    let committed = journal.written.len() as u64;
    let uncommitted = read(source, &[&topic], Isolation::Uncommitted)?.len() as u64;
    ensure!(journal.aborted > 0, "no record was aborted");
    ensure!(uncommitted == committed + journal.aborted, "{uncommitted} records, {committed} of them committed");
    Ok(())
}

#[test]
fn each_fault_of_a_copy_is_counted() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "honest", 1)?;
    let records = random_records(300);
    let journal = write(&pair.source, &topic, 0, &records)?;
    let copy = |fault: fn(&mut Vec<Record>)| -> Result<_> {
        let name = topics::create_unique(&pair.target, "copy", 1)?;
        let mut copied = records.clone();
        fault(&mut copied);
        write(&pair.target, &name, 0, &copied)?;
        let seen = read(&pair.target, &[&name], Isolation::Committed)?;
        let verdict = compare(&journal.written, &seen, &name);
        let faults = [&verdict.lost, &verdict.doubled, &verdict.reordered, &verdict.changed, &verdict.foreign];
        Ok((faults.map(|finding| finding.count), verdict.to_string()))
    };
    let counted = |fault: fn(&mut Vec<Record>), counts: [u64; 5]| -> Result<()> {
        let (found, verdict) = copy(fault)?;
        ensure!(found == counts, "{verdict}");
        Ok(())
    };
    counted(|_| {}, [0, 0, 0, 0, 0])?;
    counted(|records| drop(records.drain(100..103)), [3, 0, 0, 0, 0])?;
    counted(|records| records.truncate(299), [1, 0, 0, 0, 0])?;
    counted(|records| records.insert(200, records[150].clone()), [0, 1, 0, 0, 0])?;
    counted(|records| records.swap(10, 11), [0, 0, 1, 0, 0])?;
    counted(|records| records[5].timestamp += 1, [0, 0, 0, 1, 0])?;
    counted(|records| records[6].headers.push(("extra".to_owned(), None)), [0, 0, 0, 1, 0])?;
    counted(|records| records.push(random_records(301)[300].clone()), [0, 0, 0, 0, 1])?;
    Ok(())
}

#[test]
fn null_and_empty_are_different() -> Result<()> {
    let pair = Pair::shared()?;
    let source = &pair.source;
    let topic = topics::create_unique(source, "null", 1)?;
    let bytes = [None, Some(Vec::new()), Some(vec![0])];
    let mut records = Vec::new();
    for (number, key) in bytes.iter().enumerate() {
        for value in &bytes {
            let headers = bytes.iter().map(|value| ("same".to_owned(), value.clone())).take(number).collect();
            records.push(Record { key: key.clone(), value: value.clone(), headers, timestamp: 1 });
        }
    }
    let journal = write(source, &topic, 0, &records)?;
    ensure_exactly_once(&journal.written, source, SAME)?;
    let mut digests: Vec<u64> = records.iter().map(Record::digest).collect();
    digests.sort_unstable();
    digests.dedup();
    ensure!(digests.len() == records.len(), "two records have the same digest");
    Ok(())
}

#[test]
fn killed_brokers_keep_acknowledged_records() -> Result<()> {
    let _machine = Machine::share();
    let cluster = Cluster::start(3)?;
    let topic = topics::create_unique(&cluster, "killed", 4)?;
    let plain = Load::new(&topic, 4).rate(400).seed(1).start(&cluster)?;
    let transactional = Load::new(&topic, 4).rate(400).seed(2).transactional(30).start(&cluster)?;
    let both_continue = |by: u64| {
        let plain_goal = plain.acknowledged() + by;
        let transactional_goal = transactional.acknowledged() + by;
        wait::until("the writers to continue", Duration::from_secs(90), || {
            let is_reached = plain.acknowledged() >= plain_goal && transactional.acknowledged() >= transactional_goal;
            is_reached.then_some(())
        })
    };
    both_continue(100)?;
    let first = cluster.leader(&topic, 0)?;
    cluster.kill(first);
    both_continue(100)?;
    cluster.restart(first)?;
    cluster.wait_until_in_sync(SOON)?;
    cluster.kill_all();
    cluster.restart_all()?;
    both_continue(100)?;
    let mut journal = plain.stop()?.written;
    journal.merge(&transactional.stop()?.written);
    ensure_exactly_once(&journal, &cluster, SAME)?;
    Ok(())
}

/// Environment variable that makes [`victim`] start a cluster.
const VICTIM: &str = "CAUSEWAY_TEST_VICTIM";

/// Starts a cluster in a process of its own, for [`nothing_outlives_a_killed_test_process`]. Does nothing otherwise.
#[test]
fn victim() -> Result<()> {
    if std::env::var_os(VICTIM).is_none() {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    let pid = cluster.pid(1).context("the node does not run")?;
    println!("victim {pid} {}", scratch::root()?.display());
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

#[test]
fn nothing_outlives_a_killed_test_process() -> Result<()> {
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--exact", "test_harness::victim", "--nocapture"])
        .env(VICTIM, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(victim.stdout.take().context("no stdout")?).lines();
    let line = lines.map_while(Result::ok).find_map(|line| line.split_once("victim ").map(|(_, rest)| rest.to_owned()));
    let line = line.filter(|line| line.contains('/')).context("the victim did not start its cluster")?;
    let (pid, root) = line.split_once(' ').context("the line is malformed")?;
    let process = PathBuf::from("/proc").join(pid);
    ensure!(fs::read_to_string(process.join("cmdline"))?.contains("kafka.Kafka"), "the process is not a broker");
    ensure!(Path::new(root).exists(), "the directory does not exist");

    victim.kill()?;
    victim.wait()?;
    wait::until("Java to be gone", SOON, || (!process.exists()).then_some(()))?;
    wait::until("the data to be gone", SOON, || (!Path::new(root).exists()).then_some(()))
}
