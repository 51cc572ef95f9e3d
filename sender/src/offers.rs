//! Turns partitions that are due into the messages that offer them: what the source says of each right
//! now, and where the `start` policy would begin.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use link::catalog::{Bounds, Catalog, Isolation, TopicPartition};
use link::kafka::KafkaError;
use wire::control::{Control, OfferedPartition, TopicConfig};
use wire::ids::{Position, Slot};
use wire::limits::OFFER_PARTITIONS_MAX;

use crate::config::Start;
use crate::discovery::Topics;
use crate::roster::{Due, SourcePartition, SourceTopic};

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
    let partitions: Vec<_> = due.partitions.iter().filter(|(_, at)| known.contains_key(&at.topic)).collect();
    let mut messages = Vec::new();
    let mut seen = HashSet::new();
    for (_, partition) in &partitions {
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

fn announce(catalog: &dyn Catalog, topic: &SourceTopic) -> Result<Control, KafkaError> {
    let configs = catalog
        .configs(&topic.name)?
        .into_iter()
        .filter(|entry| entry.set_on_topic)
        .map(|entry| TopicConfig { name: entry.name, value: entry.value })
        .collect();
    Ok(Control::Topic { topic: topic.name.to_string(), topic_id: topic.id, configs })
}

fn look_up(
    catalog: &dyn Catalog,
    known: &HashMap<&Arc<str>, &SourceTopic>,
    partitions: &[&(Slot, SourcePartition)],
    start: Start,
) -> Result<Vec<OfferedPartition>, KafkaError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<_> = partitions
        .iter()
        .map(|(_, at)| TopicPartition { topic: at.topic.to_string(), partition: at.partition })
        .collect();
    let bounds = catalog.bounds(&names, Isolation::Committed)?;
    let starts: Vec<Position> = match start {
        Start::Earliest => bounds.iter().map(|bounds| bounds.start).collect(),
        Start::Latest => bounds.iter().map(|bounds| bounds.end).collect(),
        Start::Timestamp(at) => catalog.positions_at(&names, at)?,
    };
    let offer = |((&(slot, partition), bounds), start): ((&&(Slot, SourcePartition), &Bounds), &Position)| {
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
            jump: None,
        }
    };
    Ok(partitions.iter().zip(&bounds).zip(&starts).map(offer).collect())
}
