//! Tokens of a graph to the header and columns of a block.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Description;
use super::sections::Sections;
use crate::align::Aligned;
use crate::column::{Kind, Parsed, Parser, Tokens};
use crate::plan::{ColumnPlan, Plan, Planner};
use crate::records::Records;
use crate::skeleton::{Chains, Choices, Skeleton};
use crate::stream::{Parents, Predictor, Scratch, Stream};
use crate::template::Graph;
use crate::varint::put_len;

/// Writer of payloads, with reusable memory.
#[derive(Debug, Default)]
pub(crate) struct PayloadWriter {
    pub(crate) parser: Parser,
    pub(crate) planner: Planner,
    pub(crate) scratch: Scratch,
    pub(crate) sections: Sections,
    pub(crate) choices: Choices,
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
        let numbers = plan.used(graph);
        let skeleton = Skeleton::of(graph, &numbers);
        self.sections.clear();
        let Sections { header, data, .. } = &mut self.sections;
        put_len(header, records.len());
        put_len(header, records.bytes().len());
        skeleton.put(header, data);
        put_len(header, numbers.len());
        self.sections.end_part();
        let tokens_of = |column: usize| Tokens { bytes: records.bytes(), spans: &graph.tokens()[column] };
        let mut columns: Vec<Column> = Vec::with_capacity(numbers.len());
        for number in &numbers {
            let planned = plan.columns.get(*number).and_then(Option::as_ref);
            let inner = planned
                .and_then(|plan| if let Kind::Around(inner) = plan.kind { Some(tokens_of(inner)) } else { None });
            columns.push(self.parse(planned, tokens_of(*number), inner));
        }
        let rows: Vec<usize> = numbers.iter().map(|number| graph.tokens()[*number].len()).collect();
        let parents = parents(&numbers, &mut columns);
        let known = |parents: &[Option<usize>; 2]| parents.iter().flatten().copied().collect();
        let known: Vec<Vec<usize>> = parents.iter().map(known).collect();
        let is_equal = |number: usize| known[number].iter().all(|parent| rows[*parent] == rows[number]);
        let mut record_numbers = Vec::new();
        if !(0..rows.len()).all(is_equal)
            && let Ok(chains) = Chains::of(&skeleton)
            && let Ok(walk) = chains.walk(&skeleton, skeleton.choices(), records.len(), usize::MAX)
        {
            record_numbers = walk.records_to_align(&rows, &known);
        }
        for (number, column) in columns.iter().enumerate() {
            let align = |parent: Option<usize>| {
                let Some(parent) = parent else { return Cow::Borrowed(&[][..]) };
                let records = |number: usize| record_numbers.get(number).map_or(&[][..], Vec::as_slice);
                let aligned = Aligned { values: &columns[parent].parsed.values, records: records(parent), before: 0 };
                aligned.to(rows[number], records(number))
            };
            let [a, b] = parents[number].map(align);
            self.write_column(column, parents[number], Parents { a: &a, b: &b });
        }
        self.sections.finish(payload)
    }

    /// Parses a column as planned, or as it can be.
    fn parse(&mut self, plan: Option<&ColumnPlan>, tokens: Tokens<'_>, inner: Option<Tokens<'_>>) -> Column {
        let rows = tokens.spans.len();
        let fits = |plan: &ColumnPlan, parsed: &Parsed| match plan.kind {
            Kind::Dictionary | Kind::Around(_) => parsed.entries * 4 <= rows * 3 || parsed.entries < 2,
            _ => parsed.exceptions.len() * 8 <= rows,
        };
        if let Some(plan) = plan.filter(|_| inner.is_none_or(|inner| inner.spans.len() == rows)) {
            let parsed = self.parser.parse(&plan.kind, tokens, inner);
            if fits(plan, &parsed) {
                return Column { plan: plan.clone(), parsed };
            }
        }
        let plan = self.planner.plan_alone(tokens);
        let parsed = self.parser.parse(&plan.kind, tokens, None);
        if fits(&plan, &parsed) {
            return Column { plan, parsed };
        }
        let plan = ColumnPlan { kind: Kind::Raw, predictor: Predictor::Base, parents: [0; 2] };
        Column { parsed: self.parser.parse(&plan.kind, tokens, None), plan }
    }

    fn write_column(&mut self, column: &Column, parents: [Option<usize>; 2], values: Parents<'_>) {
        let Column { plan, parsed } = column;
        let is_complete = parents.iter().take(plan.predictor.parents()).all(Option::is_some);
        let predictor = if is_complete { plan.predictor } else { self.planner.predictor_alone(&parsed.values) };
        // The texts come first, except the tokens of a raw column, whose lengths must be known.
        let text_first = plan.kind != Kind::Raw;
        if text_first {
            self.sections.text(&parsed.text);
        }
        let has_values = plan.kind.has_values();
        let data = &mut self.sections.data;
        let stream = has_values.then(|| Stream::encode(predictor, &parsed.values, values, &mut self.scratch, data));
        self.sections.end_part();
        if !text_first {
            self.sections.text(&parsed.text);
        }
        let texts = parsed.entries + parsed.exceptions.len();
        let parents = parents.map(Option::unwrap_or_default);
        Description { kind: plan.kind.clone(), texts, stream, parents }.put(&mut self.sections.header);
    }
}

/// Numbers of each column's parents in the block. A column whose parents it lacks gets none. Those that are around
/// others get the numbers of these.
fn parents(numbers: &[usize], columns: &mut [Column]) -> Vec<[Option<usize>; 2]> {
    let place: HashMap<usize, usize> = numbers.iter().enumerate().map(|(number, column)| (*column, number)).collect();
    let mut all = Vec::with_capacity(columns.len());
    for number in 0..columns.len() {
        let find = |wanted: usize| {
            let found = place.get(&wanted).copied().filter(|found| *found < number);
            found.filter(|found| columns[*found].plan.kind.has_values())
        };
        let plan = &columns[number].plan;
        let mut parents = [None; 2];
        for index in 0..plan.predictor.parents() {
            parents[index] = find(plan.parents[index]);
        }
        all.push(parents);
        if let Kind::Around(inner) = &mut columns[number].plan.kind {
            *inner = place.get(inner).copied().unwrap_or_default();
        }
    }
    all
}
