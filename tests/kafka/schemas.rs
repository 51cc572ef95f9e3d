//! The topic of a schema registry, carried with the records that name its ids. The records are those that Confluent's
//! registry writes, and [`Registry`] reads them as it does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::pair::Pair;
use harness::record::Record;
use harness::{journal, topics, verify, wait};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// Every registry writes this key when it starts, to learn the end of its topic, and ignores it when it reads.
const NOOP: &str = r#"{"keytype":"NOOP","magic":0}"#;

/// A record of the registry's topic.
fn entry(key: &str, value: Option<Value>) -> Record {
    let value = value.map(|value| value.to_string().into_bytes());
    Record { key: Some(key.as_bytes().to_vec()), value, headers: Vec::new(), timestamp: 1_760_000_000_000 }
}

fn noop() -> Record {
    entry(NOOP, None)
}

fn key(subject: &str, version: u32) -> String {
    format!(r#"{{"keytype":"SCHEMA","subject":"{subject}","version":{version},"magic":1}}"#)
}

fn schema(subject: &str, version: u32, id: u32) -> Record {
    let text =
        json!({ "type": "record", "name": subject, "fields": [{ "name": format!("f{version}"), "type": "long" }] });
    let value =
        json!({ "subject": subject, "version": version, "id": id, "schema": text.to_string(), "deleted": false });
    entry(&key(subject, version), Some(value))
}

/// A record in the registry's wire format: a zero byte, the schema's id, the payload.
fn framed(id: u32, payload: &str) -> Record {
    let value = [&[0][..], &id.to_be_bytes(), payload.as_bytes()].concat();
    Record { key: None, value: Some(value), headers: Vec::new(), timestamp: 1_760_000_000_000 }
}

/// What a registry knows after it has read its topic.
#[derive(Debug, Default, PartialEq)]
struct Registry(BTreeMap<Vec<u8>, Vec<u8>>);

impl Registry {
    /// Reads the topic as a registry with `kafkastore.isolation.level=read_committed`.
    fn read(cluster: &Cluster, topic: &str) -> Result<Self> {
        let mut registry = Self::default();
        for (key, value) in records(cluster, topic)? {
            let key = key.context("a registry's record without a key")?;
            match value {
                _ if key == NOOP.as_bytes() => {}
                Some(value) => drop(registry.0.insert(key, value)),
                None => drop(registry.0.remove(&key)),
            }
        }
        Ok(registry)
    }

    fn ids(&self) -> Result<Vec<u64>> {
        let id =
            |value: &Vec<u8>| serde_json::from_slice::<Value>(value)?["id"].as_u64().context("a schema without an id");
        self.0.values().map(id).collect()
    }
}

/// Key and value of a record.
type Entry = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Reads partition 0 to its end, `read_committed`.
fn records(cluster: &Cluster, topic: &str) -> Result<Vec<Entry>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap()).set("group.id", "causeway-tests");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create()?;
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(topic, 0, Offset::Beginning)?;
    consumer.assign(&assigned)?;
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let mut found = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        ensure!(Instant::now() < deadline, "the end of {topic} was not reached");
        match consumer.poll(POLL) {
            Some(Ok(message)) => found.push((owned(message.key()), owned(message.payload()))),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return Ok(found),
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
}

#[test]
fn a_registry_of_the_target_knows_every_schema_by_its_id() -> Result<()> {
    let pair = Pair::shared()?;
    let schemas = topics::create_unique_with(&pair.source, "schemas", 1, &[("cleanup.policy", "compact")])?;
    let orders = topics::create_unique(&pair.source, "orders", 1)?;
    let mut files = LinkFiles::new(&topics::unique("schemas"), &pair.source, &pair.target, &[&schemas, &orders])?;
    files.sender.set("[classes]", "name", "\"schemas\"").set("[classes]", "topics", &format!("[{schemas:?}]"));
    files.sender.set("[classes]", "priority", "\"strict\"").set("[classes]", "ceiling", "\"1 Mbit/s\"");
    let registered = [noop(), schema("orders", 1, 1), schema("gone", 1, 2), schema("orders", 2, 3), noop()];
    let mut written = journal::write(&pair.source, &schemas, 0, &registered)?.written;
    // A version that is deleted for good.
    written.merge(&journal::write(&pair.source, &schemas, 0, &[entry(&key("gone", 1), None)])?.written);
    written.merge(&journal::write(&pair.source, &orders, 0, &[framed(1, "one"), framed(3, "three")])?.written);
    let (_receiver, _sender) = files.start()?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    let known = Registry::read(&pair.target, &schemas)?;
    ensure!(known == Registry::read(&pair.source, &schemas)?, "the registries differ");
    let ids = known.ids()?;
    ensure!(ids == [1, 3], "ids are {ids:?}");
    for (_, value) in records(&pair.target, &orders)? {
        let value = value.context("no value")?;
        let id = u32::from_be_bytes(value[1..5].try_into()?);
        ensure!(ids.contains(&u64::from(id)), "no schema {id}");
    }
    // A registry refuses a topic with another policy or more partitions.
    ensure!(topics::configs(&pair.target, &schemas)?["cleanup.policy"] == "compact", "the policy is not kept");
    ensure!(topics::partitions(&pair.target, &schemas)? == 1, "the registry's topic has more than one partition");

    // A registry of the target that starts too early writes this much: the link continues, and no id is taken twice.
    journal::write(&pair.target, &schemas, 0, &[noop()])?;
    journal::write(&pair.source, &schemas, 0, &[schema("orders", 3, 4)])?;
    wait::until_ok("the later schema", PATIENCE, || {
        Ok((Registry::read(&pair.target, &schemas)?.ids()? == [1, 3, 4]).then_some(()))
    })
}
