//! Messages that offer due partitions: the present bounds of each at the source, and the position at which `start` would
//! begin.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use kafka::catalog::{Bounds, Catalog, Isolation};
use kafka::{KafkaError, KafkaFault};
use wire::control::{Control, OfferedPartition, TopicConfig};
use wire::ids::{Position, TopicId};
use wire::limits::{OFFER_PARTITIONS_MAX, STRING_MAX, TOPIC_CONFIGS_MAX};

use crate::config::Start;
use crate::partitions::lane_partitions::{Candidate, Due, SourceTopic};
use crate::source::discovery::Topics;

/// Returns the messages that offer `due`: topics not in `announced`, then batches of partitions. Blocks on the source.
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
    check_incarnations(catalog, &known, &partitions)?;
    let batches = offered.len().div_ceil(OFFER_PARTITIONS_MAX).max(1);
    let mut offered = offered.into_iter();
    for batch in 1..=batches {
        let partitions = offered.by_ref().take(OFFER_PARTITIONS_MAX).collect();
        messages.push(Control::Offer { lane: due.lane, epoch: due.epoch, partitions, last: batch == batches });
    }
    Ok(messages)
}

/// Checks that the bounds just looked up are of the topic that the offer names, where a halt is lifted. If the topic was
/// recreated since it was discovered, the jump would go into another log. Discovery sees that within seconds.
fn check_incarnations(
    catalog: &dyn Catalog,
    known: &HashMap<&Arc<str>, &SourceTopic>,
    partitions: &[&Candidate],
) -> Result<(), KafkaError> {
    let lifted: BTreeSet<_> = partitions
        .iter()
        .filter(|offered| offered.lift.is_some())
        .map(|offered| offered.at.topic.to_string())
        .collect();
    if lifted.is_empty() {
        return Ok(());
    }
    for found in catalog.describe(&lifted.into_iter().collect::<Vec<_>>())? {
        let name: Arc<str> = found.name.as_str().into();
        let Some(topic) = known.get(&name) else { continue };
        if topic.id != found.id && topic.id != TopicId::UNKNOWN && found.id != TopicId::UNKNOWN {
            let reason =
                format!("its id was {}, is {}: waiting until discovery sees the new topic", topic.id, found.id);
            let doing = format!("offer of the halted topic {}", found.name);
            return Err(KafkaError { doing, reason, fault: KafkaFault::Unavailable });
        }
    }
    Ok(())
}

/// Returns the message that announces a topic. Entries too long for the wire, which no receiver applies, are left out.
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
    let clusters = topic.origin.clusters().to_vec();
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
    let names: Vec<_> = partitions.iter().map(|candidate| candidate.at.clone()).collect();
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

#[cfg(test)]
mod tests {
    use testkit::{MemoryCatalog, topic_id};
    use wire::halt::HaltReason;
    use wire::ids::{Epoch, LaneId, Slot};

    use super::*;
    use crate::partitions::resume::{Halt, HaltLift, ResumeAction};
    use crate::source::origins::TopicOrigin;
    use wire::partition::Partition;

    /// Returns the offers of a topic that discovery found with this id.
    fn offers(discovered: TopicId, lift: Option<HaltLift>) -> Result<Vec<Control>, KafkaError> {
        let source = MemoryCatalog::new("source");
        source.add_partition("orders", Bounds { start: Position(0), end: Position(3) });
        let topic = SourceTopic { name: "orders".into(), id: discovered, partitions: 1, origin: TopicOrigin::Own };
        let candidate = Candidate { slot: Slot(0), at: Partition::new("orders", 0), lift };
        let due = Due { lane: LaneId(0), epoch: Epoch(1), partitions: vec![candidate] };
        messages(&source, &Arc::new(vec![topic]), &due, Start::Earliest, &HashSet::new())
    }

    #[test]
    fn no_halt_is_lifted_in_a_topic_recreated_since_discovery() {
        let halt = Halt { reason: HaltReason::Truncated.word().to_owned(), position: Position(50) };
        let lift = halt.lift(ResumeAction::Skip, 1, "test").unwrap();
        assert_eq!(offers(topic_id("orders"), lift.clone()).unwrap().len(), 2, "a topic and an offer");
        let earlier = TopicId([1; 16]);
        let refused = offers(earlier, lift).unwrap_err();
        assert_eq!(refused.fault, KafkaFault::Unavailable);
        assert!(offers(earlier, None).is_ok(), "without a jump the receiver compares");
    }
}
