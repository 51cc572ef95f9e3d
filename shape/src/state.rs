//! State that outlives a block: what both ends of a lane remember of the blocks before. Blocks with state are decoded in
//! the order in which they were encoded, each exactly once; they carry the number of the state that they need.
//!
//! - `number`: sequence and check of a state
//! - `nodes`, `known`: template, dictionaries and tables of one *stream* of similar records
//! - `streams`: the streams of a lane, and which of them is dropped when memory ends
//! - `encoder`, `write`: changes that can be undone; `decoder`, `read`: the same changes, from a block

mod decoder;
mod encoder;
mod journal;
mod known;
mod nodes;
mod number;
mod padded;
mod read;
mod streams;
mod weight;
mod write;

pub use decoder::DecoderState;
pub(crate) use encoder::Block;
pub use encoder::EncoderState;
