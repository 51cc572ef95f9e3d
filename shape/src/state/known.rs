//! Stream of an encoder: what its decoder knows, and how to undo a change of it.

use super::nodes::KnownNodes;
use super::weight::{self, Columns, Known};
use crate::column::Kept;
use crate::plan::{ColumnPlan, Plan};
use crate::stream::{Before, Memory, Predictor};
use crate::template::Graph;

/// Mark of a graph's node or column that the stream does not know.
const UNKNOWN: u32 = u32::MAX;

/// A change of a stream, with what was before.
#[derive(Debug)]
pub(super) enum Change {
    /// Nodes and columns were added to so many.
    Grew {
        nodes: usize,
        columns: usize,
    },
    /// Successors of a node were added to so many.
    Successors {
        node: usize,
        len: usize,
    },
    /// The choices at a node began with a predictor in place of this one.
    ChoicesBegan {
        node: usize,
        predictor: Predictor,
    },
    Choices {
        node: usize,
        before: Before,
    },
    /// A column began, in place of another one or none.
    ColumnBegan {
        number: usize,
        before: Option<Box<Column>>,
    },
    /// Rows were added to a column.
    Rows {
        number: usize,
        before: RowsBefore,
    },
    /// The memory of a column's predictor changed.
    Memory {
        number: usize,
        before: Before,
    },
    /// The texts of a column were forgotten.
    Forgot {
        number: usize,
        kept: Kept,
    },
}

/// A column before some rows.
#[derive(Debug)]
pub(super) struct RowsBefore {
    pub(super) texts: usize,
    pub(super) text_bytes: usize,
    pub(super) rows: usize,
    pub(super) strange: usize,
}

/// Stream of similar records, as the decoder knows it.
#[derive(Debug)]
pub(super) struct Stream {
    /// Identity of the graph whose nodes and columns are numbered.
    pub(super) template: u64,
    pub(super) nodes: KnownNodes,
    /// Each node's number in the graph, and the places of the graph's successors among its own.
    pub(super) origins: Vec<Origin>,
    /// Number of each of the graph's nodes and columns.
    node_numbers: Vec<u32>,
    column_numbers: Vec<u32>,
    /// The graph's number of each column.
    pub(super) column_origins: Vec<usize>,
    pub(super) columns: Columns<Column>,
    /// Columns with rows in the last block.
    pub(super) used: Vec<usize>,
}

/// Node of the graph that a known node is.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) node: usize,
    /// For each of the graph's successors its place among the known ones.
    pub(super) places: Vec<u32>,
}

/// Column as the decoder knows it.
#[derive(Debug)]
pub(super) struct Column {
    /// Plan with the stream's numbers of columns.
    pub(super) plan: ColumnPlan,
    pub(super) memory: Memory,
    pub(super) kept: Kept,
    pub(super) rows: usize,
    /// Rows that are exceptions, or new texts.
    pub(super) strange: usize,
}

impl Stream {
    pub(super) fn new(template: u64, graph: &Graph, plan: &Plan) -> Self {
        let mut stream = Self {
            template,
            nodes: KnownNodes::default(),
            origins: Vec::new(),
            node_numbers: Vec::new(),
            column_numbers: Vec::new(),
            column_origins: Vec::new(),
            columns: Vec::new(),
            used: Vec::new(),
        };
        // Columns that others need come first.
        for column in plan.order.iter().filter(|column| **column < graph.keys().len()) {
            stream.column_number(*column);
        }
        stream
    }

    /// Number of one of the graph's columns, which is added if it is new.
    pub(super) fn column_number(&mut self, origin: usize) -> usize {
        let numbers = &mut self.column_numbers;
        if numbers.len() <= origin {
            numbers.resize(origin + 1, UNKNOWN);
        }
        if numbers[origin] == UNKNOWN {
            numbers[origin] = self.column_origins.len() as u32;
            self.column_origins.push(origin);
            self.columns.push(None);
        }
        numbers[origin] as usize
    }

    /// Number of one of the graph's columns, if it is known.
    pub(super) fn known_column(&self, origin: usize) -> Option<usize> {
        self.column_numbers.get(origin).filter(|number| **number != UNKNOWN).map(|number| *number as usize)
    }

    /// Number of one of the graph's nodes, if it is known.
    pub(super) fn known_node(&self, origin: usize) -> Option<usize> {
        self.node_numbers.get(origin).filter(|number| **number != UNKNOWN).map(|number| *number as usize)
    }

    /// Adds one of the graph's nodes.
    pub(super) fn add_node(&mut self, origin: usize, segment: &[u8], column: Option<usize>) {
        if self.node_numbers.len() <= origin {
            self.node_numbers.resize(origin + 1, UNKNOWN);
        }
        self.node_numbers[origin] = self.origins.len() as u32;
        self.origins.push(Origin { node: origin, places: Vec::new() });
        let column = column.map(|column| self.column_number(column));
        self.nodes.push(segment, column);
    }

    /// Bytes of all tables.
    pub(super) fn tables(&self) -> usize {
        weight::tables(&self.nodes, &self.columns)
    }

    /// Last values of the columns with rows in the last block.
    pub(super) fn last_values(&self) -> impl Iterator<Item = i64> {
        self.used.iter().filter_map(|number| self.columns[*number].as_ref()).map(|column| column.memory.last())
    }

    /// Undoes a change.
    pub(super) fn undo(&mut self, change: Change) {
        match change {
            Change::Grew { nodes, columns } => {
                self.origins.drain(nodes..).for_each(|origin| self.node_numbers[origin.node] = UNKNOWN);
                self.nodes.truncate(nodes);
                self.column_origins.drain(columns..).for_each(|origin| self.column_numbers[origin] = UNKNOWN);
                self.columns.truncate(columns);
            }
            Change::Successors { node, len } => {
                self.nodes.truncate_successors(node, len);
                let places = &mut self.origins[node].places;
                places.iter_mut().filter(|place| **place as usize >= len).for_each(|place| *place = UNKNOWN);
            }
            Change::ChoicesBegan { node, predictor } => self.nodes.get_mut(node).begin(predictor),
            Change::Choices { node, before } => self.nodes.get_mut(node).memory.restore(before),
            Change::ColumnBegan { number, before } => self.columns[number] = before,
            Change::Rows { number, before } => {
                if let Some(column) = &mut self.columns[number] {
                    column.kept.truncate(before.texts, before.text_bytes);
                    column.rows = before.rows;
                    column.strange = before.strange;
                }
            }
            Change::Memory { number, before } => {
                if let Some(column) = &mut self.columns[number] {
                    column.memory.restore(before);
                }
            }
            Change::Forgot { number, kept } => {
                if let Some(column) = &mut self.columns[number] {
                    column.kept = kept;
                }
            }
        }
    }
}

impl Known for Column {
    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn texts(&self) -> [usize; 2] {
        [self.kept.len(), self.kept.bytes()]
    }
}
