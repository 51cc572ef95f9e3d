//! The walk over the records of a block. Nodes that always follow each other are one *chain*, so that only choices cost
//! time.

use super::Skeleton;
use crate::error::{DecodeError, ensure, within};
use crate::records::Span;
use crate::template::START;

/// Part of a record: a segment, and the column of the token behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) segment: Span,
    pub(crate) column: Option<usize>,
}

/// Nodes that always follow each other.
#[derive(Debug, Clone, Copy)]
struct Chain {
    first: usize,
    parts: usize,
    nodes: usize,
    next: Next,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    End,
    Chain(usize),
    /// One of the successors of this node.
    Choice(usize),
}

/// Chains of each record, in order.
#[derive(Debug)]
pub(crate) struct Walk {
    chains: Vec<Chain>,
    parts: Vec<Part>,
    /// Chains that the records visit. Chains at which a record ends tell the records apart.
    path: Vec<u16>,
}

impl Walk {
    pub(super) fn over(skeleton: &Skeleton, records: usize, most: usize) -> Result<Self, DecodeError> {
        ensure(!skeleton.nodes.is_empty(), "there is a first node")?;
        let mut walk = Self { chains: Vec::new(), parts: Vec::new(), path: Vec::new() };
        let chain_of = walk.add_chains(skeleton);
        let mut next_choice: Vec<usize> = skeleton.nodes.iter().map(|node| node.first_choice).collect();
        let mut steps = 0;
        for _ in 0..records {
            let mut chain = chain_of[START];
            loop {
                walk.path.push(chain as u16);
                steps += walk.chains[chain].nodes;
                within("tokens", steps, most)?;
                chain = match walk.chains[chain].next {
                    Next::End => break,
                    Next::Chain(next) => next,
                    Next::Choice(node) => {
                        let next = next_choice[node];
                        let node_of = &skeleton.nodes[node];
                        ensure(next < node_of.first_choice + node_of.choices, "there are too few choices")?;
                        next_choice[node] = next + 1;
                        chain_of[skeleton.successors[node_of.first_successor + usize::from(skeleton.choices[next])]]
                    }
                };
            }
        }
        let mut ends = skeleton.nodes.iter().map(|node| node.first_choice + node.choices).zip(&next_choice);
        ensure(ends.all(|(end, next)| end == *next), "there are too many choices")?;
        Ok(walk)
    }

    /// Makes chains of the nodes; returns the chain that begins with each node.
    fn add_chains(&mut self, skeleton: &Skeleton) -> Vec<usize> {
        let nodes = &skeleton.nodes;
        let successors = |node: usize| &skeleton.successors[nodes[node].first_successor..][..nodes[node].successors];
        let mut predecessors = vec![0_usize; nodes.len()];
        let mut is_head = vec![false; nodes.len()];
        is_head[START] = true;
        for (number, node) in nodes.iter().enumerate() {
            for successor in successors(number) {
                predecessors[*successor] += 1;
                is_head[*successor] |= predecessors[*successor] > 1 || node.successors > 1;
            }
        }
        let mut chain_of = vec![0; nodes.len()];
        let heads: Vec<usize> = (0..nodes.len()).filter(|node| is_head[*node]).collect();
        heads.iter().enumerate().for_each(|(chain, head)| chain_of[*head] = chain);
        for head in heads {
            let mut chain = Chain { first: self.parts.len(), parts: 0, nodes: 0, next: Next::End };
            let mut node = head;
            loop {
                let part = Part { segment: nodes[node].segment, column: nodes[node].column() };
                if part.segment.len > 0 || part.column.is_some() {
                    self.parts.push(part);
                }
                chain.nodes += 1;
                match successors(node) {
                    [] => break,
                    [only] if is_head[*only] => {
                        chain.next = Next::Chain(chain_of[*only]);
                        break;
                    }
                    [only] => node = *only,
                    _ => {
                        chain.next = Next::Choice(node);
                        break;
                    }
                }
            }
            chain.parts = self.parts.len() - chain.first;
            self.chains.push(chain);
        }
        chain_of
    }

    /// Returns the parts of all records, in order: those of one chain, and whether a record ends behind them.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&[Part], bool)> {
        self.path.iter().map(|chain| {
            let chain = &self.chains[usize::from(*chain)];
            (&self.parts[chain.first..][..chain.parts], matches!(chain.next, Next::End))
        })
    }

    /// Segments of the parts may be moved to other places.
    pub(crate) fn parts_mut(&mut self) -> &mut [Part] {
        &mut self.parts
    }

    /// Number of tokens in each of `columns` columns.
    pub(crate) fn rows(&self, columns: usize) -> Result<Vec<usize>, DecodeError> {
        let mut visits = vec![0; self.chains.len()];
        self.path.iter().for_each(|chain| visits[usize::from(*chain)] += 1);
        let mut rows = vec![0; columns];
        for (chain, visits) in self.chains.iter().zip(visits) {
            for column in self.parts[chain.first..][..chain.parts].iter().filter_map(|part| part.column) {
                *rows.get_mut(column).ok_or(DecodeError::Malformed("a node of an unknown column"))? += visits;
            }
        }
        Ok(rows)
    }

    /// Records of the tokens in those columns that are wanted; empty for the others.
    pub(crate) fn records_of(&self, wanted: &[bool]) -> Vec<Vec<u32>> {
        let mut found = vec![Vec::new(); wanted.len()];
        let mut record = 0;
        for (parts, is_end) in self.parts() {
            for column in parts.iter().filter_map(|part| part.column).filter(|column| wanted[*column]) {
                found[column].push(record);
            }
            record += u32::from(is_end);
        }
        found
    }

    /// Records of the tokens of those columns that are aligned to others, because they have other numbers of rows.
    /// `parents` has the numbers of each column's parents.
    pub(crate) fn records_to_align(&self, rows: &[usize], parents: &[Vec<usize>]) -> Vec<Vec<u32>> {
        let mut wanted = vec![false; rows.len()];
        for (number, parents) in parents.iter().enumerate() {
            for parent in parents.iter().filter(|parent| rows[**parent] != rows[number]) {
                wanted[number] = true;
                wanted[*parent] = true;
            }
        }
        if wanted.contains(&true) { self.records_of(&wanted) } else { vec![Vec::new(); rows.len()] }
    }
}
