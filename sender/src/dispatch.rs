//! Decides which lane may send its frame next, and over which channel.
//!
//! - [`dispatcher`]: one lock around the others, shared by the threads of all lanes
//! - [`credit`]: bytes that may be unacknowledged
//! - [`classes`]: classes of topics, and the share of the rate that each has
//! - [`scheduler`]: the class and the lane whose frame is next
//! - [`striping`], [`health`]: the QUIC channel that carries a frame, and channels that are dead
//! - [`stream`]: a frame on its way through QUIC

pub(crate) mod classes;
pub(crate) mod credit;
pub(crate) mod dispatcher;
pub(crate) mod health;
pub(crate) mod scheduler;
pub(crate) mod stream;
pub(crate) mod striping;
