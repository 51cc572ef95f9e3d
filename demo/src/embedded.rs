//! A Kafka cluster inside this process: librdkafka's mock cluster, and a catalog for it.
//!
//! It speaks Kafka's protocol over loopback, so that every client is the real one. It creates and describes no topics on
//! request, so this module does both. It does not abort transactions or fence producers, so the demo drains an end before
//! it restarts it.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use kafka::admin::KafkaCatalog;
use kafka::catalog::{Bounds, Catalog, ConfigEntry, Isolation, NewTopic, TopicDescription, TopicSummary};
use kafka::{KafkaError, KafkaFault, Properties};
use rdkafka::mocking::MockCluster;
use service::lock::Lock;
use wire::ids::{Position, TopicId};
use wire::partition::Partition;

/// An embedded cluster of one broker. Dropping it deletes everything in it.
pub(crate) struct Embedded {
    pub(crate) address: String,
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    configs: Lock<HashMap<String, Vec<(String, String)>>>,
}

/// A request to create a topic, with the channel for the result.
struct Order {
    name: String,
    partitions: i32,
    done: SyncSender<Result<(), String>>,
}

impl Embedded {
    pub(crate) fn start(name: &str) -> Result<Arc<Self>> {
        let (orders, inbox) = sync_channel(1);
        let (ready, started) = sync_channel(1);
        // The mock must stay on one thread, so it gets one of its own.
        let thread = thread::Builder::new().name(format!("{name}-cluster")).spawn(move || serve(&ready, &inbox))?;
        let address = started.recv().context("the embedded cluster did not start")?.map_err(|error| anyhow!(error))?;
        Ok(Arc::new(Self { address, orders: Some(orders), thread: Some(thread), configs: Lock::default() }))
    }

    /// Properties of a client of this cluster.
    pub(crate) fn properties(&self) -> Properties {
        Properties { bootstrap_servers: vec![self.address.clone()], ..Properties::default() }
    }

    fn create(&self, topic: &NewTopic) -> Result<(), String> {
        let mut configs = self.configs.lock();
        if configs.contains_key(&topic.name) {
            return Ok(());
        }
        let (done, outcome) = sync_channel(1);
        let order = Order { name: topic.name.clone(), partitions: topic.partitions, done };
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        let gone = || "the embedded cluster is gone".to_owned();
        if !sent {
            return Err(gone());
        }
        outcome.recv().map_err(|_| gone())??;
        configs.insert(topic.name.clone(), topic.configs.clone());
        Ok(())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(ready: &SyncSender<Result<String, String>>, inbox: &Receiver<Order>) {
    let cluster = match MockCluster::new(1) {
        Ok(cluster) => cluster,
        Err(error) => return drop(ready.send(Err(error.to_string()))),
    };
    if ready.send(Ok(cluster.bootstrap_servers())).is_err() {
        return;
    }
    for order in inbox {
        let created = cluster.create_topic(&order.name, order.partitions, 1);
        let _ = order.done.send(created.map_err(|error| error.to_string()));
    }
}

/// Catalog of an embedded cluster, with its own client, as each process has one.
pub(crate) struct EmbeddedCatalog {
    cluster: Arc<Embedded>,
    kafka: KafkaCatalog,
}

impl EmbeddedCatalog {
    pub(crate) fn over(cluster: &Arc<Embedded>) -> Result<Self> {
        let kafka = KafkaCatalog::start(&cluster.properties(), "demo")?;
        Ok(Self { cluster: Arc::clone(cluster), kafka })
    }
}

impl Catalog for EmbeddedCatalog {
    fn cluster_id(&self) -> Result<String, KafkaError> {
        self.kafka.cluster_id()
    }

    fn topics(&self) -> Result<Vec<TopicSummary>, KafkaError> {
        self.kafka.topics()
    }

    fn describe(&self, names: &[String]) -> Result<Vec<TopicDescription>, KafkaError> {
        let found = self.topics()?.into_iter().filter(|topic| names.contains(&topic.name));
        let describe = |topic: TopicSummary| TopicDescription {
            id: topic_id(&topic.name),
            name: topic.name,
            partitions: topic.partitions,
            replicas: 1,
        };
        Ok(found.map(describe).collect())
    }

    fn configs(&self, name: &str) -> Result<Vec<ConfigEntry>, KafkaError> {
        let configs = self.cluster.configs.lock();
        let entry = |(name, value): &(String, String)| ConfigEntry {
            name: name.clone(),
            value: value.clone(),
            set_on_topic: true,
        };
        Ok(configs.get(name).map_or_else(Vec::new, |configs| configs.iter().map(entry).collect()))
    }

    fn bounds(&self, partitions: &[Partition], isolation: Isolation) -> Result<Vec<Bounds>, KafkaError> {
        self.kafka.bounds(partitions, isolation)
    }

    fn positions_at(&self, partitions: &[Partition], timestamp_ms: i64) -> Result<Vec<Position>, KafkaError> {
        self.kafka.positions_at(partitions, timestamp_ms)
    }

    fn create(&self, topics: &[NewTopic]) -> Result<(), KafkaError> {
        topics.iter().try_for_each(|topic| {
            self.cluster.create(topic).map_err(|reason| {
                let doing = format!("creation of topic {}", topic.name);
                KafkaError { doing, reason, fault: KafkaFault::Unavailable }
            })
        })
    }
}

/// The id of a topic, made from its name: an embedded cluster never creates a topic twice.
fn topic_id(name: &str) -> TopicId {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, name).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    TopicId((half(0) << 64 | half(1)).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_found_as_it_was_created() {
        let cluster = Embedded::start("test").unwrap();
        let catalog = EmbeddedCatalog::over(&cluster).unwrap();
        let configs = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
        let topic = NewTopic { name: "orders".to_owned(), partitions: 3, replication: None, configs };
        catalog.create(std::slice::from_ref(&topic)).unwrap();
        catalog.create(&[topic]).unwrap();
        let names = ["orders".to_owned(), "missing".to_owned()];
        let found = catalog.describe(&names).unwrap();
        assert_eq!((found.len(), found[0].partitions), (1, 3));
        assert_ne!(found[0].id, TopicId::UNKNOWN);
        assert_eq!(catalog.configs("orders").unwrap()[0].value, "compact");
        let asked = [Partition::new("orders", 2)];
        let empty = Bounds { start: Position(0), end: Position(0) };
        assert_eq!(catalog.bounds(&asked, Isolation::Committed).unwrap(), [empty]);
        assert_eq!(catalog.positions_at(&asked, 0).unwrap(), [Position(0)]);
        assert!(catalog.grow("orders", 4).is_err());
        assert!(!catalog.cluster_id().unwrap().is_empty());
    }
}
