//! Blocks of map topics that were read, as long as there is room for them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use wire::ids::{LaneId, Offset};

use crate::target::StoredBlock;
use crate::target::map::Block;

/// Bytes of all blocks as they are stored.
const BYTES_MAX: usize = 8 << 20;
/// Bytes that a block takes besides its ranges.
const OVERHEAD: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct BlockPlace {
    pub(super) link: String,
    pub(super) lane: LaneId,
    pub(super) offset: Offset,
}

#[derive(Debug)]
pub(super) struct KnownBlock {
    /// Key of the partition's record in the state.
    pub(super) key: Vec<u8>,
    pub(super) block: Block,
    bytes: usize,
}

/// Blocks in memory; the oldest leaves first.
#[derive(Debug, Default)]
pub(super) struct BlockCache {
    blocks: HashMap<BlockPlace, Arc<KnownBlock>>,
    in_order: VecDeque<BlockPlace>,
    bytes: usize,
}

impl BlockCache {
    pub(super) fn get(&self, place: &BlockPlace) -> Option<Arc<KnownBlock>> {
        self.blocks.get(place).cloned()
    }

    /// Adds a block. What is no block is left out.
    pub(super) fn add(&mut self, place: BlockPlace, stored: StoredBlock) {
        let bytes = stored.key.len() + stored.value.len() + OVERHEAD;
        let Ok(block) = Block::decode(&stored.value) else { return };
        let known = Arc::new(KnownBlock { key: stored.key, block, bytes });
        match self.blocks.insert(place.clone(), known) {
            Some(before) => self.bytes -= before.bytes,
            None => self.in_order.push_back(place),
        }
        self.bytes += bytes;
        while self.bytes > BYTES_MAX {
            let Some(oldest) = self.in_order.pop_front() else { break };
            self.bytes -= self.blocks.remove(&oldest).map_or(0, |known| known.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::ids::Position;

    use super::*;
    use crate::target::map::PartitionMap;

    fn block() -> Vec<u8> {
        let mut map = PartitionMap::beginning(Position(0));
        for source in [0, 2, 4] {
            map.append(Offset(source));
        }
        map.predict();
        map.block(0).map(|block| block.encode()).unwrap_or_default()
    }

    #[test]
    fn memory_for_blocks_is_bounded() {
        let mut cache = BlockCache::default();
        let place = |offset| BlockPlace { link: "l".to_owned(), lane: LaneId(0), offset: Offset(offset) };
        let value = block();
        let most = BYTES_MAX / OVERHEAD;
        for offset in 0..2 * most as i64 {
            cache.add(place(offset), StoredBlock { offset: Offset(offset), key: vec![1], value: value.clone() });
        }
        assert!(cache.bytes <= BYTES_MAX && cache.blocks.len() > most / 2 && cache.blocks.len() < most);
        assert_eq!(cache.in_order.len(), cache.blocks.len());
        assert!(cache.get(&place(0)).is_none() && cache.get(&place(2 * most as i64 - 1)).is_some());
        cache.add(place(-1), StoredBlock { offset: Offset(-1), key: vec![1], value: vec![9] });
        assert!(cache.get(&place(-1)).is_none(), "no block");
    }
}
