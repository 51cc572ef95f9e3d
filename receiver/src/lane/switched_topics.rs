//! Switch-over of single topics: their partitions are halted where they are, and the lane carries the others.
//!
//! The halt is stored with each position, so that no later session writes the topic. A partition that the topic gets
//! afterwards is halted when it is offered, because every lane names such topics before any partition begins.

use std::collections::BTreeSet;
use std::sync::Arc;

use wire::halt::HaltReason;
use wire::partition::Partition;

use super::draft::Draft;
use super::offers::Pending;
use super::open_lane::OpenLane;
use crate::target::state::{HaltRecord, PartitionRecord};
use crate::target::{LaneTarget, TargetError};

/// Topics that are switched over, by their names at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchedTopics {
    pub topics: BTreeSet<Arc<str>>,
    /// User, time and reason, in a sentence.
    pub detail: String,
}

impl SwitchedTopics {
    fn halt(&self) -> HaltRecord {
        HaltRecord::new(HaltReason::SwitchedOver, self.detail.clone())
    }
}

impl<T: LaneTarget> OpenLane<'_, T> {
    /// Takes a request: the partitions that the lane has of these topics are halted with its next transaction. Asked again,
    /// it halts those that are not. Frames of them that are not committed by then are dropped.
    pub fn handle_switched_over(&mut self, switched: &SwitchedTopics) {
        let halt = switched.halt();
        let open = &mut *self.open;
        for topic in &switched.topics {
            open.stored.carried_topics.handle_switched_over(topic, &halt);
        }
        let is_left = |(key, record): &(&Partition, &PartitionRecord)| {
            switched.topics.contains(&key.topic) && !record.is_switched_over()
        };
        let left = open.stored.partitions.iter().filter(is_left).map(|(key, _)| key.clone());
        for key in left.collect::<BTreeSet<_>>() {
            open.offers.push(Pending::SwitchedOver(key, halt.clone()));
        }
    }

    /// Halts a partition of a topic that is switched over. One that begins or moves in this transaction is left to the next
    /// request.
    pub(super) fn take_switched_over(
        &mut self,
        draft: &mut Draft,
        key: &Partition,
        halt: HaltRecord,
    ) -> Result<(), TargetError> {
        let begins = draft.opened.iter().any(|offered| offered.key() == *key);
        if begins
            || draft.handovers.handed_over.contains_key(key)
            || draft.handovers.accepted.contains_key(key)
            || !self.open.stored.partitions.contains_key(key)
        {
            return Ok(());
        }
        self.open.stored.carried_topics.handle_switched_partition(key, &halt);
        // The rest of its run, if it is being appended, is of a closed slot.
        if let Some(current) = &mut self.open.current {
            current.destination.take_if(|destination| destination.key == *key);
        }
        if let Some((slot, open)) = self.open.slots.open_of(key) {
            open.closed = true;
            return self.take_halt(draft, slot, halt);
        }
        draft.counts.halts += 1;
        self.keep(draft, key, &halt);
        self.ensure_begun(draft)
    }
}
