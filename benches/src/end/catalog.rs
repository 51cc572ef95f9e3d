//! An in-memory catalog of a cluster. The source's topics never end; the target's logs grow as the sink commits.

use std::collections::{BTreeMap, HashMap};

use kafka::catalog::{Bounds, Catalog, ConfigEntry, Isolation, NewTopic, TopicDescription, TopicSummary};
use kafka::{KafkaError, KafkaFault};
use service::lock::Lock;
use wire::ids::{Position, TopicId};
use wire::partition::Partition;

#[derive(Debug)]
pub(crate) struct MemoryCatalog {
    cluster: &'static str,
    /// End of logs to which nothing was appended. For a source it is so far away that no run reaches it.
    end: Position,
    inner: Lock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    topics: BTreeMap<String, Topic>,
    ends: HashMap<(String, i32), Position>,
}

#[derive(Debug)]
struct Topic {
    partitions: i32,
    configs: Vec<(String, String)>,
}

impl MemoryCatalog {
    /// Creates a source with these topics, each of which has more records than any run reads.
    pub(crate) fn source(topics: &[(&str, i32)]) -> Self {
        let catalog = Self { cluster: "bench-source", end: Position(1 << 40), inner: Lock::default() };
        for &(name, partitions) in topics {
            catalog.inner.lock().topics.insert(name.to_owned(), Topic { partitions, configs: Vec::new() });
        }
        catalog
    }

    pub(crate) fn target() -> Self {
        Self { cluster: "bench-target", end: Position(0), inner: Lock::default() }
    }

    /// Appends `records` to a log and returns the position of the first one.
    pub(crate) fn append(&self, topic: &str, partition: i32, records: i64) -> Position {
        let mut inner = self.inner.lock();
        let end = inner.ends.entry((topic.to_owned(), partition)).or_insert(self.end);
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
        let summary =
            |(name, topic): (&String, &Topic)| TopicSummary { name: name.clone(), partitions: topic.partitions };
        Ok(self.inner.lock().topics.iter().map(summary).collect())
    }

    fn describe(&self, names: &[String]) -> Result<Vec<TopicDescription>, KafkaError> {
        let inner = self.inner.lock();
        let describe = |name: &String| {
            let topic = inner.topics.get(name)?;
            Some(TopicDescription { name: name.clone(), id: topic_id(name), partitions: topic.partitions, replicas: 1 })
        };
        Ok(names.iter().filter_map(describe).collect())
    }

    fn configs(&self, name: &str) -> Result<Vec<ConfigEntry>, KafkaError> {
        let entry = |(name, value): &(String, String)| ConfigEntry {
            name: name.clone(),
            value: value.clone(),
            set_on_topic: true,
        };
        let inner = self.inner.lock();
        Ok(inner.topics.get(name).map_or_else(Vec::new, |topic| topic.configs.iter().map(entry).collect()))
    }

    fn bounds(&self, partitions: &[Partition], _isolation: Isolation) -> Result<Vec<Bounds>, KafkaError> {
        let inner = self.inner.lock();
        let bounds = |at: &Partition| {
            let end = inner.ends.get(&(at.topic.to_string(), at.partition)).copied();
            Bounds { start: Position(0), end: end.unwrap_or(self.end) }
        };
        Ok(partitions.iter().map(bounds).collect())
    }

    fn positions_at(&self, partitions: &[Partition], _timestamp_ms: i64) -> Result<Vec<Position>, KafkaError> {
        Ok(partitions.iter().map(|_| Position(0)).collect())
    }

    fn create(&self, topics: &[NewTopic]) -> Result<(), KafkaError> {
        let mut inner = self.inner.lock();
        for topic in topics {
            let new = Topic { partitions: topic.partitions, configs: topic.configs.clone() };
            inner.topics.entry(topic.name.clone()).or_insert(new);
        }
        Ok(())
    }

    fn grow(&self, name: &str, partitions: i32) -> Result<(), KafkaError> {
        let mut inner = self.inner.lock();
        let topic = inner.topics.get_mut(name).ok_or_else(|| KafkaError {
            doing: format!("grow {name}"),
            reason: "there is no such topic".to_owned(),
            fault: KafkaFault::UnknownTopic,
        })?;
        topic.partitions = topic.partitions.max(partitions);
        Ok(())
    }
}

/// Returns an id made of the topic's name. Topics are never deleted and created again here.
fn topic_id(name: &str) -> TopicId {
    let mut id = [1; 16];
    id.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    TopicId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_ends_after_its_last_append() {
        let catalog = MemoryCatalog::target();
        let at = [Partition::new("bulk", 0)];
        assert_eq!(catalog.bounds(&at, Isolation::Committed).unwrap()[0].end, Position(0));
        assert_eq!(catalog.append("bulk", 0, 3), Position(0));
        assert_eq!(catalog.append("bulk", 0, 2), Position(3));
        assert_eq!(catalog.bounds(&at, Isolation::Committed).unwrap()[0].end, Position(5));
    }

    #[test]
    fn a_topic_is_created_once_and_found_by_name() {
        let catalog = MemoryCatalog::source(&[("bulk", 2)]);
        let again = NewTopic { name: "bulk".to_owned(), partitions: 9, replication: None, configs: Vec::new() };
        catalog.create(&[again]).unwrap();
        let found = catalog.describe(&["bulk".to_owned(), "other".to_owned()]).unwrap();
        assert_eq!((found.len(), found[0].partitions), (1, 2));
        assert!(catalog.grow("other", 3).is_err());
    }
}
