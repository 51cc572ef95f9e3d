//! Decides which lane may send its frame next, and over which channel.

pub(crate) mod classes;
pub(crate) mod credit;
pub(crate) mod dispatcher;
pub(crate) mod health;
pub(crate) mod scheduler;
pub(crate) mod stream;
pub(crate) mod striping;
