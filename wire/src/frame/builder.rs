//! Builder of frames with records of many partitions. Records arrive interleaved. Each is copied once into an arena, and
//! the columns are laid out when the frame is closed. Memory depends on the records, not on the number of partitions.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;

use super::content::{Content, OpenRun, Packed};
use super::header::{FrameHead, FrameHeader};
use super::incompressible::{Incompressible, shrinks};
use super::record::RecordRef;
use super::run_bytes::RunBytes;
use super::shaped::body_check;
use super::shaper::Shaper;
use crate::codec::zigzag;
use crate::compress::{Codec, compress_into, id};
use crate::ids::{Position, Slot};
use crate::limits::{
    FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_RAW_TARGET, RECORDS_MAX, RUN_BYTES_MAX, RUNS_MAX, STATE_EXCESS_MAX,
};

/// Bytes of a buffer that are kept after a frame: a large record may have made it grow beyond them.
const BUFFER_KEPT_MAX: usize = 2 * FRAME_RAW_TARGET;

/// Builder of one lane's frames.
#[derive(Default)]
pub struct FrameBuilder {
    content: Content,
    run_of_slot: HashMap<Slot, usize>,
    /// Run of the last record. Records come in bursts of one partition, so this saves most look-ups.
    last_run: usize,
    columns_len: usize,
    raw: Vec<u8>,
    packed: Vec<u8>,
    shaped: Vec<u8>,
    incompressible: Incompressible,
    /// Bytes of each run of the last frame.
    finished: Vec<RunBytes>,
}

impl FrameBuilder {
    /// An empty frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record. `from` is its partition's position before this record. The run gets the leader epoch of its last
    /// record.
    ///
    /// # Panics
    /// If offsets do not ascend, if `from` is not the end of the slot's open run, or if the frame is full: callers close
    /// it at [`FRAME_RAW_TARGET`], and send a larger record in a frame of its own.
    pub fn push(&mut self, slot: Slot, from: Position, leader_epoch: i32, record: &RecordRef<'_>) {
        assert!(leader_epoch >= -1, "slot {slot}: leader epoch {leader_epoch}");
        assert!(self.content.records.len() < RECORDS_MAX as usize, "frame is full: {RECORDS_MAX} records");
        assert!(self.raw_len() + record.raw_len() <= FRAME_BYTES_MAX, "frame is full: {record:?}");
        let index = self.content.records.len() as u32;
        let start = self.content.arena.len() as u32;
        let run = self.run(slot, from);
        let offset = record.offset;
        assert!(from.0 <= offset.0 && offset.0 < i64::MAX, "slot {slot}: offset {offset} at position {from}");
        let packed = Packed {
            offset_gap: offset.0.abs_diff(run.reached.0),
            timestamp_step: zigzag(record.timestamp.wrapping_sub(run.timestamp)),
            start,
            key: length(record.key),
            value: length(record.value),
            headers: record.headers.len() as u32,
            headers_len: record.headers.entries().len() as u32,
            following: 0,
        };
        if let Some(previous) = run.append(index, record, packed.columns_len(), leader_epoch) {
            self.content.records[previous as usize].following = index;
        }
        self.columns_len += packed.columns_len();
        self.content.records.push(packed);
        for bytes in [record.key, record.value, Some(record.headers.entries())].into_iter().flatten() {
            self.content.arena.extend_from_slice(bytes);
        }
    }

    /// Covers the positions from `from` to `to`, which have no records. It has no effect if they are equal.
    ///
    /// # Panics
    /// If `to` is before `from`, and as [`FrameBuilder::push`].
    pub fn advance(&mut self, slot: Slot, from: Position, to: Position) {
        assert!(from <= to, "slot {slot}: from position {from} back to {to}");
        if from < to {
            self.run(slot, from).next = to;
        }
    }

    /// Closes the frame and empties the builder. The body is compressed with `codec` if that makes it smaller, so that
    /// the frame never exceeds [`FrameBuilder::raw_len`].
    ///
    /// # Panics
    /// If the frame is empty.
    pub fn finish(&mut self, head: FrameHead, codec: Codec) -> Bytes {
        self.begin_finish();
        let method = if codec == Codec::None { self.copy() } else { self.compress(codec) };
        self.note_finished(Vec::new());
        self.seal(head, method)
    }

    /// Closes the frame like [`FrameBuilder::finish`], with the shapes that `shaper` knows for [`Codec::Shape`]. After
    /// frames that did not shrink, a body is compressed only if a sample of it shrinks. A frame that begins a state may
    /// exceed [`FrameBuilder::raw_len`] by as much as the shaper allows.
    ///
    /// # Panics
    /// If the frame is empty.
    pub fn finish_with(&mut self, head: FrameHead, codec: Codec, shaper: &mut Shaper) -> Bytes {
        self.begin_finish();
        let method = match codec {
            Codec::None => self.copy(),
            Codec::Shape(level) if (shaper.raw_min()..=FRAME_RAW_TARGET).contains(&self.raw_len()) => {
                self.shape(level, shaper)
            }
            _ => self.try_compress(codec),
        };
        let is_shaped = matches!(method.codec_id, id::SHAPE | id::STATE);
        self.note_finished(if is_shaped { shaper.group_bytes().to_vec() } else { Vec::new() });
        self.seal(head, method)
    }

    /// Bytes of each run of the frame that was closed last.
    pub fn finished(&self) -> &[RunBytes] {
        &self.finished
    }

    /// Notes the bytes of each run of a frame whose groups have blocks of these lengths.
    fn note_finished(&mut self, mut blocks: Vec<u64>) {
        self.finished.clear();
        self.finished.shrink_to(BUFFER_KEPT_MAX / size_of::<RunBytes>());
        self.finished.extend(self.content.runs.iter().map(|run| run.bytes(&mut blocks)));
    }

    fn begin_finish(&mut self) {
        assert!(!self.is_empty(), "an empty frame is not sent");
        self.content.sort();
    }

    /// Lays out the body uncompressed.
    fn copy(&mut self) -> Body {
        let mut frame = room(self.raw_len() - FRAME_HEADER_BYTES);
        self.content.lay_out(&mut frame);
        Body { codec_id: id::NONE, raw_len: frame.len() - FRAME_HEADER_BYTES, frame }
    }

    /// Compresses the body, unless a sample shows that this is of no use.
    fn try_compress(&mut self, codec: Codec) -> Body {
        self.raw.clear();
        self.content.lay_out(&mut self.raw);
        if let Some(sample) = self.incompressible.sample(&self.raw) {
            let len = if compress_into(codec, sample, &mut self.packed) { self.packed.len() } else { sample.len() };
            self.incompressible.note(sample.len(), len);
            if !shrinks(sample.len(), len) {
                return Body::new(id::NONE, self.raw.len(), &self.raw);
            }
        }
        let body = self.compress_raw(codec);
        self.incompressible.note(body.raw_len, body.len());
        body
    }

    fn compress(&mut self, codec: Codec) -> Body {
        self.raw.clear();
        self.content.lay_out(&mut self.raw);
        self.compress_raw(codec)
    }

    /// Compresses the body that is laid out.
    fn compress_raw(&mut self, codec: Codec) -> Body {
        let codec = codec.plain();
        let (codec_id, body) = match compress_into(codec, &self.raw, &mut self.packed) {
            true => (codec.id(), &self.packed),
            false => (id::NONE, &self.raw),
        };
        Body::new(codec_id, self.raw.len(), body)
    }

    /// Shapes the body, or compresses it if that is better.
    fn shape(&mut self, level: i32, shaper: &mut Shaper) -> Body {
        let Some(saved) = shaper.shape(&mut self.content, level) else { return self.try_compress(Codec::Zstd(level)) };
        let body = self.smaller(saved, level, shaper);
        shaper.complete(body.codec_id == id::STATE);
        body
    }

    /// Returns the smaller one of the shaped body, which has `saved` bytes less before compression, and the plain one.
    fn smaller(&mut self, saved: usize, level: i32, shaper: &mut Shaper) -> Body {
        self.raw.clear();
        self.content.lay_out(&mut self.raw);
        let raw_len = self.raw.len() + saved;
        let check = shaper.uses_state().then(|| {
            self.packed.clear();
            self.content.lay_out_whole(&mut self.packed);
            body_check(&self.packed)
        });
        self.shaped.clear();
        let most = raw_len + shaper.excess();
        let is_complete = shaper.put(&self.raw, check, &mut self.shaped) && self.shaped.len() < most;
        let is_noise = shaper.is_noise();
        if !is_complete || !is_noise && shaper.compares(self.shaped.len(), raw_len) {
            self.content.runs.iter_mut().for_each(OpenRun::leave_group);
            if is_noise {
                return self.copy();
            }
            let plain = match check {
                // It was laid out as a whole for its check.
                Some(_) => {
                    std::mem::swap(&mut self.raw, &mut self.packed);
                    self.compress_raw(Codec::Zstd(level))
                }
                None => self.compress(Codec::Zstd(level)),
            };
            let shaped = if is_complete { self.shaped.len() } else { most };
            if !shaper.note(shaped, plain.len(), raw_len) {
                return plain;
            }
        }
        let codec_id = if check.is_some() { id::STATE } else { id::SHAPE };
        Body::new(codec_id, raw_len, &self.shaped)
    }

    /// Writes the header, and empties the builder.
    fn seal(&mut self, head: FrameHead, body: Body) -> Bytes {
        let body_len = body.len();
        let Body { codec_id, raw_len, mut frame } = body;
        let header = FrameHeader {
            head,
            codec_id,
            run_count: self.content.runs.len() as u32,
            record_count: self.content.records.len() as u32,
            raw_len,
            body_len,
        };
        header.write_into(&mut frame);
        let most = self.raw_len() + if codec_id == id::STATE { STATE_EXCESS_MAX } else { 0 };
        assert!(frame.len() <= most, "frame of {} bytes, {most} at most", frame.len());
        self.clear();
        frame.into()
    }

    /// Returns whether the frame has neither records nor positions.
    pub fn is_empty(&self) -> bool {
        self.content.runs.is_empty()
    }

    /// Most bytes that the frame would have if it were closed now: header and uncompressed body.
    pub fn raw_len(&self) -> usize {
        FRAME_HEADER_BYTES + self.content.runs.len() * RUN_BYTES_MAX + self.columns_len + self.content.arena.len()
    }

    /// Number of records in the open frame.
    pub fn record_count(&self) -> usize {
        self.content.records.len()
    }

    /// Returns the position of each partition after the open frame.
    pub fn positions(&self) -> impl Iterator<Item = (Slot, Position)> {
        self.content.runs.iter().map(|run| (run.slot, run.next))
    }

    /// Returns the open run of `slot`; begins one at `from` if there is none.
    fn run(&mut self, slot: Slot, from: Position) -> &mut OpenRun {
        if self.content.runs.get(self.last_run).is_none_or(|run| run.slot != slot) {
            self.last_run = *self.run_of_slot.entry(slot).or_insert(self.content.runs.len());
        }
        if self.last_run == self.content.runs.len() {
            assert!(self.content.runs.len() < RUNS_MAX as usize, "frame is full: {RUNS_MAX} runs");
            assert!(from.0 >= 0, "slot {slot}: position {from}");
            self.content.runs.push(OpenRun::begin(slot, from));
        }
        let run = &mut self.content.runs[self.last_run];
        assert_eq!(run.next, from, "slot {slot}: a run must continue at its end");
        run
    }

    fn clear(&mut self) {
        self.run_of_slot.clear();
        self.last_run = 0;
        self.columns_len = 0;
        self.content.runs.clear();
        self.content.records.clear();
        self.content.records.shrink_to(BUFFER_KEPT_MAX / size_of::<Packed>());
        for buffer in [&mut self.content.arena, &mut self.raw, &mut self.packed, &mut self.shaped] {
            buffer.clear();
            buffer.shrink_to(BUFFER_KEPT_MAX);
        }
    }
}

impl fmt::Debug for FrameBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} records in {} runs, {} raw bytes",
            self.content.records.len(),
            self.content.runs.len(),
            self.raw_len()
        )
    }
}

/// Body of a frame behind room for its header.
struct Body {
    codec_id: u8,
    raw_len: usize,
    frame: Vec<u8>,
}

impl Body {
    fn new(codec_id: u8, raw_len: usize, bytes: &[u8]) -> Self {
        let mut frame = room(bytes.len());
        frame.extend_from_slice(bytes);
        Self { codec_id, raw_len, frame }
    }

    const fn len(&self) -> usize {
        self.frame.len() - FRAME_HEADER_BYTES
    }
}

/// Reserves exactly the memory of a header and a body, because a frame is kept until it is acked.
fn room(body_len_max: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_HEADER_BYTES + body_len_max);
    frame.resize(FRAME_HEADER_BYTES, 0);
    frame
}

/// Encodes the length of a field: 0 for null, else length + 1.
fn length(field: Option<&[u8]>) -> u32 {
    field.map_or(0, |bytes| bytes.len() as u32 + 1)
}
