//! What both ends of a link share at run time.
//!
//! - [`config`]: tables of settings, read with every problem at once
//! - [`names`]: of links, of instances, of peers
//! - [`private_file`]: keys, passwords and tokens that only their owner may read
//! - [`topics`]: which topics a link carries: names and patterns
//! - [`tls`]: certificates both ways, and the names a peer has proven
//! - [`pki`]: a small certificate authority for one link
//! - [`congestion`]: how much may be under way, over all channels
//! - [`endpoint`]: QUIC sockets, windows, dialling, and why a channel fails
//! - [`budget`]: the bandwidth a link was given, kept at its sockets
//! - [`io_threads`]: the threads that carry packets
//! - [`backoff`]: how long to wait before trying again
//! - [`bell`]: one sleeper, many reasons to wake it
//! - [`catalog`]: what a cluster has, and the few admin calls a link makes
//! - [`clock`]: what latencies are measured with
//! - [`control`]: whole control messages over QUIC
//! - [`mailbox`]: a bounded queue into a thread
//! - [`live`]: a configuration that changes while it is used
//! - [`shutdown`]: drain, or leave at once
//! - [`kafka`]: the Kafka client shim, the only unsafe code
//! - [`metrics`]: tables of metrics, read at each scrape
//! - [`admin`]: live, ready, metrics, status
//! - [`logging`]: one line per event, for people or machines

pub mod admin;
pub mod backoff;
pub mod bell;
pub mod budget;
pub mod catalog;
pub mod clock;
pub mod config;
pub mod congestion;
pub mod control;
pub mod endpoint;
pub mod io_threads;
pub mod kafka;
pub mod live;
pub mod logging;
pub mod mailbox;
pub mod metrics;
pub mod names;
pub mod pki;
pub mod private_file;
pub mod shutdown;
pub mod tls;
pub mod topics;
