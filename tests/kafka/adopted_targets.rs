//! Target topics with records that this link did not write: they halt their partitions until an operator adopts them.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::halts;
use harness::pair::Pair;
use harness::reader::{Isolation, read};
use harness::record::small;
use harness::verify::{self, wait_until_holds};
use harness::{journal, topics};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn foreign_topic_is_not_written_until_adopted() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "foreign", 2)?;
    topics::create(&pair.target, &topic, 2, &[])?;
    let theirs = journal::write(&pair.target, &topic, 0, &small(1000..1005))?.written;
    let mut ours = journal::write(&pair.source, &topic, 0, &small(0..20))?.written;
    let neighbour = journal::write(&pair.source, &topic, 1, &small(0..20))?.written;
    let files = LinkFiles::new(&topics::unique("foreign"), &pair.source, &pair.target, &[&topic])?;
    let (receiver, sender) = files.start()?;
    halts::wait_for(&sender, &topic, 0, "target-not-empty")?;
    verify::wait_until_delivered(&neighbour, &pair.target, "{topic}", PATIENCE)?;
    let found = read(&pair.target, &[&topic], Isolation::Uncommitted)?.partition(&topic, 0).len();
    ensure!(found == 5, "the target has {found} records: some were appended");
    // It never joined, and lacks all of its records.
    sender.admin.wait_for("the halted partition to lag", PATIENCE, |status| status["lag_records"] == 20)?;
    run_at(&sender, &["status"])?.expect(0, "20 records behind; partitions: 1 halted")?;

    halts::adopt(&sender, &topic)?;
    ours.merge(&journal::write(&pair.source, &topic, 0, &small(20..30))?.written);
    let both = [theirs.digests(&topic, 0), ours.digests(&topic, 0)].concat();
    wait_until_holds(&pair.target, &topic, 0, &both, PATIENCE)?;
    let jump = halts::only_jump(&receiver)?;
    ensure!(jump.accepted() == "the target as it is" && jump.from() == Some(-1), "{jump:?}");
    Ok(())
}

#[test]
fn one_command_resumes_a_thousand_partitions() -> Result<()> {
    const PARTITIONS: i32 = 1_000;
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "wide", PARTITIONS)?;
    topics::create(&pair.target, &topic, PARTITIONS, &[])?;
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", pair.target.bootstrap()).create()?;
    for partition in 0..PARTITIONS {
        let record = BaseRecord::<(), str>::to(&topic).partition(partition).payload("theirs");
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(PATIENCE)?;
    let files = LinkFiles::new(&topics::unique("wide"), &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = files.start()?;
    let halted = |status: &serde_json::Value| status["halted"].as_array().map_or(0, Vec::len);
    sender.admin.wait_for("1,000 halts", PATIENCE, |status| halted(status) == 1_000)?;

    let refused = run_at(&sender, &["resume", &topic])?;
    refused.expect(1, "0 of 1000 partitions resumed, 1000 refused")?;
    refused.expect(1, &format!("{topic}/999 stays halted, target-not-empty"))?;
    let refused = run_at(&sender, &["resume", "--all", "target-not-empty", "--skip"])?;
    refused.expect(1, "leaves nothing to skip: `causeway adopt`")?;
    run_at(&sender, &["resume", "--all", "truncated"])?.expect(1, "no partition is halted as truncated")?;
    let adopted = run_at(&sender, &["adopt", &topic])?;
    adopted.expect(0, "1000 of 1000 partitions resumed")?;
    adopted.expect(0, &format!("{topic}/999 resumes at 0"))?;
    sender.admin.wait_for("no halt", PATIENCE, |status| halted(status) == 0)?;
    run_at(&sender, &["resume", &topic])?.expect(1, &format!("no partition of {topic} is halted"))
}

#[test]
fn recreated_target_halts_before_anything_is_committed_to_it() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "flow", 1)?;
    let files = LinkFiles::new(&topics::unique("flow"), &pair.source, &pair.target, &[&topic])?;
    let (mut receiver, mut sender) = files.start()?;
    let written = journal::write(&pair.source, &topic, 0, &small(0..50))?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;

    topics::delete(&pair.target, &topic)?;
    topics::create(&pair.target, &topic, 1, &[])?;
    // The new log gives these records offsets from 0, so the receiver notices.
    let behind = journal::write(&pair.source, &topic, 0, &small(50..60))?.written;
    halts::expect(&sender, &topic, 0, "target-replaced", 50)?;
    let committed = read(&pair.target, &[&topic], Isolation::Committed)?;
    ensure!(committed.partition(&topic, 0).is_empty(), "records were committed to the new topic");

    sender.kill();
    receiver.kill();
    let (_receiver, sender) = files.start()?;
    halts::wait_for(&sender, &topic, 0, "target-replaced")?;
    halts::adopt(&sender, &format!("{topic}/0"))?;
    wait_until_holds(&pair.target, &topic, 0, &behind.digests(&topic, 0), PATIENCE)
}

#[test]
fn target_recreated_while_the_link_is_down_halts() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "again", 1)?;
    let files = LinkFiles::new(&topics::unique("again"), &pair.source, &pair.target, &[&topic])?;
    let (mut receiver, mut sender) = files.start()?;
    let written = journal::write(&pair.source, &topic, 0, &small(0..50))?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;

    sender.kill();
    receiver.kill();
    topics::delete(&pair.target, &topic)?;
    topics::create(&pair.target, &topic, 1, &[])?;
    // As long as the old log: only the topic id shows that it is another one.
    journal::write(&pair.target, &topic, 0, &small(2000..2100))?;
    let (_receiver, sender) = files.start()?;
    journal::write(&pair.source, &topic, 0, &small(50..60))?;
    halts::wait_for(&sender, &topic, 0, "target-replaced")?;
    let found = read(&pair.target, &[&topic], Isolation::Uncommitted)?.len();
    ensure!(found == 100, "the target has {found} records: some were appended");
    Ok(())
}
