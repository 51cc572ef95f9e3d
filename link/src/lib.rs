//! What both ends of a link share at run time.
//!
//! - [`bell`]: one sleeper, many reasons to wake it
//! - [`catalog`]: what a cluster has, and the few admin calls a link makes
//! - [`control`]: whole control messages over QUIC
//! - [`mailbox`]: a bounded queue into a thread
//! - [`shutdown`]: drain, or leave at once
//! - [`kafka`]: the Kafka client shim, the only unsafe code

pub mod bell;
pub mod catalog;
pub mod control;
pub mod kafka;
pub mod mailbox;
pub mod shutdown;
