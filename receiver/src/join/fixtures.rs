//! Values that the tests of this crate share.

use wire::control::OfferedPartition;
use wire::ids::{Position, Slot, TopicId};

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
