//! Template of a stream: the nodes of all its blocks so far.

use super::padded::Padded;
use crate::error::{DecodeError, ensure, within};
use crate::limits::{CHOICE_SLOTS_BITS, COLUMNS_MAX, NODES_MAX, SUCCESSORS_MAX};
use crate::records::Span;
use crate::skeleton::{Chains, Choices, NO_COLUMN, Nodes, PREDICTORS, Part, push_choices, relative};
use crate::stream::{Layout, Memory, Parents, Predictor, Scratch, inverse};
use crate::template::START;
use crate::varint::{Reader, put, put_len, zigzag};

/// What is charged for a stream besides its nodes, columns and tables; for each column that its nodes could have, described
/// or not; for a node besides its segment; and for a successor.
const STREAM_WEIGHT: usize = 1024;
const PLACE_WEIGHT: usize = 16;
const NODE_WEIGHT: usize = 320;
const SUCCESSOR_WEIGHT: usize = 16;
/// Place of a choice's predictor in the byte of its layout.
const PREDICTOR_SHIFT: u32 = 5;

/// Constant segment with the token behind it.
#[derive(Debug)]
pub(super) struct Node {
    segment: Span,
    column: usize,
    pub(super) successors: Vec<usize>,
    /// Predictor of the choices, and what it remembers.
    pub(super) predictor: Predictor,
    pub(super) memory: Memory,
}

/// Nodes in order of their first visits.
#[derive(Debug, Default)]
pub(super) struct KnownNodes {
    segments: Padded,
    nodes: Vec<Node>,
    /// Chains of the nodes, until these change.
    chains: Option<Chains>,
}

impl KnownNodes {
    /// Adds a node without successors.
    pub(super) fn push(&mut self, segment: &[u8], column: Option<usize>) {
        let segment = self.segments.push(segment);
        self.nodes.push(Node {
            segment,
            column: column.unwrap_or(NO_COLUMN),
            successors: Vec::new(),
            predictor: Predictor::Base,
            memory: Memory::default(),
        });
        self.chains = None;
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn get(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    pub(super) fn get_mut(&mut self, node: usize) -> &mut Node {
        &mut self.nodes[node]
    }

    /// Segments, with bytes behind them.
    pub(super) fn segments(&self) -> &[u8] {
        self.segments.bytes()
    }

    pub(super) fn add_successor(&mut self, node: usize, successor: usize) {
        self.nodes[node].successors.push(successor);
        self.chains = None;
    }

    /// Forgets the last nodes, so that `len` are left.
    pub(super) fn truncate(&mut self, len: usize) {
        if let Some(first) = self.nodes.get(len) {
            self.segments.truncate(first.segment.at as usize);
            self.nodes.truncate(len);
            self.chains = None;
        }
    }

    /// Forgets the last successors of a node, so that `len` are left.
    pub(super) fn truncate_successors(&mut self, node: usize, len: usize) {
        self.nodes[node].successors.truncate(len);
        self.chains = None;
    }

    /// Number of columns that the nodes need.
    pub(super) fn columns(&self) -> usize {
        self.nodes.iter().filter(|node| node.column != NO_COLUMN).map(|node| node.column + 1).max().unwrap_or(0)
    }

    /// Takes the chains, for [`Self::put_chains`] after the block.
    pub(super) fn take_chains(&mut self) -> Result<Chains, DecodeError> {
        self.chains.take().map_or_else(|| Chains::of(self), Ok)
    }

    /// Puts chains back that were taken.
    pub(super) fn put_chains(&mut self, chains: Chains) {
        self.chains = Some(chains);
    }

    /// Bytes that are charged.
    pub(super) fn weight(&self) -> usize {
        let of = |node: &Node| {
            NODE_WEIGHT
                + node.segment.len as usize
                + node.successors.len() * SUCCESSOR_WEIGHT
                + node.memory.table_bytes()
        };
        STREAM_WEIGHT + self.columns() * PLACE_WEIGHT + self.nodes.iter().map(of).sum::<usize>()
    }

    /// Bytes of the tables.
    pub(super) fn tables(&self) -> usize {
        self.nodes.iter().map(|node| node.memory.table_bytes()).sum()
    }

    /// Appends the nodes from `first` on to a header.
    pub(super) fn put(&self, first: usize, header: &mut Vec<u8>) {
        let nodes = &self.nodes[first..];
        put_len(header, nodes.len());
        nodes.iter().for_each(|node| put_len(header, node.segment.len as usize));
        nodes.iter().for_each(|node| header.extend_from_slice(node.segment.of(self.segments.bytes())));
        let mut next_column = 0;
        for node in nodes {
            if node.column == NO_COLUMN {
                put(header, 0);
            } else {
                put(header, 1 + zigzag(node.column as i64 - next_column));
                next_column = node.column as i64 + 1;
            }
        }
    }

    /// Reads new nodes and new successors from a header.
    pub(super) fn read(&mut self, header: &mut Reader<'_>) -> Result<(), DecodeError> {
        let count = header.count("nodes", NODES_MAX)?;
        within("nodes", self.nodes.len() + count, NODES_MAX)?;
        let mut lens = Vec::new();
        for _ in 0..count {
            lens.push(header.count("bytes of a segment", header.left())?);
        }
        let first = self.nodes.len();
        for len in lens {
            self.push(header.take(len, "a segment")?, None);
        }
        let mut next_column = 0;
        for node in &mut self.nodes[first..] {
            let step = header.number("a column")?;
            if step > 0 {
                node.column = relative("columns", next_column, step - 1, COLUMNS_MAX)?;
                next_column = node.column + 1;
            }
        }
        self.read_successors(header)
    }

    fn read_successors(&mut self, header: &mut Reader<'_>) -> Result<(), DecodeError> {
        let count = header.count("successors", header.left())?;
        let mut node = 0;
        for _ in 0..count {
            node += header.count("a node", self.nodes.len())?;
            ensure(node < self.nodes.len(), "successors of a known node")?;
            let successor = relative("nodes", node + 1, header.number("a successor")?, self.nodes.len())?;
            self.add_successor(node, successor);
            within("successors", self.nodes[node].successors.len(), SUCCESSORS_MAX)?;
        }
        Ok(())
    }

    /// Reads the choices, of which there may be `most`. Tables may have `tables` bytes.
    pub(super) fn read_choices(
        &mut self,
        payload: &mut Reader<'_>,
        most: usize,
        tables: usize,
        choices: &mut Choices,
        scratch: &mut Scratch,
    ) -> Result<(), DecodeError> {
        let mut streams = Vec::new();
        let mut bytes = self.tables();
        for node in self.nodes.iter_mut().filter(|node| node.successors.len() > 1) {
            let count = payload.count("choices", most)?;
            if count == 0 {
                streams.push(None);
                continue;
            }
            let byte = payload.byte("a width")?;
            let predictor = PREDICTORS[usize::from(byte >> PREDICTOR_SHIFT) & 3];
            ensure(byte >> PREDICTOR_SHIFT < 4, "an unknown predictor of choices")?;
            if predictor != node.predictor {
                bytes -= node.memory.table_bytes();
                node.begin(predictor);
                bytes += node.memory.table_bytes();
                within("bytes of tables", bytes, tables)?;
            }
            streams.push(Some((count, Layout::read_behind(byte & 0x1f, payload)?)));
        }
        choices.clear();
        let mut values = Vec::new();
        let mut streams = streams.into_iter();
        for node in &mut self.nodes {
            if node.successors.len() > 1
                && let Some((count, layout)) = streams.next().flatten()
            {
                within("choices", choices.len() + count, most)?;
                layout.decode(count, payload, &mut scratch.residuals)?;
                inverse(node.predictor, 0, &scratch.residuals, Parents::default(), &mut node.memory, &mut values);
                push_choices(&values, node.successors.len(), choices)?;
            }
            choices.end_node();
        }
        Ok(())
    }
}

impl Node {
    /// Forgets the choices so far.
    pub(super) fn begin(&mut self, predictor: Predictor) {
        self.predictor = predictor;
        self.memory = Memory::default();
        self.memory.reset_slots(predictor.has_table(), CHOICE_SLOTS_BITS);
    }

    /// Appends the layout of choices with the predictor to a header.
    pub(super) fn put_layout(&self, layout: &Layout, header: &mut Vec<u8>) {
        let predictor = PREDICTORS.iter().position(|known| *known == self.predictor).unwrap_or(0);
        header.push(layout.byte() | (predictor as u8) << PREDICTOR_SHIFT);
        layout.put_count(header);
    }
}

impl Nodes for KnownNodes {
    fn count(&self) -> usize {
        self.nodes.len()
    }

    fn part(&self, node: usize) -> Part {
        let node = &self.nodes[node];
        Part { segment: node.segment, column: (node.column != NO_COLUMN).then_some(node.column) }
    }

    fn successors(&self, node: usize) -> &[usize] {
        &self.nodes[node].successors
    }
}

const _: () = assert!(START == 0);
