//! QUIC for both ends of a link.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod budget;
pub mod clock;
pub mod congestion;
pub mod control;
pub mod endpoint;
pub mod io_threads;
