//! Target topics of offered partitions: looks them up, creates or grows them, and reads where their logs end.
//! Blocks on the target cluster; runs outside the lanes' threads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::catalog::{Catalog, Isolation, NewTopic, TopicDescription};
use kafka::{KafkaError, KafkaFault};
use service::lock::Lock;
use service::topics::TopicFilter;
use wire::control::{Accepts, OfferedPartition, TopicConfig};
use wire::halt::HaltReason;
use wire::ids::{LaneId, TopicId};
use wire::origin::Origin;
use wire::partition::Partition;

use crate::config::Rename;
use crate::join::carried_topics::CarriedTopics;
use crate::join::{Offered, OfferedTarget};
use crate::lane::Terms;
use crate::link::{LinkSettings, ServedLink};
use crate::target::state::{self, HaltRecord};

/// Configuration entries that are copied from the source when a target topic is created: retention, compaction and
/// record size. Placement and throttles are the target's own.
const COPIED: &[&str] = &[
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
];

/// Configuration entries of every created topic, so that source timestamps arrive unchanged: by default Kafka 4
/// refuses records whose timestamp is more than an hour ahead (KIP-1030).
const TIMESTAMPS: &[(&str, &str)] = &[
    ("message.timestamp.type", "CreateTime"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
];

/// Time limit for a created topic to appear in the metadata of the brokers.
const APPEAR: Duration = Duration::from_secs(10);
const APPEAR_STEP: Duration = Duration::from_millis(50);

/// Target topics by name, each with its description or the halt of its partitions.
type Topics = HashMap<String, Result<TopicDescription, HaltRecord>>;

/// Looks up and creates the target topics of one link.
#[derive(Clone)]
pub(crate) struct Targets {
    catalog: Arc<dyn Catalog>,
    rename: Rename,
    allowed: TopicFilter,
    replication: Option<i32>,
    copy_configs: bool,
    configs: HashMap<String, Vec<TopicConfig>>,
    terms: Arc<Terms>,
    /// Clusters that each announced topic has passed, the source included.
    clusters: HashMap<String, Arc<[String]>>,
    /// Held while topics are created: lanes share topics, and a topic that one lane finds missing may be created, and
    /// even written, by another a moment later.
    creating: Arc<Lock<()>>,
}

impl Targets {
    pub(crate) fn new(link: &ServedLink, settings: &LinkSettings, terms: Arc<Terms>) -> Self {
        Self {
            catalog: Arc::clone(&link.catalog),
            rename: settings.rename.clone(),
            allowed: settings.topics.clone(),
            replication: settings.replication,
            copy_configs: settings.copy_configs,
            configs: HashMap::new(),
            terms,
            clusters: HashMap::new(),
            creating: Arc::default(),
        }
    }

    /// Takes a topic's announcement: its configuration, and the clusters that it passed before the source.
    pub(crate) fn handle_topic(&mut self, topic: String, configs: Vec<TopicConfig>, mut clusters: Vec<String>) {
        clusters.push(self.terms.source_cluster.clone());
        self.clusters.insert(topic.clone(), clusters.into());
        if self.copy_configs {
            self.configs.insert(topic, configs);
        }
    }

    /// Returns the target of each offered partition, in the order offered. A topic that cannot be used halts its
    /// own partitions only; an error means that the cluster does not answer.
    pub(crate) fn look_up(
        &self,
        partitions: &[OfferedPartition],
        carried_topics: &CarriedTopics,
    ) -> Result<Vec<Offered>, KafkaError> {
        let topics = self.ensure(self.wanted(partitions), carried_topics)?;
        let at = |offered: &OfferedPartition| Partition::new(self.rename.apply(&offered.topic), offered.partition);
        let present: Vec<_> = partitions
            .iter()
            .map(at)
            .filter(|at| matches!(topics.get(&*at.topic), Some(Ok(topic)) if at.partition < topic.partitions))
            .collect();
        let bounds =
            if present.is_empty() { Vec::new() } else { self.catalog.bounds(&present, Isolation::Uncommitted)? };
        let ends: HashMap<_, _> = present.into_iter().zip(bounds).collect();
        let offer = |partition: &OfferedPartition| {
            let at = at(partition);
            let target = match topics.get(&*at.topic) {
                Some(Ok(topic)) if topic.partitions <= at.partition => Err(too_few(topic, partition)),
                Some(Ok(topic)) => Ok(OfferedTarget {
                    topic_id: topic.id,
                    end: ends.get(&at).map_or_else(Default::default, |bounds| bounds.end),
                    clusters: self.clusters(&partition.topic),
                    partition: at,
                }),
                Some(Err(halt)) => Err(halt.clone()),
                None if self.returns(&partition.topic) => Err(HaltRecord::new(
                    HaltReason::ReturnsToOrigin,
                    format!("{} has passed this cluster on its way to the source", partition.topic),
                )),
                None => Err(HaltRecord::new(
                    HaltReason::TopicUnauthorized,
                    format!("the receiver's configuration does not let this link carry {}", partition.topic),
                )),
            };
            Offered { partition: partition.clone(), target }
        };
        Ok(partitions.iter().map(offer).collect())
    }

    /// Returns the origins that the state must contain before the missing topics of these partitions are created, by
    /// their source names.
    pub(crate) fn claims(
        &self,
        partitions: &[OfferedPartition],
        carried_topics: &CarriedTopics,
    ) -> Result<Vec<(Arc<str>, Origin)>, KafkaError> {
        let wanted = self.wanted(partitions);
        let found = self.describe(&wanted.keys().cloned().collect::<Vec<_>>())?;
        let missing = wanted.into_iter().filter(|(name, partition)| {
            !found.contains_key(name) && carried_topics.carries(&partition.topic) != Some(true)
        });
        let claim = |(target_topic, partition): (String, &OfferedPartition)| {
            let clusters = self.clusters(&partition.topic).to_vec();
            let origin = Origin { target_topic, target_topic_id: TopicId::UNKNOWN, clusters };
            (partition.topic.as_str().into(), origin)
        };
        Ok(missing.map(claim).collect())
    }

    /// Waits until `read_committed` readers see the present state of `lane`: a commit is answered before that.
    pub(crate) fn wait_until_visible(&self, lane: LaneId) -> Result<(), KafkaError> {
        let at = [Partition::new(state::topic(&self.terms.link), i32::from(lane.0))];
        let end = |isolation| Ok(self.catalog.bounds(&at, isolation)?.first().map(|bounds| bounds.end));
        let written = end(Isolation::Uncommitted)?;
        let mut waited = Duration::ZERO;
        while end(Isolation::Committed)? < written {
            if waited >= APPEAR {
                return Err(timed_out("read of the state just stored"));
            }
            std::thread::sleep(APPEAR_STEP);
            waited += APPEAR_STEP;
        }
        Ok(())
    }

    /// Returns the target topics that this link may write, each with one of its offered partitions.
    fn wanted<'p>(&self, partitions: &'p [OfferedPartition]) -> HashMap<String, &'p OfferedPartition> {
        let may = |topic: &str| self.allowed.matches(topic) && !self.returns(topic);
        let wanted = partitions.iter().filter(|partition| may(&partition.topic));
        wanted.map(|partition| (self.rename.apply(&partition.topic), partition)).collect()
    }

    fn clusters(&self, topic: &str) -> Arc<[String]> {
        self.clusters.get(topic).map_or_else(|| [self.terms.source_cluster.clone()].into(), Arc::clone)
    }

    /// Returns whether the topic has been in this cluster before. A sender does not offer such topics; if one does, the
    /// receiver must not close the loop.
    fn returns(&self, topic: &str) -> bool {
        self.clusters.get(topic).is_some_and(|clusters| clusters.contains(&self.terms.target_cluster))
    }

    /// Creates missing topics, grows those with too few partitions, and waits until the cluster shows them.
    fn ensure(
        &self,
        wanted: HashMap<String, &OfferedPartition>,
        carried_topics: &CarriedTopics,
    ) -> Result<Topics, KafkaError> {
        let names: Vec<_> = wanted.keys().cloned().collect();
        let mut found = self.describe(&names)?;
        let _creating = if has_all(&found, &wanted) {
            None
        } else {
            let creating = self.creating.lock();
            found = self.describe(&names)?;
            Some(creating)
        };
        let mut topics = Topics::new();
        let mut awaited = HashMap::new();
        let mut missing = Vec::new();
        for (name, partition) in wanted {
            match found.remove(&name) {
                Some(topic) if topic.partitions >= partition.partitions => {
                    topics.insert(name, Ok(topic));
                }
                Some(topic) if self.grow(&name, partition.partitions)? => {
                    awaited.insert(topic.name, partition.partitions);
                }
                // The partitions that exist are carried.
                Some(topic) => {
                    topics.insert(name, Ok(topic));
                }
                None if carried_topics.carries(&partition.topic) == Some(true) && !adopts(partition) => {
                    let detail =
                        format!("{name} is missing, and this link has written to it: it is not created again silently");
                    topics.insert(name, Err(HaltRecord::new(HaltReason::TargetReplaced, detail)));
                }
                None => missing.push(self.new_topic(&name, partition)),
            }
        }
        for (name, halt) in self.create(&missing)? {
            topics.insert(name, Err(halt));
        }
        let created = missing.into_iter().map(|topic| (topic.name, topic.partitions));
        awaited.extend(created.filter(|(name, _)| !topics.contains_key(name)));
        topics.extend(self.appear(awaited)?);
        Ok(topics)
    }

    /// Adds partitions to a topic. False: the cluster permanently refuses it.
    fn grow(&self, name: &str, partitions: i32) -> Result<bool, KafkaError> {
        tracing::info!(topic = name, partitions, "adding target partitions");
        let refused = refused(self.catalog.grow(name, partitions))?;
        if let Some(halt) = &refused {
            tracing::warn!(topic = name, reason = halt.detail, "could not add target partitions");
        }
        Ok(refused.is_none())
    }

    /// Creates topics in one request and, if that is refused, one by one. Returns those that the cluster permanently
    /// refuses, each with the halt of its partitions.
    fn create(&self, topics: &[NewTopic]) -> Result<Vec<(String, HaltRecord)>, KafkaError> {
        let Some(first) = topics.first() else { return Ok(Vec::new()) };
        tracing::info!(topics = topics.len(), first = first.name, "creating target topics");
        if refused(self.catalog.create(topics))?.is_none() {
            return Ok(Vec::new());
        }
        let mut halts = Vec::new();
        for topic in topics {
            let halt = refused(self.catalog.create(std::slice::from_ref(topic)))?;
            halts.extend(halt.map(|halt| (topic.name.clone(), halt)));
        }
        Ok(halts)
    }

    /// Waits until the cluster shows these topics with at least these numbers of partitions.
    fn appear(&self, awaited: HashMap<String, i32>) -> Result<Topics, KafkaError> {
        let names: Vec<_> = awaited.keys().cloned().collect();
        let mut waited = Duration::ZERO;
        loop {
            let found = self.describe(&names)?;
            let is_there = |(name, partitions): (&String, &i32)| {
                found.get(name).is_some_and(|topic| topic.partitions >= *partitions)
            };
            if awaited.iter().all(is_there) {
                return Ok(found.into_iter().map(|(name, topic)| (name, Ok(topic))).collect());
            }
            if waited >= APPEAR {
                return Err(timed_out("creation of target topics"));
            }
            std::thread::sleep(APPEAR_STEP);
            waited += APPEAR_STEP;
        }
    }

    fn describe(&self, names: &[String]) -> Result<HashMap<String, TopicDescription>, KafkaError> {
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        Ok(self.catalog.describe(names)?.into_iter().map(|topic| (topic.name.clone(), topic)).collect())
    }

    fn new_topic(&self, name: &str, partition: &OfferedPartition) -> NewTopic {
        let announced = self.configs.get(&partition.topic).map_or(&[][..], Vec::as_slice);
        let copied = announced
            .iter()
            .filter(|config| COPIED.contains(&config.name.as_str()))
            .map(|config| (config.name.clone(), config.value.clone()));
        let timestamps = TIMESTAMPS.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        NewTopic {
            name: name.to_owned(),
            partitions: partition.partitions,
            replication: self.replication,
            configs: copied.chain(timestamps).collect(),
        }
    }
}

fn timed_out(doing: &str) -> KafkaError {
    let reason = format!("not visible within {} s", APPEAR.as_secs());
    KafkaError { doing: doing.to_owned(), reason, fault: KafkaFault::TimedOut(APPEAR) }
}

/// Returns whether every wanted topic exists with enough partitions.
fn has_all(found: &HashMap<String, TopicDescription>, wanted: &HashMap<String, &OfferedPartition>) -> bool {
    let has = |(name, offered): (&String, &&OfferedPartition)| {
        found.get(name).is_some_and(|topic| topic.partitions >= offered.partitions)
    };
    wanted.iter().all(has)
}

/// Returns whether an operator has adopted the target topic, even if it does not exist.
fn adopts(partition: &OfferedPartition) -> bool {
    partition.jump.as_ref().is_some_and(|jump| jump.accepts == Accepts::Target)
}

fn too_few(topic: &TopicDescription, offered: &OfferedPartition) -> HaltRecord {
    let detail = format!(
        "{} has {} partitions, the source's topic {}, and the target does not let it grow",
        topic.name, topic.partitions, offered.partitions
    );
    HaltRecord::new(HaltReason::TargetTooFewPartitions, detail)
}

/// Distinguishes a permanent refusal, which halts a topic, from a cluster that does not answer now.
fn refused(asked: Result<(), KafkaError>) -> Result<Option<HaltRecord>, KafkaError> {
    match asked {
        Ok(()) => Ok(None),
        Err(error)
            if matches!(error.fault, KafkaFault::Unauthorized | KafkaFault::Misused | KafkaFault::RecordRejected) =>
        {
            Ok(Some(HaltRecord::new(HaltReason::TargetRefused, error.to_string())))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

    use kafka::catalog::Bounds;
    use wire::ids::{Position, Slot, TopicId};

    use super::*;

    /// A cluster in which every topic has the same number of partitions and may or may not grow.
    struct Cluster {
        partitions: AtomicI32,
        grows: bool,
        /// Makes the first requests for descriptions wait for each other.
        together: Option<Barrier>,
        asked: AtomicUsize,
    }

    fn cluster(partitions: i32, grows: bool, together: Option<Barrier>) -> Cluster {
        Cluster { partitions: partitions.into(), grows, together, asked: AtomicUsize::new(0) }
    }

    fn refuse<T>(doing: &str) -> Result<T, KafkaError> {
        Err(KafkaError { doing: doing.into(), reason: "not authorised".into(), fault: KafkaFault::Unauthorized })
    }

    impl Catalog for Cluster {
        fn describe(&self, names: &[String]) -> Result<Vec<TopicDescription>, KafkaError> {
            let id = TopicId([2; 16]);
            let partitions = self.partitions.load(Ordering::SeqCst);
            if let Some(together) = self.together.as_ref().filter(|_| self.asked.fetch_add(1, Ordering::SeqCst) < 2) {
                together.wait();
            }
            let topic = |name: &String| TopicDescription { name: name.clone(), id, partitions, replicas: 1 };
            Ok(names.iter().map(topic).collect())
        }
        fn bounds(&self, partitions: &[Partition], _: Isolation) -> Result<Vec<Bounds>, KafkaError> {
            let has = self.partitions.load(Ordering::SeqCst);
            assert!(partitions.iter().all(|at| at.partition < has), "a missing partition was requested");
            Ok(partitions.iter().map(|_| Bounds { start: Position(0), end: Position(0) }).collect())
        }
        fn create(&self, _: &[NewTopic]) -> Result<(), KafkaError> {
            refuse("creation")
        }
        fn grow(&self, _: &str, partitions: i32) -> Result<(), KafkaError> {
            // A broker refuses to grow a topic to the size that it has.
            let grown = self.grows && self.partitions.swap(partitions, Ordering::SeqCst) < partitions;
            if grown { Ok(()) } else { refuse("growth") }
        }
    }

    fn targets(cluster: Cluster) -> Targets {
        let all = vec![service::topics::TopicPattern::parse(".*").unwrap()];
        let terms = Terms {
            link: "l".to_owned(),
            classes: wire::lanes::ClassTable::new(1),
            lane_hash: "h".to_owned(),
            source_cluster: "source".to_owned(),
            target_cluster: "target".to_owned(),
            filter_hash: 1,
            sender: "a".to_owned(),
        };
        Targets {
            catalog: Arc::new(cluster),
            rename: Rename::default(),
            allowed: TopicFilter::new(all, Vec::new()),
            replication: None,
            copy_configs: true,
            configs: HashMap::new(),
            terms: Arc::new(terms),
            clusters: HashMap::new(),
            creating: Arc::default(),
        }
    }

    fn offered(partition: i32) -> OfferedPartition {
        OfferedPartition {
            slot: Slot(partition as u32),
            topic: "orders".to_owned(),
            partition,
            topic_id: TopicId([1; 16]),
            partitions: 3,
            log_start: Position(0),
            log_end: Position(0),
            start: Position(0),
            jump: None,
        }
    }

    #[test]
    fn a_target_that_cannot_grow_halts_only_missing_partitions() {
        let targets = targets(cluster(2, false, None));
        let found = targets.look_up(&[offered(0), offered(1), offered(2)], &CarriedTopics::new(1)).unwrap();
        assert!(found[0].target.is_ok() && found[1].target.is_ok());
        let halt = found[2].target.as_ref().unwrap_err();
        assert_eq!(halt.reason, "target-too-few-partitions");
        assert!(halt.detail.contains("orders has 2 partitions, the source's topic 3"), "{}", halt.detail);
    }

    #[test]
    fn lanes_that_find_a_topic_too_small_grow_it_once() {
        let targets = targets(cluster(1, true, Some(Barrier::new(2))));
        let look_up = |partition| targets.look_up(&[offered(partition)], &CarriedTopics::new(1)).unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| look_up(1));
            let found = look_up(2);
            assert!(found[0].target.is_ok(), "{found:?}");
            assert!(other.join().unwrap()[0].target.is_ok());
        });
    }
}
