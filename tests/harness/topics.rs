//! Topics: unique names, creation, changes and deletion.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigResource, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::cluster::Cluster;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns `stem` with a suffix that no other call in any test process gets, for topics, links and transactional ids.
pub fn unique(stem: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{:x}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Creates a topic with the cluster's default replication.
pub fn create(cluster: &Cluster, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<()> {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
    for (key, value) in configs {
        topic = topic.set(key, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    block_on(admin(cluster)?.create_topics([&topic], &options)).with_context(|| format!("cannot create {name}"))
}

/// Creates topics of one partition each, in requests of 500.
pub fn create_many(cluster: &Cluster, names: &[String]) -> Result<()> {
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
    let admin = admin(cluster)?;
    for names in names.chunks(500) {
        let topics: Vec<_> = names.iter().map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(-1))).collect();
        block_on(admin.create_topics(&topics, &options))?;
    }
    Ok(())
}

/// Creates a topic with a [`unique`] name whose partitions have one replica each, on `node`, and returns the name.
pub fn create_unique_on(cluster: &Cluster, stem: &str, partitions: usize, node: i32) -> Result<String> {
    let name = unique(stem);
    create_on(cluster, &name, partitions, node)?;
    Ok(name)
}

/// Creates a topic whose partitions have one replica each, on `node`.
pub fn create_on(cluster: &Cluster, name: &str, partitions: usize, node: i32) -> Result<()> {
    create_on_with(cluster, name, partitions, node, "delete")
}

/// Creates the state topic of a link, with a partition for each of its lanes, as [`create_on`].
pub fn create_state_on(cluster: &Cluster, link: &str, lanes: usize, node: i32) -> Result<()> {
    create_on_with(cluster, &format!("__causeway.{link}.state"), lanes, node, "compact")
}

fn create_on_with(cluster: &Cluster, name: &str, partitions: usize, node: i32, policy: &str) -> Result<()> {
    let node = [node];
    let assignment: Vec<&[i32]> = vec![&node; partitions];
    let topic = NewTopic::new(name, partitions as i32, TopicReplication::Variable(&assignment));
    let topic = topic.set("min.insync.replicas", "1").set("cleanup.policy", policy);
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    block_on(admin(cluster)?.create_topics([&topic], &options)).with_context(|| format!("cannot create {name}"))
}

/// Creates a topic with a [`unique`] name and returns the name.
pub fn create_unique(cluster: &Cluster, stem: &str, partitions: i32) -> Result<String> {
    let name = unique(stem);
    create(cluster, &name, partitions, &[])?;
    Ok(name)
}

/// Creates a topic with a [`unique`] name and these settings, and returns the name.
pub fn create_unique_with(cluster: &Cluster, stem: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<String> {
    let name = unique(stem);
    create(cluster, &name, partitions, configs)?;
    Ok(name)
}

/// Returns every configuration entry of a topic, with the defaults.
pub fn configs(cluster: &Cluster, name: &str) -> Result<BTreeMap<String, String>> {
    Ok(describe(cluster, name)?
        .entries
        .into_iter()
        .map(|entry| (entry.name, entry.value.unwrap_or_default()))
        .collect())
}

/// Returns the configuration entries that are set on a topic itself.
pub fn set_on_topic(cluster: &Cluster, name: &str) -> Result<BTreeMap<String, String>> {
    let entries = describe(cluster, name)?.entries.into_iter();
    let own = entries.filter(|entry| entry.source == ConfigSource::DynamicTopic);
    Ok(own.map(|entry| (entry.name, entry.value.unwrap_or_default())).collect())
}

fn describe(cluster: &Cluster, name: &str) -> Result<ConfigResource> {
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let admin = admin(cluster)?;
    let found = runtime.block_on(admin.describe_configs([&ResourceSpecifier::Topic(name)], &options))?;
    found.into_iter().next().context("no answer")?.map_err(|code| anyhow!("{name}: {code}"))
}

/// Client that lists the topics of a cluster.
pub struct Listing(AdminClient<DefaultClientContext>);

impl Listing {
    /// Makes a client of `cluster`.
    pub fn of(cluster: &Cluster) -> Result<Self> {
        admin(cluster).map(Self)
    }

    /// Returns the names of all topics except those that begin with `__`.
    pub fn names(&self) -> Result<BTreeSet<String>> {
        Ok(self.all_names()?.into_iter().filter(|name| !name.starts_with("__")).collect())
    }

    /// Returns the names of all topics.
    pub fn all_names(&self) -> Result<BTreeSet<String>> {
        let metadata = self.0.inner().fetch_metadata(None, TIMEOUT)?;
        Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
    }
}

/// Returns the number of partitions of a topic; 0 if it does not exist.
pub fn partitions(cluster: &Cluster, name: &str) -> Result<usize> {
    let admin = admin(cluster)?;
    let metadata = admin.inner().fetch_metadata(Some(name), TIMEOUT)?;
    Ok(metadata.topics().iter().map(|topic| topic.partitions().len()).sum())
}

/// Adds partitions to a topic, up to `partitions`.
pub fn grow(cluster: &Cluster, name: &str, partitions: usize) -> Result<()> {
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    let more = NewPartitions::new(name, partitions);
    block_on(admin(cluster)?.create_partitions([&more], &options)).with_context(|| format!("cannot grow {name}"))
}

/// Sets one configuration entry of a topic, and resets all others to their defaults.
pub fn configure(cluster: &Cluster, name: &str, key: &str, value: &str) -> Result<()> {
    configure_all(cluster, name, &[(key, value)])
}

/// Sets these configuration entries of a topic, and resets all others to their defaults.
pub fn configure_all(cluster: &Cluster, name: &str, entries: &[(&str, &str)]) -> Result<()> {
    alter(cluster, name, AlterConfig::new(ResourceSpecifier::Topic(name)), entries)
}

/// Sets these values of a single node while it runs; topics without values of their own inherit them.
pub fn configure_node(cluster: &Cluster, entries: &[(&str, &str)]) -> Result<()> {
    alter(cluster, "node 1", AlterConfig::new(ResourceSpecifier::Broker(1)), entries)
}

fn alter<'a>(cluster: &Cluster, name: &str, change: AlterConfig<'a>, entries: &[(&'a str, &'a str)]) -> Result<()> {
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let admin = admin(cluster)?;
    let change = entries.iter().fold(change, |change, (key, value)| change.set(key, value));
    for outcome in runtime.block_on(admin.alter_configs([&change], &options))? {
        outcome.map_err(|(_, code)| anyhow!("{name}: {code}"))?;
    }
    Ok(())
}

/// Deletes the records of a partition before an offset, as retention does.
pub fn delete_records(cluster: &Cluster, name: &str, partition: i32, before: i64) -> Result<()> {
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(name, partition, Offset::Offset(before))?;
    let deleted = runtime.block_on(admin(cluster)?.delete_records(&offsets, &options))?;
    deleted.elements().iter().try_for_each(|element| element.error()).with_context(|| format!("{name}/{partition}"))
}

/// Deletes a topic with all its records.
pub fn delete(cluster: &Cluster, name: &str) -> Result<()> {
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    block_on(admin(cluster)?.delete_topics(&[name], &options)).with_context(|| format!("cannot delete {name}"))
}

fn admin(cluster: &Cluster) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", cluster.bootstrap()).create()?)
}

type Outcome = Result<Vec<Result<String, (String, RDKafkaErrorCode)>>, KafkaError>;

fn block_on(request: impl Future<Output = Outcome>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for outcome in runtime.block_on(request)? {
        outcome.map_err(|(name, code)| anyhow!("{name}: {code}"))?;
    }
    Ok(())
}
