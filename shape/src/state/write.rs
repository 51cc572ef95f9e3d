//! Records to a payload that says only what the decoder does not know yet.

use std::borrow::Cow;

use super::encoder::Block;
use super::journal::Journal;
use super::known::{Change, Column, RowsBefore, Stream};
use super::streams::Room;
use crate::align::Aligned;
use crate::column::{Kept, Kind, Parsed, Tokens};
use crate::limits::{CHOICE_SLOTS_BITS, SLOTS_BITS, SLOTS_BITS_MIN};
use crate::payload::PayloadWriter;
use crate::plan::ColumnPlan;
use crate::stream::{Layout, Memory, Parents, Predictor, forward};
use crate::varint::{put, put_len, zigzag};

/// Marks behind the layout of a column: a description follows, a number of texts follows.
pub(super) const DESCRIBED: u8 = 0x20;
pub(super) const WITH_TEXTS: u8 = 0x40;
/// New texts, or exceptions, that a column may have before their share counts.
const STRANGE_MIN: usize = 64;
/// Bytes of the slots of a table.
const SLOT: usize = size_of::<i64>();

/// Bytes of a stream's tables.
#[derive(Clone, Copy)]
struct Tables {
    used: usize,
    most: usize,
}

/// Columns of a block that have been parsed.
#[derive(Default)]
struct ParsedColumns {
    parsed: Vec<Parsed>,
    /// The last value of each column in the block before.
    before: Vec<i64>,
    /// Columns that begin with this block.
    begun: Vec<bool>,
}

impl PayloadWriter {
    /// Appends the payload of a block to `payload`, and notes in the journal what changes in the stream. Returns places
    /// where the content changes.
    pub(super) fn write_known(
        &mut self,
        block: &Block<'_>,
        stream: &mut Stream,
        room: Room,
        journal: &mut Journal,
        payload: &mut Vec<u8>,
    ) -> &[usize] {
        self.sections.clear();
        put_len(&mut self.sections.header, block.records.len());
        put_len(&mut self.sections.header, block.records.bytes().len());
        let grown = Change::Grew { nodes: stream.nodes.len(), columns: stream.columns.len() };
        journal.push(block.stream, grown);
        self.write_template(block, stream, journal);
        self.write_choices(block, stream, room, journal);
        self.sections.finish(payload);
        self.sections.clear();
        let columns = self.parse_columns(block, stream, room, journal);
        self.write_columns(block, stream, &columns, journal);
        self.sections.finish(payload)
    }

    /// Writes new nodes and successors, and collects the choices.
    fn write_template(&mut self, block: &Block<'_>, stream: &mut Stream, journal: &mut Journal) {
        let first_new = stream.nodes.len();
        let graph = block.graph;
        for (origin, node) in graph.nodes().iter().enumerate().filter(|(_, node)| node.visits() > 0) {
            if stream.known_node(origin).is_none() {
                stream.add_node(origin, graph.segment(node), node.column());
            }
        }
        let header = &mut self.sections.header;
        stream.nodes.put(first_new, header);
        self.choices.clear();
        let mut new_successors = Vec::new();
        for number in 0..stream.nodes.len() {
            let node = &graph.nodes()[stream.origins[number].node];
            let known = stream.nodes.get(number).successors.len();
            let mut add = |stream: &mut Stream, place: usize| {
                let places = &mut stream.origins[number].places;
                if places.len() <= place {
                    places.resize(node.successors().len(), u32::MAX);
                }
                if places[place] == u32::MAX {
                    places[place] = stream.nodes.get(number).successors.len() as u32;
                    let successor = stream.known_node(node.successors()[place] as usize).unwrap_or(0);
                    stream.nodes.add_successor(number, successor);
                    new_successors.push((number, successor));
                }
                stream.origins[number].places[place] as u16
            };
            if node.visits() > 0 && node.choices().is_empty() && !node.successors().is_empty() {
                add(stream, 0);
            }
            for choice in node.choices() {
                let place = add(stream, usize::from(*choice));
                self.choices.push(place);
            }
            let successors = stream.nodes.get(number).successors.len();
            if successors < 2 {
                self.choices.drop_node();
            }
            self.choices.end_node();
            if successors > known {
                journal.push(block.stream, Change::Successors { node: number, len: known });
            }
        }
        put_len(header, new_successors.len());
        let mut node_before = 0;
        for (node, successor) in new_successors {
            put_len(header, node - node_before);
            put(header, zigzag(successor as i64 - node as i64 - 1));
            node_before = node;
        }
    }

    fn write_choices(&mut self, block: &Block<'_>, stream: &mut Stream, room: Room, journal: &mut Journal) {
        let Self { sections, scratch, choices, .. } = self;
        let mut tables = None;
        for number in 0..stream.nodes.len() {
            if stream.nodes.get(number).successors.len() < 2 {
                continue;
            }
            let values: Vec<i64> = choices.of(number).iter().map(|choice| i64::from(*choice)).collect();
            put_len(&mut sections.header, values.len());
            if values.is_empty() {
                continue;
            }
            let planned = block.plan.choices.get(stream.origins[number].node).copied().unwrap_or(Predictor::Previous);
            if stream.nodes.get(number).predictor == Predictor::Base && planned != Predictor::Base {
                let tables = tables.get_or_insert_with(|| stream.tables());
                let bytes = if planned.has_table() { SLOT << CHOICE_SLOTS_BITS } else { 0 };
                let fits = *tables + bytes <= room.tables;
                *tables += if fits { bytes } else { 0 };
                let node = stream.nodes.get_mut(number);
                journal.push(block.stream, Change::ChoicesBegan { node: number, predictor: node.predictor });
                node.begin(if fits { planned } else { Predictor::Previous });
            }
            let node = stream.nodes.get_mut(number);
            let mut before = node.memory.begin_notes(node.predictor.has_table(), values.len());
            let parents = Parents::default();
            if node.predictor == Predictor::Base {
                // The base of choices is 0.
                scratch.residuals.clear();
                scratch.residuals.extend(values.iter().map(|value| *value as u64));
                node.memory.end(&values);
            } else {
                forward(node.predictor, &values, parents, &mut node.memory, &mut scratch.residuals);
            }
            node.memory.end_notes(&mut before);
            journal.push(block.stream, Change::Choices { node: number, before });
            let layout = Layout::encode(&mut scratch.residuals, &mut sections.data);
            node.put_layout(&layout, &mut sections.header);
        }
        sections.end_part();
    }

    fn parse_columns(
        &mut self,
        block: &Block<'_>,
        stream: &mut Stream,
        room: Room,
        journal: &mut Journal,
    ) -> ParsedColumns {
        let mut columns = ParsedColumns::default();
        stream.used.clear();
        let mut tables = Tables { used: stream.tables(), most: room.tables };
        for number in 0..stream.columns.len() {
            let origin = stream.column_origins[number];
            let tokens = Tokens { bytes: block.records.bytes(), spans: &block.graph.tokens()[origin] };
            let rows = tokens.spans.len();
            let mut begun = false;
            let mut parsed = Parsed::default();
            if rows > 0 {
                stream.used.push(number);
                let known = self.parse_known(block, stream, number, tokens, journal);
                begun = known.is_none();
                parsed = known.unwrap_or_else(|| {
                    let (column, parsed) = self.begin_column(block, stream, number, tokens, tables);
                    let before = stream.columns[number].replace(Box::new(column));
                    let bytes =
                        |column: &Option<Box<Column>>| column.as_ref().map_or(0, |column| column.memory.table_bytes());
                    tables.used = tables.used + bytes(&stream.columns[number]) - bytes(&before);
                    journal.push(block.stream, Change::ColumnBegan { number, before });
                    parsed
                });
            }
            columns.before.push(stream.columns[number].as_ref().map_or(0, |column| column.memory.last()));
            columns.parsed.push(parsed);
            columns.begun.push(begun);
        }
        columns
    }

    /// Parses a column as the decoder knows it; `None` if it does not fit.
    fn parse_known(
        &mut self,
        block: &Block<'_>,
        stream: &mut Stream,
        number: usize,
        tokens: Tokens<'_>,
        journal: &mut Journal,
    ) -> Option<Parsed> {
        let rows = tokens.spans.len();
        let inner = inner_tokens(block, stream, number);
        let column = stream.columns[number].as_mut()?;
        if matches!(column.plan.kind, Kind::Around(_)) && inner.is_none_or(|inner| inner.spans.len() != rows) {
            return None;
        }
        let before = RowsBefore {
            texts: column.kept.len(),
            text_bytes: column.kept.bytes(),
            rows: column.rows,
            strange: column.strange,
        };
        let parsed = self.parser.parse_kept(&column.plan.kind, tokens, inner, &mut column.kept);
        if !column.count(&parsed, rows) {
            column.kept.truncate(before.texts, before.text_bytes);
            [column.rows, column.strange] = [before.rows, before.strange];
            return None;
        }
        journal.push(block.stream, Change::Rows { number, before });
        Some(parsed)
    }

    /// Begins a column by its plan, or as it can be.
    fn begin_column(
        &mut self,
        block: &Block<'_>,
        stream: &Stream,
        number: usize,
        tokens: Tokens<'_>,
        tables: Tables,
    ) -> (Column, Parsed) {
        let planned = block.plan.columns.get(stream.column_origins[number]).and_then(Option::as_ref);
        let planned =
            planned.filter(|_| stream.columns[number].is_none()).and_then(|plan| renumber(plan, number, stream));
        let alone = planned.is_none().then(|| self.planner.plan_alone(tokens));
        let raw = ColumnPlan { kind: Kind::Raw, predictor: Predictor::Base, parents: [0; 2] };
        let mut found = (Column::new(raw.clone()), Parsed::default());
        // Every column fits the last one.
        for plan in planned.into_iter().chain(alone).chain([raw]) {
            let inner = if let Kind::Around(inner) = plan.kind { Some(tokens_of(block, stream, inner)) } else { None };
            if inner.is_some_and(|inner| inner.spans.len() != tokens.spans.len()) {
                continue;
            }
            let mut column = Column::new(plan);
            let parsed = self.parser.parse_kept(&column.plan.kind, tokens, inner, &mut column.kept);
            let fits = column.count(&parsed, tokens.spans.len());
            found = (column, parsed);
            if fits {
                break;
            }
        }
        let (mut column, parsed) = found;
        // Tables become smaller as the room for them does.
        let bits = (tables.most.saturating_sub(tables.used) / SLOT / 8).checked_ilog2().unwrap_or(0).min(SLOTS_BITS);
        if bits < SLOTS_BITS_MIN && column.plan.predictor.has_table() {
            column.plan.predictor = self.planner.predictor_alone(&parsed.values);
        }
        column.memory.reset_slots(column.plan.predictor.has_table(), bits);
        (column, parsed)
    }

    fn write_columns(
        &mut self,
        block: &Block<'_>,
        stream: &mut Stream,
        columns: &ParsedColumns,
        journal: &mut Journal,
    ) {
        let mut rows = vec![0; stream.columns.len()];
        stream
            .used
            .iter()
            .for_each(|number| rows[*number] = block.graph.tokens()[stream.column_origins[*number]].len());
        let record_numbers = self.record_numbers(block, stream, &rows);
        for index in 0..stream.used.len() {
            let number = stream.used[index];
            let Some(column) = stream.columns[number].as_mut() else { continue };
            let align = |index: usize| {
                if index >= column.plan.predictor.parents() {
                    return Cow::Borrowed(&[][..]);
                }
                let parent = column.plan.parents[index];
                let records = |number: usize| record_numbers.get(number).map_or(&[][..], Vec::as_slice);
                let values = &columns.parsed[parent].values;
                let aligned = Aligned { values, records: records(parent), before: columns.before[parent] };
                aligned.to(rows[number], records(number))
            };
            let [a, b] = [0, 1].map(align);
            let before =
                self.write_rows(column, &columns.parsed[number], columns.begun[number], Parents { a: &a, b: &b });
            if !columns.begun[number] {
                journal.push(block.stream, Change::Memory { number, before });
            }
        }
    }

    /// Records of the tokens of columns that are aligned to others.
    fn record_numbers(&mut self, block: &Block<'_>, stream: &mut Stream, rows: &[usize]) -> Vec<Vec<u32>> {
        let mut parents = vec![Vec::new(); rows.len()];
        let mut is_equal = true;
        for number in &stream.used {
            if let Some(column) = &stream.columns[*number] {
                parents[*number] = column.plan.parents[..column.plan.predictor.parents()].to_vec();
                is_equal &= parents[*number].iter().all(|parent| rows[*parent] == rows[*number]);
            }
        }
        if is_equal {
            return Vec::new();
        }
        let Ok(chains) = stream.nodes.take_chains() else { return Vec::new() };
        let walk = chains.walk(&stream.nodes, &self.choices, block.records.len(), usize::MAX);
        let found = walk.map_or_else(|_| Vec::new(), |walk| walk.records_to_align(rows, &parents));
        stream.nodes.put_chains(chains);
        found
    }

    /// Writes a column. Returns what its memory was before.
    fn write_rows(
        &mut self,
        column: &mut Column,
        parsed: &Parsed,
        begins: bool,
        parents: Parents<'_>,
    ) -> crate::stream::Before {
        let ColumnPlan { kind, predictor, parents: parent_numbers } = &column.plan;
        let sections = &mut self.sections;
        let text_first = *kind != Kind::Raw;
        if text_first {
            sections.text(&parsed.text);
        }
        let has_values = kind.has_values();
        let mut before = column.memory.begin_notes(predictor.has_table(), if begins { 0 } else { parsed.values.len() });
        let mut base = 0;
        let mut layout = None;
        if has_values {
            base = forward(*predictor, &parsed.values, parents, &mut column.memory, &mut self.scratch.residuals);
            layout = Some(Layout::encode(&mut self.scratch.residuals, &mut sections.data));
        }
        column.memory.end_notes(&mut before);
        sections.end_part();
        if !text_first {
            sections.text(&parsed.text);
        }
        let texts = parsed.entries + parsed.exceptions.len();
        let header = &mut sections.header;
        let marks = if begins { DESCRIBED } else { 0 } | if texts > 0 { WITH_TEXTS } else { 0 };
        header.push(layout.map_or(0, |layout| layout.byte()) | marks);
        if begins {
            kind.put(header);
            if has_values {
                header.push(predictor.number());
                if predictor.has_table() {
                    header.push(column.memory.slots_bits() as u8);
                }
                parent_numbers[..predictor.parents()].iter().for_each(|parent| put_len(header, *parent));
            }
        }
        if texts > 0 {
            put_len(header, texts);
        }
        if let Some(layout) = layout {
            layout.put_count(header);
            if *predictor == Predictor::Base {
                put(header, zigzag(base));
            }
        }
        before
    }
}

impl Column {
    fn new(plan: ColumnPlan) -> Self {
        Self { plan, memory: Memory::default(), kept: Kept::default(), rows: 0, strange: 0 }
    }

    /// Counts rows; returns false if too many of them are strange.
    fn count(&mut self, parsed: &Parsed, rows: usize) -> bool {
        self.rows += rows;
        self.strange += parsed.entries + parsed.exceptions.len();
        match self.plan.kind {
            Kind::Dictionary | Kind::Around(_) => self.strange * 4 <= self.rows * 3 + STRANGE_MIN * 4,
            _ => self.strange * 8 <= self.rows + STRANGE_MIN,
        }
    }
}

/// Tokens of a column of the stream.
fn tokens_of<'a>(block: &Block<'a>, stream: &Stream, number: usize) -> Tokens<'a> {
    Tokens { bytes: block.records.bytes(), spans: &block.graph.tokens()[stream.column_origins[number]] }
}

/// Tokens of the column that this one is around, if it is around one.
fn inner_tokens<'a>(block: &Block<'a>, stream: &Stream, number: usize) -> Option<Tokens<'a>> {
    match stream.columns[number].as_ref()?.plan.kind {
        Kind::Around(inner) => Some(tokens_of(block, stream, inner)),
        _ => None,
    }
}

/// A plan with the stream's numbers of columns. `None` if it needs columns that are not in front of its own.
fn renumber(plan: &ColumnPlan, number: usize, stream: &Stream) -> Option<ColumnPlan> {
    let place = |origin: usize| stream.known_column(origin).filter(|place| *place < number);
    let has_values = |place: usize| stream.columns[place].as_ref().is_none_or(|column| column.plan.kind.has_values());
    let mut plan = plan.clone();
    if let Kind::Around(inner) = &mut plan.kind {
        *inner = place(*inner)?;
    }
    for parent in &mut plan.parents[..plan.predictor.parents()] {
        match place(*parent).filter(|place| has_values(*place)) {
            Some(place) => *parent = place,
            None => {
                plan.predictor = Predictor::Previous;
                break;
            }
        }
    }
    Some(plan)
}
