//! Commits a link's records to the target cluster, exactly once.
//!
//! In the order in which a record meets them:
//!
//! - [`config`]: the settings, and the values derived from them
//! - [`run`]: the life of a receiver: find the target, listen, serve, drain, leave
//! - [`session`]: accepts channels, authenticates senders, takes frames and control messages
//! - [`link`]: one served link: its lanes, its state topic, and the sender that may use it
//! - [`join`]: whether an offered partition may join, and from which position
//! - [`lane`]: frames in, transactions out
//! - [`target`]: the target cluster, and the state that is stored there
//! - [`report`]: status and metrics; the data path does not depend on it

#![forbid(unsafe_code)]

pub mod config;
pub mod join;
pub mod lane;
pub mod link;
mod lock;
pub mod report;
pub mod run;
pub mod session;
pub mod target;
