//! Errors of the tun mode.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum TunError {
    #[error("the tun mode needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN) and /dev/net/tun: {0}")]
    Unsupported(io::Error),
    #[error("cannot start {command}: {error}")]
    Command { command: String, error: io::Error },
    #[error("no WAN is up; start one with `causeway netem up`")]
    NothingUp,
    #[error("a WAN is up already, held by process {0}; take it down with `causeway netem down`")]
    AlreadyUp(u32),
    #[error("{doing}: {error}")]
    System { doing: &'static str, error: io::Error },
}

impl TunError {
    /// Returns a function for `map_err` that adds the operation that failed.
    pub(crate) fn system<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System { doing, error: error.into() }
    }
}
