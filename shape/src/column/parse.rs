//! Tokens of a column to values, for the encoder.

use super::Numeric;
use super::around::Frames;
use super::dictionary::Dictionary;
use super::hex::HexPattern;
use super::kind::Kind;
use crate::records::Span;
use crate::varint::put_len;

/// Tokens of one column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) spans: &'a [Span],
}

impl<'a> Tokens<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.spans.iter().map(move |span| span.of(self.bytes))
    }

    /// The first tokens, at most `most`.
    #[must_use]
    pub(crate) fn first(self, most: usize) -> Self {
        Self { bytes: self.bytes, spans: &self.spans[..self.spans.len().min(most)] }
    }
}

/// A column as values and text.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// Value of each token. An exception repeats the value before.
    pub(crate) values: Vec<i64>,
    /// Rows of the exceptions.
    pub(crate) exceptions: Vec<u32>,
    /// Exceptions, distinct tokens or all tokens, depending on the kind; or the bytes of hexadecimal digits.
    pub(crate) text: Vec<u8>,
    /// Number of distinct tokens, for a dictionary.
    pub(crate) entries: usize,
}

/// Distinct tokens or frames of a column, kept from block to block.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    dictionary: Dictionary,
    bytes: Vec<u8>,
}

impl Kept {
    /// Number of texts.
    pub(crate) fn len(&self) -> usize {
        self.dictionary.len()
    }

    /// Bytes of all texts.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the last texts, so that `len` of `bytes` bytes are left.
    pub(crate) fn truncate(&mut self, len: usize, bytes: usize) {
        self.dictionary.truncate(len);
        self.bytes.truncate(bytes);
    }

    fn number(&mut self, bytes: &[u8], token: Span) -> i64 {
        self.dictionary.number_kept(&mut self.bytes, bytes, token) as i64
    }

    /// Texts from a number on: all lengths, then all bytes.
    fn texts_from(&self, number: usize) -> Vec<u8> {
        let mut text = Vec::new();
        let new = self.dictionary.tokens().skip(number);
        new.clone().for_each(|token| put_len(&mut text, token.len as usize));
        if let Some(first) = self.dictionary.tokens().nth(number) {
            text.extend_from_slice(&self.bytes[first.at as usize..]);
        }
        text
    }
}

/// Parser of columns, with reusable memory.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    dictionary: Dictionary,
    frames: Frames,
}

impl Parser {
    /// Parses a column. `inner` is the column whose tokens this one's are around, for that kind.
    pub(crate) fn parse(&mut self, kind: &Kind, tokens: Tokens<'_>, inner: Option<Tokens<'_>>) -> Parsed {
        match kind {
            Kind::Raw => raw(tokens),
            Kind::Integer(integer) => numeric(integer, tokens),
            Kind::Decimal(decimal) => numeric(decimal, tokens),
            Kind::Time(pattern) => numeric(pattern, tokens),
            Kind::Hex(pattern) => hex(pattern, tokens),
            Kind::Dictionary => self.numbers(tokens),
            Kind::Around(_) => self.around(tokens, inner.unwrap_or(tokens)),
        }
    }

    /// Like [`Self::parse`], but distinct tokens and frames are numbered together with those in `kept`; the texts are
    /// those of the new ones.
    pub(crate) fn parse_kept(
        &mut self,
        kind: &Kind,
        tokens: Tokens<'_>,
        inner: Option<Tokens<'_>>,
        kept: &mut Kept,
    ) -> Parsed {
        let known = kept.len();
        let values = match (kind, inner) {
            (Kind::Dictionary, _) => tokens.spans.iter().map(|token| kept.number(tokens.bytes, *token)).collect(),
            (Kind::Around(_), Some(inner)) => {
                let pairs = tokens.iter().zip(inner.iter());
                let number = |(token, inner): (&[u8], &[u8])| {
                    self.frames.reset_texts();
                    let frame = self.frames.add(token, inner);
                    kept.number(self.frames.texts(), frame)
                };
                pairs.map(number).collect()
            }
            _ => return self.parse(kind, tokens, inner),
        };
        Parsed { values, text: kept.texts_from(known), entries: kept.len() - known, ..Parsed::default() }
    }

    /// Number of distinct tokens.
    pub(crate) fn distinct(&mut self, tokens: Tokens<'_>) -> usize {
        self.dictionary.reset(tokens.spans.len());
        tokens.spans.iter().for_each(|token| _ = self.dictionary.number(tokens.bytes, *token));
        self.dictionary.len()
    }

    fn numbers(&mut self, tokens: Tokens<'_>) -> Parsed {
        let dictionary = &mut self.dictionary;
        dictionary.reset(tokens.spans.len());
        let values = tokens.spans.iter().map(|token| dictionary.number(tokens.bytes, *token) as i64).collect();
        let text = entries_text(dictionary, tokens.bytes);
        Parsed { values, text, entries: dictionary.len(), ..Parsed::default() }
    }

    fn around(&mut self, tokens: Tokens<'_>, inner: Tokens<'_>) -> Parsed {
        self.dictionary.reset(tokens.spans.len());
        self.frames.reset();
        let pairs = tokens.iter().zip(inner.iter());
        let values =
            pairs.map(|(token, inner)| self.frames.number(token, inner, &mut self.dictionary) as i64).collect();
        let text = entries_text(&self.dictionary, self.frames.texts());
        Parsed { values, text, entries: self.dictionary.len(), ..Parsed::default() }
    }
}

fn entries_text(dictionary: &Dictionary, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    dictionary.tokens().for_each(|token| put_len(&mut text, token.len as usize));
    dictionary.tokens().for_each(|token| text.extend_from_slice(token.of(bytes)));
    text
}

fn raw(tokens: Tokens<'_>) -> Parsed {
    let mut text = Vec::with_capacity(tokens.spans.iter().map(|token| token.len as usize).sum());
    tokens.iter().for_each(|token| text.extend_from_slice(token));
    Parsed { values: tokens.spans.iter().map(|token| i64::from(token.len)).collect(), text, ..Parsed::default() }
}

fn numeric(numeric: &impl Numeric, tokens: Tokens<'_>) -> Parsed {
    let mut parsed = Parsed::default();
    let mut before = 0;
    let exceptions = &mut parsed.exceptions;
    parsed.values.reserve(tokens.spans.len());
    parsed.values.extend(tokens.spans.iter().enumerate().map(|(row, token)| {
        match numeric.parse(tokens.bytes, *token) {
            Some(value) => before = value,
            None => exceptions.push(row as u32),
        }
        before
    }));
    parsed.text = exceptions_text(&parsed.exceptions, tokens);
    parsed
}

fn hex(pattern: &HexPattern, tokens: Tokens<'_>) -> Parsed {
    let rows = tokens.spans.len();
    let mut planes = vec![0; pattern.bytes() * rows];
    let mut digits = vec![0; pattern.bytes()];
    let mut exceptions = Vec::new();
    for (row, token) in tokens.iter().enumerate() {
        if !pattern.parse(token, &mut digits) {
            exceptions.push(row as u32);
            digits.fill(0);
        }
        digits.iter().enumerate().for_each(|(plane, byte)| planes[plane * rows + row] = *byte);
    }
    let mut text = exceptions_text(&exceptions, tokens);
    text.extend(planes);
    Parsed { values: Vec::new(), exceptions, text, entries: 0 }
}

/// Exceptions: for each the rows since the one before and the length, then the bytes of all.
fn exceptions_text(exceptions: &[u32], tokens: Tokens<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    let mut next = 0;
    for row in exceptions {
        put_len(&mut text, (row - next) as usize);
        put_len(&mut text, tokens.spans[*row as usize].len as usize);
        next = row + 1;
    }
    for row in exceptions {
        text.extend_from_slice(tokens.spans[*row as usize].of(tokens.bytes));
    }
    text
}
