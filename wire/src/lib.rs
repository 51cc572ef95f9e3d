//! Protocol of a link: everything that both ends must agree on. No I/O, no async, no clock, no unsafe code.
//!
//! - [`ids`]: offsets, positions, lanes, epochs, slots, sequences
//! - [`partition`]: a partition of a topic, by name
//! - [`units`]: rates, sizes and durations, such as `500 Mbit/s`
//! - [`share`]: shares, such as `0.1 %`
//! - [`limits`]: every maximum that crosses the wire
//! - [`error`]: errors by fault: the bytes, the peer, or the configuration
//! - [`codec`]: encoding of messages, with bincode, varints and checksums
//! - [`close`]: table of close codes: number, name, sentence, disposition
//! - [`control`]: the control messages
//! - [`acl`]: access control lists of topics and groups
//! - [`condition`]: problems of one end, which the other shows
//! - [`halt`]: table of reasons why a partition is halted
//! - [`hello`]: version and feature negotiation
//! - [`compress`]: lz4 and zstd, bounded by the agreed size
//! - [`frame`]: columnar frames of records, with builder and decoder
//! - [`origin`]: origins of the topics that a link brings, for other links
//! - [`lanes`]: the lane of each partition, and the lanes of each class
//! - [`text`]: texts of the peer, shortened for people
//! - [`words!`]: enums whose values have one word each

#![forbid(unsafe_code)]

pub mod acl;
pub mod close;
pub mod codec;
pub mod compress;
pub mod condition;
pub mod control;
pub mod error;
pub mod frame;
pub mod halt;
pub mod hello;
pub mod ids;
pub mod lanes;
pub mod limits;
pub mod origin;
pub mod partition;
pub mod returning;
pub mod share;
pub mod text;
pub mod units;
mod words;

#[cfg(test)]
extern crate self as wire;
#[cfg(test)]
#[path = "../fuzz/checks.rs"]
pub mod hostile;
