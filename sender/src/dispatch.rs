//! Decides which lane may send its frame next.
//!
//! - [`credit`], [`bank`]: bytes that may be unacknowledged
//! - [`classes`]: classes of topics, and the share of the rate that each has
//! - [`scheduler`], [`gate`]: the class and the lane whose frame is next
//! - [`striping`], [`health`], [`channels`]: the QUIC channel that carries it

pub mod bank;
pub mod channels;
pub mod classes;
pub mod credit;
pub mod gate;
pub mod health;
pub mod scheduler;
pub mod striping;
