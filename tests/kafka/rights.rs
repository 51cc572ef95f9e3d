//! A link between clusters with authentication and authorisation: with exactly the rights that the documentation lists,
//! without each of them, and with rights that are revoked and granted again. A missing right halts the partitions that
//! need it; the others continue.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::halts;
use harness::journal::{self, Load};
use harness::pair::Pair;
use harness::process::Process;
use harness::raw::{self, RawRecord};
use harness::reader::{self, Isolation};
use harness::record::{Contents, small};
use harness::rights::{Listed, Right, Rights, listed};
use harness::wait::until;
use harness::{topics, verify, wait};

use crate::groups;

const PATIENCE: Duration = Duration::from_secs(60);

/// Time until a process logs that a right is missing.
const LOGGED: Duration = Duration::from_secs(20);

const SENDER_PASSWORD: &str = "sender-s3cret-9f2c";
const RECEIVER_PASSWORD: &str = "receiver-s3cret-71ab";

/// Key, value and header of a record, to find it if it were logged.
const MARK: &str = "payload-mark-5d1e";

/// The secure clusters, and admin clients that grant and revoke rights on each.
pub(crate) struct Secured {
    pub(crate) source: Rights,
    pub(crate) target: Rights,
    pub(crate) pair: Pair,
}

impl Secured {
    /// Grants every listed right, for links and topics that begin with `prefix`, that `is_wanted`.
    fn grant(prefix: &str, is_wanted: impl Fn(&Listed) -> bool) -> Result<Self> {
        Self::grant_in(Pair::shared_secure()?, prefix, is_wanted)
    }

    /// Grants them in clusters of the test's own.
    pub(crate) fn grant_in(pair: Pair, prefix: &str, is_wanted: impl Fn(&Listed) -> bool) -> Result<Self> {
        let mut source = Rights::of(&pair.source)?;
        let mut target = Rights::of(&pair.target)?;
        source.add_user("sender", SENDER_PASSWORD)?;
        target.add_user("receiver", RECEIVER_PASSWORD)?;
        let mut secured = Self { source, target, pair };
        for listed in listed(prefix)?.iter().filter(|listed| is_wanted(listed)) {
            secured.rights(listed).grant(&listed.right)?;
        }
        Ok(secured)
    }

    /// Returns the admin client of the cluster that a right is for.
    fn rights(&mut self, listed: &Listed) -> &mut Rights {
        if listed.source { &mut self.source } else { &mut self.target }
    }

    /// Makes a link that uses the secure listeners.
    pub(crate) fn link(&self, stem: &str, carried: &[&str]) -> Result<LinkFiles> {
        let mut files = LinkFiles::new(&topics::unique(stem), &self.pair.source, &self.pair.target, carried)?;
        files.sender.log_in(self.pair.source.secure()?, "source", "sender", SENDER_PASSWORD)?;
        files.receiver.log_in(self.pair.target.secure()?, "target", "receiver", RECEIVER_PASSWORD)?;
        // Its transactional ids begin with it.
        files.receiver.set("", "instance", &format!("{:?}", topics::unique(stem)));
        Ok(files)
    }

    /// Makes a link that follows settings and carries a group, which has committed an offset of the topic.
    fn link_with_group(&self, stem: &str, carried: &[&str], topic: &str) -> Result<LinkFiles> {
        let group = topics::unique(&format!("{stem}-group"));
        groups::commit(&self.pair.source, &group, topic, 1)?;
        let mut files = self.link(stem, carried)?;
        files.sender.set("groups", "include", &format!("[{group:?}]")).set("groups", "interval", "\"1 s\"");
        files.receiver.set("[links]", "follow_configs", "\"all\"");
        files.sender.set("acls", "follow", "true");
        files.receiver.set("[links]", "follow_acls", "\"on\"");
        Ok(files)
    }

    /// Creates a topic that the target does not have, and one that has too few partitions and other settings there.
    fn topics(&self, stems: [&str; 2]) -> Result<[String; 2]> {
        let created = topics::create_unique(&self.pair.source, stems[0], 2)?;
        let grown = topics::create_unique_with(&self.pair.source, stems[1], 2, &[("segment.ms", "7777777")])?;
        topics::create(&self.pair.target, &grown, 1, &[])?;
        Ok([created, grown])
    }
}

pub(crate) fn topic_right(user: &str, prefix: &str, operation: &str) -> Right {
    Right {
        user: user.to_owned(),
        resource: "topic".to_owned(),
        prefix: prefix.to_owned(),
        operation: operation.to_owned(),
    }
}

#[test]
fn each_listed_right_is_named_where_it_is_missing() -> Result<()> {
    let mut secured = Secured::grant("less-", |_| true)?;
    let mut silent = Vec::new();
    for listed in listed("less-")? {
        let [created, grown] = secured.topics(["less-created", "less-grown"])?;
        for topic in [&created, &grown] {
            Load::new(topic, 2).limit(20).seed(1).start(&secured.pair.source)?.finish()?;
        }
        let files = secured.link_with_group("less-link", &[&created, &grown], &created)?;
        let right = &listed.right;
        if !listed.source && right.prefix.starts_with("__causeway.") && right.operation != "Create" {
            // A first session writes the state that the second one reads and checks.
            let (_receiver, sender) = files.start()?;
            sender.admin.wait_for("a first session", PATIENCE, |status| status["lag_records"] == 0)?;
        }
        // Kafka takes the right to change settings for the right to see them.
        let implying = Right { operation: "AlterConfigs".to_owned(), ..right.clone() };
        let is_implied =
            !listed.source && right.operation == "DescribeConfigs" && !right.prefix.starts_with("__causeway.");
        if is_implied {
            secured.target.revoke(&implying)?;
        }
        secured.rights(&listed).revoke(right)?;
        let (receiver, sender) = files.start()?;
        let logged = until("the missing right to be named", LOGGED, || {
            let log = receiver.log().ok()? + &sender.log().ok()?;
            log.lines().find(|line| line.contains(&listed.sentence)).map(str::to_owned)
        });
        match logged {
            Ok(line) => println!("without {right:?}: {line}"),
            Err(_) => silent.push(format!("{right:?}\n{}\n{}", receiver.log()?, sender.log()?)),
        }
        secured.rights(&listed).grant(right)?;
        if is_implied {
            secured.target.grant(&implying)?;
        }
    }
    ensure!(silent.is_empty(), "no log names {} missing rights: {}", silent.len(), silent.join("\n"));
    Ok(())
}

#[test]
fn listed_rights_suffice_and_no_secret_is_logged() -> Result<()> {
    let secured = Secured::grant("secret-", |_| true)?;
    let pair = &secured.pair;
    let [created, grown] = secured.topics(["secret-created", "secret-grown"])?;
    let mut files = secured.link_with_group("secret-link", &[&created, &grown], &created)?;
    for side in [&mut files.sender, &mut files.receiver] {
        side.env("RUST_LOG", "trace");
    }
    let (mut receiver, mut sender) = files.start()?;
    let mut journal = Load::new(&created, 2).limit(2_000).seed(1).start(&pair.source)?.finish()?.written;
    journal.merge(&Load::new(&grown, 2).limit(2_000).seed(2).start(&pair.source)?.finish()?.written);
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&journal, &pair.target, "{topic}")?;
    let before = reader::read(&pair.target, &[&created], Isolation::Committed)?.len();
    let marked = Some(MARK.as_bytes().to_vec());
    let headers = vec![(MARK.as_bytes().to_vec(), marked.clone())];
    raw::append(&pair.source, &created, 0, &[RawRecord { timestamp: 1, key: marked.clone(), value: marked, headers }])?;
    until("the marked record", PATIENCE, || {
        let now = reader::read(&pair.target, &[&created], Isolation::Committed).ok()?.len();
        (now == before + 1).then_some(())
    })?;
    receiver.admin.wait_for("the group to be synced", PATIENCE, |status| {
        let link = &status["links"][0];
        link["consumer_groups"]["offsets"]["synced"] == 1 && link["followed_settings"] == 1
    })?;
    let pages =
        |process: &Process| Ok::<_, anyhow::Error>(process.admin.get("/status")? + &process.admin.get("/metrics")?);
    let shown = pages(&sender)? + &pages(&receiver)?;
    ensure!(sender.terminate(PATIENCE)? == 0, "the sender exits with another code");
    ensure!(receiver.terminate(PATIENCE)? == 0, "the receiver exits with another code");
    let text = sender.log()? + &receiver.log()? + &shown;
    ensure!(text.contains("TRACE"), "the log is not at its loudest");
    let mut secrets = vec![SENDER_PASSWORD.to_owned(), RECEIVER_PASSWORD.to_owned(), MARK.to_owned()];
    for key in ["sender.key", "receiver.key"] {
        let pem = std::fs::read_to_string(files.pki().join(key))?;
        secrets.extend(pem.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned));
    }
    for secret in secrets {
        let line = text.lines().find(|line| line.contains(&secret));
        ensure!(line.is_none(), "{secret:?} is shown: {}", line.unwrap_or_default());
    }
    Ok(())
}

#[test]
fn revoked_write_waits_alone_until_granted_again() -> Result<()> {
    // The topics have a right of their own to be read and written, so that one can be revoked.
    let is_own = |listed: &Listed| {
        listed.right.prefix == "taken-" && ["Read", "Write"].contains(&listed.right.operation.as_str())
    };
    let mut secured = Secured::grant("taken-", |listed| !is_own(listed))?;
    for listed in listed("taken-")?.into_iter().filter(is_own) {
        for prefix in ["taken-a", "taken-b"] {
            let right = Right { prefix: prefix.to_owned(), ..listed.right.clone() };
            secured.rights(&listed).grant(&right)?;
        }
    }
    let [first, second] = secured.topics(["taken-a", "taken-b"])?;
    let mut files = secured.link("taken-link", &[&first, &second])?;
    files.sender.set("lanes", "count", "1");
    let (mut receiver, mut sender) = files.start()?;
    let write = |topic: &str, seed, secured: &Secured| {
        Load::new(topic, 2).limit(100).seed(seed).start(&secured.pair.source)?.finish()
    };
    let mut journal = write(&first, 1, &secured)?.written;
    let mut other = write(&second, 2, &secured)?.written;
    verify::wait_until_delivered(&journal, &secured.pair.target, "{topic}", PATIENCE)?;
    verify::wait_until_delivered(&other, &secured.pair.target, "{topic}", PATIENCE)?;

    let revoked = topic_right("receiver", "taken-a", "Write");
    secured.target.revoke(&revoked)?;
    journal.merge(&write(&first, 3, &secured)?.written);
    other.merge(&write(&second, 4, &secured)?.written);
    let is_named = |sender: &Process| -> Result<()> {
        for partition in 0..2 {
            let waits = halts::wait_for(sender, &first, partition, "target-unavailable")?;
            ensure!(waits["detail"].to_string().contains("has no right to write the topic"), "{waits}");
        }
        Ok(())
    };
    is_named(&sender)?;
    verify::wait_until_delivered(&other, &secured.pair.target, "{topic}", PATIENCE)?;
    let times = receiver.admin.status()?["links"][0]["counts"]["recoveries"].as_u64();
    // The target says which topic it is, after the first refusal of each partition.
    ensure!(times.is_some_and(|times| (1..=2).contains(&times)), "the lane was opened again {times:?} times");

    // The next session does not write it either.
    sender.kill();
    receiver.kill();
    let (receiver, sender) = files.start()?;
    is_named(&sender)?;
    ensure!(receiver.admin.status()?["links"][0]["counts"]["recoveries"] == 0, "a transaction failed");
    secured.target.grant(&revoked)?;
    verify::wait_until_delivered(&journal, &secured.pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&journal, &secured.pair.target, "{topic}")?;
    verify::ensure_exactly_once(&other, &secured.pair.target, "{topic}").map(drop)
}

#[test]
fn revoked_read_halts_its_topic_until_granted_again() -> Result<()> {
    let is_read = |listed: &Listed| listed.source && listed.right.operation == "Read";
    let mut secured = Secured::grant("barred-", |listed| !is_read(listed))?;
    let revoked = topic_right("sender", "barred-a", "Read");
    secured.source.grant(&revoked)?;
    secured.source.grant(&topic_right("sender", "barred-b", "Read"))?;
    let barred = topics::create_unique(&secured.pair.source, "barred-a", 1)?;
    let other = topics::create_unique(&secured.pair.source, "barred-b", 1)?;
    let mut expected = journal::write(&secured.pair.source, &barred, 0, &small(0..10))?.written;
    expected.merge(&journal::write(&secured.pair.source, &other, 0, &small(0..10))?.written);
    let mut files = secured.link("barred-link", &[&barred, &other])?;
    files.sender.set("lanes", "count", "1");
    // The listing lacks the topic long before a fetch says that it may not be read.
    files.sender.set("source.client", "\"fetch.wait.max.ms\"", "\"4000\"");
    let (_receiver, sender) = files.start()?;
    verify::wait_until_delivered(&expected, &secured.pair.target, "{topic}", PATIENCE)?;

    secured.source.revoke(&revoked)?;
    halts::expect(&sender, &barred, 0, "source-unauthorized", 10)?;
    let behind = journal::write(&secured.pair.source, &barred, 0, &small(10..20))?.written;
    expected.merge(&journal::write(&secured.pair.source, &other, 0, &small(10..20))?.written);
    verify::wait_until_delivered(&expected, &secured.pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &secured.pair.target, "{topic}")?;

    secured.source.grant(&revoked)?;
    // The sender does not see a topic that it may not read. It sees the topic again within seconds, and then the
    // partition may continue before it is resumed.
    let partition = format!("{barred}/0");
    wait::until_ok("the topic to continue", PATIENCE, || {
        let resumed = halts::resume(&sender, &[&partition]).inspect_err(|error| println!("{error:#}"));
        Ok((resumed.is_ok() || !halts::is_halted(&sender, &barred, 0)?).then_some(()))
    })?;
    expected.merge(&behind);
    verify::wait_until_delivered(&expected, &secured.pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &secured.pair.target, "{topic}").map(drop)
}

#[test]
fn missing_target_partitions_halt_until_an_operator_adds_them() -> Result<()> {
    let secured = Secured::grant("few-", |listed| listed.right.operation != "Alter")?;
    let pair = &secured.pair;
    let topic = topics::create_unique(&pair.source, "few-partitions", 3)?;
    topics::create(&pair.target, &topic, 1, &[])?;
    let mut written = Vec::new();
    for partition in 0..3 {
        written.push(journal::write(&pair.source, &topic, partition, &small(0..10))?.written);
    }
    let mut files = secured.link("few-link", &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let (_receiver, mut sender) = files.start()?;
    for partition in 1..3 {
        let halt = halts::wait_for(&sender, &topic, partition, "target-too-few-partitions")?;
        let sentence = "has 1 partitions, the source's topic 3, and the target does not let it grow";
        ensure!(halt["detail"].to_string().contains(sentence), "{halt}");
    }
    ensure!(sender.log()?.contains("and the receiver cannot add them: add partitions to it."), "the log has no remedy");
    let second = format!("{topic}/1");
    run_at(&sender, &["resume", &second])?.expect(1, "stays halted, target-too-few-partitions")?;

    // The partition that the target has is carried, and the target gets no other.
    written[0].merge(&journal::write(&pair.source, &topic, 0, &small(10..20))?.written);
    verify::wait_until_delivered(&written[0], &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&written[0], &pair.target, "{topic}")?;
    ensure!(topics::partitions(&pair.target, &topic)? == 1, "the target topic has more partitions");

    topics::grow(&pair.target, &topic, 3)?;
    halts::resume(&sender, &[&second])?;
    verify::wait_until_delivered(&written[1], &pair.target, "{topic}", PATIENCE)?;
    // The next session checks the third partition again by itself.
    sender.kill();
    let _sender = files.sender.start()?;
    let mut all = Contents::default();
    written.iter().for_each(|partition| all.merge(partition));
    verify::wait_until_delivered(&all, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&all, &pair.target, "{topic}").map(drop)
}

#[test]
fn target_topic_that_is_not_described_waits_alone_until_granted() -> Result<()> {
    let is_of_data = |right: &Right| right.user == "receiver" && !right.prefix.contains("causeway.");
    let mut secured = Secured::grant("alone-", |listed| !is_of_data(&listed.right))?;
    let allowed = |operation| topic_right("receiver", "alone-old", operation);
    for operation in ["Write", "Create", "Describe", "Alter"] {
        secured.target.grant(&allowed(operation))?;
    }
    let prefix = topics::unique("alone");
    let [old1, old2] = [1, 2].map(|number| topics::unique(&format!("alone-old{number}")));
    let bad = topics::unique("alone-bad");
    let pair = &secured.pair;
    topics::create(&pair.source, &old1, 1, &[])?;
    let mut files = secured.link(&prefix, &[&old1, &old2, &bad])?;
    files.sender.set("lanes", "count", "1");
    let mut expected = journal::write(&pair.source, &old1, 0, &small(0..10))?.written;
    let (receiver, mut sender) = files.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    // A topic that the receiver may not describe appears, then one that it may.
    topics::create(&pair.source, &bad, 3, &[])?;
    let denied = journal::write(&pair.source, &bad, 0, &small(0..10))?.written;
    let is_named = |status: &serde_json::Value| {
        let trouble = status["links"][0]["trouble"].to_string();
        trouble.contains(&bad) && trouble.contains("authorization failed")
    };
    receiver.admin.wait_for("the topic to be named", PATIENCE, is_named)?;
    halts::wait_for(&sender, &bad, 0, "target-unavailable")?;
    topics::create(&pair.source, &old2, 2, &[])?;
    expected.merge(&journal::write(&pair.source, &old2, 0, &small(0..10))?.written);
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;

    // The next session carries what it may, too.
    sender.kill();
    expected.merge(&journal::write(&pair.source, &old1, 0, &small(10..20))?.written);
    let sender = files.sender.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    halts::wait_for(&sender, &bad, 0, "target-unavailable")?;

    for operation in ["Write", "Create", "Describe", "Alter"] {
        secured.target.grant(&topic_right("receiver", &bad, operation))?;
    }
    expected.merge(&denied);
    verify::wait_until_delivered(&expected, &secured.pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &secured.pair.target, "{topic}").map(drop)
}

#[test]
fn missing_right_to_create_is_retried_until_it_is_granted() -> Result<()> {
    let is_create =
        |listed: &Listed| !listed.source && listed.right.operation == "Create" && listed.right.prefix == "late-";
    let mut secured = Secured::grant("late-", |listed| !is_create(listed))?;
    let [created, other] = secured.topics(["late-created", "late-there"])?;
    let mut expected = Contents::default();
    for partition in 0..2 {
        expected.merge(&journal::write(&secured.pair.source, &created, partition, &small(0..10))?.written);
    }
    let neighbour = journal::write(&secured.pair.source, &other, 0, &small(0..10))?.written;
    let mut files = secured.link("late-link", &[&created, &other])?;
    files.sender.set("lanes", "count", "1");
    let (_receiver, sender) = files.start()?;
    for partition in 0..2 {
        let halt = halts::wait_for(&sender, &created, partition, "target-unavailable")?;
        ensure!(halt["detail"].to_string().contains(&format!("creation of `{created}`")), "{halt}");
    }
    verify::wait_until_delivered(&neighbour, &secured.pair.target, "{topic}", PATIENCE)?;

    secured.target.grant(&topic_right("receiver", "late-", "Create"))?;
    verify::wait_until_delivered(&expected, &secured.pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &secured.pair.target, "{topic}")?;
    for partition in 0..2 {
        ensure!(!halts::is_halted(&sender, &created, partition)?, "partition {partition} is still halted");
    }
    Ok(())
}
