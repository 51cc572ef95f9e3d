//! Expansion of a shaped body: blocks and a remainder to the body that the rest of this crate reads
//! (wire-format.md#shaped-body), with state or without. It checks what it needs to stay within the limits; the decoder
//! checks the result.

use std::cell::RefCell;

use shape::{Decoder, DecoderState, Limits, RecordsBuf};
use xxhash_rust::xxh3::xxh3_64;

use super::header::FrameHeader;
use super::part::{Part, Parts, REMAINDER_PACKED, REMAINDER_PLAIN};
use super::remembered::Remembered;
use crate::codec::{Reader, Writer};
use crate::compress::expand_stated;
use crate::error::{DecodeError, ensure, within};
use crate::limits::{FRAME_BODY_MAX, GROUPS_MAX, RECORDS_MAX};

/// Buffers that a thread keeps for the next frame: values, keys and headers of one topic.
const KEPT_MAX: usize = Part::ALL.len();

thread_local! {
// Creating a decoder costs more than a small block.
    static SCRATCH: RefCell<Option<Scratch>> = const { RefCell::new(None) };
}

/// Decoder with reusable memory.
struct Scratch {
    decoder: Decoder,
    buffers: Vec<RecordsBuf>,
}

/// Blocks of one group.
struct Group {
    parts: Parts,
    blocks: [Block; Part::ALL.len()],
}

/// Records of a block, of which the first `used` are in the body already.
#[derive(Default)]
struct Block {
    records: RecordsBuf,
    used: usize,
}

/// Run of the remainder.
struct Run {
    count: u32,
    group: usize,
    /// Bytes of keys and values in the remainder, or records of them in blocks.
    amounts: [usize; 2],
}

/// Expands a shaped body.
pub(super) fn expand(header: &FrameHeader, packed: &[u8]) -> Result<Vec<u8>, DecodeError> {
    SCRATCH.with_borrow_mut(|scratch| {
        let scratch = scratch.get_or_insert_default();
        let mut reader = Reader::new(packed);
        let groups = read_groups(&mut reader, header, scratch, None)?;
        let remainder = expand_stated(reader.take(reader.remaining())?, header.raw_len)?;
        scratch.body(header, groups, &remainder)
    })
}

/// Expands a body whose blocks may refer to those of earlier frames.
pub(super) fn expand_with_state(
    header: &FrameHeader,
    packed: &[u8],
    remembered: &mut Remembered,
) -> Result<Vec<u8>, DecodeError> {
    SCRATCH.with_borrow_mut(|scratch| {
        let scratch = scratch.get_or_insert_default();
        let mut reader = Reader::new(packed);
        let state = remembered.state(reader.u8()?)?;
        let check = reader.u32()?;
        let groups = read_groups(&mut reader, header, scratch, Some(state))?;
        let form = reader.u8()?;
        let rest = reader.take(reader.remaining())?;
        let body = match form {
            REMAINDER_PLAIN => scratch.body(header, groups, rest)?,
            REMAINDER_PACKED => scratch.body(header, groups, &expand_stated(rest, header.raw_len)?)?,
            _ => return Err(DecodeError::Malformed("unknown form of the remainder")),
        };
        // The frame's own checksum says nothing about what the state has made of it.
        if body_check(&body) == check { Ok(body) } else { Err(DecodeError::Restored) }
    })
}

/// Check of a body that is restored with a state: the low half of its XXH3-64.
pub(super) fn body_check(body: &[u8]) -> u32 {
    xxh3_64(body) as u32
}

impl Default for Scratch {
    fn default() -> Self {
        Self { decoder: Decoder::new(Limits::default()), buffers: Vec::new() }
    }
}

impl Scratch {
    /// Puts a body together, and keeps the buffers of its groups.
    fn body(&mut self, header: &FrameHeader, mut groups: Vec<Group>, remainder: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let body = Body { rest: Reader::new(remainder), groups: &mut groups, out: Vec::with_capacity(header.raw_len) };
        let body = body.expand(header);
        let used = groups.into_iter().flat_map(|group| group.blocks).map(|block| block.records);
        self.buffers.extend(used);
        self.buffers.sort_by_key(|buffer| std::cmp::Reverse(buffer.as_records().bytes().len()));
        self.buffers.truncate(KEPT_MAX);
        body
    }
}

/// Reads the table of groups, and decodes their blocks. All blocks together have at most as many bytes as the body.
fn read_groups(
    reader: &mut Reader<'_>,
    header: &FrameHeader,
    scratch: &mut Scratch,
    mut state: Option<&mut DecoderState>,
) -> Result<Vec<Group>, DecodeError> {
    let count = usize::from(reader.u8()?);
    within("groups", count, GROUPS_MAX)?;
    let mut tables = Vec::with_capacity(count);
    for _ in 0..count {
        let parts = Parts::read(reader.u8()?)?;
        let mut lengths = [0; Part::ALL.len()];
        for part in parts.iter() {
            lengths[part as usize] = reader.varint_to("bytes of a block", header.body_len as u64)? as usize;
        }
        tables.push((parts, lengths));
    }
    let mut bytes = header.raw_len;
    let mut groups = Vec::with_capacity(count);
    for (parts, lengths) in tables {
        let mut group = Group { parts, blocks: Default::default() };
        for part in parts.iter() {
            scratch.decoder.set_limits(Limits { bytes, records: header.record_count as usize });
            let mut records = scratch.buffers.pop().unwrap_or_default();
            let block = reader.take(lengths[part as usize])?;
            match &mut state {
                Some(state) => scratch.decoder.decode_with(state, block, &mut records)?,
                None => scratch.decoder.decode(block, &mut records)?,
            }
            bytes -= records.as_records().bytes().len();
            group.blocks[part as usize].records = records;
        }
        groups.push(group);
    }
    Ok(groups)
}

impl Block {
    /// Bytes of the next record.
    fn next(&mut self) -> Result<&[u8], DecodeError> {
        let record = self.records.as_records().get(self.used);
        self.used += 1;
        record.ok_or(DecodeError::Malformed("a block has too few records"))
    }

    /// Bytes of the next records together.
    fn take(&mut self, count: usize) -> Result<&[u8], DecodeError> {
        let records = self.records.as_records().slice(self.used, count);
        self.used += count;
        records.ok_or(DecodeError::Malformed("a block has too few records"))
    }
}

/// Body that grows from a remainder and blocks.
struct Body<'a> {
    rest: Reader<'a>,
    groups: &'a mut Vec<Group>,
    out: Vec<u8>,
}

impl Body<'_> {
    fn expand(mut self, header: &FrameHeader) -> Result<Vec<u8>, DecodeError> {
        let mut runs = Vec::with_capacity(header.run_count as usize);
        for _ in 0..header.run_count {
            let run = self.run()?;
            runs.push(run);
        }
        for run in &mut runs {
            self.numbers(2 * run.count as usize)?;
            run.amounts = [self.lengths(run, Part::Keys)?, self.lengths(run, Part::Values)?];
            self.headers(run)?;
            within("raw length", self.out.len(), header.raw_len)?;
        }
        // The bytes of keys follow in the order of the runs, so their blocks begin again.
        for group in &mut *self.groups {
            for part in group.parts.iter() {
                let block = &mut group.blocks[part as usize];
                ensure(block.used == block.records.as_records().len(), "a block has too many records")?;
                block.used = 0;
            }
        }
        for (index, part) in [Part::Keys, Part::Values].into_iter().enumerate() {
            for run in &runs {
                self.bytes(run, part, run.amounts[index], header.raw_len)?;
            }
        }
        self.rest.finish()?;
        if self.out.len() != header.raw_len {
            return Err(DecodeError::RawLength { stated: header.raw_len, found: self.out.len() });
        }
        Ok(self.out)
    }

    /// Copies an entry of the run table, and reads its group.
    fn run(&mut self) -> Result<Run, DecodeError> {
        self.numbers(3)?;
        let count = self.rest.varint_to("records in a run", RECORDS_MAX.into())? as u32;
        Writer::new(&mut self.out).varint(count.into());
        self.numbers(1)?;
        let group = self.rest.varint_to("group of a run", self.groups.len() as u64)? as usize;
        Writer::new(&mut self.out).varint(0);
        Ok(Run { count, group, amounts: [0; 2] })
    }

    /// Copies numbers.
    fn numbers(&mut self, count: usize) -> Result<(), DecodeError> {
        let bytes = self.rest.take_varints(count)?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn block(&mut self, run: &Run, part: Part) -> Option<&mut Block> {
        let group = self.groups.get_mut(run.group.checked_sub(1)?)?;
        group.parts.contain(part).then(|| &mut group.blocks[part as usize])
    }

    /// Writes a column of lengths. Returns their sum, or the number of fields that are not null in a block.
    fn lengths(&mut self, run: &Run, part: Part) -> Result<usize, DecodeError> {
        let mut amount = 0;
        let is_in_block = self.block(run, part).is_some();
        for _ in 0..run.count {
            let most = if is_in_block { 1 } else { FRAME_BODY_MAX as u64 + 1 };
            let mut length = self.rest.varint_to("length", most)?;
            if let Some(block) = self.block(run, part).filter(|_| length == 1) {
                length = block.next()?.len() as u64 + 1;
                amount += 1;
            } else if !is_in_block {
                amount += length.saturating_sub(1) as usize;
                within("length", amount, FRAME_BODY_MAX)?;
            }
            Writer::new(&mut self.out).varint(length);
        }
        Ok(amount)
    }

    fn headers(&mut self, run: &Run) -> Result<(), DecodeError> {
        for _ in 0..run.count {
            let count = self.rest.varint_to("headers", FRAME_BODY_MAX as u64)?;
            let mut out = Writer::new(&mut self.out);
            out.varint(count);
            if count == 0 {
                continue;
            }
            let bytes = match self.groups.get_mut(run.group.wrapping_sub(1)) {
                Some(group) if group.parts.contain(Part::Headers) => group.blocks[Part::Headers as usize].next()?,
                _ => {
                    let len = self.rest.varint_to("header bytes", FRAME_BODY_MAX as u64)?;
                    self.rest.take(len as usize)?
                }
            };
            out.varint(bytes.len() as u64);
            out.bytes(bytes);
        }
        Ok(())
    }

    /// Copies the keys or values of a run, as many bytes or records as there are.
    fn bytes(&mut self, run: &Run, part: Part, amount: usize, most: usize) -> Result<(), DecodeError> {
        let bytes = match self.groups.get_mut(run.group.wrapping_sub(1)) {
            Some(group) if group.parts.contain(part) => group.blocks[part as usize].take(amount)?,
            _ => self.rest.take(amount)?,
        };
        within("raw length", self.out.len() + bytes.len(), most)?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}
