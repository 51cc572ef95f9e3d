//! The parts of a Causeway process besides the link itself; both ends use them.
//!
//! - [`config`]: tables of settings, read with all their problems
//! - [`names`]: names of links, instances and peers
//! - [`topics`]: names and patterns that select topics
//! - [`live`]: a configuration that changes while it is used
//! - [`private_file`]: keys, passwords and tokens that only their owner may read
//! - [`tls`]: certificates of both ends, and the names a peer has proven
//! - [`credentials`]: files that change while they are used, and certificates that expire
//! - [`pki`]: a small certificate authority for one link
//! - [`admin`]: the HTTP port for health, metrics, status and commands
//! - [`metrics`](mod@metrics): tables of metrics, read at each scrape
//! - [`format`](mod@format): numbers formatted for people
//! - [`log_limit`]: a limit on log lines that others can cause
//! - [`logging`]: one line per event, for people or machines
//! - [`bell`], [`mailbox`]: wake-up calls and work for another thread
//! - [`add_fields!`]: sums of structs of counters
//! - [`cluster_watch`]: whether a cluster answers look-ups
//! - [`status`]: types that the statuses of both ends show
//! - [`lock`]: a mutex without poisoning
//! - [`places`]: bounds on connections that strangers cause
//! - [`processor`]: processor time, used and to spare
//! - [`shutdown`]: a clean drain, or an immediate exit

#![forbid(unsafe_code)]

pub mod admin;
pub mod bell;
pub mod cluster_watch;
pub mod config;
mod counters;
pub mod credentials;
pub mod format;
pub mod live;
pub mod lock;
pub mod log_limit;
pub mod logging;
pub mod mailbox;
pub mod metrics;
pub mod names;
pub mod pki;
pub mod places;
pub mod private_file;
pub mod processor;
pub mod shutdown;
pub mod status;
pub mod tls;
pub mod topics;
