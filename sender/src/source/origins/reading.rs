//! Reads the state topics in the source cluster: all of them once, then what is added to them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use kafka::catalog::{Bounds, Catalog, Isolation, TopicSummary};
use kafka::log::{Entry, LogError, LogReader};
use kafka::{KafkaError, Properties};
use wire::ids::{Position, TopicId};
use wire::origin::{self, StoredError};
use wire::partition::Partition;

use super::{Brought, Passages};

/// Reads committed records. A capability, so that a sender beside no state topic needs no client for it.
pub trait StateLog: Send + Sync {
    /// The records of one partition of `topic`, in order, from `bounds.start` at least up to `bounds.end`.
    fn read(&self, topic: &str, partition: i32, bounds: Bounds) -> Result<Vec<Entry>, LogError>;
}

/// The log of a Kafka cluster; its client is started by the first read.
pub struct KafkaStateLog {
    properties: Properties,
    link: String,
    reader: OnceLock<LogReader>,
}

impl KafkaStateLog {
    /// Nothing is started yet.
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

/// Why it is not known what links bring to the source cluster. Until it is, no topic is carried that was not
/// carried before.
#[derive(Debug, thiserror::Error)]
pub enum OriginsError {
    /// The cluster does not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The state topic is not for us to read.
    #[error(
        "cannot read {topic}, which says what a link brings here: {reason}; give this sender Read and Describe on it"
    )]
    Unreadable {
        /// The state topic.
        topic: String,
        /// The client's words.
        reason: String,
    },
    /// The state topic says what this version does not understand.
    #[error("cannot tell what link {link} brings here: an entry of its state {error}")]
    Stored {
        /// Whose state.
        link: Arc<str>,
        /// What is wrong.
        error: StoredError,
    },
}

/// Follows every state topic in the source cluster.
pub struct Origins {
    log: Arc<dyn StateLog>,
    topics: HashMap<String, Followed>,
    brought: Brought,
}

struct Followed {
    id: TopicId,
    link: Arc<str>,
    /// By partition, up to where it was read.
    read: Vec<Position>,
}

impl Origins {
    /// Nothing is read yet.
    pub fn new(log: Arc<dyn StateLog>) -> Self {
        Self { log, topics: HashMap::new(), brought: Brought::default() }
    }

    /// Everything that links have brought by now. `topics` must have been listed before: a topic is made only
    /// after the state names it, so that none of them can be missed. Blocks on the cluster.
    pub fn look(&mut self, catalog: &dyn Catalog, topics: &[TopicSummary]) -> Result<Passages<'_>, OriginsError> {
        let names: Vec<_> =
            topics.iter().map(|topic| &topic.name).filter(|name| origin::link_of(name).is_some()).cloned().collect();
        self.follow(catalog, &names)?;
        for name in names {
            self.read_on(catalog, &name)?;
        }
        Ok(self.brought.passages())
    }

    /// Forgets state topics that are gone or others by now, and begins with new ones.
    fn follow(&mut self, catalog: &dyn Catalog, names: &[String]) -> Result<(), OriginsError> {
        let found = if names.is_empty() { Vec::new() } else { catalog.describe(names)? };
        let ids: HashSet<_> = found.iter().map(|topic| (topic.name.as_str(), topic.id)).collect();
        let brought = &mut self.brought;
        self.topics.retain(|name, followed| {
            let same = ids.contains(&(name.as_str(), followed.id));
            if !same {
                brought.forget(&followed.link);
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
            let start = bounds.start.max(*read);
            let unread = Bounds { start, ..bounds };
            for (key, value) in self.log.read(name, at.partition, unread).map_err(|error| unreadable(&error))? {
                let taken =
                    self.brought.handle_entry(&followed.link, at.partition, key.unwrap_or_default(), value.as_deref());
                taken.map_err(|error| OriginsError::Stored { link: Arc::clone(&followed.link), error })?;
            }
            *read = bounds.end.max(start);
        }
        Ok(())
    }
}
