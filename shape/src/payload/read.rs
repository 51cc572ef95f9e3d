//! Header and columns of a block to its records.

use super::Description;
use super::assemble::{Column, Pieces, STEP};
use crate::align::Aligned;
use crate::column::{Exceptions, Inner, Kind, Rendered, look_up};
use crate::error::DecodeError;
use crate::limits::{COLUMNS_MAX, Limits, rendered_max, steps_max};
use crate::records::{RecordsBuf, Span};
use crate::skeleton::{Chains, Skeleton};
use crate::stream::{Parents, Scratch};
use crate::varint::Reader;

/// Reader of payloads, with reusable memory.
#[derive(Debug, Default)]
pub(crate) struct PayloadReader {
    pub(crate) rendered: Rendered,
    pub(crate) scratch: Scratch,
    pub(crate) columns: Decoded,
    entries: Vec<Span>,
}

/// Values and tokens of the columns of a block, with reusable memory.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) values: Vec<Vec<i64>>,
    pub(crate) tokens: Vec<Vec<Span>>,
}

impl Decoded {
    /// Forgets all values and tokens, and makes room for `columns` columns.
    pub(crate) fn reset(&mut self, columns: usize) {
        self.values.iter_mut().for_each(Vec::clear);
        self.tokens.iter_mut().for_each(Vec::clear);
        self.values.resize_with(columns.max(self.values.len()), Vec::new);
        self.tokens.resize_with(columns.max(self.tokens.len()), Vec::new);
    }
}

/// Header of a block.
struct Header {
    records: usize,
    bytes: usize,
    skeleton: Skeleton,
    columns: Vec<Description>,
}

impl PayloadReader {
    /// Replaces the content of `out` by the records of a payload.
    pub(crate) fn read(&mut self, payload: &[u8], limits: Limits, out: &mut RecordsBuf) -> Result<(), DecodeError> {
        let mut reader = Reader::new(payload);
        let mut header = read_header(&mut reader, limits)?;
        let most = steps_max(header.bytes, header.records);
        header.skeleton.decode_choices(&mut reader, most)?;
        let chains = Chains::of(&header.skeleton)?;
        let walk = chains.walk(&header.skeleton, header.skeleton.choices(), header.records, most)?;
        let rows = walk.rows(header.columns.len())?;
        let parents: Vec<_> = header.columns.iter().map(|column| column.parents().to_vec()).collect();
        let record_numbers = walk.records_to_align(&rows, &parents);
        self.rendered.reset(rendered_max(header.bytes));
        self.columns.reset(header.columns.len());
        for (number, column) in header.columns.iter().enumerate() {
            // Columns refer to earlier ones alone.
            let (earlier, later) = self.columns.values.split_at_mut(number);
            let aligned = |parent: &usize| {
                let aligned = Aligned { values: &earlier[*parent], records: &record_numbers[*parent], before: 0 };
                aligned.to(rows[number], &record_numbers[number])
            };
            let parents: Vec<_> = column.parents().iter().map(aligned).collect();
            let [a, b] = [0, 1].map(|index| parents.get(index).map_or(&[][..], |values| values));
            let source = Source { column, rows: rows[number], parents: Parents { a, b }, data: &mut reader };
            let (tokens_before, tokens) = self.columns.tokens.split_at_mut(number);
            let inner = if let Kind::Around(inner) = column.kind { &tokens_before[inner][..] } else { &[] };
            let target = Target { values: &mut later[0], tokens: &mut tokens[0], entries: &mut self.entries };
            target.read(source, inner, &mut self.rendered, &mut self.scratch)?;
        }
        reader.end()?;
        self.rendered.pad(STEP);
        header.skeleton.pad(STEP);
        let pieces = Pieces {
            segments: header.skeleton.segments(),
            rendered: self.rendered.bytes(),
            columns: self.columns.tokens[..header.columns.len()]
                .iter()
                .map(|tokens| Column::new(tokens, &[]))
                .collect(),
        };
        pieces.assemble(&walk, header.records, header.bytes, out)
    }
}

/// A column in a payload.
struct Source<'a, 'b> {
    column: &'a Description,
    rows: usize,
    parents: Parents<'a>,
    data: &'a mut Reader<'b>,
}

/// Memory for a column.
struct Target<'a> {
    values: &'a mut Vec<i64>,
    tokens: &'a mut Vec<Span>,
    entries: &'a mut Vec<Span>,
}

impl Target<'_> {
    /// Reads a column, which may be around the tokens `inner`.
    fn read(
        self,
        source: Source<'_, '_>,
        inner: &[Span],
        rendered: &mut Rendered,
        scratch: &mut Scratch,
    ) -> Result<(), DecodeError> {
        let Self { values, tokens, entries } = self;
        let Source { column, rows, parents, data } = source;
        let mut exceptions = Exceptions::default();
        entries.clear();
        if column.kind.has_entries() {
            rendered.entries(column.texts, data, entries)?;
        } else if column.texts > 0 {
            exceptions = rendered.exceptions(rows, column.texts, data)?;
        }
        if let Kind::Hex(pattern) = &column.kind {
            return rendered.hex(pattern, rows, &exceptions, data, tokens);
        }
        let stream = column.stream.as_ref().ok_or(DecodeError::Malformed("a column without values"))?;
        stream.decode(rows, parents, scratch, data, values)?;
        match &column.kind {
            Kind::Raw => rendered.raw(values, data, tokens),
            Kind::Dictionary => look_up(values, entries, tokens),
            Kind::Around(_) => {
                let mut frames = Vec::new();
                look_up(values, entries, &mut frames)?;
                rendered.around(&frames, &[], Inner { tokens: inner, kept: &[] }, tokens)
            }
            kind => rendered.numbers(kind, values, &exceptions, tokens),
        }
    }
}

fn read_header(reader: &mut Reader<'_>, limits: Limits) -> Result<Header, DecodeError> {
    let records = reader.count("records", limits.records)?;
    let bytes = reader.count("bytes of records", limits.bytes)?;
    let mut skeleton = Skeleton::read(reader)?;
    skeleton.read_choices(reader, steps_max(bytes, records))?;
    let count = reader.count("columns", COLUMNS_MAX)?;
    let mut columns = Vec::new();
    for _ in 0..count {
        let column = Description::read(reader, &columns)?;
        columns.push(column);
    }
    Ok(Header { records, bytes, skeleton, columns })
}
