//! Search of an offset in a map. Sans-IO: it names the block that it has to read next.

use wire::ids::{Offset, Position};

use super::blocks::BlockRef;
use super::ranges::Ends;
use super::{MapPart, MapRange};

/// Offset whose counterpart is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Target offset of this source offset.
    Target(Offset),
    /// Source offset of this target offset.
    Source(Offset),
}

/// What the map says of an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The record is at this offset on the other side.
    Record(Offset),
    /// There is no record of the link. The next one is at this offset on the other side.
    Next(Offset),
    /// There is no record of the link here or later in the map, whose other side ends at this position; `None` where it has
    /// no record at all.
    After(Option<Position>),
    /// The map does not go back so far.
    Before,
}

/// Next step of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Found(Found),
    /// Continue in this block.
    Read(BlockRef),
}

impl Wanted {
    /// Returns the searched offset's side of two.
    fn side(self, ends: Ends) -> i64 {
        match self {
            Self::Target(_) => ends.source.0,
            Self::Source(_) => ends.target.0,
        }
    }

    fn other_side(self, ends: Ends) -> i64 {
        match self {
            Self::Target(_) => ends.target.0,
            Self::Source(_) => ends.source.0,
        }
    }

    fn offset(self) -> i64 {
        match self {
            Self::Target(offset) | Self::Source(offset) => offset.0,
        }
    }

    fn is_before(self, ends: Ends) -> bool {
        self.offset() < self.side(ends)
    }
}

impl MapPart<'_> {
    /// Searches an offset in this part.
    pub fn find(&self, wanted: Wanted) -> Step {
        if wanted.is_before(self.start()) {
            let block = self.block_before(|start| wanted.is_before(*start));
            return block.map_or(Step::Found(Found::Before), Step::Read);
        }
        let range = self.ranges().find(|range| wanted.is_before(range.end()));
        Step::Found(match range {
            Some(range) => found(wanted, range),
            None => Found::After(self.end().map(|end| Position(wanted.other_side(end)))),
        })
    }
}

fn found(wanted: Wanted, range: MapRange) -> Found {
    let first = Ends { source: Position(range.source.0), target: Position(range.target.0) };
    match wanted.offset() - wanted.side(first) {
        within @ 0.. => Found::Record(Offset(wanted.other_side(first) + within)),
        _ => Found::Next(Offset(wanted.other_side(first))),
    }
}
