//! Ranges of a map and their code: the distance of each from the one before.

use wire::codec::{Reader, Writer};
use wire::error::DecodeError;
use wire::ids::{Offset, Position};

use super::MapRange;

/// Bits of a range's first number, below its count: a gap in the source, or in the target, follows.
const SOURCE_GAP: u64 = 1;
const TARGET_GAP: u64 = 2;

/// Positions in source and target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    pub source: Position,
    pub target: Position,
}

impl Ends {
    pub(super) fn write(self, writer: &mut Writer<'_>) {
        writer.varint(self.source.0.cast_unsigned());
        writer.varint(self.target.0.cast_unsigned());
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { source: Position(number(reader)?), target: Position(number(reader)?) })
    }
}

impl MapRange {
    /// Returns the positions after the last record.
    pub fn end(&self) -> Ends {
        let after = |first: Offset| Position(first.0.saturating_add_unsigned(self.count));
        Ends { source: after(self.source), target: after(self.target) }
    }

    fn follows(&self, before: Ends) -> bool {
        self.source.0 == before.source.0 && self.target.0 == before.target.0
    }

    fn write(&self, before: Ends, writer: &mut Writer<'_>) {
        let source_gap = (self.source.0 - before.source.0).cast_unsigned();
        let target_gap = (self.target.0 - before.target.0).cast_unsigned();
        let flags = u64::from(source_gap > 0) * SOURCE_GAP + u64::from(target_gap > 0) * TARGET_GAP;
        writer.varint(self.count << 2 | flags);
        [source_gap, target_gap].into_iter().filter(|gap| *gap > 0).for_each(|gap| writer.varint(gap));
    }

    fn read(before: Ends, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let head = reader.varint()?;
        let mut gap = |flag| if head & flag > 0 { number(reader) } else { Ok(0) };
        let source = before.source.0.checked_add(gap(SOURCE_GAP)?);
        let target = before.target.0.checked_add(gap(TARGET_GAP)?);
        let (Some(source), Some(target)) = (source, target) else { return Err(DecodeError::Malformed("offset")) };
        let count = head >> 2;
        let fits =
            count > 0 && source.checked_add_unsigned(count).is_some() && target.checked_add_unsigned(count).is_some();
        let range = Self { source: Offset(source), target: Offset(target), count };
        if fits { Ok(range) } else { Err(DecodeError::Malformed("offset range")) }
    }
}

/// Reads an offset or a distance.
pub(super) fn number(reader: &mut Reader<'_>) -> Result<i64, DecodeError> {
    reader.varint_to("offset", i64::MAX.cast_unsigned()).map(u64::cast_signed)
}

/// Ranges whose offsets increase on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    /// Positions from which the distance of the first range counts.
    start: Ends,
    /// Code of all ranges but the newest, which may still grow.
    closed: Vec<u8>,
    closed_end: Ends,
    newest: Option<MapRange>,
}

/// State of ranges at one moment, to which they can return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint {
    start: Ends,
    bytes: usize,
    closed_end: Ends,
    newest: Option<MapRange>,
}

impl Ranges {
    pub(super) fn beginning(start: Ends) -> Self {
        Self { start, closed: Vec::new(), closed_end: start, newest: None }
    }

    pub(super) fn start(&self) -> Ends {
        self.start
    }

    pub(super) fn end(&self) -> Option<Ends> {
        self.newest.as_ref().map(MapRange::end)
    }

    /// Bytes of all ranges but the newest.
    pub(super) fn closed_bytes(&self) -> usize {
        self.closed.len()
    }

    /// Adds a range after all others. False: it would not be after them, and nothing has changed.
    pub(super) fn push(&mut self, range: MapRange) -> bool {
        let Some(newest) = &mut self.newest else {
            if range.source.0 < self.start.source.0 {
                return false;
            }
            // Records before the first range are not known to be ours.
            self.start.target = Position(range.target.0);
            self.closed_end = self.start;
            self.newest = Some(range);
            return true;
        };
        let end = newest.end();
        if range.source.0 < end.source.0 || range.target.0 < end.target.0 {
            return false;
        }
        if range.follows(end) {
            newest.count += range.count;
        } else {
            newest.write(self.closed_end, &mut Writer::new(&mut self.closed));
            self.closed_end = end;
            self.newest = Some(range);
        }
        true
    }

    /// Returns all ranges but the newest.
    pub(super) fn closed(&self) -> Self {
        let read = Self::read(Reader::new(&self.closed), self.start);
        read.unwrap_or_else(|_| Self::beginning(self.start))
    }

    /// Removes these ranges, which are the first ones. False: they are not.
    pub(super) fn remove(&mut self, first: &Self) -> bool {
        let mut bytes = Vec::new();
        first.write(&mut Writer::new(&mut bytes));
        if first.start != self.start || !self.closed.starts_with(&bytes) {
            return false;
        }
        self.closed.drain(..bytes.len());
        self.start = first.end().unwrap_or(self.start);
        if self.closed.is_empty() {
            self.closed_end = self.start;
        }
        true
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        let Self { start, closed, closed_end, newest } = self;
        Checkpoint { start: *start, bytes: closed.len(), closed_end: *closed_end, newest: *newest }
    }

    /// Removes everything that was pushed since.
    pub(super) fn return_to(&mut self, checkpoint: Checkpoint) {
        let Checkpoint { start, bytes, closed_end, newest } = checkpoint;
        self.closed.truncate(bytes);
        self.start = start;
        self.closed_end = closed_end;
        self.newest = newest;
    }

    /// Returns the ranges, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = MapRange> {
        let mut reader = Reader::new(&self.closed);
        let mut end = self.start;
        let closed = std::iter::from_fn(move || {
            let range = MapRange::read(end, &mut reader).ok()?;
            end = range.end();
            Some(range)
        });
        closed.chain(self.newest)
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        writer.bytes(&self.closed);
        self.newest.iter().for_each(|newest| newest.write(self.closed_end, writer));
    }

    /// Reads ranges up to the end of the bytes.
    pub(super) fn read(reader: Reader<'_>, start: Ends) -> Result<Self, DecodeError> {
        let mut ranges = Self::beginning(start);
        let mut rest = reader;
        let whole = reader.remaining();
        let mut closed = 0;
        while rest.remaining() > 0 {
            closed = whole - rest.remaining();
            let end = ranges.newest.map_or(start, |newest| newest.end());
            let range = MapRange::read(end, &mut rest)?;
            ranges.closed_end = end;
            ranges.newest = Some(range);
        }
        let mut all = reader;
        ranges.closed = all.take(closed)?.to_vec();
        Ok(ranges)
    }
}
