//! The state topic of a link: made with the right settings, or refused with the wrong ones. Checked
//! before any lane is opened, because a refusal must not have fenced a healthy owner.

use std::cmp::Ordering;
use std::time::Duration;

use link::catalog::{Catalog, Isolation, NewTopic, TopicPartition};
use link::kafka::KafkaError;
use wire::close::CloseCode;
use wire::lanes::ClassTable;

use crate::state;
use crate::target::TargetError;

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

const APPEAR: Duration = Duration::from_secs(10);
const APPEAR_STEP: Duration = Duration::from_millis(50);

/// Why a link's state topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateTopicError {
    /// The target failed; try again.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// What it holds could not be read or written; try again.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Somebody made or changed it so that positions could be lost.
    #[error("{detail}")]
    Refused {
        /// Which rule.
        code: CloseCode,
        /// The values and the remedy.
        detail: String,
    },
}

/// Makes sure that the state topic of `link` is there, with at least `lanes` partitions, the default class's, and is
/// kept for ever. Returns how many it has.
pub fn prepare(
    catalog: &dyn Catalog,
    link: &str,
    lanes: u16,
    replication: Option<i32>,
) -> Result<i32, StateTopicError> {
    let name = state::topic(link);
    let names = [name.clone()];
    let lanes = i32::from(lanes);
    let Some(topic) = catalog.describe(&names)?.pop() else {
        tracing::info!(topic = name, lanes, "creating the link's state topic");
        // Positions must not be lost with one broker, where there are enough to keep two copies.
        let in_sync = replication.filter(|&replicas| replicas > 2).map(|_| ("min.insync.replicas", "2"));
        let configs = CONFIGS.iter().copied().chain(in_sync);
        let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        catalog.create(&[NewTopic { name: name.clone(), partitions: lanes, replication, configs }])?;
        appear(catalog, &name, lanes)?;
        return Ok(lanes);
    };
    if topic.partitions < lanes {
        return Err(miscounted(&name, topic.partitions, lanes));
    }
    let configs = catalog.configs(&name)?;
    match configs.iter().find(|entry| entry.name == "cleanup.policy") {
        Some(policy) if policy.value != "compact" => {
            let detail =
                format!("{name} has cleanup.policy={}: positions would expire; set it to compact", policy.value);
            Err(StateTopicError::Refused { code: CloseCode::StateRefused, detail })
        }
        _ => Ok(topic.partitions),
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
                "{name} has {partitions} partitions, and the classes stored in it have {lanes} lanes: somebody added partitions; use another link name"
            );
            Err(StateTopicError::Refused { code: CloseCode::LanesChanged, detail })
        }
        Ordering::Less => {
            tracing::info!(topic = name, partitions, lanes, "adding partitions to the link's state topic");
            catalog.grow(&name, lanes)?;
            appear(catalog, &name, lanes)
        }
    }
}

fn miscounted(name: &str, partitions: i32, lanes: i32) -> StateTopicError {
    let detail = format!(
        "{name} has {partitions} partitions, one per lane, and the sender's `lanes.count` is {lanes}: it is fixed for the life of a link; set it back or use another link name"
    );
    StateTopicError::Refused { code: CloseCode::LanesChanged, detail }
}

/// A created topic is usable once every partition has a leader that answers.
fn appear(catalog: &dyn Catalog, name: &str, lanes: i32) -> Result<(), StateTopicError> {
    let partitions: Vec<_> = (0..lanes).map(|partition| TopicPartition { topic: name.to_owned(), partition }).collect();
    let mut waited = Duration::ZERO;
    loop {
        match catalog.bounds(&partitions, Isolation::Uncommitted) {
            Ok(_) => return Ok(()),
            Err(error) if waited >= APPEAR => return Err(error.into()),
            Err(_) => {
                std::thread::sleep(APPEAR_STEP);
                waited += APPEAR_STEP;
            }
        }
    }
}
