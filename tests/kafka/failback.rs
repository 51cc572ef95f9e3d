//! Failback: after a promotion a link goes the other way, behind the last record that the promoted link brought.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::admin::committed;
use harness::cluster::Cluster;
use harness::command::{Exit, run, run_at};
use harness::files::LinkFiles;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::HALTED;
use harness::reader::{Isolation, read};
use harness::record::small;
use harness::topics;
use harness::wait::{self, until_ok};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use crate::failover::{Loaded, PARTITIONS};

const PATIENCE: Duration = Duration::from_secs(60);
/// Time in which a link that must not carry anything would have done so.
const QUIET: Duration = Duration::from_secs(5);

/// Digests of a topic's records by partition, in order.
pub(crate) type Digests = Vec<Vec<u64>>;

pub(crate) fn digests(cluster: &Cluster, topic: &str) -> Result<Digests> {
    let contents = read(cluster, &[topic], Isolation::Committed)?;
    Ok((0..PARTITIONS).map(|partition| contents.digests(topic, partition)).collect())
}

pub(crate) fn count(digests: &Digests) -> usize {
    digests.iter().map(Vec::len).sum()
}

fn wait_for(cluster: &Cluster, topic: &str, expected: &Digests) -> Result<()> {
    until_ok("the records to arrive", PATIENCE, || {
        // The link may not have created the topic yet.
        let found = digests(cluster, topic).ok();
        Ok(found.filter(|found| count(found) >= count(expected)).map(drop))
    })?;
    let found = digests(cluster, topic)?;
    ensure!(
        found == *expected,
        "{} records where {} are expected, or in another order",
        count(&found),
        count(expected)
    );
    Ok(())
}

/// Returns each list of `first`, followed by that of `second`.
fn followed_by(first: &Digests, second: &Digests) -> Digests {
    first.iter().zip(second).map(|(first, second)| [first.as_slice(), second].concat()).collect()
}

/// Makes the files of a link that continues after the promotion of `promoted`.
pub(crate) fn back(link: &str, promoted: &str, from: &Cluster, to: &Cluster, topic: &str) -> Result<LinkFiles> {
    let mut files = LinkFiles::new(link, from, to, &[topic])?;
    files.sender.set("source", "start", "\"promotion\"").set("source", "promoted_link", &format!("{promoted:?}"));
    Ok(files)
}

/// Asks what the way back will do.
fn plan(files: &LinkFiles) -> Result<Exit> {
    let [sender, receiver] = [files.sender.write()?, files.receiver.write()?].map(|file| file.display().to_string());
    run(&["failback", "plan", "--config", &sender, "--receiver-config", &receiver, "--json"])
}

/// Ensures that the plan names what comes back, and what never left: `own` is what the log has to which it goes back, of
/// which `brought` without what an application has added was carried.
fn ensure_plan(files: &LinkFiles, own: &Digests, brought: &Digests, fresh: &Digests) -> Result<()> {
    let planned = plan(files)?;
    planned.expect(0, "never_carried")?;
    let planned: Value = serde_json::from_str(planned.printed.lines().next().context("nothing")?)?;
    let rows = planned["partitions"].as_array().context("no partitions")?;
    ensure!(rows.len() == PARTITIONS as usize, "{planned:#}");
    for (partition, row) in rows.iter().enumerate() {
        let number = |name: &str| row[name].as_u64().with_context(|| format!("no {name}: {row:#}"));
        ensure!(row["outcome"] == "continues" && row["partition"] == partition, "{row:#}");
        // The load has no markers in the first cluster; transactions have some in the second.
        let carried = brought[partition].iter().filter(|one| own[partition].contains(one)).count();
        ensure!(number("common")? == carried as u64, "{carried} were carried: {row:#}");
        ensure!(number("never_carried")? == (own[partition].len() - carried) as u64, "{row:#}");
        ensure!(number("to_carry")? >= fresh[partition].len() as u64, "{row:#}");
    }
    let idle = &rows[PARTITIONS as usize - 1];
    ensure!(idle["to_carry"].as_u64() <= Some(1), "nothing was written there but the link's last marker: {idle:#}");
    Ok(())
}

/// Writes records to all partitions but the last, which is idle, and returns their digests by partition.
fn write(cluster: &Cluster, topic: &str, count: u64, seed: u64) -> Result<Digests> {
    let load = Load::new(topic, PARTITIONS - 1).limit(count).value_max(200).seed(seed).transactional(20);
    let written = load.start(cluster)?.finish()?.written;
    Ok((0..PARTITIONS).map(|partition| written.digests(topic, partition)).collect())
}

#[test]
fn failback_carries_what_was_written_since_and_nothing_twice() -> Result<()> {
    let pair = Pair::shared()?;
    let Loaded { topic, link: there, files: _files, load, receiver, mut sender } =
        Loaded::start(&pair, "there", 2_000)?;
    sender.kill();
    wait::through(Duration::from_secs(1), || Ok(()))?;
    load.stop()?;
    // An application writes before the link is promoted.
    let early = journal::write(&pair.target, &topic, 0, &small(0..5))?.written;
    run_at(&receiver, &["failover", "--link", &there])?.expect(0, "was promoted")?;
    drop(receiver);
    let brought = digests(&pair.target, &topic)?;
    let own = digests(&pair.source, &topic)?;
    let fresh = write(&pair.target, &topic, 1_000, 7)?;
    let early = (0..PARTITIONS).map(|partition| early.digests(&topic, partition)).collect();

    let link = topics::unique("back");
    let files = back(&link, &there, &pair.target, &pair.source, &topic)?;
    ensure_plan(&files, &own, &brought, &fresh)?;
    let (receiver, mut sender) = files.start()?;
    let returned = followed_by(&followed_by(&own, &early), &fresh);
    wait_for(&pair.source, &topic, &returned)?;
    let later = write(&pair.target, &topic, 500, 8)?;
    let returned = followed_by(&returned, &later);
    wait_for(&pair.source, &topic, &returned)?;
    let jumps = run_at(&receiver, &["jumps"])?;
    jumps.expect(0, &format!("after the last record of link {there}; target offsets "))?;
    ensure!(jumps.printed.contains("were never carried"), "{}", jumps.printed);

    // And forth again, without loss.
    run_at(&receiver, &["switch-over", "--link", &link])?.expect(0, "and all of it is carried")?;
    ensure!(sender.wait(PATIENCE)? == HALTED, "the sender did not halt");
    drop(receiver);
    let again = write(&pair.source, &topic, 500, 9)?;
    let files = back(&topics::unique("again"), &link, &pair.source, &pair.target, &topic)?;
    let _ends = files.start()?;
    let expected = [&fresh, &later, &again].into_iter().fold(brought, |all, next| followed_by(&all, next));
    wait_for(&pair.target, &topic, &expected)
}

#[test]
fn failback_waits_for_the_promotion_and_refuses_another_log() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "early", PARTITIONS)?;
    let there = topics::unique("there");
    let files = LinkFiles::new(&there, &pair.source, &pair.target, &[&topic])?;
    let own = write(&pair.source, &topic, 400, 1)?;
    let (receiver, _sender) = files.start()?;
    wait_for(&pair.target, &topic, &own)?;
    let link = topics::unique("early");
    let files = back(&link, &there, &pair.target, &pair.source, &topic)?;
    plan(&files)?.expect(1, &format!("link {there} is not promoted"))?;
    let (back_receiver, mut back_sender) = files.start()?;
    let waits = format!("link {there} is not promoted in this cluster");
    until_ok("the way back to wait", PATIENCE, || Ok(back_sender.log()?.contains(&waits).then_some(())))?;
    wait::through(QUIET, || {
        ensure!(digests(&pair.source, &topic)? == own, "something came back");
        Ok(())
    })?;
    // The topic is created again where it came from: it is another log.
    back_sender.kill();
    run_at(&receiver, &["switch-over", "--link", &there])?.expect(0, "and all of it is carried")?;
    topics::delete(&pair.source, &topic)?;
    topics::create(&pair.source, &topic, PARTITIONS, &[])?;
    let planned = plan(&files)?;
    planned.expect(1, &format!("{PARTITIONS} partitions would not be carried"))?;
    ensure!(planned.printed.contains("target-replaced") && planned.printed.contains("created again"), "{planned:?}");
    let sender = files.sender.start()?;
    let halts = |status: &Value| status.to_string().contains("target-replaced");
    sender.admin.wait_for("the partitions to halt", PATIENCE, halts)?;
    ensure!(committed(&back_receiver.admin.status()?) == 0, "something was carried");
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", pair.source.bootstrap()).create()?;
    let ends = (0..PARTITIONS).map(|at| Ok(consumer.fetch_watermarks(&topic, at, PATIENCE)?.1));
    ensure!(ends.collect::<Result<Vec<_>>>()?.iter().all(|end| *end == 0), "something was written");
    Ok(())
}
