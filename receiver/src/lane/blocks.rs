//! Whether a lane may write blocks of its offset maps now. Sans-IO.

use super::terms::MapTerms;
use crate::target::TargetError;
use crate::target::map::{Block, PartitionMap};

/// Committed transactions of the lane without blocks, after one with blocks has failed.
const PAUSE: u32 = 256;
/// Bytes of ranges that a partition's record may have if there is a map topic, and if there is none.
const RANGES_MAX: usize = 8 << 10;
const RANGES_WITHOUT_BLOCKS_MAX: usize = 512;

/// Blocks of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    terms: MapTerms,
    pause: u32,
}

impl Blocks {
    pub(super) fn new(terms: MapTerms) -> Self {
        Self { terms, pause: 0 }
    }

    /// Returns the block of a map that has to be written, if it may be.
    pub(super) fn due(&self, map: &PartitionMap) -> Option<Block> {
        (self.terms.stored && self.pause == 0).then(|| map.block(self.terms.recent_bytes)).flatten()
    }

    /// Most bytes of ranges that stay in a partition's record without a block.
    pub(super) fn ranges_max(&self) -> usize {
        if self.terms.stored { RANGES_MAX } else { RANGES_WITHOUT_BLOCKS_MAX }
    }

    pub(super) fn handle_success(&mut self) {
        self.pause = self.pause.saturating_sub(1);
    }

    /// Notes the failure of a transaction that had blocks, which may be their fault.
    pub(super) fn handle_failure(&mut self, error: &TargetError) {
        self.pause = PAUSE;
        if matches!(error, TargetError::MapRejected { .. } | TargetError::Unauthorized(_)) {
            tracing::warn!(%error, "the lane writes no further blocks of its offset maps until it is opened again");
            self.terms.stored = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka::{KafkaError, KafkaFault};
    use wire::ids::{Offset, Position};

    use super::*;

    fn long_map() -> PartitionMap {
        let mut map = PartitionMap::beginning(Position(0));
        for number in 0..200 {
            map.append(Offset(2 * number));
        }
        map.predict();
        map
    }

    fn failed() -> TargetError {
        KafkaError { doing: "drain".to_owned(), reason: "late".to_owned(), fault: KafkaFault::Unavailable }.into()
    }

    #[test]
    fn a_map_topic_that_fails_holds_up_no_records() {
        let map = long_map();
        let mut blocks = Blocks::new(MapTerms::new(true));
        assert!(blocks.due(&map).is_some());
        blocks.handle_failure(&failed());
        assert!(blocks.due(&map).is_none());
        (0..PAUSE).for_each(|_| blocks.handle_success());
        assert!(blocks.due(&map).is_some());
        blocks.handle_failure(&TargetError::MapRejected { topic: "map".into(), reason: "no".to_owned() });
        (0..PAUSE).for_each(|_| blocks.handle_success());
        assert!(blocks.due(&map).is_none() && blocks.ranges_max() == RANGES_WITHOUT_BLOCKS_MAX);
    }
}
