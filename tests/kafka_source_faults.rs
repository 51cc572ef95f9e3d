//! Sources that fail a reader at work: a topic that is deleted, records that retention takes before they were read, a
//! batch that no client can read. The partition halts by name where it stands, its lane's neighbour goes on.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::cluster::Pair;
use harness::files::LinkFiles;
use harness::halts::{jumps, lift, wait_until_halted};
use harness::journal;
use harness::process::Process;
use harness::reader::{Isolation, read};
use harness::record::{Contents, Record};
use harness::{topics, verify, wait};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

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

/// A link of one lane over a topic that will have trouble and one that will not, with what has arrived of each.
struct Fixture {
    pair: &'static Pair,
    troubled: String,
    sound: String,
    expected: Contents,
    receiver: Process,
    sender: Process,
    _files: LinkFiles,
}

impl Fixture {
    fn start(stem: &str) -> Result<Self> {
        let pair = Pair::shared()?;
        let troubled = topics::create_unique(&pair.source, stem, 1)?;
        let sound = topics::create_unique(&pair.source, "sound", 1)?;
        let mut files = LinkFiles::new(&topics::unique(stem), &pair.source, &pair.target, &[&troubled, &sound])?;
        files.sender.set("lanes", "count", "1");
        let (receiver, sender) = (files.receiver.start()?, files.sender.start()?);
        let expected = Contents::default();
        let mut fixture = Self { pair, troubled, sound, expected, receiver, sender, _files: files };
        fixture.carry(0..10)?;
        Ok(fixture)
    }

    /// Writes to both topics and waits for both.
    fn carry(&mut self, numbers: std::ops::Range<i64>) -> Result<()> {
        let written = journal::write(&self.pair.source, &self.troubled, 0, &records(numbers.clone()))?.written;
        self.expected.merge(&written);
        self.neighbour_goes_on(numbers)
    }

    fn neighbour_goes_on(&mut self, numbers: std::ops::Range<i64>) -> Result<()> {
        self.expected.merge(&journal::write(&self.pair.source, &self.sound, 0, &records(numbers))?.written);
        verify::wait_until_delivered(&self.expected, &self.pair.target, "{topic}", PATIENCE)
    }

    /// Waits for the halt at position 10, behind what was carried, and shows that nothing came after that.
    fn halts_behind_what_was_carried(&self, reason: &str) -> Result<String> {
        let halt = wait_until_halted(&self.sender, &self.troubled, 0, reason, PATIENCE)?;
        println!("{}: {}", halt["reason"], halt["detail"]);
        ensure!(halt["position"] == 10, "{halt}");
        verify::ensure_exactly_once(&self.expected, &self.pair.target, "{topic}")?;
        Ok(halt["detail"].to_string())
    }

    fn resume(&self, how: &[&str]) -> Result<()> {
        let partition = format!("{}/0", self.troubled);
        println!("{}", lift(&self.sender, "resume", &[&[partition.as_str()], how].concat())?);
        Ok(())
    }
}

#[test]
fn a_topic_deleted_under_a_running_link_halts_as_gone_and_one_of_its_name_is_not_taken_for_it() -> Result<()> {
    let mut link = Fixture::start("deleted")?;
    topics::delete(&link.pair.source, &link.troubled)?;
    link.halts_behind_what_was_carried("source-gone")?;
    link.neighbour_goes_on(10..20)?;
    let old = link.expected.partition(&link.troubled, 0).len();

    topics::create(&link.pair.source, &link.troubled, 1, &[])?;
    let new = journal::write(&link.pair.source, &link.troubled, 0, &records(100..110))?.written;
    link.halts_behind_what_was_carried("topic-recreated")?;
    link.resume(&["--skip"])?;
    let all = old + new.len();
    wait::until_ok("the new topic's records", PATIENCE, || {
        let seen = read(&link.pair.target, &[&link.troubled], Isolation::Committed)?;
        Ok((seen.partition(&link.troubled, 0).len() == all).then_some(()))
    })
}

#[test]
fn records_that_retention_takes_before_they_are_read_halt_the_session_that_was_about_to_read_them() -> Result<()> {
    let mut link = Fixture::start("overtaken")?;
    // Readers of committed records wait in front of a transaction, and retention does not wait for them.
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", link.pair.source.bootstrap()).set("transactional.id", topics::unique("hangs"));
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(PATIENCE)?;
    producer.begin_transaction()?;
    producer.send(BaseRecord::<[u8], [u8]>::to(&link.troubled).payload(b"undecided")).map_err(|(error, _)| error)?;
    producer.flush(PATIENCE)?;
    journal::write(&link.pair.source, &link.troubled, 0, &records(11..30))?;
    link.neighbour_goes_on(10..20)?;
    topics::delete_records(&link.pair.source, &link.troubled, 0, 20)?;
    let detail = link.halts_behind_what_was_carried("retention-overtook")?;
    ensure!(detail.contains("source log starts at 20, next wanted is 10"), "{detail}");
    ensure!(link.receiver.log()?.contains("out-of-range"), "the session's own reader did not meet it");
    link.neighbour_goes_on(20..30)?;

    producer.abort_transaction(PATIENCE)?;
    link.resume(&["--skip"])?;
    let left = read(&link.pair.source, &[&link.troubled], Isolation::Committed)?;
    ensure!(left.partition(&link.troubled, 0).len() == 10, "{} are left", left.len());
    left.partition(&link.troubled, 0).iter().for_each(|entry| link.expected.add(&link.troubled, 0, *entry));
    link.carry(30..40)?;
    verify::ensure_exactly_once(&link.expected, &link.pair.target, "{topic}")?;
    let jumps = jumps(&link.receiver)?;
    ensure!(jumps.len() == 1 && jumps[0]["from"] == 10 && jumps[0]["to"] == 20, "{jumps:?}");
    Ok(())
}

#[test]
fn a_batch_that_no_client_can_read_halts_with_the_clients_words_until_somebody_leaves_it_out() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "unread", 2)?;
    let mut expected = journal::write(&pair.source, &topic, 0, &records(0..10))?.written;
    journal::write(&pair.source, &topic, 0, &records(10..11))?;
    pair.source.mislabel(&topic, 0, 10)?;
    let mut files = LinkFiles::new(&topics::unique("unread"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    let halt = wait_until_halted(&sender, &topic, 0, "source-failed", PATIENCE)?;
    println!("{}: {}", halt["reason"], halt["detail"]);
    ensure!(halt["position"] == 10 && halt["detail"].to_string().contains("MagicByte 9 at offset 10"), "{halt}");
    expected.merge(&journal::write(&pair.source, &topic, 1, &records(0..10))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    expected.merge(&journal::write(&pair.source, &topic, 0, &records(11..20))?.written);
    println!("{}", lift(&sender, "resume", &[&format!("{topic}/0"), "--from", "11"])?);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}").map(drop)
}
