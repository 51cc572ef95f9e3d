//! Reads a source cluster and sends its records over a link.
//!
//! In the order in which a record meets them:
//!
//! - [`config`]: the settings, and the values derived from them
//! - [`run`]: the life of a sender: find the source, dial, run sessions, drain, leave
//! - [`source`]: the source cluster: discovery of topics, reading records, origins of topics
//! - [`partitions`]: the lane of each partition, offers to the receiver, halts and what resumes them
//! - [`lane`]: records in, frames out
//! - [`rate`]: the rate that is in effect now, and why
//! - [`dispatch`]: which lane may send its frame next, within credit, class and channel
//! - [`session`]: one handshake, then control messages and frames until the session ends
//! - [`report`]: status, metrics, lag and forecasts; the data path does not depend on it

#![forbid(unsafe_code)]

pub mod config;
pub mod dispatch;
pub mod lane;
pub mod partitions;
pub mod rate;
pub mod report;
pub mod run;
pub mod session;
pub mod source;
