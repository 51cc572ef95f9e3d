//! Faults of channels that cannot be opened or have ended, by who must act: the network's operators, the owners of the
//! certificates, or no one, because the sender dials again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use quinn::ConnectionError;
use service::config::Address;

#[derive(Debug, Clone, thiserror::Error)]
pub enum ChannelFault {
    /// The host name does not resolve.
    #[error("{address} does not resolve: {source}")]
    Unresolved { address: Address, source: Arc<io::Error> },
    #[error("no UDP socket to dial {remote} with: {source}")]
    Socket { remote: SocketAddr, source: Arc<io::Error> },
    /// The address or the server name cannot be dialled at all.
    #[error("cannot dial {remote}: {reason}")]
    Impossible { remote: SocketAddr, reason: String },
    /// No packet came back.
    #[error(
        "no UDP answer from {remote} within {} s: is the receiver running, and does every firewall between pass UDP both ways?",
        after.as_secs()
    )]
    NoAnswer { remote: SocketAddr, after: Duration },
    /// The peer answered, but the handshake did not finish.
    #[error("{remote} answered, but the handshake did not finish within {} s: are large UDP packets lost?", after.as_secs())]
    Unfinished { remote: SocketAddr, after: Duration },
    /// The peer speaks QUIC, but another protocol or version on it.
    #[error("{remote} does not speak causeway/1: another service's port, or a version that is too old or too new")]
    Protocol { remote: SocketAddr },
    /// This end refuses the peer's certificate.
    #[error("the certificate of {remote} is refused here: {reason}")]
    RefusedHere { remote: SocketAddr, reason: String },
    /// The peer refuses this end's certificate.
    #[error("{remote} refuses this side's certificate: {reason}")]
    RefusedThere { remote: SocketAddr, reason: String },
    /// An open channel was lost, or a handshake ended for a reason outside TLS.
    #[error("channel to {remote}: {source}")]
    Lost { remote: SocketAddr, source: ConnectionError },
}

/// Error of a dial in which no address worked.
#[derive(Debug, Clone)]
pub struct DialError {
    /// Faults of the addresses in order; empty if there was no address.
    pub faults: Vec<ChannelFault>,
}

/// Base of QUIC's error codes for TLS alerts: 0x100 + alert (RFC 9001, section 4.8).
const ALERT: u64 = 0x100;
const ALERT_NO_APPLICATION_PROTOCOL: u64 = ALERT + 120;

impl ChannelFault {
    /// Explains `error` on a channel to `remote`.
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

    /// Returns whether a retry may succeed without a change by an operator.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unresolved { .. } | Self::NoAnswer { .. } | Self::Unfinished { .. } | Self::Lost { .. })
    }
}

impl std::error::Error for DialError {}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.faults.split_first() else { return f.write_str("no address to dial") };
        write!(f, "{first}")?;
        rest.iter().try_for_each(|fault| write!(f, "; {fault}"))
    }
}

/// Translates our TLS library's reason for refusing a certificate.
fn verdict(reason: &str) -> String {
    match reason.strip_prefix("invalid peer certificate: ").unwrap_or(reason) {
        // `BadSignature` is for two authorities with the same name.
        "UnknownIssuer" | "BadSignature" => "it is not from an authority in this side's `ca`".to_owned(),
        text if text.starts_with("certificate expired") => "it has expired, or a clock is wrong".to_owned(),
        text if text.starts_with("certificate not valid yet") => "it is not valid yet, or a clock is wrong".to_owned(),
        other => other.to_owned(),
    }
}

/// Translates the TLS alerts about certificates (RFC 8446, section 6.2).
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
