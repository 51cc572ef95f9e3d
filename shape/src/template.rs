//! Templates of records: a graph of constant *segments* with a token behind each. Segments that follow each other are
//! linked; after each token the walk over a record continues with one of the successors. The graph does not know formats:
//! where no successor fits, a *lexer* for JSON, words or delimited fields finds the next segment.

mod fields;
mod graph;
mod json;
mod lexer;
mod paths;
mod rule;
mod words;

pub(crate) use graph::{Graph, Node, START};
pub(crate) use lexer::{ColumnKey, Lexer};
