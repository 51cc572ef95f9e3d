//! Reads a source cluster and sends its records over a link. In the order a record meets them:
//!
//! - [`filter`]: which topics
//! - [`discovery`]: what the source has, looked up again every few seconds
//! - [`router`]: which lane carries a partition
//! - [`roster`]: which partitions have joined, and which are to be offered
//! - [`offers`]: the messages that offer them
//! - [`source`]: the source cluster as a lane sees it
//! - [`credit`], [`bank`]: how many bytes may be unacknowledged
//! - [`lane`], [`lane_thread`]: records in, frames out
//! - [`session`]: one handshake, then messages and frames until it ends
//! - [`transport`]: frames onto the session's channels
//! - [`progress`]: what a lane has done

pub mod bank;
pub mod credit;
pub mod discovery;
pub mod filter;
pub mod lane;
pub mod lane_thread;
pub mod offers;
pub mod progress;
pub mod roster;
pub mod router;
pub mod session;
pub mod source;
pub mod transport;
