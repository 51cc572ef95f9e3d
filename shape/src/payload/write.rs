//! Tokens of a graph to the header and columns of a block.

use std::borrow::Cow;

use super::Description;
use crate::align::Aligned;
use crate::column::{Kind, Parsed, Parser, Tokens};
use crate::plan::{ColumnPlan, Plan, Planner};
use crate::records::Records;
use crate::skeleton::Skeleton;
use crate::stream::{Parents, Predictor, Stream};
use crate::template::Graph;
use crate::varint::put_len;

/// Bytes between two cuts, at least.
const CUT_MIN: usize = 2_048;
/// Bytes of columns below which there are no cuts.
const CUTS_FROM: usize = 16_384;

/// Writer of payloads, with reusable memory.
#[derive(Debug, Default)]
pub(crate) struct PayloadWriter {
    parser: Parser,
    planner: Planner,
    residuals: Vec<u64>,
    header: Vec<u8>,
    data: Vec<u8>,
    cuts: Vec<usize>,
}

/// Column that has been parsed.
struct Column {
    plan: ColumnPlan,
    parsed: Parsed,
}

impl PayloadWriter {
    /// Appends the header and columns of `records`, which `graph` was shown last, to `payload`. Returns places where the
    /// content changes.
    pub(crate) fn write(
        &mut self,
        records: Records<'_>,
        graph: &Graph,
        plan: &Plan,
        payload: &mut Vec<u8>,
    ) -> &[usize] {
        let numbers: Vec<usize> =
            (0..graph.tokens().len()).filter(|number| !graph.tokens()[*number].is_empty()).collect();
        let skeleton = Skeleton::of(graph, &numbers);
        self.header.clear();
        self.data.clear();
        self.cuts.clear();
        put_len(&mut self.header, records.len());
        put_len(&mut self.header, records.bytes().len());
        skeleton.put(&mut self.header, &mut self.data);
        put_len(&mut self.header, numbers.len());
        self.end_part();
        let columns: Vec<Column> = numbers
            .iter()
            .map(|number| {
                let tokens = Tokens { bytes: records.bytes(), spans: &graph.tokens()[*number] };
                self.parse(plan.columns.get(*number).and_then(Option::as_ref), tokens)
            })
            .collect();
        let rows: Vec<usize> = numbers.iter().map(|number| graph.tokens()[*number].len()).collect();
        let parents = self.parents(&numbers, &columns);
        let record_numbers = record_numbers(&skeleton, records.len(), &rows, &parents);
        for (number, column) in columns.iter().enumerate() {
            let align = |parent: Option<usize>| {
                let Some(parent) = parent else { return Cow::Borrowed(&[][..]) };
                let aligned = Aligned { values: &columns[parent].parsed.values, records: &record_numbers[parent] };
                aligned.to(rows[number], &record_numbers[number])
            };
            let [a, b] = parents[number].map(align);
            self.write_column(column, parents[number], Parents { a: &a, b: &b });
        }
        payload.extend_from_slice(&self.header);
        payload.extend_from_slice(&self.data);
        self.place_cuts();
        &self.cuts
    }

    /// Parses a column as planned, or as it can be.
    fn parse(&mut self, plan: Option<&ColumnPlan>, tokens: Tokens<'_>) -> Column {
        let rows = tokens.spans.len();
        let fits = |plan: &ColumnPlan, parsed: &Parsed| match plan.kind {
            Kind::Dictionary => parsed.entries * 4 <= rows * 3 || parsed.entries < 2,
            _ => parsed.exceptions.len() * 8 <= rows,
        };
        if let Some(plan) = plan {
            let parsed = self.parser.parse(&plan.kind, tokens);
            if fits(plan, &parsed) {
                return Column { plan: plan.clone(), parsed };
            }
        }
        let plan = self.planner.plan_alone(tokens);
        let parsed = self.parser.parse(&plan.kind, tokens);
        if fits(&plan, &parsed) {
            return Column { plan, parsed };
        }
        let plan = ColumnPlan { kind: Kind::Raw, predictor: Predictor::Base, parents: [0; 2] };
        Column { parsed: self.parser.parse(&plan.kind, tokens), plan }
    }

    /// Numbers of each column's parents in the block. A column whose parents it lacks gets none.
    fn parents(&mut self, numbers: &[usize], columns: &[Column]) -> Vec<[Option<usize>; 2]> {
        let find = |wanted: usize, before: usize| {
            let found = numbers.binary_search(&wanted).ok().filter(|found| *found < before);
            found.filter(|found| columns[*found].plan.kind.has_values())
        };
        let of = |(number, column): (usize, &Column)| {
            let mut parents = [None; 2];
            for index in 0..column.plan.predictor.parents() {
                parents[index] = find(column.plan.parents[index], number);
            }
            parents
        };
        columns.iter().enumerate().map(of).collect()
    }

    fn write_column(&mut self, column: &Column, parents: [Option<usize>; 2], values: Parents<'_>) {
        let Column { plan, parsed } = column;
        let is_complete = parents.iter().take(plan.predictor.parents()).all(Option::is_some);
        let predictor = if is_complete { plan.predictor } else { self.planner.predictor_alone(&parsed.values) };
        // The texts come first, except the tokens of a raw column, whose lengths must be known.
        let text_first = plan.kind != Kind::Raw;
        if text_first {
            self.write_text(&parsed.text);
        }
        let has_values = plan.kind.has_values();
        let stream =
            has_values.then(|| Stream::encode(predictor, &parsed.values, values, &mut self.residuals, &mut self.data));
        self.end_part();
        if !text_first {
            self.write_text(&parsed.text);
        }
        let texts = parsed.entries + parsed.exceptions.len();
        let parents = parents.map(Option::unwrap_or_default);
        Description { kind: plan.kind.clone(), texts, stream, parents }.put(&mut self.header);
    }

    fn write_text(&mut self, text: &[u8]) {
        self.data.extend_from_slice(text);
        self.end_part();
    }

    /// Cuts behind a part that is large enough.
    fn end_part(&mut self) {
        if self.data.len() - self.cuts.last().unwrap_or(&0) >= CUT_MIN {
            self.cuts.push(self.data.len());
        }
    }

    /// Turns cuts of the data into cuts of the payload, of which none is at its end.
    fn place_cuts(&mut self) {
        let header = self.header.len();
        if self.data.len() < CUTS_FROM {
            self.cuts.clear();
        }
        self.cuts.retain(|cut| *cut < self.data.len());
        self.cuts.iter_mut().for_each(|cut| *cut += header);
        if !self.cuts.is_empty() && header >= CUT_MIN {
            self.cuts.insert(0, header);
        }
    }
}

/// Records of the tokens of columns that are to be aligned, because they have other numbers of rows.
fn record_numbers(
    skeleton: &Skeleton,
    records: usize,
    rows: &[usize],
    parents: &[[Option<usize>; 2]],
) -> Vec<Vec<u32>> {
    let mut wanted = vec![false; rows.len()];
    for (number, parents) in parents.iter().enumerate() {
        for parent in parents.iter().flatten().filter(|parent| rows[**parent] != rows[number]) {
            wanted[number] = true;
            wanted[*parent] = true;
        }
    }
    let nothing = || vec![Vec::new(); rows.len()];
    if wanted.contains(&true) { skeleton.records_of(records, &wanted).unwrap_or_else(|_| nothing()) } else { nothing() }
}
