//! Reads a source cluster and sends its records over a link. In the order a record meets them:
//!
//! - [`filter`]: which topics
//! - [`router`]: which lane carries a partition
//! - [`roster`]: which partitions have joined, and which are to be offered
//! - [`source`]: the source cluster as a lane sees it
//! - [`credit`]: how many bytes may be unacknowledged
//! - [`lane`]: records in, frames out

pub mod credit;
pub mod filter;
pub mod lane;
pub mod roster;
pub mod router;
pub mod source;
