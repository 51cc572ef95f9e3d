//! Decides which lane may send its frame next, and over which channel.
//!
//! - [`dispatcher`]: one lock around the others, shared by the threads of all lanes
//! - [`credit`]: bytes that may be unacknowledged
//! - [`classes`]: classes of topics, and the share of the rate that each has
//! - [`scheduler`]: the class and the lane whose frame is next
//! - [`striping`], [`health`]: the QUIC channel that carries a frame, and channels that are dead
//! - [`stream`]: a frame on its way through QUIC

pub mod classes;
pub mod credit;
pub mod dispatcher;
pub mod health;
pub mod scheduler;
pub mod stream;
pub mod striping;
