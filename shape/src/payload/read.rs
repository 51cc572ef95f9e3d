//! Header and columns of a block to its records.

use super::Description;
use crate::align::Aligned;
use crate::column::{Kind, Rendered, Rendering, Sources};
use crate::error::{DecodeError, ensure};
use crate::limits::{COLUMNS_MAX, Limits, steps_max};
use crate::records::{RecordsBuf, Span};
use crate::skeleton::{Skeleton, Walk};
use crate::stream::Parents;
use crate::varint::Reader;

/// Bytes that are copied together, and padding behind everything that is copied.
const STEP: usize = 16;

/// Reader of payloads, with reusable memory.
#[derive(Debug, Default)]
pub(crate) struct PayloadReader {
    rendered: Rendered,
    residuals: Vec<u64>,
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
        header.skeleton.decode_choices(&mut reader, steps_max(header.bytes, header.records))?;
        let mut walk = header.skeleton.walk(header.records, steps_max(header.bytes, header.records))?;
        let rows = walk.rows(header.columns.len())?;
        let parents: Vec<_> = header.columns.iter().map(|column| column.parents().to_vec()).collect();
        let record_numbers = walk.records_to_align(&rows, &parents);
        self.rendered.reset(header.bytes.saturating_mul(4).saturating_add(65_536));
        let mut values: Vec<Vec<i64>> = Vec::with_capacity(header.columns.len());
        let mut tokens: Vec<Vec<Span>> = Vec::with_capacity(header.columns.len());
        for (number, column) in header.columns.iter().enumerate() {
            let aligned = |parent: &usize| {
                let aligned = Aligned { values: &values[*parent], records: &record_numbers[*parent] };
                aligned.to(rows[number], &record_numbers[number])
            };
            let parents: Vec<_> = column.parents().iter().map(aligned).collect();
            let [a, b] = [0, 1].map(|index| parents.get(index).map_or(&[][..], |values| values));
            let inner = if let Kind::Around(inner) = column.kind { &tokens[inner][..] } else { &[] };
            let sources = Sources { data: &mut reader, inner };
            let (own, spans) = self.read_column(column, rows[number], Parents { a, b }, sources)?;
            values.push(own);
            tokens.push(spans);
        }
        reader.end()?;
        self.assemble(&header, &mut walk, &tokens, out)
    }

    fn read_column(
        &mut self,
        column: &Description,
        rows: usize,
        parents: Parents<'_>,
        sources: Sources<'_, '_>,
    ) -> Result<(Vec<i64>, Vec<Span>), DecodeError> {
        let rendering = Rendering { kind: &column.kind, rows, texts: column.texts };
        let texts = self.rendered.texts(rendering, sources.data)?;
        match (&column.kind, &column.stream) {
            (Kind::Hex(pattern), _) => Ok((Vec::new(), self.rendered.hex(pattern, rows, &texts, sources.data)?)),
            (kind, Some(stream)) => {
                let values = stream.decode(rows, parents, &mut self.residuals, sources.data)?;
                let tokens = self.rendered.tokens(kind, &values, &texts, sources)?;
                Ok((values, tokens))
            }
            (_, None) => Err(DecodeError::Malformed("a column without values")),
        }
    }

    /// Puts segments and tokens together.
    fn assemble(
        &mut self,
        header: &Header,
        walk: &mut Walk,
        tokens: &[Vec<Span>],
        out: &mut RecordsBuf,
    ) -> Result<(), DecodeError> {
        for part in walk.parts_mut() {
            part.segment = self.rendered.add(part.segment.of(header.skeleton.segments()))?;
        }
        self.rendered.pad(STEP);
        out.ends.clear();
        out.ends.reserve(header.records);
        out.bytes.resize(header.bytes + STEP, 0);
        let mut output = Output { source: self.rendered.bytes(), bytes: &mut out.bytes, at: 0, end: header.bytes };
        let mut tokens: Vec<_> = tokens.iter().map(|column| column.iter()).collect();
        for (parts, is_end) in walk.parts() {
            for part in parts {
                output.copy(part.segment)?;
                let token = part.column.and_then(|column| tokens[column].next());
                output.copy(token.copied().unwrap_or_default())?;
            }
            if is_end {
                out.ends.push(output.at as u32);
            }
        }
        let found = output.at;
        ensure(found == header.bytes, "records of another length than stated")?;
        out.bytes.truncate(found);
        Ok(())
    }
}

/// Bytes of the records so far.
struct Output<'a> {
    source: &'a [u8],
    bytes: &'a mut [u8],
    at: usize,
    end: usize,
}

impl Output<'_> {
    /// Copies a text. Behind each text and behind the end there are [`STEP`] bytes more.
    fn copy(&mut self, text: Span) -> Result<(), DecodeError> {
        let from = text.at as usize;
        let len = text.len as usize;
        let end = self.at + len;
        if end > self.end {
            return Err(DecodeError::Malformed("records are longer than stated"));
        }
        let source = self.source.get(from..).and_then(<[u8]>::first_chunk::<STEP>);
        let target = self.bytes.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut::<STEP>);
        if let (Some(source), Some(target)) = (source, target) {
            *target = *source;
        }
        if len > STEP {
            self.bytes[self.at + STEP..end].copy_from_slice(&self.source[from + STEP..from + len]);
        }
        self.at = end;
        Ok(())
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
