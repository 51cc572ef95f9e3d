//! Template of one block, as it travels: the nodes that its records visit, and the choices between successors.

mod walk;

pub(crate) use walk::{Chains, Choices, Nodes, Part, Walk};

use crate::error::{DecodeError, ensure, within};
use crate::limits::{COLUMNS_MAX, NODES_MAX, SUCCESSORS_MAX};
use crate::records::Span;
use crate::stream::{Parents, Predictor, Scratch, Stream, cost, forward};
use crate::template::{Graph, START};
use crate::varint::{Reader, put, put_len, unzigzag, zigzag};

/// Column of a node without a token.
pub(crate) const NO_COLUMN: usize = usize::MAX;

/// Predictors of choices: those that need no other column.
pub(crate) const PREDICTORS: [Predictor; 4] =
    [Predictor::Base, Predictor::Previous, Predictor::SameSelf, Predictor::SameSelfPair];

/// Constant segment with the token behind it. Without successors it ends a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node {
    pub(crate) segment: Span,
    column: usize,
    first_successor: usize,
    successors: usize,
}

impl Node {
    pub(crate) fn column(&self) -> Option<usize> {
        (self.column != NO_COLUMN).then_some(self.column)
    }
}

/// Nodes of a block. Records begin behind the first of them.
#[derive(Debug, Default)]
pub(crate) struct Skeleton {
    segments: Vec<u8>,
    nodes: Vec<Node>,
    successors: Vec<usize>,
    choices: Choices,
    /// Number and stream of the choices at each node with several successors.
    streams: Vec<(usize, Stream)>,
}

impl Skeleton {
    /// Takes what the block uses of a graph. Columns are numbered by their place in `columns`.
    pub(crate) fn of(graph: &Graph, columns: &[usize]) -> Self {
        let mut skeleton = Self::default();
        let used: Vec<usize> = (0..graph.nodes().len()).filter(|node| graph.nodes()[*node].visits() > 0).collect();
        let number = |wanted: usize| used.binary_search(&wanted).unwrap_or(0);
        let mut number_of = vec![NO_COLUMN; graph.keys().len()];
        columns.iter().enumerate().for_each(|(number, column)| number_of[*column] = number);
        let mut mapping = Vec::new();
        for node in used.iter().map(|node| &graph.nodes()[*node]) {
            let start = skeleton.segments.len();
            skeleton.segments.extend_from_slice(graph.segment(node));
            let first_successor = skeleton.successors.len();
            if !node.choices().is_empty() {
                mapping.clear();
                mapping.resize(node.successors().len(), u16::MAX);
                for choice in node.choices() {
                    let local = &mut mapping[usize::from(*choice)];
                    if *local == u16::MAX {
                        *local = (skeleton.successors.len() - first_successor) as u16;
                        skeleton.successors.push(number(node.successors()[usize::from(*choice)] as usize));
                    }
                    skeleton.choices.push(*local);
                }
            } else if let Some(only) = node.successors().first() {
                skeleton.successors.push(number(*only as usize));
            }
            let successors = skeleton.successors.len() - first_successor;
            if successors < 2 {
                skeleton.choices.drop_node();
            }
            skeleton.choices.end_node();
            skeleton.nodes.push(Node {
                segment: Span::new(start, skeleton.segments.len()),
                column: node.column().map_or(NO_COLUMN, |column| number_of[column]),
                first_successor,
                successors,
            });
        }
        skeleton
    }

    pub(crate) fn segments(&self) -> &[u8] {
        &self.segments
    }

    /// Adds bytes behind the segments.
    pub(crate) fn pad(&mut self, len: usize) {
        self.segments.resize(self.segments.len() + len, 0);
    }

    /// Appends the nodes to a header and the choices to the data.
    pub(crate) fn put(&self, header: &mut Vec<u8>, data: &mut Vec<u8>) {
        put_len(header, self.nodes.len());
        self.nodes.iter().for_each(|node| put_len(header, node.segment.len as usize));
        header.extend_from_slice(&self.segments);
        let mut next_column = 0;
        for (number, node) in self.nodes.iter().enumerate() {
            match node.column() {
                None => put(header, 0),
                Some(column) => {
                    put(header, 1 + zigzag(column as i64 - next_column));
                    next_column = column as i64 + 1;
                }
            }
            put_len(header, node.successors);
            for successor in &self.successors[node.first_successor..][..node.successors] {
                put(header, zigzag(*successor as i64 - number as i64 - 1));
            }
        }
        let mut scratch = Scratch::default();
        for (number, _) in self.nodes.iter().enumerate().filter(|(_, node)| node.successors > 1) {
            let values: Vec<i64> = self.choices.of(number).iter().map(|choice| i64::from(*choice)).collect();
            put_len(header, values.len());
            let predictor = best_predictor(&values, &mut scratch);
            Stream::encode(predictor, &values, Parents::default(), &mut scratch, data).put(header);
        }
    }

    /// Reads nodes from a header.
    pub(crate) fn read(header: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut skeleton = Self::default();
        let count = header.count("nodes", NODES_MAX)?;
        ensure(count > START, "there is a first node")?;
        let mut at = 0;
        let mut segments = Vec::new();
        for _ in 0..count {
            let end = at + header.count("bytes of a segment", header.left())?;
            segments.push(Span::new(at, end));
            at = end;
            within("bytes of segments", at, header.left())?;
        }
        skeleton.segments = header.take(at, "the segments")?.to_vec();
        let mut next_column = 0;
        for (number, segment) in segments.into_iter().enumerate() {
            let column = match header.number("a column")? {
                0 => NO_COLUMN,
                step => relative("columns", next_column, step - 1, COLUMNS_MAX)?,
            };
            next_column = if column == NO_COLUMN { next_column } else { column + 1 };
            let successors = header.count("successors", SUCCESSORS_MAX)?;
            let first_successor = skeleton.successors.len();
            for _ in 0..successors {
                skeleton.successors.push(relative("nodes", number + 1, header.number("a successor")?, count)?);
            }
            skeleton.nodes.push(Node { segment, column, first_successor, successors });
        }
        Ok(skeleton)
    }

    /// Reads the descriptions of the choices from a header. There may be `most` choices at a node.
    pub(crate) fn read_choices(&mut self, header: &mut Reader<'_>, most: usize) -> Result<(), DecodeError> {
        for _ in self.nodes.iter().filter(|node| node.successors > 1) {
            let count = header.count("choices", most)?;
            let stream = Stream::read(header)?;
            ensure(PREDICTORS.contains(&stream.predictor), "choices are not predicted from columns")?;
            self.streams.push((count, stream));
        }
        Ok(())
    }

    /// Reads the choices from the data. There may be `most` choices together.
    pub(crate) fn decode_choices(&mut self, data: &mut Reader<'_>, most: usize) -> Result<(), DecodeError> {
        let mut scratch = Scratch::default();
        let mut values = Vec::new();
        let mut streams = self.streams.iter();
        for node in &self.nodes {
            if node.successors > 1
                && let Some((count, stream)) = streams.next()
            {
                within("choices", self.choices.len() + count, most)?;
                stream.decode(*count, Parents::default(), &mut scratch, data, &mut values)?;
                push_choices(&values, node.successors, &mut self.choices)?;
            }
            self.choices.end_node();
        }
        Ok(())
    }

    /// Choices at all nodes.
    pub(crate) const fn choices(&self) -> &Choices {
        &self.choices
    }
}

impl Nodes for Skeleton {
    fn count(&self) -> usize {
        self.nodes.len()
    }

    fn part(&self, node: usize) -> Part {
        let node = &self.nodes[node];
        Part { segment: node.segment, column: node.column() }
    }

    fn successors(&self, node: usize) -> &[usize] {
        let node = &self.nodes[node];
        &self.successors[node.first_successor..][..node.successors]
    }
}

/// Adds values as choices at a node with so many successors.
pub(crate) fn push_choices(values: &[i64], successors: usize, choices: &mut Choices) -> Result<(), DecodeError> {
    for value in values {
        let choice = usize::try_from(*value).ok().filter(|choice| *choice < successors);
        choices.push(choice.ok_or(DecodeError::Malformed("a choice without a successor"))? as u16);
    }
    Ok(())
}

/// The predictor that makes these choices smallest, alone.
pub(crate) fn best_predictor(choices: &[i64], scratch: &mut Scratch) -> Predictor {
    let mut best = (f64::MAX, Predictor::Base);
    for predictor in PREDICTORS {
        scratch.memory.reset(predictor.has_table(), choices.len());
        forward(predictor, choices, Parents::default(), &mut scratch.memory, &mut scratch.residuals);
        let cost = cost(&scratch.residuals);
        if cost < best.0 {
            best = (cost, predictor);
        }
    }
    best.1
}

/// Number at a distance from the expected one.
pub(crate) fn relative(what: &'static str, expected: usize, step: u64, most: usize) -> Result<usize, DecodeError> {
    let number = (expected as i64).wrapping_add(unzigzag(step));
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    if number < most { Ok(number) } else { Err(DecodeError::Limit { what, found: number as u64, most: most as u64 }) }
}
