//! Turns partitions that are due into the messages that offer them: what the source says of each right
//! now, and where the `start` policy would begin.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use link::catalog::{Bounds, Catalog, Isolation, TopicPartition};
use link::kafka::{KafkaError, KafkaFault};
use wire::control::{Control, OfferedPartition, TopicConfig};
use wire::ids::Position;
use wire::limits::{OFFER_PARTITIONS_MAX, STRING_MAX, TOPIC_CONFIGS_MAX};

use crate::config::Start;
use crate::discovery::Topics;
use crate::roster::{Candidate, Due, SourceTopic};

/// The messages that offer `due`: each topic not in `announced` first, then the partitions in batches.
/// Blocks on the source cluster.
pub fn messages(
    catalog: &dyn Catalog,
    topics: &Topics,
    due: &Due,
    start: Start,
    announced: &HashSet<Arc<str>>,
) -> Result<Vec<Control>, KafkaError> {
    let known: HashMap<_, _> = topics.iter().map(|topic| (&topic.name, topic)).collect();
    let partitions: Vec<_> =
        due.partitions.iter().filter(|candidate| known.contains_key(&candidate.at.topic)).collect();
    let mut messages = Vec::new();
    let mut seen = HashSet::new();
    for Candidate { at: partition, .. } in &partitions {
        if !announced.contains(&partition.topic) && seen.insert(&partition.topic) {
            messages.push(announce(catalog, known[&partition.topic])?);
        }
    }
    let offered = look_up(catalog, &known, &partitions, start)?;
    let batches = offered.len().div_ceil(OFFER_PARTITIONS_MAX).max(1);
    let mut offered = offered.into_iter();
    for batch in 1..=batches {
        let partitions = offered.by_ref().take(OFFER_PARTITIONS_MAX).collect();
        messages.push(Control::Offer { lane: due.lane, epoch: due.epoch, partitions, last: batch == batches });
    }
    Ok(messages)
}

/// What is too long for the wire is left out: placements and throttles, which no receiver applies.
fn announce(catalog: &dyn Catalog, topic: &SourceTopic) -> Result<Control, KafkaError> {
    let entries = match catalog.configs(&topic.name) {
        Err(error) if matches!(error.fault, KafkaFault::Unauthorized | KafkaFault::UnknownTopic) => {
            tracing::warn!(topic = %topic.name, %error, "could not read the topic's configuration; the target gets defaults");
            Vec::new()
        }
        other => other?,
    };
    let configs = entries
        .into_iter()
        .filter(|entry| entry.set_on_topic && entry.name.len() <= STRING_MAX && entry.value.len() <= STRING_MAX)
        .map(|entry| TopicConfig { name: entry.name, value: entry.value })
        .take(TOPIC_CONFIGS_MAX)
        .collect();
    let clusters = topic.passage.clusters().to_vec();
    Ok(Control::Topic { topic: topic.name.to_string(), topic_id: topic.id, configs, clusters })
}

fn look_up(
    catalog: &dyn Catalog,
    known: &HashMap<&Arc<str>, &SourceTopic>,
    partitions: &[&Candidate],
    start: Start,
) -> Result<Vec<OfferedPartition>, KafkaError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<_> = partitions
        .iter()
        .map(|Candidate { at, .. }| TopicPartition { topic: at.topic.to_string(), partition: at.partition })
        .collect();
    let bounds = catalog.bounds(&names, Isolation::Committed)?;
    let starts: Vec<Position> = match start {
        Start::Earliest => bounds.iter().map(|bounds| bounds.start).collect(),
        Start::Latest => bounds.iter().map(|bounds| bounds.end).collect(),
        Start::Timestamp(at) => catalog.positions_at(&names, at)?,
    };
    let offer = |((candidate, bounds), start): ((&&Candidate, &Bounds), &Position)| {
        let Candidate { slot, at: partition, lift } = candidate;
        let topic = known[&partition.topic];
        OfferedPartition {
            slot: *slot,
            topic: topic.name.to_string(),
            partition: partition.partition,
            topic_id: topic.id,
            partitions: topic.partitions,
            log_start: bounds.start,
            log_end: bounds.end,
            start: *start,
            jump: lift.as_ref().map(|lift| lift.jump(bounds)),
        }
    };
    Ok(partitions.iter().zip(&bounds).zip(&starts).map(offer).collect())
}
