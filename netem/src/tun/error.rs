//! Errors of the tun mode.

use std::io;

/// Error of the tun mode: it is not supported here, or an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The machine or the user lacks a requirement of the tun mode.
    #[error("the tun mode needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN) and /dev/net/tun: {0}")]
    Unsupported(io::Error),
    /// The command could not be started.
    #[error("cannot start {command}: {error}")]
    Command {
        /// Name of the command.
        command: String,
        /// Error that the system returned.
        error: io::Error,
    },
    /// No WAN is up.
    #[error("no WAN is up; start one with `causeway netem up`")]
    NothingUp,
    /// Another WAN is up already.
    #[error("a WAN is up already, held by process {0}; take it down with `causeway netem down`")]
    AlreadyUp(u32),
    /// The system returned an error.
    #[error("{doing}: {error}")]
    System {
        /// Name of the operation that failed.
        doing: &'static str,
        /// Error that the system returned.
        error: io::Error,
    },
}

impl TunError {
    /// Returns a function for `map_err` that adds the operation that failed.
    pub(crate) fn system<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System { doing, error: error.into() }
    }
}
