//! QUIC for both ends of a link.
//!
//! - [`endpoint`]: sockets, windows, dialling, and why a channel fails
//! - [`control`]: whole control messages on a QUIC stream
//! - [`congestion`]: bytes that may be in flight, over all channels of a link
//! - [`budget`]: the bandwidth that a link was given, enforced at its sockets
//! - [`io_threads`]: the threads that carry packets
//! - [`backoff`]: pauses between attempts
//! - [`clock`]: the clock that latencies are measured with

#![forbid(unsafe_code)]

pub mod backoff;
pub mod budget;
pub mod clock;
pub mod congestion;
pub mod control;
pub mod endpoint;
pub mod io_threads;
