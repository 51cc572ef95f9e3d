//! Why a channel did not come about or ended, told apart by who must act: the network's people, the
//! certificates' people, or nobody because it is tried again.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::ConnectionError;

use service::config::Address;

/// One way in which a channel fails.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChannelFault {
    /// The name leads nowhere.
    #[error("{address} does not resolve: {source}")]
    Unresolved {
        /// What was looked up.
        address: Address,
        /// The resolver's words.
        source: Arc<io::Error>,
    },
    /// The system refuses a socket.
    #[error("no UDP socket to dial {remote} with: {source}")]
    Socket {
        /// Who was to be dialled.
        remote: SocketAddr,
        /// The system's words.
        source: Arc<io::Error>,
    },
    /// The address or the server name cannot be dialled at all.
    #[error("cannot dial {remote}: {reason}")]
    Impossible {
        /// Who was to be dialled.
        remote: SocketAddr,
        /// The QUIC library's words.
        reason: String,
    },
    /// Not one packet came back.
    #[error(
        "no UDP answer from {remote} within {} s: is the receiver running, and does every firewall between pass UDP both ways?",
        after.as_secs()
    )]
    NoAnswer {
        /// Who was dialled.
        remote: SocketAddr,
        /// How long we waited.
        after: Duration,
    },
    /// It answered and then fell silent.
    #[error("{remote} answered, but the handshake did not finish within {} s: are large UDP packets lost?", after.as_secs())]
    Unfinished {
        /// Who was dialled.
        remote: SocketAddr,
        /// How long we waited after the answer.
        after: Duration,
    },
    /// Both ends speak QUIC, but not the same protocol on it.
    #[error("{remote} does not speak causeway/1: another service's port, or a version that is too old or too new")]
    Protocol {
        /// The other end.
        remote: SocketAddr,
    },
    /// We do not believe the peer.
    #[error("the certificate of {remote} is refused here: {reason}")]
    RefusedHere {
        /// The other end.
        remote: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The peer does not believe us.
    #[error("{remote} refuses this side's certificate: {reason}")]
    RefusedThere {
        /// The other end.
        remote: SocketAddr,
        /// Its TLS alert in words.
        reason: String,
    },
    /// The channel stood and is gone, or ended for a reason outside TLS.
    #[error("channel to {remote}: {source}")]
    Lost {
        /// The other end.
        remote: SocketAddr,
        /// The QUIC library's words.
        source: ConnectionError,
    },
}

/// Nobody could be dialled.
#[derive(Debug, Clone)]
pub struct DialError {
    /// One per address tried, in order; empty where there was none to try.
    pub faults: Vec<ChannelFault>,
}

/// QUIC carries TLS alerts as 0x100 + alert (RFC 9001, 4.8).
const ALERT: u64 = 0x100;
const ALERT_NO_APPLICATION_PROTOCOL: u64 = ALERT + 120;

impl ChannelFault {
    /// What `error` on a channel to `remote` means.
    pub fn of(remote: SocketAddr, error: &ConnectionError) -> Self {
        let code = match error {
            ConnectionError::TransportError(ours) => u64::from(ours.code),
            ConnectionError::ConnectionClosed(theirs) => u64::from(theirs.error_code),
            ConnectionError::VersionMismatch => return Self::Protocol { remote },
            _ => 0,
        };
        match (error, code) {
            (_, ALERT_NO_APPLICATION_PROTOCOL) => Self::Protocol { remote },
            (ConnectionError::TransportError(ours), 0x100..0x200) => {
                Self::RefusedHere { remote, reason: verdict(&ours.reason) }
            }
            (ConnectionError::ConnectionClosed(_), 0x100..0x200) => {
                Self::RefusedThere { remote, reason: alert(code - ALERT) }
            }
            _ => Self::Lost { remote, source: error.clone() },
        }
    }

    /// Whether trying again without anybody's help can end it.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unresolved { .. } | Self::NoAnswer { .. } | Self::Unfinished { .. } | Self::Lost { .. })
    }
}

impl std::error::Error for DialError {}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.faults.split_first() else {
            return f.write_str("no address to dial");
        };
        write!(f, "{first}")?;
        rest.iter().try_for_each(|fault| write!(f, "; {fault}"))
    }
}

/// What our own TLS library says of a peer, in an operator's words where it says them poorly.
fn verdict(reason: &str) -> String {
    match reason.strip_prefix("invalid peer certificate: ").unwrap_or(reason) {
        // The latter where two authorities bear the same name.
        "UnknownIssuer" | "BadSignature" => "it is not from an authority in this side's `ca`".to_owned(),
        words if words.starts_with("certificate expired") => "it has expired, or a clock is wrong".to_owned(),
        words if words.starts_with("certificate not valid yet") => {
            "it is not valid yet, or a clock is wrong".to_owned()
        }
        other => other.to_owned(),
    }
}

/// The alerts that certificates lead to (RFC 8446, 6.2), in an operator's words.
fn alert(number: u64) -> String {
    match number {
        42 | 43 => "it is damaged or of a kind it cannot use".to_owned(),
        44 => "it is revoked".to_owned(),
        45 => "it has expired, or a clock is wrong".to_owned(),
        46 => "it is not acceptable there".to_owned(),
        48 | 51 => "it is not from an authority in the other side's `ca`".to_owned(),
        49 => "access denied".to_owned(),
        116 => "none was shown".to_owned(),
        other => format!("TLS alert {other}"),
    }
}
