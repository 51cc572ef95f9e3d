//! The state topic of a link: created with the required settings, or refused with wrong ones. It is checked
//! before any lane is opened, because a refusal must not have fenced a healthy owner.

use std::cmp::Ordering;

use kafka::KafkaError;
use kafka::catalog::{Catalog, ConfigEntry, TopicDescription, appear, create, described, only};
use wire::close::{Close, CloseCode};
use wire::lanes::ClassTable;

use crate::target::{TargetError, state};

/// Settings of a state topic. Small segments keep recovery to one or two of them; compaction keeps one
/// entry per partition of the link.
const CONFIGS: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("compression.type", "producer"),
    ("delete.retention.ms", "86400000"),
    ("max.compaction.lag.ms", "3600000"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("segment.bytes", "16777216"),
    ("segment.ms", "3600000"),
    ("unclean.leader.election.enable", "false"),
];

/// Reasons why a link's state topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateTopicError {
    /// The target failed; try again.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The stored state could not be read or written; try again.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The topic was created or changed so that positions could be lost.
    #[error(transparent)]
    Refused(#[from] Close),
}

/// Makes sure that the state topic of `link` exists, keeps its entries permanently, and has at least `lanes`
/// partitions, those of the default class. Returns the number of its partitions.
pub fn prepare(
    catalog: &dyn Catalog,
    link: &str,
    lanes: u16,
    replication: Option<i32>,
) -> Result<i32, StateTopicError> {
    let name = state::topic(link);
    let names = [name.clone()];
    let lanes = i32::from(lanes);
    let Some(topic) = described(catalog, &names)? else {
        tracing::info!(topic = name, lanes, "creating the link's state topic");
        create(catalog, &name, lanes, replication, CONFIGS)?;
        return Ok(lanes);
    };
    if topic.partitions < lanes {
        return Err(miscounted(&name, topic.partitions, lanes));
    }
    match judge(&topic, &only(catalog.configs(&names))?) {
        Verdict::Kept => Ok(topic.partitions),
        Verdict::Weak(flaw) => {
            tracing::warn!("{}", flaw.detail);
            Ok(topic.partitions)
        }
        Verdict::Refused(flaw) => Err(Close::new(CloseCode::StateRefused, flaw.detail).into()),
    }
}

/// Consequence of a state topic's settings for the positions in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The positions are as safe as this cluster permits.
    Kept,
    /// The loss of one broker can lose committed positions. A link works with such a topic: these are Kafka's own
    /// defaults, which other topics have as well.
    Weak(Flaw),
    /// Positions would expire, or cannot be stored.
    Refused(Flaw),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The values and the remedy.
    pub detail: String,
    /// The setting to use instead.
    pub set: &'static str,
}

pub fn judge(topic: &TopicDescription, configs: &[ConfigEntry]) -> Verdict {
    let name = &topic.name;
    let replicas = topic.replicas;
    let setting = |name: &str| configs.iter().find(|entry| entry.name == name).map(|entry| entry.value.as_str());
    if let Some(policy) = setting("cleanup.policy").filter(|policy| *policy != "compact") {
        let detail = format!("{name} has cleanup.policy={policy}: positions would expire; set it to compact");
        return Verdict::Refused(Flaw { detail, set: "cleanup.policy=compact" });
    }
    match setting("min.insync.replicas").and_then(|value| value.parse::<i32>().ok()) {
        Some(in_sync) if replicas > 0 && in_sync > replicas => {
            let (to, set) = if replicas > 2 { (2, "min.insync.replicas=2") } else { (1, "min.insync.replicas=1") };
            let detail = format!(
                "{name} has min.insync.replicas={in_sync} and {replicas} replicas: no position can be stored; set it to {to}"
            );
            Verdict::Refused(Flaw { detail, set })
        }
        Some(in_sync) if replicas > 2 && in_sync < 2 => {
            let detail = format!(
                "{name} has {replicas} replicas and min.insync.replicas={in_sync}: the loss of one broker can lose committed positions; set it to 2"
            );
            Verdict::Weak(Flaw { detail, set: "min.insync.replicas=2" })
        }
        _ => Verdict::Kept,
    }
}

/// Makes sure that the state topic, which has `partitions`, has one for each lane of `classes`.
pub fn fit(catalog: &dyn Catalog, link: &str, partitions: i32, classes: &ClassTable) -> Result<(), StateTopicError> {
    let name = state::topic(link);
    let lanes = i32::from(classes.lanes());
    match partitions.cmp(&lanes) {
        Ordering::Equal => Ok(()),
        Ordering::Greater if classes.classes().len() == 1 => Err(miscounted(&name, partitions, lanes)),
        Ordering::Greater => {
            let detail = format!(
                "{name} has {partitions} partitions, and the classes stored in it have {lanes} lanes: partitions were added to it; use another link name"
            );
            Err(Close::new(CloseCode::LanesChanged, detail).into())
        }
        Ordering::Less => {
            tracing::info!(topic = name, partitions, lanes, "adding partitions to the link's state topic");
            catalog.grow(&name, lanes)?;
            Ok(appear(catalog, &name, lanes)?)
        }
    }
}

fn miscounted(name: &str, partitions: i32, lanes: i32) -> StateTopicError {
    let detail = format!(
        "{name} has {partitions} partitions, one per lane, and the sender's `lanes.count` is {lanes}: it is fixed for the life of a link; set it back or use another link name"
    );
    Close::new(CloseCode::LanesChanged, detail).into()
}

#[cfg(test)]
mod tests {
    use wire::ids::TopicId;

    use super::*;

    fn verdict(replicas: i32, settings: &[(&str, &str)]) -> Verdict {
        let topic = TopicDescription { name: "state".to_owned(), id: TopicId([1; 16]), partitions: 8, replicas };
        let entry = |&(name, value): &(&str, &str)| ConfigEntry {
            name: name.to_owned(),
            value: value.to_owned(),
            set_on_topic: true,
            inherited: None,
        };
        judge(&topic, &settings.iter().map(entry).collect::<Vec<_>>())
    }

    #[test]
    fn three_replicas_with_one_in_sync_get_a_warning() {
        let in_sync = |value| [("cleanup.policy", "compact"), ("min.insync.replicas", value)];
        assert_eq!(verdict(3, &in_sync("2")), Verdict::Kept);
        assert_eq!(verdict(1, &in_sync("1")), Verdict::Kept);
        assert_eq!(verdict(2, &in_sync("1")), Verdict::Kept, "two would stop the link with either broker");
        let Verdict::Weak(flaw) = verdict(3, &in_sync("1")) else { panic!("kept") };
        assert!(flaw.detail.contains("3 replicas and min.insync.replicas=1"), "{flaw:?}");
        assert!(flaw.detail.ends_with("set it to 2") && flaw.set == "min.insync.replicas=2", "{flaw:?}");
        assert_eq!(verdict(0, &in_sync("1")), Verdict::Kept, "the number of replicas is unknown");
    }

    #[test]
    fn unusable_settings_are_refused_with_the_remedy() {
        let Verdict::Refused(flaw) = verdict(3, &[("cleanup.policy", "compact,delete")]) else { panic!("kept") };
        assert!(flaw.detail.ends_with("positions would expire; set it to compact"), "{flaw:?}");
        for (replicas, remedy) in [(1, "set it to 1"), (3, "set it to 2")] {
            let Verdict::Refused(flaw) = verdict(replicas, &[("min.insync.replicas", "4")]) else { panic!("kept") };
            assert!(flaw.detail.contains("no position can be stored") && flaw.detail.ends_with(remedy), "{flaw:?}");
        }
    }
}
