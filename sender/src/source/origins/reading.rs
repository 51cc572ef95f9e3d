//! Reads the state topics in the source cluster: all of them once, then the records that are added.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use kafka::catalog::{Bounds, Catalog, Isolation, TopicDescription, TopicSummary};
use kafka::consumer::Fault;
use kafka::log::{LogError, LogReader, OffsetEntry};
use kafka::{KafkaError, KafkaFault, LiveProperties};
use wire::ids::{Offset, Position, TopicId};
use wire::origin::{self, StoredError};
use wire::partition::Partition;

use super::{MirroredTopics, OtherLinks, TopicOrigins};

/// Reader of committed records. A sender whose source has no state topics needs no client for it.
pub trait StateLog: Send + Sync {
    /// Reads the records of one partition of `topic`, in order, from `bounds.start` at least up to `bounds.end`.
    fn read(&self, topic: &str, partition: i32, bounds: Bounds) -> Result<Vec<OffsetEntry>, LogError>;
}

/// State topics of a Kafka cluster. The first read starts the client.
pub struct KafkaStateLog {
    properties: LiveProperties,
    link: String,
    reader: OnceLock<LogReader>,
}

impl KafkaStateLog {
    /// Creates a reader that has not started its client.
    pub fn new(properties: impl Into<LiveProperties>, link: &str) -> Self {
        Self { properties: properties.into(), link: link.to_owned(), reader: OnceLock::new() }
    }
}

impl StateLog for KafkaStateLog {
    fn read(&self, topic: &str, partition: i32, bounds: Bounds) -> Result<Vec<OffsetEntry>, LogError> {
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

/// Part of a state topic that cannot be read now. Any topic of the source could be named in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadState {
    pub topic: String,
    /// Partition that cannot be read; `None` for the whole topic.
    pub partition: Option<i32>,
    /// First offset that cannot be read, if it is known.
    pub offset: Option<Offset>,
    pub reason: String,
    pub remedy: &'static str,
}

impl fmt::Display for UnreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset, reason, remedy } = self;
        write!(f, "cannot read which topics a link writes here: {topic}")?;
        partition.map_or(Ok(()), |partition| write!(f, "/{partition}"))?;
        offset.map_or(Ok(()), |offset| write!(f, " at offset {offset}"))?;
        write!(f, ": {reason}; {remedy}, or name the link in `source.ignore_links` if it is none of yours. ")?;
        f.write_str("Topics that this link carries already continue; others wait")
    }
}

impl UnreadState {
    fn of(topic: &str, reason: &dyn fmt::Display, remedy: &'static str) -> Self {
        Self { topic: topic.to_owned(), partition: None, offset: None, reason: reason.to_string(), remedy }
    }

    fn refused(topic: &str, error: &KafkaError) -> Self {
        Self::of(topic, error, remedy(error.fault))
    }

    fn unreadable(topic: &str, error: &LogError) -> Self {
        let remedy = match error {
            LogError::Kafka(error) => remedy(error.fault),
            LogError::NotReached { .. } => remedy(KafkaFault::Unavailable),
            LogError::Unreadable(Fault::Unauthorized(_)) => remedy(KafkaFault::Unauthorized),
            LogError::Unreadable(Fault::Corrupt(_)) => "repair the broker's disk",
            LogError::Deleted { .. } | LogError::Unreadable(_) => remedy(KafkaFault::Misused),
        };
        Self::of(topic, error, remedy)
    }

    fn stored(topic: &str, error: StoredError) -> Self {
        let remedy = match error {
            StoredError::Format(_) => "upgrade this sender",
            StoredError::Empty | StoredError::Damaged(_) => "find out which program wrote it",
        };
        Self::of(topic, &format!("an entry {error}"), remedy)
    }

    fn at(self, partition: i32, offset: Option<Offset>) -> Self {
        Self { partition: Some(partition), offset, ..self }
    }
}

/// Returns the remedy for a state topic that the source does not let this sender read.
fn remedy(fault: KafkaFault) -> &'static str {
    match fault {
        KafkaFault::Unauthorized => "give this sender Read and Describe on it",
        KafkaFault::Unavailable | KafkaFault::TimedOut(_) => "start the broker that leads it",
        _ => "look at the source's brokers",
    }
}

/// Follower of every state topic in the source cluster.
pub(crate) struct OriginReader {
    log: Arc<dyn StateLog>,
    topics: HashMap<String, Followed>,
    mirrored: MirroredTopics,
    /// Topics as of the last time that all states could be read.
    known: HashSet<(String, TopicId)>,
}

/// Origins of the source's topics, as far as they can be read.
pub(crate) struct ReadOrigins<'a> {
    pub origins: TopicOrigins<'a>,
    /// Parts of the state topics that cannot be read.
    pub unread: Vec<UnreadState>,
    known: &'a HashSet<(String, TopicId)>,
}

impl ReadOrigins<'_> {
    /// Returns whether an unread part of a state topic could name this topic. It could not if all was readable since the
    /// topic exists: a link's state names a topic before the link creates it.
    pub(crate) fn is_unsure(&self, name: &str, id: TopicId) -> bool {
        let is_known = || id != TopicId::UNKNOWN && self.known.contains(&(name.to_owned(), id));
        !self.unread.is_empty() && !is_known()
    }
}

struct Followed {
    id: TopicId,
    link: Arc<str>,
    /// Next position to read, by partition.
    read: Vec<Position>,
    /// Entries that this version does not understand, by partition and key.
    damaged: BTreeMap<(i32, Vec<u8>), Damaged>,
}

struct Damaged {
    offset: Offset,
    error: StoredError,
}

impl OriginReader {
    /// Creates a follower that has read nothing yet.
    pub(crate) fn new(log: Arc<dyn StateLog>) -> Self {
        Self { log, topics: HashMap::new(), mirrored: MirroredTopics::default(), known: HashSet::new() }
    }

    /// Reads the origins of all topics, except those that ignored links write. `topics` must have been listed
    /// before: a link creates a topic only after its state names it, so that no origin can be missed. `described` are the
    /// topics that this sender may carry. Blocks on the cluster.
    pub(crate) fn read(
        &mut self,
        catalog: &dyn Catalog,
        topics: &[TopicSummary],
        described: &[TopicDescription],
        links: &OtherLinks,
    ) -> Result<ReadOrigins<'_>, KafkaError> {
        let is_ignored = |link: &str| links.ignored.iter().any(|ignored| **ignored == *link);
        let is_state = |name: &&String| origin::link_of(name).is_some_and(|link| !is_ignored(link));
        let names: Vec<_> = topics.iter().map(|topic| &topic.name).filter(is_state).cloned().collect();
        let mut unread = self.follow(catalog, &names)?;
        for name in names {
            self.read_on(catalog, &name, &mut unread);
        }
        if unread.is_empty() {
            self.known = described.iter().map(|topic| (topic.name.clone(), topic.id)).collect();
        }
        Ok(ReadOrigins { origins: self.mirrored.origins(links.promoted.as_deref()), unread, known: &self.known })
    }

    /// Forgets state topics that are gone or were recreated, and begins with new ones. Returns those that the cluster does
    /// not describe now, of which everything read so far stays.
    fn follow(&mut self, catalog: &dyn Catalog, names: &[String]) -> Result<Vec<UnreadState>, KafkaError> {
        let described = if names.is_empty() { Vec::new() } else { catalog.describe(names)? };
        let mut unread = Vec::new();
        let mut hidden = HashSet::new();
        let mut found = Vec::new();
        for (name, described) in names.iter().zip(described) {
            match described {
                Ok(topic) => found.push(topic),
                Err(error) if error.is_unknown_topic() => {}
                Err(error) => {
                    unread.push(UnreadState::refused(name, &error));
                    hidden.insert(name.as_str());
                }
            }
        }
        let ids: HashSet<_> = found.iter().map(|topic| (topic.name.as_str(), topic.id)).collect();
        let mirrored = &mut self.mirrored;
        self.topics.retain(|name, followed| {
            let same = hidden.contains(name.as_str()) || ids.contains(&(name.as_str(), followed.id));
            if !same {
                mirrored.forget(&followed.link);
            }
            same
        });
        for topic in &found {
            let Some(link) = origin::link_of(&topic.name) else { continue };
            let read = vec![Position(0); usize::try_from(topic.partitions).unwrap_or(0)];
            let new = || Followed { id: topic.id, link: link.into(), read: read.clone(), damaged: BTreeMap::new() };
            let followed = self.topics.entry(topic.name.clone()).or_insert_with(new);
            followed.read.resize(read.len(), Position(0));
        }
        Ok(unread)
    }

    /// Reads on in all partitions of a state topic, and adds those that cannot be read to `unread`.
    fn read_on(&mut self, catalog: &dyn Catalog, name: &str, unread: &mut Vec<UnreadState>) {
        let Some(followed) = self.topics.get_mut(name) else { return };
        let partitions: Vec<_> =
            (0..followed.read.len()).map(|partition| Partition::new(name, partition as i32)).collect();
        let bounds = match catalog.bounds(&partitions, Isolation::Committed) {
            Ok(bounds) => bounds,
            Err(error) => return unread.push(UnreadState::refused(name, &error)),
        };
        for (at, bounds) in partitions.iter().zip(bounds) {
            let read = followed.read[at.partition as usize];
            let part = match bounds {
                Ok(bounds) => followed.read_partition(&*self.log, &mut self.mirrored, at, bounds),
                Err(error) => Err(UnreadState::refused(name, &error)),
            };
            let offset = Some(Offset(read.0)).filter(|offset| offset.0 > 0);
            unread.extend(part.err().map(|unread| unread.at(at.partition, offset)));
        }
        for ((partition, _), damaged) in &followed.damaged {
            unread.push(UnreadState::stored(name, damaged.error).at(*partition, Some(damaged.offset)));
        }
    }
}

impl Followed {
    fn read_partition(
        &mut self,
        log: &dyn StateLog,
        mirrored: &mut MirroredTopics,
        at: &Partition,
        bounds: Bounds,
    ) -> Result<(), UnreadState> {
        let read = &mut self.read[at.partition as usize];
        let start = bounds.start.max(*read);
        let unread = Bounds { start, ..bounds };
        let entries =
            log.read(&at.topic, at.partition, unread).map_err(|error| UnreadState::unreadable(&at.topic, &error))?;
        for OffsetEntry { offset, entry: (key, value) } in entries {
            let key = key.unwrap_or_default();
            let place = (at.partition, key.clone());
            // A later entry of the same key replaces one that is not understood, and a tombstone removes it.
            self.damaged.remove(&place);
            let handled = mirrored.handle_entry(&self.link, at.partition, key, value.as_deref());
            if let Err(error) = handled
                && value.is_some()
            {
                self.damaged.insert(place, Damaged { offset, error });
            }
        }
        *read = bounds.end.max(start);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kafka::catalog::Answers;
    use service::lock::Lock;
    use wire::origin::Origin;

    use super::super::TopicOrigin;
    use service::names::LinkName;

    use super::*;

    const STATE: &str = "__causeway.left.state";

    /// A cluster with topics, and one partition of a state topic, which is readable or not.
    #[derive(Default)]
    struct Cluster {
        topics: Lock<Vec<&'static str>>,
        entries: Lock<Vec<OffsetEntry>>,
        offline: Lock<bool>,
    }

    impl Cluster {
        fn append(&self, key: Vec<u8>, value: Option<Vec<u8>>) {
            let mut entries = self.entries.lock();
            let offset = Offset(entries.len() as i64);
            entries.push(OffsetEntry { offset, entry: (Some(key), value) });
        }
    }

    impl Catalog for Cluster {
        fn describe(&self, names: &[String]) -> Answers<TopicDescription> {
            let topic =
                |name: &String| TopicDescription { name: name.clone(), id: id(name), partitions: 1, replicas: 1 };
            Ok(names.iter().map(|name| Ok(topic(name))).collect())
        }
        fn bounds(&self, partitions: &[Partition], _: Isolation) -> Answers<Bounds> {
            let end = Position(self.entries.lock().len() as i64);
            let bounds = match *self.offline.lock() {
                true => {
                    let reason = "the partition has no leader".to_owned();
                    Err(KafkaError { doing: "bounds".to_owned(), reason, fault: KafkaFault::Unavailable })
                }
                false => Ok(Bounds { start: Position(0), end }),
            };
            Ok(vec![bounds; partitions.len()])
        }
    }

    impl StateLog for Cluster {
        fn read(&self, _: &str, _: i32, bounds: Bounds) -> Result<Vec<OffsetEntry>, LogError> {
            Ok(self.entries.lock()[bounds.start.0 as usize..bounds.end.0 as usize].to_vec())
        }
    }

    fn id(name: &str) -> TopicId {
        TopicId([name.len() as u8; 16])
    }

    /// Reads once; returns the topics of unknown origin, those that a link writes, and the unread parts.
    fn read(reader: &mut OriginReader, cluster: &Cluster, ignored: &[&str]) -> (Vec<String>, Vec<String>, Vec<String>) {
        let topics = cluster.topics.lock().clone();
        let all: Vec<_> = topics.iter().map(|name| TopicSummary { name: (*name).to_owned(), partitions: 1 }).collect();
        let names: Vec<_> = topics.iter().filter(|name| **name != STATE).map(|name| (*name).to_owned()).collect();
        let described: Vec<_> = cluster.describe(&names).unwrap().into_iter().map(Result::unwrap).collect();
        let ignored = ignored.iter().map(|link| LinkName::parse(link).unwrap()).collect();
        let links = OtherLinks { ignored, promoted: None };
        let read = reader.read(cluster, &all, &described, &links).unwrap();
        let unsure = names.iter().filter(|name| read.is_unsure(name, id(name))).cloned().collect();
        let mirrored = names.iter().filter(|name| read.origins.of(name, id(name), false) != TopicOrigin::Own);
        (unsure, mirrored.cloned().collect(), read.unread.iter().map(UnreadState::to_string).collect())
    }

    #[test]
    fn an_unread_state_makes_only_later_topics_unsure() {
        let cluster = Arc::new(Cluster::default());
        *cluster.topics.lock() = vec!["known", STATE];
        let mut reader = OriginReader::new(Arc::<Cluster>::clone(&cluster));
        assert_eq!(read(&mut reader, &cluster, &[]), (vec![], vec![], vec![]));

        *cluster.offline.lock() = true;
        cluster.topics.lock().push("later");
        let (unsure, _, unread) = read(&mut reader, &cluster, &[]);
        assert_eq!(unsure, ["later"]);
        assert!(
            unread[0].contains("__causeway.left.state/0: ") && unread[0].contains("start the broker"),
            "{unread:?}"
        );
        let mut restarted = OriginReader::new(Arc::<Cluster>::clone(&cluster));
        assert_eq!(read(&mut restarted, &cluster, &[]).0, ["known", "later"]);
        assert_eq!(read(&mut restarted, &cluster, &["left"]), (vec![], vec![], vec![]));

        *cluster.offline.lock() = false;
        assert_eq!(read(&mut reader, &cluster, &[]), (vec![], vec![], vec![]));
    }

    #[test]
    fn an_entry_of_a_newer_version_is_named_and_the_others_are_read() {
        let cluster = Arc::new(Cluster::default());
        *cluster.topics.lock() = vec!["from-left", "other", STATE];
        let written =
            Origin { target_topic: "from-left".into(), target_topic_id: id("from-left"), clusters: vec!["A".into()] };
        cluster.append(vec![2, 16], Some(vec![2]));
        cluster.append(origin::key("t"), Some(origin::encode(&written)));
        let mut reader = OriginReader::new(Arc::<Cluster>::clone(&cluster));
        for _ in 0..2 {
            let (unsure, mirrored, unread) = read(&mut reader, &cluster, &[]);
            assert_eq!(
                (unsure, mirrored),
                (vec!["from-left".to_owned(), "other".to_owned()], vec!["from-left".to_owned()])
            );
            assert!(unread[0].contains("/0 at offset 0: ") && unread[0].contains("upgrade this sender"), "{unread:?}");
        }
        cluster.append(vec![2, 16], None);
        assert_eq!(read(&mut reader, &cluster, &[]), (vec![], vec!["from-left".to_owned()], vec![]));
    }
}
