//! Records of other programs in the target partitions of a link: what lies between the link's own records is read once,
//! at a low rate, on a client and a task of its own. No record of the link waits for it.
//!
//! - `watch`: what has to be read, and what was found; sans-IO
//! - `task`: reads
//! - `board`: what status and metrics show

pub(crate) mod board;
pub(crate) mod task;
pub(crate) mod watch;
