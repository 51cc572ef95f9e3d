//! Logs that became shorter than they were, at either end: a broker that comes back without the end of what it had
//! acknowledged. The partition halts by name and its neighbour goes on; nothing is taken for something else.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::cluster::{Cluster, Pair};
use harness::command::run;
use harness::files::LinkFiles;
use harness::halts::{jumps, lift, wait_until_halted};
use harness::journal;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::{Contents, Record};
use harness::{topics, verify, wait};

const PATIENCE: Duration = Duration::from_secs(60);

fn records(numbers: std::ops::Range<i64>) -> Vec<Record> {
    let record = |n: i64| Record {
        key: Some(n.to_be_bytes().to_vec()),
        value: Some(format!("value {n}").into_bytes()),
        headers: Vec::new(),
        timestamp: 1_790_000_000_000 + n,
    };
    numbers.map(record).collect()
}

fn digests(seen: &Contents, topic: &str, partition: i32) -> Vec<u64> {
    seen.partition(topic, partition).iter().map(|entry| entry.digest).collect()
}

/// Waits until the target's partition holds exactly these records, in this order.
fn wait_until_holds(target: &Cluster, topic: &str, partition: i32, expected: &[u64]) -> Result<()> {
    wait::until_ok(&format!("{} records in {topic}/{partition}", expected.len()), PATIENCE, || {
        let seen = read(target, &[topic], Isolation::Committed)?;
        Ok((digests(&seen, topic, partition) == expected).then_some(()))
    })
}

/// One node that comes back with `topic`/0 cut off at `offset`.
fn lose(cluster: &Cluster, topic: &str, offset: i64) -> Result<()> {
    cluster.kill(1);
    cluster.truncate(topic, 0, offset)?;
    cluster.restart(1)
}

/// A link of one lane over a topic of two partitions; what was written to each has arrived.
fn carried(pair: &Pair, stem: &str) -> Result<(LinkFiles, Process, Process, String, [Contents; 2])> {
    let topic = topics::create_unique(&pair.source, stem, 2)?;
    let mut files = LinkFiles::new(&topics::unique(stem), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let (receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    let mut written = [Contents::default(), Contents::default()];
    // Two batches, so that one can be lost, at either end.
    for numbers in [0..6, 6..10] {
        for (partition, so_far) in (0..).zip(&mut written) {
            let more = journal::write(&pair.source, &topic, partition, &records(numbers.clone()))?.written;
            so_far.merge(&more);
            verify::wait_until_delivered(so_far, &pair.target, "{topic}", PATIENCE)?;
        }
    }
    Ok((files, receiver, sender, topic, written))
}

#[test]
fn a_source_that_lost_the_end_of_its_log_halts_there_and_goes_on_at_its_new_end() -> Result<()> {
    let pair = Pair::start(1, 1)?;
    let (files, mut receiver, mut sender, topic, mut written) = carried(&pair, "shorter")?;
    lose(&pair.source, &topic, 6)?;
    let halt = wait_until_halted(&sender, &topic, 0, "truncated", PATIENCE)?;
    println!("{}: {}", halt["reason"], halt["detail"]);
    ensure!(halt["position"] == 10, "{halt}");
    written[1].merge(&journal::write(&pair.source, &topic, 1, &records(10..20))?.written);
    verify::wait_until_delivered(&written[1], &pair.target, "{topic}", PATIENCE)?;

    // Neither process remembers anything; and the log has grown beyond the position again.
    sender.kill();
    receiver.kill();
    journal::write(&pair.source, &topic, 0, &records(100..110))?;
    let (receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    wait_until_halted(&sender, &topic, 0, "truncated", PATIENCE)?;
    ensure!(sender.admin.status()?["totals"]["frames"] == 0, "it was read again");
    println!("{}", lift(&sender, "resume", &[&format!("{topic}/0"), "--skip"])?);
    let behind = journal::write(&pair.source, &topic, 0, &records(200..205))?.written;
    let expected = [digests(&written[0], &topic, 0), digests(&behind, &topic, 0)].concat();
    wait_until_holds(&pair.target, &topic, 0, &expected)?;
    let jumps = jumps(&receiver)?;
    ensure!(jumps.len() == 1 && jumps[0]["from"] == 10 && jumps[0]["to"] == 16, "{jumps:?}");
    ensure!(jumps[0]["halt"]["reason"] == "truncated", "{jumps:?}");
    wait_until_holds(&pair.target, &topic, 1, &digests(&written[1], &topic, 1))
}

#[test]
fn a_target_that_lost_the_end_of_its_log_is_written_no_further_until_it_is_adopted() -> Result<()> {
    let pair = Pair::start(1, 1)?;
    let (files, mut receiver, mut sender, topic, mut written) = carried(&pair, "forgets")?;
    // Six records are left, with the markers of their transactions.
    let seventh = read(&pair.target, &[&topic], Isolation::Committed)?.partition(&topic, 0)[6].offset;
    lose(&pair.target, &topic, seventh)?;
    for partition in [1, 0] {
        let more = journal::write(&pair.source, &topic, partition, &records(10..15))?.written;
        written[partition as usize].merge(&more);
    }
    let halt = wait_until_halted(&sender, &topic, 0, "target-replaced", PATIENCE)?;
    println!("{}: {}", halt["reason"], halt["detail"]);
    ensure!(halt["position"] == 10, "{halt}");
    verify::wait_until_delivered(&written[1], &pair.target, "{topic}", PATIENCE)?;
    let left = digests(&read(&pair.target, &[&topic], Isolation::Committed)?, &topic, 0);
    ensure!(left == digests(&written[0], &topic, 0)[..6], "{} records", left.len());

    sender.kill();
    receiver.kill();
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    wait_until_halted(&sender, &topic, 0, "target-replaced", PATIENCE)?;
    let refused =
        run(&["resume", &format!("{topic}/0"), "--from", "6", "--admin", &sender.admin.address().to_string()])?;
    ensure!(refused.0 == 1, "{refused:?}");
    println!("{}", lift(&sender, "adopt", &[&topic])?);
    // What was lost stays lost unless the operator goes back for it.
    let all = digests(&written[0], &topic, 0);
    wait_until_holds(&pair.target, &topic, 0, &[&all[..6], &all[10..]].concat())?;
    wait_until_holds(&pair.target, &topic, 1, &digests(&written[1], &topic, 1))
}

#[test]
fn a_target_topic_that_is_gone_is_not_made_again_until_it_is_adopted() -> Result<()> {
    let pair = Pair::start(1, 1)?;
    let (files, _receiver, mut sender, topic, mut written) = carried(&pair, "vanished")?;
    sender.kill();
    topics::delete(&pair.target, &topic)?;
    for (partition, so_far) in (0..).zip(&mut written) {
        *so_far = journal::write(&pair.source, &topic, partition, &records(10..15))?.written;
    }
    let sender = files.sender.start()?;
    for partition in 0..2 {
        let halt = wait_until_halted(&sender, &topic, partition, "target-replaced", PATIENCE)?;
        println!("{}: {}", halt["reason"], halt["detail"]);
        ensure!(halt["position"] == 10, "{halt}");
    }
    ensure!(topics::partitions(&pair.target, &topic)? == 0, "it was made again silently");
    println!("{}", lift(&sender, "adopt", &[&topic])?);
    for (partition, so_far) in (0..).zip(&written) {
        wait_until_holds(&pair.target, &topic, partition, &digests(so_far, &topic, partition))?;
    }
    Ok(())
}
