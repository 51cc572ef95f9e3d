//! The walk over the records of a block. Nodes that always follow each other are one *chain*, so that only choices cost
//! time.

use crate::error::{DecodeError, ensure, within};
use crate::records::Span;
use crate::template::START;

/// Part of a record: a segment, and the column of the token behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) segment: Span,
    pub(crate) column: Option<usize>,
}

/// Nodes that can be walked over. Those without successors end a record.
pub(crate) trait Nodes {
    /// Number of nodes.
    fn count(&self) -> usize;

    /// Segment and column of a node.
    fn part(&self, node: usize) -> Part;

    /// Nodes that may follow a node.
    fn successors(&self, node: usize) -> &[usize];
}

/// Choices between successors, in order of the nodes.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    values: Vec<u16>,
    /// End of each node's choices.
    ends: Vec<usize>,
}

impl Choices {
    pub(crate) fn clear(&mut self) {
        self.values.clear();
        self.ends.clear();
    }

    pub(crate) fn push(&mut self, choice: u16) {
        self.values.push(choice);
    }

    /// Ends the choices of a node.
    pub(crate) fn end_node(&mut self) {
        self.ends.push(self.values.len());
    }

    /// Forgets the choices of the node that has not ended yet.
    pub(crate) fn drop_node(&mut self) {
        self.values.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// Number of all choices.
    pub(crate) const fn len(&self) -> usize {
        self.values.len()
    }

    fn start(&self, node: usize) -> usize {
        node.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Choices at a node.
    pub(crate) fn of(&self, node: usize) -> &[u16] {
        &self.values[self.start(node)..self.ends[node]]
    }
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

/// All chains of a template.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    chains: Vec<Chain>,
    parts: Vec<Part>,
    /// Chain that begins with each node.
    of: Vec<usize>,
}

impl Chains {
    /// Makes chains of the nodes.
    pub(crate) fn of(nodes: &impl Nodes) -> Result<Self, DecodeError> {
        let count = nodes.count();
        ensure(count > START, "there is a first node")?;
        let mut predecessors = vec![0_usize; count];
        let mut is_head = vec![false; count];
        is_head[START] = true;
        for node in 0..count {
            let successors = nodes.successors(node);
            for successor in successors {
                predecessors[*successor] += 1;
                is_head[*successor] |= predecessors[*successor] > 1 || successors.len() > 1;
            }
        }
        let heads: Vec<usize> = (0..count).filter(|node| is_head[*node]).collect();
        let mut all = Self { chains: Vec::with_capacity(heads.len()), parts: Vec::new(), of: vec![0; count] };
        heads.iter().enumerate().for_each(|(chain, head)| all.of[*head] = chain);
        for head in heads {
            all.add(nodes, head, &is_head);
        }
        Ok(all)
    }

    fn add(&mut self, nodes: &impl Nodes, head: usize, is_head: &[bool]) {
        let mut chain = Chain { first: self.parts.len(), parts: 0, nodes: 0, next: Next::End };
        let mut node = head;
        loop {
            let part = nodes.part(node);
            if part.segment.len > 0 || part.column.is_some() {
                self.parts.push(part);
            }
            chain.nodes += 1;
            match nodes.successors(node) {
                [] => break,
                [only] if is_head[*only] => {
                    chain.next = Next::Chain(self.of[*only]);
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

    /// The walk over all records. It may visit at most `most` nodes and has to use all choices.
    pub(crate) fn walk(
        &self,
        nodes: &impl Nodes,
        choices: &Choices,
        records: usize,
        most: usize,
    ) -> Result<Walk<'_>, DecodeError> {
        let mut path = Vec::with_capacity(records);
        let mut next_choice: Vec<usize> = (0..nodes.count()).map(|node| choices.start(node)).collect();
        let mut steps = 0;
        for _ in 0..records {
            let mut number = self.of[START];
            loop {
                path.push(number as u16);
                let chain = &self.chains[number];
                steps += chain.nodes;
                within("tokens", steps, most)?;
                number = match chain.next {
                    Next::End => break,
                    Next::Chain(next) => next,
                    Next::Choice(node) => {
                        let next = next_choice[node];
                        ensure(next < choices.ends[node], "there are too few choices")?;
                        next_choice[node] = next + 1;
                        self.of[nodes.successors(node)[usize::from(choices.values[next])]]
                    }
                };
            }
        }
        ensure(choices.ends == next_choice, "there are too many choices")?;
        Ok(Walk { chains: self, path })
    }
}

/// Chains of each record, in order.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    chains: &'a Chains,
    /// Chains that the records visit. Chains at which a record ends tell the records apart.
    path: Vec<u16>,
}

impl Walk<'_> {
    /// Returns the parts of all records, in order: those of one chain, and whether a record ends behind them.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&[Part], bool)> {
        let Chains { chains, parts, .. } = self.chains;
        self.path.iter().map(|chain| {
            let chain = &chains[usize::from(*chain)];
            (&parts[chain.first..][..chain.parts], matches!(chain.next, Next::End))
        })
    }

    /// Number of tokens in each of `columns` columns.
    pub(crate) fn rows(&self, columns: usize) -> Result<Vec<usize>, DecodeError> {
        let Chains { chains, parts, .. } = self.chains;
        let mut visits = vec![0; chains.len()];
        self.path.iter().for_each(|chain| visits[usize::from(*chain)] += 1);
        let mut rows = vec![0; columns];
        for (chain, visits) in chains.iter().zip(visits) {
            for column in parts[chain.first..][..chain.parts].iter().filter_map(|part| part.column) {
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
