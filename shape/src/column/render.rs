//! Values to the tokens of a column, for the decoder.

use super::Numeric;
use super::around::{self, Source};
use super::hex::HexPattern;
use super::kind::Kind;
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

/// Tokens of one column. Those that are *kept* are in the column's own bytes, the others in [`Rendered`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Inner<'a> {
    pub(crate) tokens: &'a [Span],
    pub(crate) kept: &'a [u8],
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
    fn add(&mut self, text: &[u8]) -> Result<Span, DecodeError> {
        let at = self.bytes.len();
        within("bytes of tokens", at + text.len(), self.most)?;
        self.bytes.extend_from_slice(text);
        Ok(Span::new(at, self.bytes.len()))
    }

    /// Reads the entries in front of a column's values.
    pub(crate) fn entries(
        &mut self,
        count: usize,
        data: &mut Reader<'_>,
        entries: &mut Vec<Span>,
    ) -> Result<(), DecodeError> {
        each_text(count, self.most, data, |text| {
            entries.push(self.add(text)?);
            Ok(())
        })
    }

    /// Reads the exceptions in front of the values of a column with `rows` rows.
    pub(crate) fn exceptions(
        &mut self,
        rows: usize,
        count: usize,
        data: &mut Reader<'_>,
    ) -> Result<Exceptions, DecodeError> {
        let mut exceptions = Exceptions::default();
        let mut lens = Vec::new();
        let mut next = 0;
        // Each text takes a byte at least.
        within("texts of a column", count, data.left())?;
        for _ in 0..count {
            let row = next + data.count("the row of an exception", u32::MAX as usize)?;
            ensure(row < rows, "an exception is within its column")?;
            exceptions.rows.push(row as u32);
            next = row + 1;
            lens.push(data.count("the length of a text", self.most)?);
        }
        for len in lens {
            exceptions.texts.push(self.add(data.take(len, "a text")?)?);
        }
        Ok(exceptions)
    }

    /// Renders the numbers and times of a column.
    pub(crate) fn numbers(
        &mut self,
        kind: &Kind,
        values: &[i64],
        exceptions: &Exceptions,
        tokens: &mut Vec<Span>,
    ) -> Result<(), DecodeError> {
        match kind {
            Kind::Integer(integer) => self.numeric(integer, values, tokens)?,
            Kind::Decimal(decimal) => self.numeric(decimal, values, tokens)?,
            Kind::Time(pattern) => self.numeric(pattern, values, tokens)?,
            _ => return Err(DecodeError::Malformed("a column without numbers")),
        }
        exceptions.replace(tokens);
        Ok(())
    }

    /// Renders `rows` hexadecimal strings.
    pub(crate) fn hex(
        &mut self,
        pattern: &HexPattern,
        rows: usize,
        exceptions: &Exceptions,
        data: &mut Reader<'_>,
        tokens: &mut Vec<Span>,
    ) -> Result<(), DecodeError> {
        let most = self.bytes.len().saturating_add(rows.saturating_mul(pattern.text_len()));
        // Places of exceptions are rendered too, and not used.
        within("bytes of tokens", most, self.most.saturating_add(exceptions.texts.len() * pattern.text_len()))?;
        let len = rows.checked_mul(pattern.bytes()).ok_or(DecodeError::Truncated("digits"))?;
        let planes = data.take(len, "digits")?;
        tokens.reserve(rows);
        for row in 0..rows {
            let at = self.bytes.len();
            pattern.render(planes.iter().skip(row).step_by(rows).copied(), &mut self.bytes);
            tokens.push(Span::new(at, self.bytes.len()));
        }
        exceptions.replace(tokens);
        Ok(())
    }

    /// Reads tokens of these lengths.
    pub(crate) fn raw(
        &mut self,
        lens: &[i64],
        data: &mut Reader<'_>,
        tokens: &mut Vec<Span>,
    ) -> Result<(), DecodeError> {
        let start = self.bytes.len();
        let mut at = start;
        tokens.reserve(lens.len());
        for len in lens {
            let len = usize::try_from(*len).map_err(|_| DecodeError::Malformed("a length below 0"))?;
            let end = within("bytes of tokens", at.saturating_add(len), self.most)?;
            tokens.push(Span::new(at, end));
            at = end;
        }
        self.bytes.extend_from_slice(data.take(at - start, "the tokens of a column")?);
        Ok(())
    }

    /// Renders the tokens with these frames, of which some may be in `kept`, around other tokens.
    pub(crate) fn around(
        &mut self,
        frames: &[Span],
        kept: &[u8],
        inner: Inner<'_>,
        tokens: &mut Vec<Span>,
    ) -> Result<(), DecodeError> {
        ensure(frames.len() == inner.tokens.len(), "a column is around one of another number of tokens")?;
        for (frame, token) in frames.iter().zip(inner.tokens) {
            let frame = Source { span: *frame, kept };
            let inner = Source { span: *token, kept: inner.kept };
            tokens.push(around::render(frame, inner, &mut self.bytes, self.most)?);
        }
        Ok(())
    }

    fn numeric<N: Numeric>(&mut self, numeric: &N, values: &[i64], tokens: &mut Vec<Span>) -> Result<(), DecodeError> {
        tokens.reserve(values.len());
        for values in values.chunks(ROWS_PER_CHECK) {
            let mut at = self.bytes.len();
            within("bytes of tokens", at, self.most)?;
            self.bytes.resize(at + values.len() * N::SLOT, 0);
            for value in values {
                let slot = self.bytes.get_mut(at..at + N::SLOT);
                let len = slot.and_then(|slot| numeric.render(*value, slot));
                let len = len.ok_or(DecodeError::Malformed("a value without a token"))?;
                tokens.push(Span::new(at, at + len));
                at += len;
            }
            self.bytes.truncate(at);
        }
        within("bytes of tokens", self.bytes.len(), self.most)?;
        Ok(())
    }
}

/// Reads texts: all lengths, then all bytes. They have at most `most` bytes together.
pub(crate) fn each_text(
    count: usize,
    most: usize,
    data: &mut Reader<'_>,
    mut use_text: impl FnMut(&[u8]) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    // Each text takes a byte at least.
    within("texts of a column", count, data.left())?;
    let mut lens = *data;
    for _ in 0..count {
        data.count("the length of a text", most)?;
    }
    for _ in 0..count {
        let len = lens.count("the length of a text", most)?;
        use_text(data.take(len, "a text")?)?;
    }
    Ok(())
}

/// Replaces `tokens` by the entries with these numbers.
pub(crate) fn look_up(numbers: &[i64], entries: &[Span], tokens: &mut Vec<Span>) -> Result<(), DecodeError> {
    tokens.clear();
    let mut is_known = true;
    tokens.extend(numbers.iter().map(|number| {
        let entry = usize::try_from(*number).ok().and_then(|number| entries.get(number));
        is_known &= entry.is_some();
        entry.copied().unwrap_or_default()
    }));
    ensure(is_known, "a number that the dictionary lacks")
}

/// Tokens that are stored as text, with their rows.
#[derive(Debug, Default)]
pub(crate) struct Exceptions {
    rows: Vec<u32>,
    texts: Vec<Span>,
}

impl Exceptions {
    fn replace(&self, tokens: &mut [Span]) {
        for (row, text) in self.rows.iter().zip(&self.texts) {
            tokens[*row as usize] = *text;
        }
    }
}
