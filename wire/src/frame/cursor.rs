//! Cursor over the records of a frame. It can be resumed at any record, because a transaction may end inside a frame.

use super::decode::{Columns, Frame, Run};
use super::record::{Headers, RecordRef};
use crate::codec::unzigzag;
use crate::ids::Offset;

/// Position in a frame, which may be stored and copied. The default is the beginning. With another frame than its own,
/// it returns wrong records or panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameCursor {
    run: u32,
    record: u32,
    inside: bool,
    position: i64,
    timestamp: i64,
    columns: Columns,
}

/// Item at a position in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'f> {
    /// Begin of a run.
    Run(&'f Run),
    /// Record of a run.
    Record(&'f Run, RecordRef<'f>),
    /// End of a run: its partition's position is [`Run::next`].
    RunEnd(&'f Run),
}

impl Frame {
    /// Returns the item at `cursor` and moves the cursor after it; `None` at the end. The time is the same at every
    /// position.
    pub fn next<'f>(&'f self, cursor: &mut FrameCursor) -> Option<Step<'f>> {
        let run = self.runs().get(cursor.run as usize)?;
        if !cursor.inside {
            cursor.record = 0;
            cursor.inside = true;
            cursor.position = run.from.0;
            cursor.timestamp = 0;
            cursor.columns = run.columns;
            return Some(Step::Run(run));
        }
        if cursor.record < run.count {
            cursor.record += 1;
            return Some(Step::Record(run, cursor.record(self.body())));
        }
        cursor.run += 1;
        cursor.inside = false;
        Some(Step::RunEnd(run))
    }
}

impl FrameCursor {
    fn record<'f>(&mut self, body: &'f [u8]) -> RecordRef<'f> {
        let columns = &mut self.columns;
        let offset = self.position + varint(body, &mut columns.offsets) as i64;
        self.position = offset + 1;
        self.timestamp = self.timestamp.wrapping_add(unzigzag(varint(body, &mut columns.timestamps)));
        let key_len = varint(body, &mut columns.key_lens);
        let value_len = varint(body, &mut columns.value_lens);
        RecordRef {
            offset: Offset(offset),
            timestamp: self.timestamp,
            key: field(body, &mut columns.keys, key_len),
            value: field(body, &mut columns.values, value_len),
            headers: headers(body, &mut columns.headers),
        }
    }
}

/// Reads a field of `len_plus_one − 1` bytes; 0 means null.
fn field<'f>(body: &'f [u8], at: &mut u32, len_plus_one: u64) -> Option<&'f [u8]> {
    let len = len_plus_one.checked_sub(1)?;
    Some(bytes(body, at, len))
}

fn headers<'f>(body: &'f [u8], at: &mut u32) -> Headers<'f> {
    match varint(body, at) {
        0 => Headers::EMPTY,
        count => {
            let len = varint(body, at);
            Headers::checked(count as u32, bytes(body, at, len))
        }
    }
}

fn bytes<'f>(body: &'f [u8], at: &mut u32, len: u64) -> &'f [u8] {
    let start = *at as usize;
    *at += len as u32;
    &body[start..][..len as usize]
}

/// Reads a varint that the decoder has checked.
fn varint(body: &[u8], at: &mut u32) -> u64 {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = body[*at as usize];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}
