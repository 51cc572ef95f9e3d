//! Values that the tests of this crate share.

use wire::control::OfferedPartition;
use wire::ids::{Position, Slot, TopicId};

use crate::target::map::PartitionMap;
use crate::target::state::PartitionRecord;

/// State of a partition at this position, into a partition of `orders` that has none of its records yet.
pub(crate) fn partition_record(position: i64) -> PartitionRecord {
    PartitionRecord {
        topic_id: TopicId([1; 16]),
        position: Position(position),
        leader_epoch: -1,
        target_topic: "orders".into(),
        target_topic_id: TopicId([2; 16]),
        target_partition: 0,
        target_end: Position(0),
        delivered: 0,
        skipped: 0,
        holes: 0,
        halt: None,
        moves: 0,
        map: PartitionMap::beginning(Position(0)),
    }
}

/// Offer of partition 0, the only one, of a topic whose log is empty.
pub(crate) fn offered(topic: &str) -> OfferedPartition {
    OfferedPartition {
        slot: Slot(0),
        topic: topic.into(),
        partition: 0,
        topic_id: TopicId([1; 16]),
        partitions: 1,
        log_start: Position(0),
        log_end: Position(0),
        start: Position(0),
        jump: None,
    }
}
