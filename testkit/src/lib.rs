//! A Kafka cluster in memory: its topics, their settings and the bounds of their logs, without any record.
//!
//! The simulation, the virtual-time tests, the unit tests of both ends, the benches and the demo use this one catalog.
//! Records come from the reader or the mock cluster of each: they differ in everything else.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use kafka::catalog::{
    Answers, Bounds, Catalog, ConfigEntry, Isolation, NewTopic, Replicas, TopicDescription, TopicSummary,
};
use kafka::log::{LogError, OffsetEntry};
use kafka::{KafkaError, KafkaFault};
use sender::StateLog;
use service::lock::Lock;
use wire::ids::{Position, TopicId};
use wire::partition::Partition;

const EMPTY: Bounds = Bounds { start: Position(0), end: Position(0) };

/// Catalog of a cluster in memory.
#[derive(Debug)]
pub struct MemoryCatalog {
    cluster: &'static str,
    topics: Lock<BTreeMap<String, Topic>>,
    /// Partitions without a leader.
    leaderless: Lock<BTreeSet<Partition>>,
}

#[derive(Debug, Default)]
struct Topic {
    configs: Vec<(String, String)>,
    /// Bounds of each partition's log.
    logs: Vec<Bounds>,
}

impl MemoryCatalog {
    /// Creates a cluster without topics, with this cluster id.
    pub const fn new(cluster: &'static str) -> Self {
        Self { cluster, topics: Lock::new(BTreeMap::new()), leaderless: Lock::new(BTreeSet::new()) }
    }

    /// Adds a partition with this log to a topic, which is created if it does not exist.
    pub fn add_partition(&self, topic: &str, log: Bounds) {
        self.topics.lock().entry(topic.to_owned()).or_default().logs.push(log);
    }

    /// Takes the leader of a partition away, or gives it back.
    pub fn set_leader(&self, at: &Partition, exists: bool) {
        let mut leaderless = self.leaderless.lock();
        if exists {
            leaderless.remove(at)
        } else {
            leaderless.insert(at.clone())
        };
    }

    /// Appends `records` to the log of a partition and returns the position of the first one.
    pub fn append(&self, at: &Partition, records: i64) -> Position {
        let mut topics = self.topics.lock();
        let log = topics.get_mut(&*at.topic).and_then(|topic| topic.logs.get_mut(at.partition as usize));
        let end = &mut log.expect("the topic is created before its first record").end;
        let first = *end;
        end.0 += records;
        first
    }
}

impl Catalog for MemoryCatalog {
    fn cluster_id(&self) -> Result<String, KafkaError> {
        Ok(self.cluster.to_owned())
    }

    fn topics(&self) -> Result<Vec<TopicSummary>, KafkaError> {
        let summary = |(name, topic): (&String, &Topic)| TopicSummary { name: name.clone(), partitions: size(topic) };
        Ok(self.topics.lock().iter().map(summary).collect())
    }

    fn describe(&self, names: &[String]) -> Answers<TopicDescription> {
        let topics = self.topics.lock();
        let describe = |name: &String| {
            let topic = topics.get(name).ok_or_else(|| unknown(format!("description of {name}")))?;
            Ok(TopicDescription { name: name.clone(), id: topic_id(name), partitions: size(topic), replicas: 1 })
        };
        Ok(names.iter().map(describe).collect())
    }

    fn configs(&self, names: &[String]) -> Answers<Vec<ConfigEntry>> {
        let entry = |(name, value)| ConfigEntry { name, value, set_on_topic: true, inherited: None };
        let topics = self.topics.lock();
        let configs = |name| topics.get(name).map(|topic| topic.configs.clone()).unwrap_or_default();
        Ok(names.iter().map(|name| Ok(configs(name).into_iter().map(entry).collect())).collect())
    }

    fn bounds(&self, partitions: &[Partition], _isolation: Isolation) -> Answers<Bounds> {
        let topics = self.topics.lock();
        let leaderless = self.leaderless.lock();
        let bounds = |at: &Partition| {
            let log = topics.get(&*at.topic).and_then(|topic| topic.logs.get(at.partition as usize));
            let doing = format!("bounds of {at}");
            if leaderless.contains(at) {
                let reason = "the partition has no leader".to_owned();
                return Err(KafkaError { doing, reason, fault: KafkaFault::Unavailable });
            }
            log.copied().ok_or_else(|| unknown(doing))
        };
        Ok(partitions.iter().map(bounds).collect())
    }

    fn replicas(&self, partitions: &[Partition]) -> Answers<Replicas> {
        let leaderless = self.leaderless.lock();
        let leader = |at| if leaderless.contains(at) { None } else { Some(1) };
        Ok(partitions.iter().map(|at| Ok(Replicas { leader: leader(at), in_sync: 1, required: 1 })).collect())
    }

    fn positions_at(&self, partitions: &[Partition], _timestamp_ms: i64) -> Answers<Position> {
        let bounds = self.bounds(partitions, Isolation::Committed)?;
        Ok(bounds.into_iter().map(|bounds| bounds.map(|bounds| bounds.start)).collect())
    }

    fn create(&self, topics: &[NewTopic]) -> Answers<()> {
        let mut known = self.topics.lock();
        for topic in topics {
            let new = || Topic { configs: topic.configs.clone(), logs: vec![EMPTY; topic.partitions as usize] };
            known.entry(topic.name.clone()).or_insert_with(new);
        }
        Ok(vec![Ok(()); topics.len()])
    }

    fn create_new(&self, topic: &NewTopic) -> Result<bool, KafkaError> {
        let exists = self.topics.lock().contains_key(&topic.name);
        self.create(std::slice::from_ref(topic)).map(|_| !exists)
    }

    fn delete(&self, names: &[String]) -> Answers<()> {
        let mut topics = self.topics.lock();
        let mut delete =
            |name: &String| topics.remove(name).map(drop).ok_or_else(|| unknown(format!("deletion of {name}")));
        Ok(names.iter().map(&mut delete).collect())
    }

    fn grow(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        let mut topics = self.topics.lock();
        let topic = topics.get_mut(name).ok_or_else(|| unknown(format!("growth of {name}")))?;
        topic.logs.resize(topic.logs.len().max(partitions as usize), EMPTY);
        Ok(())
    }
}

/// Reads no entries: no link has written to this cluster.
impl StateLog for MemoryCatalog {
    fn read(&self, _topic: &str, _partition: i32, _bounds: Bounds) -> Result<Vec<OffsetEntry>, LogError> {
        Ok(Vec::new())
    }
}

fn size(topic: &Topic) -> i32 {
    topic.logs.len() as i32
}

fn unknown(doing: String) -> KafkaError {
    KafkaError::unknown_topic(doing)
}

/// Returns the id of a topic, made from its name: no test creates a topic twice.
pub fn topic_id(name: &str) -> TopicId {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, name).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    TopicId((half(0) << 64 | half(1)).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use kafka::catalog::only;

    use super::*;

    #[test]
    fn a_log_ends_after_its_last_append() {
        let catalog = MemoryCatalog::new("target");
        catalog.add_partition("bulk", EMPTY);
        let at = [Partition::new("bulk", 0)];
        assert_eq!(only(catalog.ends(&at, Isolation::Committed)), Ok(Position(0)));
        assert_eq!(catalog.append(&at[0], 3), Position(0));
        assert_eq!(catalog.append(&at[0], 2), Position(3));
        assert_eq!(only(catalog.ends(&at, Isolation::Committed)), Ok(Position(5)));
    }

    #[test]
    fn a_topic_is_created_once_and_found_by_name() {
        let catalog = MemoryCatalog::new("target");
        let [two, nine] = [2, 9].map(|partitions| {
            let configs = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
            NewTopic { name: "bulk".to_owned(), partitions, replication: None, configs }
        });
        catalog.create(&[two, nine]).unwrap();
        let found = catalog.describe(&["bulk".to_owned(), "other".to_owned()]).unwrap();
        let [Ok(bulk), Err(other)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((bulk.id, bulk.partitions, other.fault), (topic_id("bulk"), 2, KafkaFault::UnknownTopic));
        assert_eq!(only(catalog.configs(&["bulk".to_owned()])).unwrap()[0].value, "compact");
        assert!(catalog.grow("other", 3).is_err());
        catalog.grow("bulk", 3).unwrap();
        assert_eq!(catalog.topics().unwrap()[0].partitions, 3);
    }
}
