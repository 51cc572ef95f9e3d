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

    /// The target of each offered partition, in the order offered.
    pub fn look_up(&self, partitions: &[OfferedPartition]) -> Result<Vec<Offered>, KafkaError> {
        let mut wanted: HashMap<String, &OfferedPartition> = HashMap::new();
        for partition in partitions.iter().filter(|partition| self.allowed.matches(&partition.topic)) {
            wanted.insert(self.rename.apply(&partition.topic), partition);
        }
        let topics = self.ensure(&wanted)?;
        let at = |partition: &OfferedPartition| {
            let topic = self.rename.apply(&partition.topic);
            topics.contains_key(&topic).then_some(TopicPartition { topic, partition: partition.partition })
        };
        let present: Vec<_> = partitions.iter().filter_map(at).collect();
        let bounds =
            if present.is_empty() { Vec::new() } else { self.catalog.bounds(&present, Isolation::Uncommitted)? };
        let ends: HashMap<_, _> = present.into_iter().zip(bounds).collect();
        let offer = |partition: &OfferedPartition| {
            let target = match at(partition) {
                Some(at) => {
                    let end = ends.get(&at).map_or_else(Default::default, |bounds| bounds.end);
                    let topic_id = topics[&at.topic].id;
                    let partition = TargetPartition { topic: at.topic.as_str().into(), partition: at.partition };
                    Ok(OfferedTarget { partition, topic_id, end })
                }
                None => Err(HaltRecord {
                    reason: "topic-unauthorized".to_owned(),
                    detail: format!("the receiver's configuration does not let this link carry {}", partition.topic),
                }),
            };
            Offered { partition: partition.clone(), target }
        };
        Ok(partitions.iter().map(offer).collect())
    }

    /// Creates what is missing, grows what is too small, and waits until the cluster shows it.
    fn ensure(
        &self,
        wanted: &HashMap<String, &OfferedPartition>,
    ) -> Result<HashMap<String, TopicDescription>, KafkaError> {
        let names: Vec<_> = wanted.keys().cloned().collect();
        let mut found = self.describe(&names)?;
        let missing: Vec<_> = wanted.iter().filter(|(name, _)| !found.contains_key(*name)).collect();
        if !missing.is_empty() {
            let topics: Vec<_> = missing.iter().map(|(name, partition)| self.new_topic(name, partition)).collect();
            tracing::info!(topics = topics.len(), first = topics[0].name, "creating target topics");
            self.catalog.create(&topics)?;
        }
        for (name, partition) in wanted {
            if found.get(name).is_some_and(|topic| topic.partitions < partition.partitions) {
                tracing::info!(topic = name, partitions = partition.partitions, "adding target partitions");
                self.catalog.grow(name, partition.partitions)?;
            }
        }
        let is_there = |found: &HashMap<String, TopicDescription>| {
            wanted
                .iter()
                .all(|(name, wanted)| found.get(name).is_some_and(|topic| topic.partitions >= wanted.partitions))
        };
        let mut waited = Duration::ZERO;
        while !is_there(&found) {
            if waited >= APPEAR {
                return Err(KafkaError {
                    doing: "create target topics".to_owned(),
                    reason: format!("they did not appear within {} s", APPEAR.as_secs()),
                    fault: KafkaFault::TimedOut(APPEAR),
                });
            }
            std::thread::sleep(APPEAR_STEP);
            waited += APPEAR_STEP;
            found = self.describe(&names)?;
        }
        Ok(found)
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
