//! State of a decoder: what its encoder assumes that it knows.

use super::encoder::{STATE_BEGINS, STREAM_BEGINS, WINDOW_BEGINS};
use super::nodes::KnownNodes;
use super::number::Number;
use super::padded::Padded;
use super::streams::{Room, Streams};
use super::weight::{self, Columns, Known};
use crate::column::Kind;
use crate::error::{DecodeError, ensure};
use crate::limits::{Limits, payload_max};
use crate::payload::PayloadReader;
use crate::records::{RecordsBuf, Span};
use crate::stream::{Memory, Predictor};
use crate::varint::Reader;
use crate::window::WindowUnpacker;

/// Memory of a decoder of blocks that refer to blocks before, which it must get in the order in which they were
/// encoded. Its memory is bounded, for any blocks.
#[derive(Debug)]
pub struct DecoderState {
    bound: usize,
    room: Room,
    streams: Streams<Stream>,
    number: Number,
    window: WindowUnpacker,
    /// True from the first block that cannot be decoded to the next one that begins the state.
    is_lost: bool,
}

/// Stream of similar records.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pub(super) nodes: KnownNodes,
    pub(super) columns: Columns<Column>,
    /// Columns with rows in the last block.
    pub(super) used: Vec<usize>,
}

/// Column of a stream.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) kind: Kind,
    pub(super) predictor: Predictor,
    pub(super) parents: [usize; 2],
    pub(super) memory: Memory,
    /// Distinct tokens or frames, and their bytes.
    pub(super) entries: Vec<Span>,
    pub(super) texts: Padded,
}

impl DecoderState {
    /// State of at most `bound` bytes, the codec's included: the encoder's bound.
    pub fn new(bound: usize) -> Self {
        let room = Room::of(bound);
        Self {
            bound,
            room,
            streams: Streams::new(),
            number: Number::first(bound),
            window: WindowUnpacker::new(room.window_log),
            is_lost: false,
        }
    }

    /// Bytes of the codec, and those that are charged for everything else.
    pub fn memory(&self) -> [usize; 2] {
        [self.window.memory(), self.streams.total()]
    }

    /// Decodes a block behind its first byte.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        limits: Limits,
        payload: &mut Vec<u8>,
        reader: &mut PayloadReader,
        out: &mut RecordsBuf,
    ) -> Result<(), DecodeError> {
        let mut rest = Reader::new(&block[1..]);
        let flags = rest.byte("the marks of a block")?;
        let begins = flags & STATE_BEGINS != 0;
        let is_known = flags <= STATE_BEGINS | STREAM_BEGINS | WINDOW_BEGINS;
        ensure(
            is_known && (!begins || flags & (STREAM_BEGINS | WINDOW_BEGINS) == STREAM_BEGINS | WINDOW_BEGINS),
            "marks of a block",
        )?;
        let number = rest.count("a stream", u32::MAX as usize)? as u32;
        if begins {
            self.streams = Streams::new();
            self.number = Number::first(self.bound);
        } else if self.is_lost {
            return Err(DecodeError::StateLost);
        } else {
            self.number.expect(&mut rest)?;
        }
        // What fails from here on leaves half of a block behind.
        self.is_lost = true;
        if flags & STREAM_BEGINS != 0 {
            self.streams.begin(number, Stream::default());
        }
        let stream = self.streams.get_mut(number).ok_or(DecodeError::Malformed("a stream that has not begun"))?;
        let len = rest.count("bytes of the payload", payload_max(limits.bytes))?;
        let packed = rest.take(rest.left(), "a block")?;
        self.window.unpack(packed, len, flags & WINDOW_BEGINS != 0, payload)?;
        reader.read_known(payload, limits, stream, self.room, out)?;
        self.number = self.number.next(block, stream.last_values());
        let Stream { nodes, columns, used } = stream;
        let weight = weight::trim(nodes, columns, used, self.room.streams, |_, column: &mut Column| {
            column.entries = Vec::new();
            column.texts = Padded::default();
        });
        self.streams.note_use(number, weight);
        self.streams.evict(self.room.streams);
        self.is_lost = false;
        Ok(())
    }
}

impl Stream {
    /// Last values of the columns with rows in the last block.
    fn last_values(&self) -> impl Iterator<Item = i64> {
        self.used.iter().filter_map(|number| self.columns[*number].as_ref()).map(|column| column.memory.last())
    }
}

impl Known for Column {
    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn texts(&self) -> [usize; 2] {
        [self.entries.len(), self.texts.len()]
    }
}
