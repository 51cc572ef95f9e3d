//! Decoder: blocks to records. It accepts any bytes, and its memory is bounded by the limits that it is given.

use crate::block::{PLAIN, RAW, SHAPE, STATE};
use crate::error::{DecodeError, within};
use crate::limits::{Limits, payload_max};
use crate::pack::Unpacker;
use crate::payload::PayloadReader;
use crate::records::RecordsBuf;
use crate::state::DecoderState;
use crate::varint::Reader;

/// Most bytes of the length of a record.
const LENGTH_BYTES_MAX: usize = 5;

/// Decoder of blocks, with reusable memory.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    unpacker: Unpacker,
    payload: Vec<u8>,
    reader: PayloadReader,
}

impl Decoder {
    /// Decoder that refuses blocks beyond these limits.
    pub fn new(limits: Limits) -> Self {
        Self { limits, unpacker: Unpacker::new(), payload: Vec::new(), reader: PayloadReader::default() }
    }

    /// Replaces the limits.
    pub const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Replaces the content of `out` by the records of a block.
    ///
    /// # Errors
    /// Any bytes that the format does not allow, or that exceed the limits. `out` has no defined content then.
    pub fn decode(&mut self, block: &[u8], out: &mut RecordsBuf) -> Result<(), DecodeError> {
        let mut reader = Reader::new(block);
        let form = reader.byte("the form of a block")?;
        let lengths_max = self.limits.records.saturating_add(2).saturating_mul(LENGTH_BYTES_MAX);
        match form {
            RAW => self.raw(reader, lengths_max, out),
            PLAIN => {
                let count = reader.count("records", self.limits.records)?;
                let rest = reader.take(reader.left(), "a block")?;
                let most = lengths_max.saturating_add(self.limits.bytes);
                self.unpacker.unpack(rest, most, &mut self.payload)?;
                let mut reader = Reader::new(&self.payload);
                read_lengths(&mut reader, count, self.limits, out)?;
                read_bytes(&mut reader, out)
            }
            SHAPE => {
                let rest = reader.take(reader.left(), "a block")?;
                self.unpacker.unpack(rest, payload_max(self.limits.bytes), &mut self.payload)?;
                self.reader.read(&self.payload, self.limits, out)
            }
            STATE => Err(DecodeError::Malformed("a block with state where none is kept")),
            _ => Err(DecodeError::Malformed("an unknown form of block")),
        }
    }

    /// Like [`Self::decode`], also for blocks that refer to blocks before.
    ///
    /// # Errors
    /// Like those of `decode`; also for blocks that do not follow the last one. After any error in a block with state,
    /// only a block that begins the state can be decoded with it.
    pub fn decode_with(
        &mut self,
        state: &mut DecoderState,
        block: &[u8],
        out: &mut RecordsBuf,
    ) -> Result<(), DecodeError> {
        if block.first() != Some(&STATE) {
            return self.decode(block, out);
        }
        state.decode(block, self.limits, &mut self.payload, &mut self.reader, out)
    }

    fn raw(&mut self, mut reader: Reader<'_>, lengths_max: usize, out: &mut RecordsBuf) -> Result<(), DecodeError> {
        let count = reader.count("records", self.limits.records)?;
        let packed = reader.count("bytes of the lengths", lengths_max)?;
        if packed == 0 {
            read_lengths(&mut reader, count, self.limits, out)?;
        } else {
            let packed = reader.take(packed, "the lengths")?;
            self.unpacker.unpack(packed, lengths_max, &mut self.payload)?;
            let mut lengths = Reader::new(&self.payload);
            read_lengths(&mut lengths, count, self.limits, out)?;
            lengths.end()?;
        }
        read_bytes(&mut reader, out)
    }
}

fn read_lengths(
    reader: &mut Reader<'_>,
    count: usize,
    limits: Limits,
    out: &mut RecordsBuf,
) -> Result<(), DecodeError> {
    out.clear();
    let mut end = 0;
    for _ in 0..count {
        end += reader.count("bytes of a record", limits.bytes)?;
        within("bytes of records", end, limits.bytes)?;
        out.ends.push(end as u32);
    }
    Ok(())
}

/// Reads the bytes of all records, which end the block.
fn read_bytes(reader: &mut Reader<'_>, out: &mut RecordsBuf) -> Result<(), DecodeError> {
    let len = out.ends.last().map_or(0, |end| *end as usize);
    out.bytes.extend_from_slice(reader.take(len, "the records")?);
    reader.end()
}
