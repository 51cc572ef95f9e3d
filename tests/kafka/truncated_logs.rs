//! Logs that lost their end, at the source or at the target: a broker comes back without the last records that it had
//! acknowledged. The partition halts, and the other one of its lane continues.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::halts;
use harness::pair::Pair;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::{Contents, small};
use harness::verify::{self, wait_until_holds};
use harness::{journal, topics};

const PATIENCE: Duration = Duration::from_secs(60);

/// Restarts a single node without the records of `topic`/0 from `offset` on.
fn truncate(cluster: &Cluster, topic: &str, offset: i64) -> Result<()> {
    cluster.kill(1);
    cluster.truncate(topic, 0, offset)?;
    cluster.restart(1)
}

/// A link of one lane over a topic of two partitions, to each of which ten records were carried.
struct Fixture {
    sender: Process,
    receiver: Process,
    files: LinkFiles,
    topic: String,
    /// Records written to each partition.
    written: [Contents; 2],
    pair: Pair,
}

impl Fixture {
    fn start(stem: &str) -> Result<Self> {
        let pair = Pair::start(1, 1)?;
        let topic = topics::create_unique(&pair.source, stem, 2)?;
        let mut files = LinkFiles::new(&topics::unique(stem), &pair.source, &pair.target, &[&topic])?;
        files.sender.set("lanes", "count", "1");
        let (receiver, sender) = files.start()?;
        let mut written = [Contents::default(), Contents::default()];
        // Two batches, so that either log can lose the second one.
        for numbers in [0..6, 6..10] {
            for (partition, so_far) in (0..).zip(&mut written) {
                so_far.merge(&journal::write(&pair.source, &topic, partition, &small(numbers.clone()))?.written);
                verify::wait_until_delivered(so_far, &pair.target, "{topic}", PATIENCE)?;
            }
        }
        Ok(Self { sender, receiver, files, topic, written, pair })
    }

    /// Writes more records to a partition.
    fn write(&mut self, partition: i32, numbers: std::ops::Range<i64>) -> Result<()> {
        let more = journal::write(&self.pair.source, &self.topic, partition, &small(numbers))?.written;
        self.written[partition as usize].merge(&more);
        Ok(())
    }

    /// Kills both processes and starts new ones, which know only the stored state.
    fn restart(&mut self) -> Result<()> {
        self.sender.kill();
        self.receiver.kill();
        (self.receiver, self.sender) = self.files.start()?;
        Ok(())
    }

    fn digests(&self, partition: i32) -> Vec<u64> {
        self.written[partition as usize].digests(&self.topic, partition)
    }

    /// Waits until the target has exactly the records written to a partition.
    fn wait_until_carried(&self, partition: i32) -> Result<()> {
        wait_until_holds(&self.pair.target, &self.topic, partition, &self.digests(partition), PATIENCE)
    }
}

#[test]
fn truncated_source_halts_there_and_resumes_at_its_new_end() -> Result<()> {
    let mut link = Fixture::start("shorter")?;
    let partition = format!("{}/0", link.topic);
    truncate(&link.pair.source, &link.topic, 6)?;
    halts::expect(&link.sender, &link.topic, 0, "truncated", 10)?;
    link.write(1, 10..20)?;
    link.wait_until_carried(1)?;

    // The new processes see a log that has grown beyond the stored position again.
    link.sender.kill();
    link.receiver.kill();
    journal::write(&link.pair.source, &link.topic, 0, &small(100..110))?;
    link.restart()?;
    halts::wait_for(&link.sender, &link.topic, 0, "truncated")?;
    ensure!(link.sender.admin.status()?["totals"]["frames"] == 0, "records were read again");
    halts::resume(&link.sender, &[&partition, "--skip"])?;
    link.write(0, 200..205)?;
    link.wait_until_carried(0)?;
    let jump = halts::only_jump(&link.receiver)?;
    ensure!(jump.is_between(10, 16) && jump.halt_reason() == "truncated", "{jump:?}");
    link.wait_until_carried(1)
}

#[test]
fn truncated_target_is_not_written_until_resumed() -> Result<()> {
    let mut link = Fixture::start("forgets")?;
    let partition = format!("{}/0", link.topic);
    let before = read(&link.pair.target, &[&link.topic], Isolation::Committed)?;
    // Six records stay, with the markers of their transactions.
    let seventh = before.partition(&link.topic, 0)[6].offset;
    truncate(&link.pair.target, &link.topic, seventh)?;
    link.write(1, 10..15)?;
    link.write(0, 10..15)?;
    halts::expect(&link.sender, &link.topic, 0, "target-replaced", 10)?;
    link.wait_until_carried(1)?;
    let left = read(&link.pair.target, &[&link.topic], Isolation::Committed)?.digests(&link.topic, 0);
    ensure!(left == link.digests(0)[..6], "the target has {} records", left.len());

    link.restart()?;
    halts::wait_for(&link.sender, &link.topic, 0, "target-replaced")?;
    // The operator names the first lost record, so that it is carried again.
    halts::resume(&link.sender, &[&partition, "--from", "6"])?;
    link.wait_until_carried(0)?;
    link.wait_until_carried(1)
}

#[test]
fn deleted_target_topic_is_not_created_until_adopted() -> Result<()> {
    let mut link = Fixture::start("vanished")?;
    link.sender.kill();
    topics::delete(&link.pair.target, &link.topic)?;
    link.written = [Contents::default(), Contents::default()];
    link.write(0, 10..15)?;
    link.write(1, 10..15)?;
    link.sender = link.files.sender.start()?;
    for partition in 0..2 {
        halts::expect(&link.sender, &link.topic, partition, "target-replaced", 10)?;
    }
    ensure!(topics::partitions(&link.pair.target, &link.topic)? == 0, "the topic was created again");
    halts::adopt(&link.sender, &link.topic)?;
    link.wait_until_carried(0)?;
    link.wait_until_carried(1)
}
