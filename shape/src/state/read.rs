//! Payload to records, with what is known from the blocks before.

use std::borrow::Cow;

use super::decoder::{Column, Stream};
use super::padded::Padded;
use super::streams::Room;
use super::weight;
use super::write::{DESCRIBED, WITH_TEXTS};
use crate::align::Aligned;
use crate::column::{Exceptions, Inner, Kind, each_text, look_up};
use crate::error::{DecodeError, ensure, within};
use crate::limits::{Limits, SLOTS_BITS_MAX, SLOTS_BITS_MIN, rendered_max, steps_max};
use crate::payload::{self, PayloadReader, Pieces, STEP};
use crate::records::RecordsBuf;
use crate::skeleton::{Choices, Walk};
use crate::stream::{Layout, Memory, Parents, Predictor, inverse};
use crate::varint::{Reader, unzigzag};

/// What the header says of a column with rows.
struct Described {
    texts: usize,
    layout: Layout,
    base: i64,
}

impl PayloadReader {
    /// Replaces the content of `out` by the records of a payload, and adds what is new to the stream.
    pub(super) fn read_known(
        &mut self,
        payload: &[u8],
        limits: Limits,
        stream: &mut Stream,
        room: Room,
        out: &mut RecordsBuf,
    ) -> Result<(), DecodeError> {
        let mut reader = Reader::new(payload);
        let records = reader.count("records", limits.records)?;
        let bytes = reader.count("bytes of records", limits.bytes)?;
        let most = steps_max(bytes, records);
        let Stream { nodes, columns, used } = stream;
        nodes.read(&mut reader)?;
        let mut choices = Choices::default();
        nodes.read_choices(&mut reader, most, room.tables, &mut choices, &mut self.scratch)?;
        columns.resize_with(nodes.columns().max(columns.len()), || None);
        let chains = nodes.take_chains()?;
        let walk = chains.walk(nodes, &choices, records, most)?;
        let rows = walk.rows(columns.len())?;
        used.clear();
        used.extend((0..rows.len()).filter(|number| rows[*number] > 0));
        let mut tables = weight::tables(nodes, columns);
        let mut described = Vec::with_capacity(used.len());
        for number in used.iter() {
            described.push(describe(&mut reader, number, columns, &mut tables, room.tables)?);
        }
        let before: Vec<i64> =
            columns.iter().map(|column| column.as_ref().map_or(0, |column| column.memory.last())).collect();
        self.rendered.reset(rendered_max(bytes));
        self.columns.reset(columns.len());
        let record_numbers = record_numbers(&walk, &rows, columns, used);
        for (number, described) in used.iter().zip(described) {
            let block = Values { rows: &rows, record_numbers: &record_numbers, before: &before };
            self.read_known_column(*number, &described, &block, columns, &mut reader)?;
        }
        reader.end()?;
        self.rendered.pad(STEP);
        let tokens = self.columns.tokens.iter().zip(columns.iter());
        let pieces = Pieces {
            segments: nodes.segments(),
            rendered: self.rendered.bytes(),
            columns: tokens
                .map(|(tokens, column)| payload::Column::new(tokens, kept_texts(column.as_deref())))
                .collect(),
        };
        pieces.assemble(&walk, records, bytes, out)?;
        nodes.put_chains(chains);
        Ok(())
    }

    fn read_known_column(
        &mut self,
        number: usize,
        described: &Described,
        block: &Values<'_>,
        columns: &mut [Option<Box<Column>>],
        data: &mut Reader<'_>,
    ) -> Result<(), DecodeError> {
        let (before, rest) = columns.split_at_mut(number);
        let Some(column) = rest[0].as_mut() else { return Err(DecodeError::Malformed("a column without description")) };
        let Column { kind, predictor, parents, memory, entries, texts } = &mut **column;
        let rows = block.rows[number];
        let mut exceptions = Exceptions::default();
        if kind.has_entries() {
            each_text(described.texts, data.left(), data, |text| {
                entries.push(texts.push(text).kept());
                Ok(())
            })?;
        } else if described.texts > 0 {
            exceptions = self.rendered.exceptions(rows, described.texts, data)?;
        }
        let (earlier, later) = self.columns.values.split_at_mut(number);
        let (earlier_tokens, tokens) = self.columns.tokens.split_at_mut(number);
        let values = &mut later[0];
        let tokens = &mut tokens[0];
        if let Kind::Hex(pattern) = kind {
            return self.rendered.hex(pattern, rows, &exceptions, data, tokens);
        }
        described.layout.decode(rows, data, &mut self.scratch.residuals)?;
        let aligned: Vec<_> = parents[..predictor.parents()]
            .iter()
            .map(|parent| block.aligned(&earlier[*parent], *parent, number))
            .collect();
        let [a, b] = [0, 1].map(|index| aligned.get(index).map_or(&[][..], |values| values));
        inverse(*predictor, described.base, &self.scratch.residuals, Parents { a, b }, memory, values);
        match kind {
            Kind::Raw => self.rendered.raw(values, data, tokens),
            Kind::Dictionary => look_up(values, entries, tokens),
            Kind::Around(inner) => {
                let mut frames = Vec::new();
                look_up(values, entries, &mut frames)?;
                let kept = kept_texts(before[*inner].as_deref());
                self.rendered.around(&frames, texts.bytes(), Inner { tokens: &earlier_tokens[*inner], kept }, tokens)
            }
            kind => self.rendered.numbers(kind, values, &exceptions, tokens),
        }
    }
}

fn kept_texts(column: Option<&Column>) -> &[u8] {
    column.map_or(&[], |column| column.texts.bytes())
}

/// What predictors need to know of a block.
struct Values<'a> {
    rows: &'a [usize],
    record_numbers: &'a [Vec<u32>],
    before: &'a [i64],
}

impl Values<'_> {
    /// Values of a parent for each row of a column.
    fn aligned<'b>(&'b self, values: &'b [i64], parent: usize, number: usize) -> Cow<'b, [i64]> {
        let records = |number: usize| self.record_numbers.get(number).map_or(&[][..], Vec::as_slice);
        let aligned = Aligned { values, records: records(parent), before: self.before[parent] };
        aligned.to(self.rows[number], records(number))
    }
}

/// Reads what the header says of a column. Tables may have `most` bytes together.
fn describe(
    header: &mut Reader<'_>,
    number: &usize,
    columns: &mut [Option<Box<Column>>],
    tables: &mut usize,
    most: usize,
) -> Result<Described, DecodeError> {
    let byte = header.byte("the layout of a column")?;
    ensure(byte & 0x80 == 0, "an unknown mark of a column")?;
    if byte & DESCRIBED != 0 {
        let (column, bits) = read_column(header, *number)?;
        let bytes = |column: &Option<Box<Column>>| column.as_ref().map_or(0, |column| column.memory.table_bytes());
        let table = if column.predictor.has_table() { size_of::<i64>() << bits } else { 0 };
        *tables = *tables - bytes(&columns[*number]) + table;
        within("bytes of tables", *tables, most)?;
        let column = columns[*number].insert(Box::new(column));
        column.memory.reset_slots(column.predictor.has_table(), bits);
    }
    let column = columns[*number].as_ref().ok_or(DecodeError::Malformed("a column without description"))?;
    let texts = if byte & WITH_TEXTS == 0 { 0 } else { header.count("texts of a column", u32::MAX as usize)? };
    ensure(texts == 0 || column.kind != Kind::Raw, "raw columns have no texts")?;
    let layout = Layout::read_behind(byte & 0x1f, header)?;
    let has_base = column.kind.has_values() && column.predictor == Predictor::Base;
    let base = if has_base { unzigzag(header.number("a base")?) } else { 0 };
    Ok(Described { texts, layout, base })
}

/// Reads the description of a column, with the slots of its table as a power of two.
fn read_column(header: &mut Reader<'_>, number: usize) -> Result<(Column, u32), DecodeError> {
    let kind = Kind::read(header)?;
    if let Kind::Around(inner) = kind {
        ensure(inner < number, "a column is around an earlier one")?;
    }
    let has_values = kind.has_values();
    let predictor = if has_values { Predictor::of_number(header.byte("a predictor")?)? } else { Predictor::Base };
    let bits = if predictor.has_table() { u32::from(header.byte("the slots of a table")?) } else { SLOTS_BITS_MIN };
    ensure((SLOTS_BITS_MIN..=SLOTS_BITS_MAX).contains(&bits), "slots of a table")?;
    let mut parents = [0; 2];
    for parent in &mut parents[..predictor.parents()] {
        *parent = header.count("a parent", number)?;
        ensure(*parent < number, "parents are earlier columns")?;
    }
    let column =
        Column { kind, predictor, parents, memory: Memory::default(), entries: Vec::new(), texts: Padded::default() };
    Ok((column, bits))
}

/// Records of the tokens of columns that are aligned to others.
fn record_numbers(walk: &Walk<'_>, rows: &[usize], columns: &[Option<Box<Column>>], used: &[usize]) -> Vec<Vec<u32>> {
    let mut parents = vec![Vec::new(); rows.len()];
    for number in used {
        if let Some(column) = &columns[*number] {
            parents[*number] = column.parents[..column.predictor.parents()].to_vec();
        }
    }
    walk.records_to_align(rows, &parents)
}
