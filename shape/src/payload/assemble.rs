//! Segments and tokens to records.

use crate::error::{DecodeError, ensure};
use crate::records::{RecordsBuf, Span};
use crate::skeleton::Walk;

/// Bytes that are copied together, and padding behind everything that is copied.
pub(crate) const STEP: usize = 32;

/// Tokens of a column that have not been used yet, with the bytes of those that are kept.
pub(crate) struct Column<'a> {
    tokens: std::slice::Iter<'a, Span>,
    kept: &'a [u8],
}

impl<'a> Column<'a> {
    pub(crate) fn new(tokens: &'a [Span], kept: &'a [u8]) -> Self {
        Self { tokens: tokens.iter(), kept }
    }
}

/// Bytes of which records consist, with [`STEP`] bytes behind each run of them.
pub(crate) struct Pieces<'a> {
    pub(crate) segments: &'a [u8],
    /// Tokens that are not kept.
    pub(crate) rendered: &'a [u8],
    pub(crate) columns: Vec<Column<'a>>,
}

impl Pieces<'_> {
    /// Replaces the content of `out` by `records` records of `bytes` bytes together.
    pub(crate) fn assemble(
        mut self,
        walk: &Walk<'_>,
        records: usize,
        bytes: usize,
        out: &mut RecordsBuf,
    ) -> Result<(), DecodeError> {
        out.ends.clear();
        out.ends.reserve(records);
        // Every byte is written, or the block refused.
        out.bytes.resize(bytes + STEP, 0);
        let mut output = Output { bytes: &mut out.bytes, at: 0, end: bytes };
        for (parts, is_end) in walk.parts() {
            for part in parts {
                output.copy(self.segments, part.segment)?;
                let Some(column) = part.column.and_then(|column| self.columns.get_mut(column)) else { continue };
                let token = column.tokens.next().copied().unwrap_or_default();
                output.copy(if token.is_kept() { column.kept } else { self.rendered }, token.place())?;
            }
            if is_end {
                out.ends.push(output.at as u32);
            }
        }
        let found = output.at;
        ensure(found == bytes, "records of another length than stated")?;
        out.bytes.truncate(found);
        Ok(())
    }
}

/// Bytes of the records so far.
struct Output<'a> {
    bytes: &'a mut [u8],
    at: usize,
    end: usize,
}

impl Output<'_> {
    /// Copies a text. Behind each text and behind the end there are [`STEP`] bytes more.
    #[inline]
    fn copy(&mut self, source: &[u8], text: Span) -> Result<(), DecodeError> {
        let from = text.at as usize;
        let len = text.len as usize;
        let end = self.at + len;
        if end > self.end {
            return Err(DecodeError::Malformed("records are longer than stated"));
        }
        let chunk = source.get(from..).and_then(<[u8]>::first_chunk::<STEP>);
        let target = self.bytes.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut::<STEP>);
        let (Some(chunk), Some(target)) = (chunk, target) else {
            return Err(DecodeError::Malformed("a text without bytes behind it"));
        };
        *target = *chunk;
        if len > STEP {
            self.bytes[self.at + STEP..end].copy_from_slice(&source[from + STEP..from + len]);
        }
        self.at = end;
        Ok(())
    }
}
