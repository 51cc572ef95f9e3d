//! Structural compression of records: records in, columns out, and back, byte for byte. No I/O, no clock, no unsafe code.
//!
//! Records of one topic resemble each other. An [`Encoder`] finds what they have in common, stores it once per block,
//! and codes what differs by what it is; a [`Decoder`] restores the same bytes. The format is
//! docs/design/shape-format.md.
//!
//! - [`Records`], [`RecordsBuf`]: byte strings of any kind, borrowed and owned
//! - [`Encoder`]: `learn` (template, splits, plan) → `template` → `column` → `stream` → `payload` → `pack`
//! - [`Decoder`]: the same in reverse, within [`Limits`]
//! - [`Library`]: templates that several threads share and another one learns; a [`BlockWriter`] uses them

#![forbid(unsafe_code)]

mod align;
mod block;
mod column;
mod decode;
mod encode;
mod error;
mod judge;
mod learn;
mod library;
mod limits;
mod pack;
mod payload;
mod plan;
mod records;
mod scan;
mod skeleton;
mod state;
mod stream;
mod template;
mod varint;
mod window;
mod writer;

pub use decode::Decoder;
pub use encode::Encoder;
pub use error::DecodeError;
pub use judge::Judge;
pub use library::{Job, Library, Shelf};
pub use limits::{BYTES_MAX, Limits, RECORDS_MAX};
pub use records::{Records, RecordsBuf};
pub use state::{DecoderState, EncoderState};
pub use writer::{BlockWriter, Template};
