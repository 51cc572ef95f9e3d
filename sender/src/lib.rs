//! Reads a source cluster and sends its records over a link. In the order a record meets them:
//!
//! - [`config`]: what it is told
//! - [`derived`]: what follows from that
//! - [`run`]: find the source, dial, run sessions, drain, leave
//! - [`discovery`]: what the source has, looked up again every few seconds
//! - [`router`]: which lane carries a partition
//! - [`roster`]: which partitions have joined, and which are to be offered
//! - [`offers`]: the messages that offer them
//! - [`source`]: the source cluster as a lane sees it
//! - [`credit`], [`bank`]: how many bytes may be unacknowledged
//! - [`lane`], [`lane_thread`]: records in, frames out
//! - [`session`]: one handshake, then messages and frames until it ends
//! - [`transport`]: frames onto the session's channels
//! - [`progress`], [`status`]: what a lane has done, what the sender is doing
//! - [`metrics`]: the same in numbers, under published names

pub mod bank;
pub mod config;
pub mod credit;
pub mod derived;
pub mod discovery;
pub mod lane;
pub mod lane_thread;
pub mod metrics;
pub mod offers;
pub mod progress;
pub mod roster;
pub mod router;
pub mod run;
pub mod session;
pub mod source;
pub mod status;
pub mod transport;
