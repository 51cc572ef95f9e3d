//! Builder of frames with records of many partitions. Records arrive interleaved. Each is copied once into an arena, and
//! the columns are laid out when the frame is closed. Memory depends on the records, not on the number of partitions.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;

use super::header::{FrameHead, FrameHeader};
use super::record::RecordRef;
use crate::codec::{Writer, varint_len, zigzag};
use crate::compress::{Codec, compress_into, id};
use crate::ids::{Position, Slot};
use crate::limits::{FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FRAME_RAW_TARGET, RECORDS_MAX, RUN_BYTES_MAX, RUNS_MAX};

/// Bytes of a buffer that are kept after a frame: a large record may have made it grow beyond them.
const BUFFER_KEPT_MAX: usize = 2 * FRAME_RAW_TARGET;

/// Builder of one lane's frames.
#[derive(Default)]
pub struct FrameBuilder {
    runs: Vec<OpenRun>,
    run_of_slot: HashMap<Slot, usize>,
    /// Run of the last record. Records come in bursts of one partition, so this saves most look-ups.
    last_run: usize,
    records: Vec<Packed>,
    /// Keys, values and headers in order of arrival.
    arena: Vec<u8>,
    columns_len: usize,
    raw: Vec<u8>,
    packed: Vec<u8>,
}

struct OpenRun {
    slot: Slot,
    from: Position,
    /// Position after the last record, or `from`: the next offset is encoded relative to it.
    reached: Position,
    /// End of the run, at least `reached`: positions without records may follow.
    next: Position,
    leader_epoch: i32,
    timestamp: i64,
    first: u32,
    last: u32,
    count: u32,
}

/// A record in the arena: its key, value and headers follow each other from `start`.
struct Packed {
    offset_gap: u64,
    timestamp_step: u64,
    start: u32,
    /// Length + 1; 0 for null.
    key: u32,
    /// Length + 1; 0 for null.
    value: u32,
    headers: u32,
    headers_len: u32,
    /// Number of the next record of the same run.
    following: u32,
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
        assert!(self.records.len() < RECORDS_MAX as usize, "frame is full: {RECORDS_MAX} records");
        assert!(self.raw_len() + record.raw_len() <= FRAME_BYTES_MAX, "frame is full: {record:?}");
        let index = self.records.len() as u32;
        let start = self.arena.len() as u32;
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
        if let Some(previous) = run.append(index, record, leader_epoch) {
            self.records[previous as usize].following = index;
        }
        self.columns_len += packed.columns_len();
        self.records.push(packed);
        for bytes in [record.key, record.value, Some(record.headers.entries())].into_iter().flatten() {
            self.arena.extend_from_slice(bytes);
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
        assert!(!self.is_empty(), "an empty frame is not sent");
        let raw_len_max = self.raw_len();
        let mut frame = Vec::new();
        let (codec_id, raw_len) = if codec == Codec::None {
            make_room(&mut frame, raw_len_max - FRAME_HEADER_BYTES);
            lay_out(&mut self.runs, &self.records, &self.arena, &mut frame);
            (id::NONE, frame.len() - FRAME_HEADER_BYTES)
        } else {
            lay_out(&mut self.runs, &self.records, &self.arena, &mut self.raw);
            let (codec_id, body) = match compress_into(codec, &self.raw, &mut self.packed) {
                true => (codec.id(), &self.packed),
                false => (id::NONE, &self.raw),
            };
            make_room(&mut frame, body.len());
            frame.extend_from_slice(body);
            (codec_id, self.raw.len())
        };
        let header = FrameHeader {
            head,
            codec_id,
            run_count: self.runs.len() as u32,
            record_count: self.records.len() as u32,
            raw_len,
            body_len: frame.len() - FRAME_HEADER_BYTES,
        };
        header.write_into(&mut frame);
        assert!(frame.len() <= raw_len_max, "frame of {} bytes, {raw_len_max} at most", frame.len());
        self.clear();
        frame.into()
    }

    /// Returns whether the frame has neither records nor positions.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Most bytes that the frame would have if it were closed now: header and uncompressed body.
    pub fn raw_len(&self) -> usize {
        FRAME_HEADER_BYTES + self.runs.len() * RUN_BYTES_MAX + self.columns_len + self.arena.len()
    }

    /// Number of records in the open frame.
    pub fn record_count(&self) -> usize {
        self.records.len()
    }

    /// Returns the position of each partition after the open frame.
    pub fn positions(&self) -> impl Iterator<Item = (Slot, Position)> {
        self.runs.iter().map(|run| (run.slot, run.next))
    }

    /// Returns the open run of `slot`; begins one at `from` if there is none.
    fn run(&mut self, slot: Slot, from: Position) -> &mut OpenRun {
        if self.runs.get(self.last_run).is_none_or(|run| run.slot != slot) {
            self.last_run = *self.run_of_slot.entry(slot).or_insert(self.runs.len());
        }
        if self.last_run == self.runs.len() {
            assert!(self.runs.len() < RUNS_MAX as usize, "frame is full: {RUNS_MAX} runs");
            assert!(from.0 >= 0, "slot {slot}: position {from}");
            self.runs.push(OpenRun::begin(slot, from));
        }
        let run = &mut self.runs[self.last_run];
        assert_eq!(run.next, from, "slot {slot}: a run must continue at its end");
        run
    }

    fn clear(&mut self) {
        self.run_of_slot.clear();
        self.last_run = 0;
        self.columns_len = 0;
        self.runs.clear();
        self.records.clear();
        self.records.shrink_to(BUFFER_KEPT_MAX / size_of::<Packed>());
        for buffer in [&mut self.arena, &mut self.raw, &mut self.packed] {
            buffer.clear();
            buffer.shrink_to(BUFFER_KEPT_MAX);
        }
    }
}

impl fmt::Debug for FrameBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records in {} runs, {} raw bytes", self.records.len(), self.runs.len(), self.raw_len())
    }
}

impl OpenRun {
    fn begin(slot: Slot, from: Position) -> Self {
        Self { slot, from, reached: from, next: from, leader_epoch: -1, timestamp: 0, first: 0, last: 0, count: 0 }
    }

    /// Adds the record numbered `index`; returns the number of the record before it in the run.
    fn append(&mut self, index: u32, record: &RecordRef<'_>, leader_epoch: i32) -> Option<u32> {
        let previous = (self.count > 0).then_some(self.last);
        self.first = if self.count == 0 { index } else { self.first };
        self.last = index;
        self.count += 1;
        self.reached = Position::after(record.offset);
        self.next = self.reached;
        self.leader_epoch = leader_epoch;
        self.timestamp = record.timestamp;
        previous
    }

    fn records<'a>(&self, records: &'a [Packed]) -> impl Iterator<Item = &'a Packed> + use<'a> {
        let mut index = self.first;
        (0..self.count).map(move |_| {
            let record = &records[index as usize];
            index = record.following;
            record
        })
    }

    /// The run's entry in the run table, without its slot.
    fn write(&self, body: &mut Writer<'_>) {
        const NO_SHAPE: u64 = 0;
        body.varint(self.from.0.cast_unsigned());
        body.varint(self.next.0.abs_diff(self.from.0));
        body.varint(self.count.into());
        body.zigzag(self.leader_epoch.into());
        body.varint(NO_SHAPE);
    }
}

impl Packed {
    /// Bytes of this record in its run's columns, without those in the arena.
    fn columns_len(&self) -> usize {
        let headers = match self.headers {
            0 => 1,
            count => varint_len(count.into()) + varint_len(self.headers_len.into()),
        };
        let lengths = varint_len(self.key.into()) + varint_len(self.value.into());
        varint_len(self.offset_gap) + varint_len(self.timestamp_step) + lengths + headers
    }

    fn write_headers(&self, arena: &[u8], body: &mut Writer<'_>) {
        body.varint(self.headers.into());
        if self.headers > 0 {
            body.varint(self.headers_len.into());
            let start = self.start as usize + self.key(arena).len() + self.value(arena).len();
            body.bytes(&arena[start..][..self.headers_len as usize]);
        }
    }

    fn key<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        &arena[self.start as usize..][..self.key.saturating_sub(1) as usize]
    }

    fn value<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        let start = self.start as usize + self.key.saturating_sub(1) as usize;
        &arena[start..][..self.value.saturating_sub(1) as usize]
    }
}

/// Reserves exactly the memory of a header and a body, because a frame is kept until it is acked.
fn make_room(frame: &mut Vec<u8>, body_len_max: usize) {
    frame.reserve_exact(FRAME_HEADER_BYTES + body_len_max);
    frame.resize(FRAME_HEADER_BYTES, 0);
}

/// wire-format.md#body: run table, columns run by run, then all keys, then all values.
fn lay_out(runs: &mut [OpenRun], records: &[Packed], arena: &[u8], out: &mut Vec<u8>) {
    runs.sort_unstable_by_key(|run| run.slot);
    let mut body = Writer::new(out);
    let mut slots_from = 0;
    for run in &*runs {
        body.varint(u64::from(run.slot.0) - slots_from);
        slots_from = u64::from(run.slot.0) + 1;
        run.write(&mut body);
    }
    for run in &*runs {
        run.records(records).for_each(|record| body.varint(record.offset_gap));
        run.records(records).for_each(|record| body.varint(record.timestamp_step));
        run.records(records).for_each(|record| body.varint(record.key.into()));
        run.records(records).for_each(|record| body.varint(record.value.into()));
        run.records(records).for_each(|record| record.write_headers(arena, &mut body));
    }
    for run in &*runs {
        run.records(records).for_each(|record| body.bytes(record.key(arena)));
    }
    for run in &*runs {
        run.records(records).for_each(|record| body.bytes(record.value(arena)));
    }
}

/// Encodes the length of a field: 0 for null, else length + 1.
fn length(field: Option<&[u8]>) -> u32 {
    field.map_or(0, |bytes| bytes.len() as u32 + 1)
}
