//! Access control lists that follow a link, between clusters with an authorizer, and clients that try what they may.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::cluster::Cluster;
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::journal;
use harness::pair::Pair;
use harness::process::Process;
use harness::record::{Contents, small};
use harness::rights::Listed;
use harness::wait::{through, until_ok};
use harness::{topics, verify};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};
use serde_json::Value;

use crate::groups;
use crate::rights::Secured;

const PATIENCE: Duration = Duration::from_secs(60);
/// Interval of the sender in these tests.
const INTERVAL: Duration = Duration::from_secs(1);
const PASSWORD: &str = "user-s3cret-5ac1";

/// Settings of a client that logs in as a user.
fn client(cluster: &Cluster, user: &str) -> Result<ClientConfig> {
    let listener = cluster.secure()?;
    let ca = listener.pki.join("ca.pem").display().to_string();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", format!("127.0.0.1:{}", listener.port)).set("security.protocol", "SASL_SSL");
    config.set("sasl.mechanism", "SCRAM-SHA-512").set("sasl.username", user).set("sasl.password", PASSWORD);
    config.set("ssl.ca.location", ca).set("fetch.wait.max.ms", "50");
    Ok(config)
}

/// Returns whether a user may read a topic.
fn can_read(cluster: &Cluster, user: &str, topic: &str) -> Result<bool> {
    let consumer: BaseConsumer =
        client(cluster, user)?.set("group.id", "none").set("enable.auto.commit", "false").create()?;
    // A client that reads a topic which it may not even describe hears nothing of it.
    let seen = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    if seen.topics().iter().any(|topic| topic.error().is_some_and(|code| is_denied(code.into()))) {
        return Ok(false);
    }
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&all)?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => return Ok(message.topic() == topic),
            Some(Err(KafkaError::MessageConsumption(code))) if is_denied(code) => return Ok(false),
            Some(Err(error)) => println!("{user} reads {topic}: {error}"),
        }
    }
    bail!("{user} was neither served nor refused {topic}")
}

fn is_denied(code: RDKafkaErrorCode) -> bool {
    // A topic that one may not describe looks like none.
    [RDKafkaErrorCode::TopicAuthorizationFailed, RDKafkaErrorCode::UnknownTopicOrPartition].contains(&code)
}

struct Deliveries(std::sync::mpsc::SyncSender<Option<RDKafkaErrorCode>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        let _ = self.0.send(result.as_ref().err().and_then(|(error, _)| error.rdkafka_error_code()));
    }
}

/// Returns whether a user may write a topic.
fn can_write(cluster: &Cluster, user: &str, topic: &str) -> Result<bool> {
    let (sent, delivered) = std::sync::mpsc::sync_channel(1);
    let mut config = client(cluster, user)?;
    config.set("message.timeout.ms", "20000");
    let producer: ThreadedProducer<Deliveries> = config.create_with_context(Deliveries(sent))?;
    producer.send(BaseRecord::<(), _, _>::to(topic).payload("x").partition(0)).map_err(|(error, _)| error)?;
    let outcome = delivered.recv_timeout(PATIENCE)?;
    producer.flush(Duration::from_secs(1)).ok();
    match outcome {
        None => Ok(true),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed) => Ok(false),
        Some(code) => bail!("{user} writes {topic}: {code}"),
    }
}

/// Returns the states of the entries of the receiver's plan, by the rule in the target or else the one at the source.
fn plan(receiver: &Process) -> Result<Vec<(String, String)>> {
    let plan: Vec<Value> = serde_json::from_str(&receiver.admin.get("/acls")?)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let entry = |one: &Value| Some((text(&one["target"]).or_else(|| text(&one["source"]))?, text(&one["state"])?));
    plan.iter().map(|one| entry(one).with_context(|| format!("{one}"))).collect()
}

fn wait_for_state(receiver: &Process, rule: &str, state: &str) -> Result<()> {
    let mut seen = Vec::new();
    let waited = until_ok(&format!("{rule} to be {state}"), PATIENCE, || {
        // Its port may not answer yet.
        seen = plan(receiver).unwrap_or_default();
        Ok(seen.iter().any(|(found, is)| found == rule && is == state).then_some(()))
    });
    waited.with_context(|| format!("{seen:#?}"))
}

/// A link between secure clusters that follows access control lists.
struct World {
    secured: Secured,
    topic: String,
    group: String,
    /// Records of the topic.
    written: Contents,
    files: LinkFiles,
}

impl World {
    /// Makes a link with all rights, whose receiver follows as `follow` says.
    fn new(follow: &str) -> Result<Self> {
        let mut secured = Secured::grant_in(Pair::start_secure(1)?, "acl-", |_: &Listed| true)?;
        for user in ["alice", "bob", "carol"] {
            secured.source.add_user(user, PASSWORD)?;
            secured.target.add_user(user, PASSWORD)?;
        }
        let pair = &secured.pair;
        let topic = topics::create_unique(&pair.source, "acl-orders", 1)?;
        let written = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
        let group = topics::unique("acl-app");
        groups::commit(&pair.source, &group, &topic, 3)?;
        let mut files = secured.link("acl-link", &[&topic])?;
        files.sender.set("groups", "include", &format!("[{group:?}]")).set("groups", "interval", "\"1 s\"");
        files.sender.set("acls", "follow", "true").set("acls", "interval", &format!("\"{} s\"", INTERVAL.as_secs()));
        files.receiver.set("[links]", "follow_acls", &format!("{follow:?}"));
        files.receiver.set("[links]", "acl_groups", "[\".*\"]");
        files.receiver.set("[links]", "acl_exclude", "[\"User:sender\", \"User:receiver\"]");
        Ok(Self { secured, topic, group, written, files })
    }

    fn target(&self) -> &Cluster {
        &self.secured.pair.target
    }

    /// Returns the rules of the target about the topic and the group, without those of the link's own users.
    fn target_rules(&mut self) -> Result<BTreeSet<String>> {
        let mut rules = self.secured.target.rules(&self.topic)?;
        rules.extend(self.secured.target.rules(&self.group)?);
        Ok(rules.into_iter().collect())
    }

    fn wait_for_rules(&mut self, expected: &[String]) -> Result<()> {
        let expected: BTreeSet<_> = expected.iter().cloned().collect();
        let mut seen = BTreeSet::new();
        let waited = until_ok("the rules of the target", PATIENCE, || {
            seen = self.target_rules()?;
            Ok((seen == expected).then_some(()))
        });
        waited.with_context(|| format!("{seen:#?} instead of {expected:#?}"))
    }

    /// Gives users their rights.
    fn grant(&mut self) -> Result<()> {
        let Self { secured: rights, topic, group, .. } = self;
        // Alice reads by a prefix and may write; Bob is denied; Carol has the same right in the target already.
        rights.source.make("alice topic prefixed acl- Read")?;
        rights.source.make(&format!("alice topic literal {topic} Write"))?;
        rights.source.make(&format!("alice group literal {group} Read"))?;
        rights.source.make("bob topic prefixed acl- Read")?;
        rights.source.make(&format!("bob topic literal {topic} Read deny"))?;
        rights.source.make(&format!("carol topic literal {topic} Read"))?;
        rights.source.make("carol topic literal * Describe")?;
        rights.target.make(&format!("carol topic literal {topic} Read"))?;
        Ok(())
    }

    /// Ensures what the users may do in the target.
    fn ensure_rights(&self) -> Result<()> {
        let topic = &self.topic;
        ensure!(can_read(self.target(), "alice", topic)?, "alice cannot read");
        ensure!(!can_write(self.target(), "alice", topic)?, "alice can write before the link is promoted");
        ensure!(!can_read(self.target(), "bob", topic)?, "bob reads what is denied to him");
        ensure!(can_read(self.target(), "carol", topic)?, "carol cannot read");
        let mut config = client(self.target(), "alice")?;
        let consumer: BaseConsumer = config.set("group.id", &self.group).create()?;
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, 0);
        consumer.committed_offsets(asked, PATIENCE).context("alice cannot use her group")?;
        Ok(())
    }

    /// Hides the rules of the source for a while.
    fn ensure_kept_while_hidden(&mut self, receiver: &Process, sender: &Process, made: usize) -> Result<()> {
        // A source that does not answer takes nothing away, and both ends say so.
        self.secured.source.take("sender cluster literal kafka-cluster Describe")?;
        let sentence = "states no access control lists at all";
        sender
            .admin
            .wait_for("the source to be named", PATIENCE, |status| status["trouble"].to_string().contains(sentence))?;
        receiver.admin.wait_for("the receiver to name it", PATIENCE, |status| {
            status["links"][0]["trouble"].to_string().contains(sentence)
        })?;
        through(INTERVAL * 4, || {
            ensure!(self.target_rules()?.len() == made, "a source that does not answer took something away");
            Ok(())
        })?;
        self.secured.source.make("sender cluster literal kafka-cluster Describe")?;
        sender
            .admin
            .wait_for("the source to answer", PATIENCE, |status| !status["trouble"].to_string().contains(sentence))?;
        Ok(())
    }
}

#[test]
fn rights_of_readers_follow_and_leave_again() -> Result<()> {
    let mut world = World::new("dry-run")?;
    let topic = world.topic.clone();
    let group = world.group.clone();
    let allowed = |user: &str, operation: &str| format!("ALLOW User:{user} {operation} TOPIC LITERAL {topic}");
    let (receiver, sender) = world.files.start()?;
    until_ok("the topic in the target", PATIENCE, || {
        Ok((topics::partitions(world.target(), &topic)? > 0).then_some(()))
    })?;
    ensure!(!can_read(world.target(), "alice", &topic)?, "a right without a rule");

    world.grant()?;

    // The dry run says what would be, and changes nothing.
    let alice = format!("allow User:alice Read on topic {topic}");
    wait_for_state(&receiver, &alice, "to-make")?;
    wait_for_state(&receiver, &format!("allow User:carol Read on topic {topic}"), "exists")?;
    let printed = run_at(&receiver, &["acls"])?;
    printed.expect(0, &format!("allow User:alice Read on topic acl- (prefix) (by \"User:{{name}}\") -> {alice}"))?;
    world.wait_for_rules(&[allowed("carol", "READ")])?;
    let ledger = topics::Listing::of(world.target())?.all_names()?.into_iter().find(|name| name.ends_with(".acls"));
    ensure!(ledger.is_none(), "a dry run has made {ledger:?}");

    world.files.receiver.set("[links]", "follow_acls", "\"on\"").write()?;
    let mut receiver = receiver;
    receiver.signal(Signal::Hup);
    let denied = format!("DENY User:bob READ TOPIC LITERAL {topic}");
    let of_group = format!("ALLOW User:alice READ GROUP LITERAL {group}");
    let made = [allowed("alice", "READ"), allowed("bob", "READ"), allowed("carol", "READ"), denied, of_group];
    world.wait_for_rules(&made)?;
    for (rule, state) in [
        (alice, "made"),
        (format!("allow User:alice Write on topic {topic}"), "held-back"),
        (format!("allow User:carol Read on topic {topic}"), "exists"),
        ("allow User:carol Describe on topic *".to_owned(), "not-followed"),
    ] {
        wait_for_state(&receiver, &rule, state)?;
    }
    world.ensure_rights()?;
    world.ensure_kept_while_hidden(&receiver, &sender, made.len())?;

    // What leaves the source leaves the target, and nothing else does.
    let rights = &mut world.secured;
    rights.source.take("alice topic prefixed acl- Read")?;
    rights.source.take(&format!("bob topic literal {topic} Read deny"))?;
    rights.source.take("bob topic prefixed acl- Read")?;
    let began = Instant::now();
    rights.source.take(&format!("carol topic literal {topic} Read"))?;
    world.wait_for_rules(&[allowed("carol", "READ"), format!("ALLOW User:alice READ GROUP LITERAL {group}")])?;
    let took = began.elapsed();
    println!("rules that left the source left the target within {took:.1?}");
    ensure!(took < INTERVAL * 2 + Duration::from_secs(8), "{took:?}");
    ensure!(!can_read(world.target(), "alice", &topic)?, "alice still reads");
    ensure!(can_read(world.target(), "carol", &topic)?, "another's rule was taken away");
    verify_status(&receiver)?;

    // From the promotion on applications write.
    ensure!(!can_write(world.target(), "alice", &topic)?, "alice can write before the link is promoted");
    let link = world.files.sender.get("", "link").context("no link")?.trim_matches('"').to_owned();
    run_at(&receiver, &["failover", "--link", &link])?.expect(0, "was promoted")?;
    wait_for_state(&receiver, &format!("allow User:alice Write on topic {topic}"), "made")?;
    ensure!(can_write(world.target(), "alice", &topic)?, "alice cannot write after the promotion");
    Ok(())
}

/// Ensures what status and metrics say at the end.
fn verify_status(receiver: &Process) -> Result<()> {
    let status = receiver.admin.status()?;
    let link = &status["links"][0];
    ensure!(
        link["followed_acls"]["follow"] == "on" && link["followed_acls"]["rules"]["made"] == 1,
        "{:#}",
        link["followed_acls"]
    );
    ensure!(link["followed_acls"]["age_seconds"].as_f64().is_some_and(|age| age < 70.0), "{:#}", link["followed_acls"]);
    let metrics = receiver.admin.get("/metrics")?;
    let is_made = |line: &&str| line.starts_with("causeway_receiver_acls{") && line.contains("state=\"made\"");
    let line = metrics.lines().find(is_made).context("no metric")?;
    ensure!(line.ends_with(" 1") || line.ends_with(" 1.0"), "{line}");
    Ok(())
}

#[test]
fn a_receiver_killed_while_it_makes_rules_forgets_none() -> Result<()> {
    const USERS: usize = 600;
    let mut world = World::new("on")?;
    let topic = world.topic.clone();
    for user in 0..USERS {
        world.secured.source.make(&format!("reader-{user} topic literal {topic} Read"))?;
    }
    let (mut receiver, _sender) = world.files.start()?;
    let mut kills = Vec::new();
    for least in [1, USERS / 3, USERS * 2 / 3] {
        until_ok("some rules in the target", PATIENCE, || {
            let made = world.target_rules()?.len();
            Ok((made >= least).then(|| kills.push(made)))
        })?;
        receiver.kill();
        receiver = world.files.receiver.start()?;
    }
    println!("killed with {kills:?} of {USERS} rules");
    receiver.kill();
    // What the source takes back meanwhile, no killed receiver has forgotten.
    for user in 1..USERS {
        world.secured.source.take(&format!("reader-{user} topic literal {topic} Read"))?;
    }
    let _receiver = world.files.receiver.start()?;
    world.wait_for_rules(&[format!("ALLOW User:reader-0 READ TOPIC LITERAL {topic}")])?;
    verify::ensure_exactly_once(&world.written, world.target(), "{topic}").map(drop)
}
