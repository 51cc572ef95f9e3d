//! The target side of offered partitions: which topic, created or grown if need be, which incarnation, and
//! where its log ends. Blocks on the target cluster; runs beside the lanes, never in them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use link::catalog::{Catalog, Isolation, NewTopic, TopicDescription, TopicPartition};
use link::kafka::{KafkaError, KafkaFault};
use link::topics::TopicFilter;
use wire::control::{OfferedPartition, TopicConfig};

use crate::config::Rename;
use crate::join::{Offered, OfferedTarget};
use crate::knowledge::Knowledge;
use crate::served_link::ServedLink;
use crate::state::HaltRecord;
use crate::target::TargetPartition;

/// Configuration entries that are copied from the source when a target topic is created: those that say
/// what the topic keeps and how large its records may be. Placement and throttles stay the target's own.
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

/// What every created topic gets, so that source timestamps arrive unchanged whatever they are: Kafka 4
/// refuses records stamped more than an hour ahead by default (KIP-1030).
const TIMESTAMPS: &[(&str, &str)] = &[
    ("message.timestamp.type", "CreateTime"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
];

/// How long a created topic may take to show up on every broker that is asked.
const APPEAR: Duration = Duration::from_secs(10);
const APPEAR_STEP: Duration = Duration::from_millis(50);

/// Target topics by name, or why a topic cannot be had.
type Topics = HashMap<String, Result<TopicDescription, HaltRecord>>;

/// Looks up and makes the target topics of one link.
pub struct Targets {
    catalog: Arc<dyn Catalog>,
    rename: Rename,
    allowed: TopicFilter,
    replication: Option<i32>,
    copy_configs: bool,
    configs: HashMap<String, Vec<TopicConfig>>,
}

impl Targets {
    /// For one session of a link.
    pub fn new(link: &ServedLink) -> Self {
        let settings = &link.settings;
        Self {
            catalog: Arc::clone(&link.catalog),
            rename: settings.rename.clone(),
            allowed: settings.topics.clone(),
            replication: settings.replication,
            copy_configs: settings.copy_configs,
            configs: HashMap::new(),
        }
    }

    /// The sender announced a topic's configuration.
    pub fn handle_topic(&mut self, topic: String, configs: Vec<TopicConfig>) {
        if self.copy_configs {
            self.configs.insert(topic, configs);
        }
    }

    /// The target of each offered partition, in the order offered. One topic that cannot be had halts its
    /// own partitions and nobody else's; only a cluster that does not answer is an error.
    pub fn look_up(&self, partitions: &[OfferedPartition], knowledge: &Knowledge) -> Result<Vec<Offered>, KafkaError> {
        let mut wanted: HashMap<String, &OfferedPartition> = HashMap::new();
        for partition in partitions.iter().filter(|partition| self.allowed.matches(&partition.topic)) {
            wanted.insert(self.rename.apply(&partition.topic), partition);
        }
        let topics = self.ensure(wanted, knowledge)?;
        let at = |partition: &OfferedPartition| TopicPartition {
            topic: self.rename.apply(&partition.topic),
            partition: partition.partition,
        };
        let present: Vec<_> =
            partitions.iter().map(at).filter(|at| matches!(topics.get(&at.topic), Some(Ok(_)))).collect();
        let bounds =
            if present.is_empty() { Vec::new() } else { self.catalog.bounds(&present, Isolation::Uncommitted)? };
        let ends: HashMap<_, _> = present.into_iter().zip(bounds).collect();
        let offer = |partition: &OfferedPartition| {
            let at = at(partition);
            let target = match topics.get(&at.topic) {
                Some(Ok(topic)) => Ok(OfferedTarget {
                    partition: TargetPartition { topic: at.topic.as_str().into(), partition: at.partition },
                    topic_id: topic.id,
                    end: ends.get(&at).map_or_else(Default::default, |bounds| bounds.end),
                }),
                Some(Err(halt)) => Err(halt.clone()),
                None => Err(halt(
                    "topic-unauthorized",
                    format!("the receiver's configuration does not let this link carry {}", partition.topic),
                )),
            };
            Offered { partition: partition.clone(), target }
        };
        Ok(partitions.iter().map(offer).collect())
    }

    /// Creates what is missing, grows what is too small, and waits until the cluster shows it.
    fn ensure(&self, wanted: HashMap<String, &OfferedPartition>, knowledge: &Knowledge) -> Result<Topics, KafkaError> {
        let names: Vec<_> = wanted.keys().cloned().collect();
        let found = self.describe(&names)?;
        let mut topics = Topics::new();
        let (mut awaited, mut missing) = (HashMap::new(), Vec::new());
        for (name, partition) in wanted {
            match found.get(&name) {
                Some(topic) if topic.partitions >= partition.partitions => {
                    topics.insert(name, Ok(topic.clone()));
                }
                Some(_) => {
                    tracing::info!(topic = name, partitions = partition.partitions, "adding target partitions");
                    match refused(self.catalog.grow(&name, partition.partitions))? {
                        None => drop(awaited.insert(name, partition.partitions)),
                        Some(halt) => drop(topics.insert(name, Err(halt))),
                    }
                }
                None if knowledge.carries(&partition.topic) == Some(true) => {
                    let detail =
                        format!("{name} is missing, and this link has written to it: it is not made again silently");
                    topics.insert(name, Err(halt("target-replaced", detail)));
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

    /// Creates all at once and, where that is refused, one by one: says which the cluster refuses for good.
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

    /// Waits until the cluster shows these topics with at least so many partitions.
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
                return Err(KafkaError {
                    doing: "create target topics".to_owned(),
                    reason: format!("they did not appear within {} s", APPEAR.as_secs()),
                    fault: KafkaFault::TimedOut(APPEAR),
                });
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

fn halt(reason: &str, detail: String) -> HaltRecord {
    HaltRecord { reason: reason.to_owned(), detail }
}

/// Tells a cluster that refuses for good, which halts a topic, from one that does not answer now.
fn refused(asked: Result<(), KafkaError>) -> Result<Option<HaltRecord>, KafkaError> {
    match asked {
        Ok(()) => Ok(None),
        Err(error)
            if matches!(error.fault, KafkaFault::Unauthorized | KafkaFault::Misused | KafkaFault::RecordRejected) =>
        {
            Ok(Some(halt("target-refused", error.to_string())))
        }
        Err(error) => Err(error),
    }
}
