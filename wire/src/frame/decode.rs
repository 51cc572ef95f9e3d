//! Decoder of frames. It checks everything in a frame once, so that reading the records afterwards cannot fail
//! (wire-format.md#body).

use std::fmt;

use bytes::Bytes;

use super::header::FrameHeader;
use super::record::Headers;
use super::remembered::Remembered;
use super::shaped;
use crate::codec::Reader;
use crate::compress::{self, id};
use crate::error::{DecodeError, ensure, within};
use crate::ids::{Position, Slot};
use crate::limits::{FRAME_BODY_MAX, FRAME_HEADER_BYTES};

/// A frame of which every byte has been checked.
#[derive(Clone)]
pub struct Frame {
    header: FrameHeader,
    runs: Vec<Run>,
    body: Bytes,
}

/// Run: the part of a frame that belongs to one partition, with the positions it covers and their records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Slot of the partition.
    pub slot: Slot,
    /// First position that the run covers.
    pub from: Position,
    /// Position after the run. The offsets in between without a record have none at the source.
    pub next: Position,
    /// Number of records; may be 0.
    pub count: u32,
    /// The source's leader epoch at the last record; −1 if unknown or without records.
    pub leader_epoch: i32,
    pub(super) columns: Columns,
}

/// Positions in the body of a run's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Columns {
    pub(super) offsets: u32,
    pub(super) timestamps: u32,
    pub(super) key_lens: u32,
    pub(super) value_lens: u32,
    pub(super) headers: u32,
    pub(super) keys: u32,
    pub(super) values: u32,
}

impl Frame {
    /// Checks and expands a frame that refers to no other.
    ///
    /// # Errors
    /// The first rule that is broken. Memory stays within the limits in any case.
    pub fn decode(frame: Bytes) -> Result<Self, DecodeError> {
        Self::expand(FrameHeader::check(&frame)?, &frame, &mut Remembered::new(None))
    }

    /// Expands a frame with this header, whose checksum is correct.
    pub(super) fn expand(header: FrameHeader, frame: &Bytes, remembered: &mut Remembered) -> Result<Self, DecodeError> {
        let body = match header.codec_id {
            id::NONE => frame.slice(FRAME_HEADER_BYTES..),
            id::SHAPE => shaped::expand(&header, &frame[FRAME_HEADER_BYTES..])?.into(),
            id::STATE => shaped::expand_with_state(&header, &frame[FRAME_HEADER_BYTES..], remembered)?.into(),
            codec => compress::expand(codec, &frame[FRAME_HEADER_BYTES..], header.raw_len)?.into(),
        };
        let runs = BodyReader::new(&body).runs(&header)?;
        Ok(Self { header, runs, body })
    }

    /// Returns the frame's header.
    pub fn header(&self) -> &FrameHeader {
        &self.header
    }

    /// Returns the runs in order of their slots.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The expanded body, which the records borrow from.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl fmt::Debug for Frame {
    /// Shows the frame without payloads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("header", &self.header).field("runs", &self.runs).finish_non_exhaustive()
    }
}

struct BodyReader<'a> {
    body: &'a [u8],
    rest: Reader<'a>,
}

impl<'a> BodyReader<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self { body, rest: Reader::new(body) }
    }

    fn runs(mut self, header: &FrameHeader) -> Result<Vec<Run>, DecodeError> {
        // The header's check bounds the count: each run needs several bytes of the body.
        let mut runs = Vec::with_capacity(header.run_count as usize);
        let mut slots_from = 0;
        let mut records = 0;
        for _ in 0..header.run_count {
            let run = self.run(slots_from)?;
            slots_from = u64::from(run.slot.0) + 1;
            records += u64::from(run.count);
            runs.push(run);
        }
        ensure(records == u64::from(header.record_count), "runs do not add up to the frame's records")?;
        for run in &mut runs {
            self.columns(run)?;
        }
        self.payloads(&mut runs)?;
        self.rest.finish()?;
        Ok(runs)
    }

    /// Reads an entry of the run table. Slots ascend, so that a partition has one run in a frame.
    fn run(&mut self, slots_from: u64) -> Result<Run, DecodeError> {
        let slot = slots_from.saturating_add(self.rest.varint()?);
        let slot = u32::try_from(slot).map_err(|_| DecodeError::Malformed("slot wider than 32 bits"))?;
        let from = self.rest.varint_to("position", i64::MAX as u64)? as i64;
        let covers = self.rest.varint_to("positions in a run", (i64::MAX - from) as u64)? as i64;
        let count = self.rest.varint_to("records in a run", crate::limits::RECORDS_MAX.into())? as u32;
        let leader_epoch = i32::try_from(self.rest.zigzag()?).ok().filter(|&epoch| epoch >= -1);
        let leader_epoch = leader_epoch.ok_or(DecodeError::Malformed("leader epoch out of range"))?;
        ensure(self.rest.varint()? == 0, "a run of a plain body has no group")?;
        ensure(covers > 0, "run covers no position")?;
        ensure(count > 0 || leader_epoch == -1, "leader epoch without records")?;
        let next = Position(from + covers);
        Ok(Run { slot: Slot(slot), from: Position(from), next, count, leader_epoch, columns: Columns::default() })
    }

    /// Reads a run's columns and the position of each. [`BodyReader::payloads`] sets the positions of keys and values.
    fn columns(&mut self, run: &mut Run) -> Result<(), DecodeError> {
        run.columns.offsets = self.at();
        let mut position = run.from.0;
        for _ in 0..run.count {
            let gap = self.rest.varint()?;
            ensure(gap < run.next.0.abs_diff(position), "offset outside its run")?;
            position += gap as i64 + 1;
        }
        run.columns.timestamps = self.at();
        for _ in 0..run.count {
            self.rest.zigzag()?;
        }
        run.columns.key_lens = self.at();
        run.columns.keys = self.lengths("keys", run.count)?;
        run.columns.value_lens = self.at();
        run.columns.values = self.lengths("values", run.count)?;
        run.columns.headers = self.at();
        for _ in 0..run.count {
            let count = self.rest.varint_to("headers", FRAME_BODY_MAX as u64)? as u32;
            if count > 0 {
                let len = self.rest.varint_to("header bytes", FRAME_BODY_MAX as u64)?;
                Headers::check(count, self.rest.take(len as usize)?)?;
            }
        }
        Ok(())
    }

    /// Adds up a column of lengths.
    fn lengths(&mut self, field: &'static str, count: u32) -> Result<u32, DecodeError> {
        let mut total = 0;
        for _ in 0..count {
            total += self.rest.varint_to(field, FRAME_BODY_MAX as u64 + 1)?.saturating_sub(1);
            within(field, total as usize, FRAME_BODY_MAX)?;
        }
        Ok(total as u32)
    }

    /// Sets the positions of all keys, then of all values, in order of their runs.
    fn payloads(&mut self, runs: &mut [Run]) -> Result<(), DecodeError> {
        for run in &mut *runs {
            let at = self.at();
            self.rest.take(run.columns.keys as usize)?;
            run.columns.keys = at;
        }
        for run in runs {
            let at = self.at();
            self.rest.take(run.columns.values as usize)?;
            run.columns.values = at;
        }
        Ok(())
    }

    fn at(&self) -> u32 {
        (self.body.len() - self.rest.remaining()) as u32
    }
}
