//! References to blocks of the map topic. Block *n* of a partition refers to the last block before it, to the last one
//! whose number is a multiple of 8, to the last one of 64, and so on: whichever block is searched, a search goes back
//! through at most 7 blocks of each distance.

use wire::codec::{Reader, Writer};
use wire::error::DecodeError;
use wire::ids::{LaneId, Offset, Position};

use super::ranges::{Ends, number};

/// Factor between two distances.
const STEP: u64 = 8;
/// Distances of the largest number of blocks.
const LEVELS_MAX: u64 = 22;

/// Place of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef {
    /// Lane that wrote it: the partition of the map topic.
    pub lane: LaneId,
    /// Its offset in that partition.
    pub offset: Offset,
    /// First positions of its ranges.
    pub start: Ends,
}

/// References to blocks of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Milestones {
    /// Number of blocks that were written: that of the next one.
    written: u64,
    /// The last block, and the last one of each distance, the nearest first.
    last: Vec<BlockRef>,
}

impl Milestones {
    /// Adds the next block.
    pub(super) fn add(&mut self, block: BlockRef) {
        let mut number = self.written;
        for level in 0.. {
            match self.last.get_mut(level) {
                Some(last) => *last = block,
                None => self.last.push(block),
            }
            if number == 0 || !number.is_multiple_of(STEP) {
                break;
            }
            number /= STEP;
        }
        self.written += 1;
    }

    /// Returns the newest block that does not begin after the offset that is searched; if it is not known, the oldest
    /// block that is known.
    pub(super) fn before(&self, is_after: impl Fn(&Ends) -> bool) -> Option<BlockRef> {
        let first = self.last.first()?;
        if !is_after(&first.start) {
            return Some(*first);
        }
        self.last.iter().rev().find(|block| is_after(&block.start)).copied()
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>, start: Ends) {
        writer.varint(self.written);
        if self.written == 0 {
            return;
        }
        writer.varint(self.last.len() as u64);
        let mut nearer = start;
        for BlockRef { lane, offset, start } in &self.last {
            writer.varint(u64::from(lane.0));
            writer.varint(offset.0.cast_unsigned());
            writer.varint((nearer.source.0 - start.source.0).cast_unsigned());
            writer.varint((nearer.target.0 - start.target.0).cast_unsigned());
            nearer = *start;
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>, start: Ends) -> Result<Self, DecodeError> {
        let written = reader.varint()?;
        let levels = if written == 0 { 0 } else { reader.varint_to("distances of blocks", LEVELS_MAX)? };
        let mut nearer = start;
        let mut last = Vec::new();
        for _ in 0..levels {
            let lane = LaneId(reader.varint_to("lane", u16::MAX.into())? as u16);
            let offset = Offset(number(reader)?);
            let source = Position(nearer.source.0 - number(reader)?);
            let target = Position(nearer.target.0 - number(reader)?);
            if source < Position(0) || target < Position(0) {
                return Err(DecodeError::Malformed("place of a block"));
            }
            nearer = Ends { source, target };
            last.push(BlockRef { lane, offset, start: nearer });
        }
        Ok(Self { written, last })
    }
}
