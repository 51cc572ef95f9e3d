//! Graph of segments, which grows with the records that it is shown, and the walk over records.

use std::collections::HashMap;

use super::lexer::{ColumnKey, Lexer};
use super::rule::{Rule, State};
use crate::limits::{COLUMNS_MAX, NODES_MAX, SUCCESSORS_MAX, steps_max};
use crate::records::{Records, Span};
use crate::scan::load_some;

/// Node in front of every record.
pub(crate) const START: usize = 0;
/// Column of a node without a token.
const NO_COLUMN: u32 = u32::MAX;
/// Bytes of a segment, at most.
const SEGMENT_MAX: usize = 1_024;
/// Unknown segments that any number of records may have.
const MISSES_MIN: usize = 512;

/// Records that have no template: there are too many segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

/// Constant segment with the token behind it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    segment: Span,
    /// First and last 8 bytes of the segment, and which bits of the first count.
    head: u64,
    head_mask: u64,
    tail: u64,
    rule: Rule,
    column: u32,
    state: State,
    successors: Vec<u32>,
    /// Index of the successor that was chosen last.
    recent: u32,
    /// Visits by the records of this block.
    visits: u32,
    /// Index of the successor at each visit, once there is more than one.
    choices: Vec<u16>,
}

impl Node {
    pub(crate) fn column(&self) -> Option<usize> {
        (self.column != NO_COLUMN).then_some(self.column as usize)
    }

    pub(crate) const fn visits(&self) -> usize {
        self.visits as usize
    }

    pub(crate) fn successors(&self) -> &[u32] {
        &self.successors
    }

    pub(crate) fn choices(&self) -> &[u16] {
        &self.choices
    }
}

/// Graph with the tokens of one block.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    lexer: Lexer,
    segments: Vec<u8>,
    nodes: Vec<Node>,
    by_content: HashMap<(Box<[u8]>, u32, State), u32>,
    keys: Vec<ColumnKey>,
    columns: HashMap<ColumnKey, u32>,
    tokens: Vec<Vec<Span>>,
    misses: usize,
    /// Nodes that the block may still visit.
    steps_left: usize,
}

impl Graph {
    pub(crate) fn new(lexer: Lexer) -> Self {
        let mut graph = Self {
            lexer,
            segments: Vec::new(),
            nodes: Vec::new(),
            by_content: HashMap::new(),
            keys: Vec::new(),
            columns: HashMap::new(),
            tokens: Vec::new(),
            misses: 0,
            steps_left: 0,
        };
        graph.add_node(&[], Rule::Rest, NO_COLUMN, State::default());
        // Otherwise a record that ends without a segment would end in the node in front of every record.
        graph.by_content.clear();
        graph
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn segment(&self, node: &Node) -> &[u8] {
        node.segment.of(&self.segments)
    }

    /// Identities of the columns.
    pub(crate) fn keys(&self) -> &[ColumnKey] {
        &self.keys
    }

    /// Tokens of the block in each column.
    pub(crate) fn tokens(&self) -> &[Vec<Span>] {
        &self.tokens
    }

    /// Frees the memory of the last block's tokens.
    pub(crate) fn clear(&mut self) {
        self.tokens.iter_mut().for_each(|tokens| *tokens = Vec::new());
        for node in &mut self.nodes {
            node.visits = 0;
            node.choices = Vec::new();
        }
    }

    /// Replaces the tokens by those of `records`, and adds what is new to the graph.
    pub(crate) fn read(&mut self, records: Records<'_>) -> Result<(), Overflow> {
        self.tokens.iter_mut().for_each(Vec::clear);
        for node in &mut self.nodes {
            node.visits = 0;
            node.choices.clear();
        }
        self.misses = 0;
        // The walk also visits the node in front of each record.
        self.steps_left = steps_max(records.bytes().len(), records.len()) - records.len();
        let mut start = 0;
        for (number, end) in records.ends().iter().enumerate() {
            self.read_record(records.bytes(), start, *end as usize)?;
            start = *end as usize;
            if self.misses > MISSES_MIN + number {
                return Err(Overflow);
            }
        }
        Ok(())
    }

    fn read_record(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<(), Overflow> {
        let mut node = START;
        let mut at = start;
        loop {
            let next = match self.follow(node, bytes, at, end) {
                Some(next) => next,
                None => self.learn(node, bytes, at, end)?,
            };
            let Step { successor, token, index } = next;
            self.visit(node, index);
            node = successor;
            self.steps_left = self.steps_left.checked_sub(1).ok_or(Overflow)?;
            let column = self.nodes[node].column;
            if column == NO_COLUMN {
                self.nodes[node].visits += 1;
                return Ok(());
            }
            self.tokens[column as usize].push(token);
            at = token.end();
        }
    }

    /// Counts a visit that left by a successor.
    fn visit(&mut self, node: usize, index: usize) {
        let node = &mut self.nodes[node];
        if node.successors.len() > 1 {
            if node.choices.is_empty() && node.visits > 0 {
                node.choices.resize(node.visits as usize, 0);
            }
            node.choices.push(index as u16);
            node.recent = index as u32;
        }
        node.visits += 1;
    }

    /// Finds the successor that fits, the most recent first.
    fn follow(&self, node: usize, bytes: &[u8], at: usize, end: usize) -> Option<Step> {
        let node = &self.nodes[node];
        let recent = node.recent as usize;
        let first = *node.successors.get(recent)? as usize;
        if let Some(token) = self.token_behind(first, bytes, at, end) {
            return Some(Step { successor: first, token, index: recent });
        }
        for (index, successor) in node.successors.iter().enumerate() {
            let successor = *successor as usize;
            if index != recent
                && let Some(token) = self.token_behind(successor, bytes, at, end)
            {
                return Some(Step { successor, token, index });
            }
        }
        None
    }

    /// Returns the token behind the segment of `node`, if both are at `at`.
    fn token_behind(&self, node: usize, bytes: &[u8], at: usize, end: usize) -> Option<Span> {
        let node = &self.nodes[node];
        let len = node.segment.len as usize;
        if at + len > end || (load_some(bytes, at, 8) ^ node.head) & node.head_mask != 0 {
            return None;
        }
        if len > 8 {
            let is_tail = load_some(bytes, at + len - 8, 8) == node.tail;
            if !is_tail || len > 16 && bytes[at + 8..at + len - 8] != node.segment.of(&self.segments)[8..len - 8] {
                return None;
            }
        }
        let token = node.rule.token_end(bytes, at + len, end)?;
        Some(Span::new(at + len, token))
    }

    /// Adds the segment at `at` as a successor of `node`.
    fn learn(&mut self, node: usize, bytes: &[u8], at: usize, end: usize) -> Result<Step, Overflow> {
        self.misses += 1;
        let found = self.lexer.segment(self.nodes[node].state, bytes, at, end).ok_or(Overflow)?;
        let segment = &bytes[at..found.end];
        let column = if found.rule == Rule::End {
            NO_COLUMN
        } else {
            self.column(ColumnKey { path: found.path, rule: found.rule, ordinal: found.ordinal })
        };
        let is_full = self.nodes.len() >= NODES_MAX || self.tokens.len() >= COLUMNS_MAX;
        if is_full || segment.len() > SEGMENT_MAX || self.nodes[node].successors.len() >= SUCCESSORS_MAX {
            return Err(Overflow);
        }
        let known = self.by_content.get(&(segment.into(), column, found.state)).copied();
        let successor =
            known.map_or_else(|| self.add_node(segment, found.rule, column, found.state), |node| node as usize);
        let successors = &mut self.nodes[node].successors;
        let index = successors.iter().position(|known| *known as usize == successor).unwrap_or(successors.len());
        if index == successors.len() {
            successors.push(successor as u32);
        }
        let token = found.rule.token_end(bytes, found.end, end).ok_or(Overflow)?;
        Ok(Step { successor, token: Span::new(found.end, token), index })
    }

    fn column(&mut self, key: ColumnKey) -> u32 {
        *self.columns.entry(key).or_insert_with(|| {
            self.keys.push(key);
            self.tokens.push(Vec::new());
            self.keys.len() as u32 - 1
        })
    }

    fn add_node(&mut self, segment: &[u8], rule: Rule, column: u32, state: State) -> usize {
        let start = self.segments.len();
        self.segments.extend_from_slice(segment);
        let len = segment.len();
        let number = self.nodes.len();
        self.by_content.insert((segment.into(), column, state), number as u32);
        self.nodes.push(Node {
            segment: Span::new(start, self.segments.len()),
            head: load_some(segment, 0, len),
            head_mask: if len >= 8 { u64::MAX } else { (1 << (8 * len)) - 1 },
            tail: load_some(segment, len.saturating_sub(8), 8),
            rule,
            column,
            state,
            successors: Vec::new(),
            recent: 0,
            visits: 0,
            choices: Vec::new(),
        });
        number
    }
}

/// Way from a node to the next.
struct Step {
    successor: usize,
    token: Span,
    /// Index among the successors.
    index: usize,
}
