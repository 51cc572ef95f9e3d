//! The map topic of a link: the older ranges of its offset maps. No position depends on it, so that a link works without
//! it, and only recent offsets can be translated then.

use std::sync::atomic::{AtomicU16, Ordering};

use kafka::KafkaError;
use kafka::catalog::{Catalog, appear, create, described};

use crate::target::state;

/// Settings of a map topic. Operators may change the retention: it limits how far back offsets are translated.
const CONFIGS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("retention.bytes", "-1"),
    ("retention.ms", "1209600000"),
    ("segment.bytes", "67108864"),
    ("segment.ms", "86400000"),
    ("unclean.leader.election.enable", "false"),
];

/// Number of lanes that have a partition of the map topic.
#[derive(Debug, Default)]
pub(crate) struct MapTopic(AtomicU16);

impl MapTopic {
    /// Returns whether every lane of a session with `lanes` lanes has a partition.
    pub(crate) fn has(&self, lanes: u16) -> bool {
        self.0.load(Ordering::Acquire) >= lanes
    }

    /// Creates the topic, or adds partitions to it, unless an earlier session did.
    pub(crate) fn prepare(&self, catalog: &dyn Catalog, link: &str, lanes: u16, replication: Option<i32>) {
        if self.has(lanes) {
            return;
        }
        let name = state::map_topic(link);
        match prepare(catalog, &name, lanes.into(), replication) {
            Ok(()) => self.0.store(lanes, Ordering::Release),
            Err(error) => tracing::warn!(topic = name, %error, "no map topic: only recent offsets can be translated"),
        }
    }
}

fn prepare(catalog: &dyn Catalog, name: &str, lanes: i32, replication: Option<i32>) -> Result<(), KafkaError> {
    match described(catalog, &[name.to_owned()])? {
        Some(topic) if topic.partitions >= lanes => return Ok(()),
        Some(_) => catalog.grow(name, lanes)?,
        None => {
            tracing::info!(topic = name, lanes, "creating the link's map topic");
            return create(catalog, name, lanes, replication, CONFIGS);
        }
    }
    appear(catalog, name, lanes)
}
