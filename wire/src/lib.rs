//! What both ends of a link agree on. No I/O, no async, no clock, no unsafe code.
//!
//! - [`ids`]: offsets, positions, lanes, epochs, slots, sequences
//! - [`partition`]: a partition of a topic, by name
//! - [`units`]: `500 Mbit/s`, `64 MiB`
//! - [`share`]: `0.1 %`
//! - [`limits`]: every maximum that crosses the wire
//! - [`error`]: what hostile or damaged bytes lead to
//! - [`codec`]: the only place that knows bincode; varints; checksums
//! - [`close`]: one table of close codes: number, name, sentence, disposition
//! - [`control`]: the control messages
//! - [`halt`]: one table of reasons why a partition may be halted
//! - [`hello`]: version and feature negotiation
//! - [`compress`]: lz4 and zstd, never past the agreed size
//! - [`frame`]: frames of records, columnar; builder and decoder
//! - [`origin`]: what a link's state tells other links of the topics it brings
//! - [`lanes`]: which lane carries a partition, and which lanes a class has
//! - [`words!`]: enums whose values have one word each
//! - [`hostile`]: what must hold for any bytes; behind the fuzz targets

#![forbid(unsafe_code)]

pub mod close;
pub mod codec;
pub mod compress;
pub mod control;
pub mod error;
pub mod frame;
pub mod halt;
pub mod hello;
pub mod hostile;
pub mod ids;
pub mod lanes;
pub mod limits;
pub mod origin;
pub mod partition;
pub mod share;
pub mod units;
mod words;
