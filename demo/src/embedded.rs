//! A Kafka cluster inside this process: librdkafka's mock cluster, and a catalog for it.
//!
//! It speaks Kafka's protocol over loopback, so that every client is the real one. It creates and describes no topics on
//! request, so this module does both. It does not abort transactions or fence producers, so the demo drains an end before
//! it restarts it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};
use kafka::admin::KafkaCatalog;
use kafka::catalog::{
    Answers, Bounds, Catalog, ConfigEntry, Isolation, NewTopic, TopicDescription, TopicSummary, only,
};
use kafka::{KafkaError, KafkaFault, Properties};
use rdkafka::mocking::MockCluster;
use testkit::MemoryCatalog;
use wire::ids::Position;
use wire::partition::Partition;

/// An embedded cluster of one broker. Dropping it deletes everything in it.
pub(crate) struct Embedded {
    pub(crate) address: String,
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
    topics: Arc<MemoryCatalog>,
}

/// A request to create a topic, with the channel for the result.
struct Order {
    topic: NewTopic,
    done: SyncSender<Result<(), String>>,
}

impl Embedded {
    pub(crate) fn start(name: &'static str) -> Result<Arc<Self>> {
        let (orders, inbox) = sync_channel(1);
        let (ready, started) = sync_channel(1);
        let topics = Arc::new(MemoryCatalog::new(name));
        let known = Arc::clone(&topics);
        // The mock must stay on one thread, so it gets one of its own.
        let thread =
            thread::Builder::new().name(format!("{name}-cluster")).spawn(move || serve(&ready, &inbox, &known))?;
        let address = started.recv().context("the embedded cluster did not start")?.map_err(|error| anyhow!(error))?;
        Ok(Arc::new(Self { address, orders: Some(orders), thread: Some(thread), topics }))
    }

    /// Properties of a client of this cluster.
    pub(crate) fn properties(&self) -> Properties {
        Properties { bootstrap_servers: vec![self.address.clone()], ..Properties::default() }
    }

    fn create(&self, topic: &NewTopic) -> Result<(), String> {
        let (done, outcome) = sync_channel(1);
        let order = Order { topic: topic.clone(), done };
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        let gone = || "the embedded cluster is gone".to_owned();
        if !sent {
            return Err(gone());
        }
        outcome.recv().map_err(|_| gone())?
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

fn serve(ready: &SyncSender<Result<String, String>>, inbox: &Receiver<Order>, known: &MemoryCatalog) {
    let cluster = match MockCluster::new(1) {
        Ok(cluster) => cluster,
        Err(error) => return drop(ready.send(Err(error.to_string()))),
    };
    if ready.send(Ok(cluster.bootstrap_servers())).is_err() {
        return;
    }
    for Order { topic, done } in inbox {
        let create = || -> Result<()> {
            if known.describe(std::slice::from_ref(&topic.name))?[0].is_err() {
                cluster.create_topic(&topic.name, topic.partitions, 1)?;
            }
            Ok(only(known.create(std::slice::from_ref(&topic)))?)
        };
        let _ = done.send(create().map_err(|error| error.to_string()));
    }
}

/// Catalog of an embedded cluster, with its own client, as each process has one.
pub(crate) struct EmbeddedCatalog {
    cluster: Arc<Embedded>,
    kafka: KafkaCatalog,
}

impl EmbeddedCatalog {
    pub(crate) fn over(cluster: &Arc<Embedded>) -> Result<Self> {
        let kafka = KafkaCatalog::start(cluster.properties(), "demo")?;
        Ok(Self { cluster: Arc::clone(cluster), kafka })
    }
}

impl Catalog for EmbeddedCatalog {
    fn cluster_id(&self) -> Result<String, KafkaError> {
        self.kafka.cluster_id()
    }

    fn topics(&self) -> Result<Vec<TopicSummary>, KafkaError> {
        self.cluster.topics.topics()
    }

    fn describe(&self, names: &[String]) -> Answers<TopicDescription> {
        self.cluster.topics.describe(names)
    }

    fn configs(&self, names: &[String]) -> Answers<Vec<ConfigEntry>> {
        self.cluster.topics.configs(names)
    }

    fn bounds(&self, partitions: &[Partition], isolation: Isolation) -> Answers<Bounds> {
        self.kafka.bounds(partitions, isolation)
    }

    fn positions_at(&self, partitions: &[Partition], timestamp_ms: i64) -> Answers<Position> {
        self.kafka.positions_at(partitions, timestamp_ms)
    }

    fn create(&self, topics: &[NewTopic]) -> Answers<()> {
        let create = |topic: &NewTopic| {
            self.cluster.create(topic).map_err(|reason| {
                let doing = format!("creation of topic {}", topic.name);
                KafkaError { doing, reason, fault: KafkaFault::Unavailable }
            })
        };
        Ok(topics.iter().map(create).collect())
    }
}

#[cfg(test)]
mod tests {
    use wire::ids::TopicId;

    use super::*;

    #[test]
    fn a_topic_is_found_as_it_was_created() {
        let cluster = Embedded::start("test").unwrap();
        let catalog = EmbeddedCatalog::over(&cluster).unwrap();
        let configs = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
        let topic = NewTopic { name: "orders".to_owned(), partitions: 3, replication: None, configs };
        only(catalog.create(std::slice::from_ref(&topic))).unwrap();
        only(catalog.create(&[topic])).unwrap();
        let names = ["orders".to_owned(), "missing".to_owned()];
        let found = catalog.describe(&names).unwrap();
        let [Ok(orders), Err(_)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(orders.partitions, 3);
        assert_ne!(orders.id, TopicId::UNKNOWN);
        assert_eq!(only(catalog.configs(&names[..1])).unwrap()[0].value, "compact");
        let asked = [Partition::new("orders", 2)];
        let empty = Bounds { start: Position(0), end: Position(0) };
        assert_eq!(catalog.bounds(&asked, Isolation::Committed).unwrap(), [Ok(empty)]);
        assert_eq!(catalog.positions_at(&asked, 0).unwrap(), [Ok(Position(0))]);
        assert!(catalog.grow("orders", 4).is_err());
        assert!(!catalog.cluster_id().unwrap().is_empty());
    }
}
