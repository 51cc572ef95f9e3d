//! Offset maps in a lane's transactions: ranges with the positions, and blocks to the map topic.
//!
//! A block has only what an earlier transaction committed, and the partition's record names it only once it is committed:
//! a block of a transaction that failed is never found. What happens to the map topic stops no record: a lane whose
//! transaction failed writes no blocks for a while, or none at all if the topic refuses them. Its maps then forget their
//! oldest ranges.

use std::collections::HashMap;

use wire::ids::Offset;
use wire::partition::Partition;

use super::draft::Draft;
use super::open_lane::{LaneError, Open, OpenLane};
use crate::target::map::{Block, Verdict};
use crate::target::state::{self, PartitionRecord};
use crate::target::{LaneTarget, Offsets, TargetError};

/// Gaps between the source offsets of one partition's records in a transaction, after which the next one begins.
pub(super) const GAPS_MAX: usize = 2048;

impl<T: LaneTarget> OpenLane<'_, T> {
    /// Writes the blocks that are due, and predicts where the records of the transaction go.
    pub(super) fn write_maps(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        let stored = &self.open.stored;
        let blocks = self.open.blocks;
        for (key, record) in draft.changed.iter_mut() {
            match blocks.due(&record.map) {
                Some(block) => {
                    let key_bytes = state::partition_key(&stored.terms.source_cluster, key);
                    self.parts.target.write_block(&key_bytes, &block.encode())?;
                    draft.blocks.push((key.clone(), block));
                }
                None => record.map.forget_beyond(blocks.ranges_max()),
            }
            record.map.predict();
        }
        Ok(())
    }

    /// Waits for the delivery reports of the transaction, and corrects the maps that they do not prove.
    pub(super) fn deliver(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        self.drain(draft)?;
        let mut offsets: HashMap<&Partition, Offsets> = HashMap::new();
        for appended in &draft.delivered.appended {
            if let Some(slot) = self.open.slots.writer(&appended.partition) {
                offsets.entry(&slot.key).or_default().extend(&appended.offsets);
            }
        }
        let mut corrected = Vec::new();
        for (key, record) in draft.changed.iter_mut().filter(|(_, record)| record.map.is_pending()) {
            let found = offsets.remove(key).unwrap_or_default();
            if record.map.prove(found, record.position) == Verdict::Corrected {
                corrected.push((key, &*record));
            }
        }
        if corrected.is_empty() {
            return Ok(());
        }
        let source = &self.open.stored.terms.source_cluster;
        for (key, record) in &corrected {
            self.parts.target.write_state(&state::partition_key(source, key), Some(&state::encode(*record)))?;
        }
        draft.corrected = corrected.into_iter().map(|(key, _)| key.clone()).collect();
        self.drain(draft)
    }
}

impl Open {
    /// Notes the blocks of a committed transaction, and where they are.
    pub(super) fn complete_blocks(&mut self, blocks: Vec<(Partition, Block)>, offsets: Offsets) {
        self.blocks.handle_success();
        let stretches = offsets.in_order().unwrap_or_default();
        let offsets = stretches.into_iter().flat_map(|stretch| (stretch.first.0..stretch.end()).map(Offset));
        for ((key, block), offset) in blocks.into_iter().zip(offsets) {
            if let Some(PartitionRecord { map, .. }) = self.stored.partitions.get_mut(&key) {
                map.handle_block(&block, self.stored.lane, offset);
            }
        }
    }

    /// Notes that a transaction failed. Returns whether its blocks may be why.
    pub(super) fn doubt_blocks(&mut self, draft: &Draft, error: &LaneError) -> bool {
        let LaneError::Target(error) = error else { return false };
        let suspected = !draft.blocks.is_empty();
        if suspected {
            self.blocks.handle_failure(error);
        }
        suspected && matches!(error, TargetError::Unauthorized(_))
    }
}
