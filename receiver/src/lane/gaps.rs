//! Target offsets between the records of a lane's partitions, where another program may have written.

use std::collections::VecDeque;

use wire::ids::{Position, TopicId};

use crate::target::TargetPartition;
use crate::target::state::PartitionRecord;

/// Gaps of a lane that wait for the reader.
const GAPS_MAX: usize = 4096;

/// Offsets of a target partition between two records of the link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub target: TargetPartition,
    /// Incarnation of the topic.
    pub topic_id: TopicId,
    pub from: Position,
    /// Offset of the record after it.
    pub to: Position,
    /// An earlier opening of the lane may have passed it on, too.
    pub is_again: bool,
}

/// Gaps that are to be read.
#[derive(Debug, Default)]
pub struct Gaps {
    waiting: VecDeque<Gap>,
    /// Those for which there was no room.
    lost: u64,
}

impl Gaps {
    fn add(&mut self, gap: Gap) {
        if self.waiting.len() < GAPS_MAX {
            self.waiting.push_back(gap);
        } else {
            self.lost += 1;
        }
    }

    pub(super) fn add_all(&mut self, record: &PartitionRecord, from: Position, is_again: bool) {
        let Some(map) = record.map.search() else { return };
        for (from, to) in map.gaps_after(from).filter(|(from, to)| !is_again || to.0 - from.0 > 1) {
            self.add(Gap { target: record.target(), topic_id: record.target_topic_id, from, to, is_again });
        }
    }

    /// Notes that nothing is known of a gap.
    pub(super) fn lose(&mut self) {
        self.lost += 1;
    }

    /// Adds those of another queue.
    pub(crate) fn append(&mut self, others: Self) {
        others.waiting.into_iter().for_each(|gap| self.add(gap));
        self.lost += others.lost;
    }

    /// Returns the gaps, the oldest first, and the number of those that were lost.
    pub fn into_parts(self) -> (impl Iterator<Item = Gap>, u64) {
        (self.waiting.into_iter(), self.lost)
    }
}
