//! Consumer groups of the source: their committed offsets, which the receiver commits for the same groups in the target.
//!
//! - `reading`: the offsets at one moment
//! - `changes`: the messages about what differs from the reading before
//! - `board`: what is known of groups, for sessions and reports

pub(crate) mod board;
pub(crate) mod changes;
pub(crate) mod reading;
