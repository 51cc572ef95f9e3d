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
use super::terms::MapTerms;
use crate::target::map::{Block, Verdict};
use crate::target::state::{self, PartitionRecord};
use crate::target::{LaneTarget, Offsets, TargetError};

/// Gaps between the source offsets of one partition's records in a transaction, after which the next one begins.
pub(super) const GAPS_MAX: usize = 2048;
/// Committed transactions of the lane without blocks, after one with blocks has failed.
const PAUSE: u32 = 256;
/// Bytes of ranges that a partition's record may have if there is a map topic, and if there is none.
const RANGES_MAX: usize = 8 << 10;
const RANGES_WITHOUT_BLOCKS_MAX: usize = 512;

/// Blocks of a lane: whether it may write any now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    terms: MapTerms,
    pause: u32,
}

impl Blocks {
    pub(super) fn new(terms: MapTerms) -> Self {
        Self { terms, pause: 0 }
    }

    /// Notes the failure of a transaction that had blocks, which may be their fault.
    fn handle_failure(&mut self, error: &LaneError) {
        self.pause = PAUSE;
        if let LaneError::Target(error @ (TargetError::MapRejected { .. } | TargetError::Unauthorized(_))) = error {
            tracing::warn!(%error, "the lane writes no further blocks of its offset maps until it is opened again");
            self.terms.stored = false;
        }
    }
}

impl<T: LaneTarget> OpenLane<'_, T> {
    /// Writes the blocks that are due, and predicts where the records of the transaction go.
    pub(super) fn write_maps(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        let stored = &self.open.stored;
        let Blocks { terms, pause } = self.open.blocks;
        for (key, record) in &mut draft.changed {
            let due = if terms.stored && pause == 0 { record.map.block(terms.recent_bytes) } else { None };
            match due {
                Some(block) => {
                    let key_bytes = state::partition_key(&stored.terms.source_cluster, key);
                    self.parts.target.write_block(&key_bytes, &block.encode())?;
                    draft.blocks.push((key.clone(), block));
                }
                None => {
                    record.map.forget_beyond(if terms.stored { RANGES_MAX } else { RANGES_WITHOUT_BLOCKS_MAX });
                }
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
        for (key, record) in corrected {
            self.parts.target.write_state(&state::partition_key(source, key), Some(&state::encode(record)))?;
        }
        self.drain(draft)
    }
}

impl Open {
    /// Notes the blocks of a committed transaction, and where they are.
    pub(super) fn complete_blocks(&mut self, blocks: Vec<(Partition, Block)>, offsets: Offsets) {
        self.blocks.pause = self.blocks.pause.saturating_sub(1);
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
        let suspected = !draft.blocks.is_empty();
        if suspected {
            self.blocks.handle_failure(error);
        }
        suspected && matches!(error, LaneError::Target(TargetError::Unauthorized(_)))
    }
}
