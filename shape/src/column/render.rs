//! Values to the tokens of a column, for the decoder.

use super::hex::HexPattern;
use super::kind::Kind;
use super::{Numeric, around};
use crate::error::{DecodeError, ensure, within};
use crate::records::Span;
use crate::varint::Reader;

/// Rows that are rendered between two checks of the memory.
const ROWS_PER_CHECK: usize = 512;

/// Tokens of all columns, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    bytes: Vec<u8>,
    most: usize,
}

/// Column whose tokens are to be rendered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rendering<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) rows: usize,
    /// Exceptions, or entries of a dictionary.
    pub(crate) texts: usize,
}

impl Rendered {
    /// Forgets everything. Columns may be rendered to `most` bytes together.
    pub(crate) fn reset(&mut self, most: usize) {
        self.bytes.clear();
        self.most = most;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds bytes that every token may be copied from in steps of a fixed size.
    pub(crate) fn pad(&mut self, len: usize) {
        self.bytes.resize(self.bytes.len() + len, 0);
    }

    /// Adds a text and returns its place.
    pub(crate) fn add(&mut self, text: &[u8]) -> Result<Span, DecodeError> {
        let at = self.bytes.len();
        within("bytes of tokens", at + text.len(), self.most)?;
        self.bytes.extend_from_slice(text);
        Ok(Span::new(at, self.bytes.len()))
    }

    /// Reads the texts in front of a column's values.
    pub(crate) fn texts(&mut self, column: Rendering<'_>, data: &mut Reader<'_>) -> Result<Texts, DecodeError> {
        let mut texts = Texts::default();
        let mut lens = Vec::new();
        let mut next = 0;
        // Each text takes a byte at least.
        within("texts of a column", column.texts, data.left())?;
        for _ in 0..column.texts {
            if !column.kind.has_entries() {
                let row = next + data.count("the row of an exception", u32::MAX as usize)?;
                ensure(row < column.rows, "an exception is within its column")?;
                texts.rows.push(row as u32);
                next = row + 1;
            }
            lens.push(data.count("the length of a text", self.most)?);
        }
        for len in lens {
            texts.spans.push(self.add(data.take(len, "a text")?)?);
        }
        Ok(texts)
    }

    /// Renders the tokens of a column with values.
    pub(crate) fn tokens(
        &mut self,
        kind: &Kind,
        values: &[i64],
        texts: &Texts,
        sources: Sources<'_, '_>,
    ) -> Result<Vec<Span>, DecodeError> {
        let mut spans = match kind {
            Kind::Raw => return self.raw(values, sources.data),
            Kind::Around(_) => return self.around(values, &texts.spans, sources.inner),
            Kind::Dictionary => return dictionary(values, &texts.spans),
            Kind::Integer(integer) => self.numeric(integer, values)?,
            Kind::Decimal(decimal) => self.numeric(decimal, values)?,
            Kind::Time(pattern) => self.numeric(pattern, values)?,
            Kind::Hex(_) => return Err(DecodeError::Malformed("digits have no values")),
        };
        texts.replace(&mut spans);
        Ok(spans)
    }

    /// Renders `rows` hexadecimal strings.
    pub(crate) fn hex(
        &mut self,
        pattern: &HexPattern,
        rows: usize,
        texts: &Texts,
        data: &mut Reader<'_>,
    ) -> Result<Vec<Span>, DecodeError> {
        let most = self.bytes.len().saturating_add(rows.saturating_mul(pattern.text_len()));
        // Places of exceptions are rendered too, and not used.
        within("bytes of tokens", most, self.most.saturating_add(texts.spans.len() * pattern.text_len()))?;
        let len = rows.checked_mul(pattern.bytes()).ok_or(DecodeError::Truncated("digits"))?;
        let planes = data.take(len, "digits")?;
        let mut spans = Vec::with_capacity(rows);
        for row in 0..rows {
            let at = self.bytes.len();
            pattern.render(planes.iter().skip(row).step_by(rows).copied(), &mut self.bytes);
            spans.push(Span::new(at, self.bytes.len()));
        }
        texts.replace(&mut spans);
        Ok(spans)
    }

    fn raw(&mut self, lens: &[i64], data: &mut Reader<'_>) -> Result<Vec<Span>, DecodeError> {
        let start = self.bytes.len();
        let mut at = start;
        let mut spans = Vec::with_capacity(lens.len());
        for len in lens {
            let len = usize::try_from(*len).map_err(|_| DecodeError::Malformed("a length below 0"))?;
            let end = within("bytes of tokens", at.saturating_add(len), self.most)?;
            spans.push(Span::new(at, end));
            at = end;
        }
        self.bytes.extend_from_slice(data.take(at - start, "the tokens of a column")?);
        Ok(spans)
    }

    fn around(&mut self, values: &[i64], frames: &[Span], inner: &[Span]) -> Result<Vec<Span>, DecodeError> {
        ensure(values.len() == inner.len(), "a column is around one of another number of tokens")?;
        let frames = dictionary(values, frames)?;
        let pairs = frames.into_iter().zip(inner);
        pairs.map(|(frame, inner)| around::render(frame, *inner, &mut self.bytes, self.most)).collect()
    }

    fn numeric<N: Numeric>(&mut self, numeric: &N, values: &[i64]) -> Result<Vec<Span>, DecodeError> {
        let mut spans = Vec::with_capacity(values.len());
        for values in values.chunks(ROWS_PER_CHECK) {
            let mut at = self.bytes.len();
            within("bytes of tokens", at, self.most)?;
            self.bytes.resize(at + values.len() * N::SLOT, 0);
            for value in values {
                let slot = self.bytes.get_mut(at..at + N::SLOT);
                let len = slot.and_then(|slot| numeric.render(*value, slot));
                let len = len.ok_or(DecodeError::Malformed("a value without a token"))?;
                spans.push(Span::new(at, at + len));
                at += len;
            }
            self.bytes.truncate(at);
        }
        within("bytes of tokens", self.bytes.len(), self.most)?;
        Ok(spans)
    }
}

/// Bytes and tokens that the tokens of a column are made of.
#[derive(Debug)]
pub(crate) struct Sources<'a, 'b> {
    pub(crate) data: &'a mut Reader<'b>,
    /// Tokens of the column that these are around.
    pub(crate) inner: &'a [Span],
}

fn dictionary(values: &[i64], entries: &[Span]) -> Result<Vec<Span>, DecodeError> {
    let token = |number: &i64| usize::try_from(*number).ok().and_then(|number| entries.get(number)).copied();
    let tokens: Option<Vec<Span>> = values.iter().map(token).collect();
    tokens.ok_or(DecodeError::Malformed("a number that the dictionary lacks"))
}

/// Texts in front of a column's values: its exceptions with their rows, or the entries of its dictionary.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    rows: Vec<u32>,
    spans: Vec<Span>,
}

impl Texts {
    fn replace(&self, spans: &mut [Span]) {
        for (row, text) in self.rows.iter().zip(&self.spans) {
            spans[*row as usize] = *text;
        }
    }
}
