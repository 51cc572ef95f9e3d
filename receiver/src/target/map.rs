//! The offset map of a partition: where each carried record went.
//!
//! A [`MapRange`] is a run of source offsets whose records have consecutive target offsets. The newest ranges are stored
//! in the partition's record, in the transaction that appends their records. When they are many, those that an earlier
//! transaction committed go to the map topic as a [`Block`], and the partition's record names the block from then on. Each
//! block names blocks before it at growing distances, so that a search reads few of them, and no index has to be kept.
//!
//! Both sequences of offsets only grow. Where one would not, because an operator moved a position back or the topic is
//! another one, the map begins again: what was before is "before the map".
//!
//! - `ranges`: ranges and their code
//! - `blocks`: references to blocks, and the search among them
//! - `prediction`: the map of a transaction in preparation
//! - `search`: the counterpart of an offset

pub mod blocks;
mod prediction;
pub mod ranges;
pub mod search;
#[cfg(test)]
mod tests;

use bincode::de::Decoder;
use bincode::de::read::Reader as _;
use bincode::enc::Encoder;
use bincode::error::{DecodeError as BincodeError, EncodeError};
use bincode::{Decode, Encode};
use wire::codec::{Reader, Writer};
use wire::error::DecodeError;
use wire::ids::{LaneId, Offset, Position};
use wire::origin::{FORMAT, StoredError};

use blocks::{BlockRef, Milestones};
use prediction::Prediction;
pub use prediction::Verdict;
use ranges::{Ends, Ranges};

/// Source offsets without a gap, whose records have target offsets without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapRange {
    pub source: Offset,
    pub target: Offset,
    pub count: u64,
}

/// Map of one partition, as its record has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionMap {
    /// Blocks and ranges; `None` where an earlier version stored the partition, and nothing was carried since.
    stored: Option<Stored>,
    /// Changes of the transaction in preparation.
    prediction: Prediction,
}

/// The part of a map that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    blocks: Milestones,
    /// Ranges after those in the blocks.
    ranges: Ranges,
}

/// Ranges in the map topic, with references to the blocks before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block(Stored);

impl PartitionMap {
    /// Makes the map of a partition whose next record is at `position` or later.
    pub fn beginning(position: Position) -> Self {
        let ranges = Ranges::beginning(Ends { source: position.max(Position(0)), target: Position(0) });
        Self { stored: Some(Stored { blocks: Milestones::default(), ranges }), prediction: Prediction::default() }
    }

    /// Makes the map begin at `position` if there is none.
    pub fn begin(&mut self, position: Position) {
        if self.stored.is_none() {
            *self = Self::beginning(position);
        }
    }

    /// Returns the search in this map and its blocks; `None` if it has never begun.
    pub fn search(&self) -> Option<MapPart<'_>> {
        self.stored.as_ref().map(MapPart)
    }

    /// Returns the block to write, if the stored ranges have more than `limit` bytes.
    pub fn block(&self, limit: usize) -> Option<Block> {
        let Stored { blocks, ranges } = self.stored.as_ref()?;
        (ranges.closed_bytes() > limit).then(|| Block(Stored { blocks: blocks.clone(), ranges: ranges.closed() }))
    }

    /// Notes that `block` is committed at this place: the map names it in place of its ranges.
    pub fn handle_block(&mut self, block: &Block, lane: LaneId, offset: Offset) {
        let Some(Stored { blocks, ranges }) = &mut self.stored else { return };
        if ranges.remove(&block.0.ranges) {
            blocks.add(BlockRef { lane, offset, start: block.0.ranges.start() });
        }
    }

    /// Drops the ranges before the newest one and all blocks, if the ranges have more than `limit` bytes.
    pub fn forget_beyond(&mut self, limit: usize) {
        let Some(Stored { blocks, ranges }) = &mut self.stored else { return };
        if ranges.closed_bytes() > limit {
            *blocks = Milestones::default();
            ranges.remove(&ranges.closed());
        }
    }
}

/// Map or block in which offsets are searched.
#[derive(Debug, Clone, Copy)]
pub struct MapPart<'a>(&'a Stored);

impl MapPart<'_> {
    /// Returns the first offsets of the part.
    pub fn start(&self) -> Ends {
        self.0.ranges.start()
    }

    /// Returns the offsets after the last record; `None` if there is no record.
    pub fn end(&self) -> Option<Ends> {
        self.0.ranges.end()
    }

    /// Returns the ranges of the part, the oldest first.
    pub fn ranges(&self) -> impl Iterator<Item = MapRange> {
        self.0.ranges.iter()
    }

    /// Returns the target offsets from `from` on that are before or between records of the part: each gap's first offset,
    /// and that of the record after it.
    pub fn gaps_after(&self, from: Position) -> impl Iterator<Item = (Position, Position)> {
        let mut reached = from;
        self.ranges().filter_map(move |range| {
            let gap = (reached, Position(range.target.0));
            reached = reached.max(range.end().target);
            (gap.0 < gap.1).then_some(gap)
        })
    }

    /// Returns the block to read next in search of an offset before this part: the block that has it, or else the
    /// oldest known one after it. `None`: no block is that old.
    pub fn block_before(&self, is_after: impl Fn(&Ends) -> bool) -> Option<BlockRef> {
        self.0.blocks.before(is_after)
    }

    /// Returns the oldest positions that the part knows of, without a look into blocks.
    pub fn oldest_known(&self) -> Ends {
        self.block_before(|_| true).map_or_else(|| self.start(), |block| block.start)
    }

    /// Returns the block with the ranges before this part; `None` if there are none.
    pub fn previous(&self) -> Option<BlockRef> {
        self.block_before(|_| false)
    }
}

impl Block {
    /// Returns the search in this block.
    pub fn search(&self) -> MapPart<'_> {
        MapPart(&self.0)
    }

    /// Encodes the value of the block's record.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        self.0.write(&mut bytes);
        bytes
    }

    /// Decodes bytes from [`Block::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StoredError> {
        match bytes.split_first() {
            Some((&FORMAT, body)) => Stored::read(body).map(Self).map_err(StoredError::Damaged),
            Some((&format, _)) => Err(StoredError::Format(format)),
            None => Err(StoredError::Empty),
        }
    }
}

impl Stored {
    fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        self.ranges.start().write(&mut writer);
        self.blocks.write(&mut writer, self.ranges.start());
        self.ranges.write(&mut writer);
    }

    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let start = Ends::read(&mut reader)?;
        let blocks = Milestones::read(&mut reader, start)?;
        let ranges = Ranges::read(reader, start)?;
        Ok(Self { blocks, ranges })
    }
}

/// A map that has never begun takes no bytes, as in the records of earlier versions: it is their last field.
impl Encode for PartitionMap {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Some(stored) = &self.stored else { return Ok(()) };
        let mut bytes = Vec::new();
        stored.write(&mut bytes);
        bytes.encode(encoder)
    }
}

impl<Context> Decode<Context> for PartitionMap {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, BincodeError> {
        if decoder.reader().peek_read(1).is_none() {
            return Ok(Self::default());
        }
        let bytes = Vec::<u8>::decode(decoder)?;
        let stored = Stored::read(&bytes).map_err(|_| BincodeError::Other("offset map"))?;
        Ok(Self { stored: Some(stored), prediction: Prediction::default() })
    }
}

bincode::impl_borrow_decode!(PartitionMap);
