//! Reads the state topics in the source cluster: all of them once, then the records that are added.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use kafka::catalog::{Bounds, Catalog, Isolation, TopicSummary};
use kafka::log::{Entry, LogError, LogReader};
use kafka::{KafkaError, Properties};
use wire::ids::{Position, TopicId};
use wire::origin::{self, StoredError};
use wire::partition::Partition;

use super::{MirroredTopics, TopicOrigins};

/// Reader of committed records. A sender whose source has no state topics needs no client for it.
pub trait StateLog: Send + Sync {
    /// Reads the records of one partition of `topic`, in order, from `bounds.start` at least up to `bounds.end`.
    fn read(&self, topic: &str, partition: i32, bounds: Bounds) -> Result<Vec<Entry>, LogError>;
}

/// State topics of a Kafka cluster. The first read starts the client.
pub struct KafkaStateLog {
    properties: Properties,
    link: String,
    reader: OnceLock<LogReader>,
}

impl KafkaStateLog {
    /// Creates a reader that has not started its client.
    pub fn new(properties: &Properties, link: &str) -> Self {
        Self { properties: properties.clone(), link: link.to_owned(), reader: OnceLock::new() }
    }
}

impl StateLog for KafkaStateLog {
    fn read(&self, topic: &str, partition: i32, bounds: Bounds) -> Result<Vec<Entry>, LogError> {
        let reader = match self.reader.get() {
            Some(reader) => reader,
            None => {
                let started = LogReader::start(&self.properties, &self.link)?;
                self.reader.get_or_init(|| started)
            }
        };
        reader.read_within(topic, partition, bounds)
    }
}

/// Reason why the origins of the source's topics are unknown. Until they are known, no further topic is carried.
#[derive(Debug, thiserror::Error)]
pub enum OriginsError {
    /// The cluster does not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The cluster at this address is another one than when the process started.
    #[error(
        "the source cluster's id was {was}, is {is}: it was rebuilt, or the address leads to another one; to carry it in place of the former one, set `links.accept_cluster = \"{is}\"` in the receiver's file, reload it and start the sender again"
    )]
    ClusterChanged { was: Arc<str>, is: String },
    /// This sender may not read a state topic.
    #[error(
        "cannot read {topic}, which lists the topics that a link writes here: {reason}; give this sender Read and Describe on it"
    )]
    Unreadable { topic: String, reason: String },
    /// This version does not understand an entry of a state topic.
    #[error("cannot tell which topics link {link} writes here: an entry of its state {error}")]
    Stored { link: Arc<str>, error: StoredError },
}

/// Follower of every state topic in the source cluster.
pub struct OriginReader {
    log: Arc<dyn StateLog>,
    topics: HashMap<String, Followed>,
    mirrored: MirroredTopics,
}

struct Followed {
    id: TopicId,
    link: Arc<str>,
    /// Next position to read, by partition.
    read: Vec<Position>,
}

impl OriginReader {
    /// Creates a follower that has read nothing yet.
    pub fn new(log: Arc<dyn StateLog>) -> Self {
        Self { log, topics: HashMap::new(), mirrored: MirroredTopics::default() }
    }

    /// Reads the origins of all topics. `topics` must have been listed before: a link creates a topic only after its
    /// state names it, so that no origin can be missed. Blocks on the cluster.
    pub fn read(&mut self, catalog: &dyn Catalog, topics: &[TopicSummary]) -> Result<TopicOrigins<'_>, OriginsError> {
        let names: Vec<_> =
            topics.iter().map(|topic| &topic.name).filter(|name| origin::link_of(name).is_some()).cloned().collect();
        self.follow(catalog, &names)?;
        for name in names {
            self.read_on(catalog, &name)?;
        }
        Ok(self.mirrored.origins())
    }

    /// Forgets state topics that are gone or were recreated, and begins with new ones.
    fn follow(&mut self, catalog: &dyn Catalog, names: &[String]) -> Result<(), OriginsError> {
        let found = if names.is_empty() { Vec::new() } else { catalog.describe(names)? };
        let found = found.into_iter().filter(|found| !found.as_ref().is_err_and(KafkaError::is_unknown_topic));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let ids: HashSet<_> = found.iter().map(|topic| (topic.name.as_str(), topic.id)).collect();
        let mirrored = &mut self.mirrored;
        self.topics.retain(|name, followed| {
            let same = ids.contains(&(name.as_str(), followed.id));
            if !same {
                mirrored.forget(&followed.link);
            }
            same
        });
        for topic in found {
            let Some(link) = origin::link_of(&topic.name) else { continue };
            let read = vec![Position(0); usize::try_from(topic.partitions).unwrap_or(0)];
            let new = || Followed { id: topic.id, link: link.into(), read: read.clone() };
            let followed = self.topics.entry(topic.name.clone()).or_insert_with(new);
            followed.read.resize(read.len(), Position(0));
        }
        Ok(())
    }

    fn read_on(&mut self, catalog: &dyn Catalog, name: &str) -> Result<(), OriginsError> {
        let Some(followed) = self.topics.get_mut(name) else { return Ok(()) };
        let unreadable = |error: &dyn std::error::Error| OriginsError::Unreadable {
            topic: name.to_owned(),
            reason: error.to_string(),
        };
        let partitions: Vec<_> =
            (0..followed.read.len()).map(|partition| Partition::new(name, partition as i32)).collect();
        let bounds = catalog.bounds(&partitions, Isolation::Committed).map_err(|error| unreadable(&error))?;
        for ((at, bounds), read) in partitions.iter().zip(bounds).zip(&mut followed.read) {
            let bounds = bounds.map_err(|error| unreadable(&error))?;
            let start = bounds.start.max(*read);
            let unread = Bounds { start, ..bounds };
            for (key, value) in self.log.read(name, at.partition, unread).map_err(|error| unreadable(&error))? {
                let taken =
                    self.mirrored.handle_entry(&followed.link, at.partition, key.unwrap_or_default(), value.as_deref());
                taken.map_err(|error| OriginsError::Stored { link: Arc::clone(&followed.link), error })?;
            }
            *read = bounds.end.max(start);
        }
        Ok(())
    }
}
