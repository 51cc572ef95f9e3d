//! Counts and log lines of peers that got no session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use quinn::ConnectionError;
use service::lock::Lock;
use service::log_limit::LogLimit;
use service::status::Tally;
use transport::endpoint::ChannelFault;
use wire::close::Close;

/// Refused peers with a trusted certificate, and failed handshakes of peers without.
#[derive(Debug, Default)]
pub struct Refusals {
    peers: Lock<Tally>,
    handshakes: Lock<Tally>,
    /// Limits on the log lines, by code or reason: few, and known to the program.
    lines: Lock<HashMap<&'static str, LogLimit>>,
}

/// Reason why a handshake ended without a connection.
#[derive(Debug)]
pub(super) enum HandshakeFailure {
    /// TLS or QUIC ended it.
    Ended(ConnectionError),
    /// It took too long.
    TimedOut,
    /// Too many were in progress, and this peer's address had the most of them.
    Limit,
}

impl HandshakeFailure {
    /// Returns the failure's word in metrics.
    fn word(&self, fault: Option<&ChannelFault>) -> &'static str {
        match (self, fault) {
            (Self::Limit, _) => "limit",
            (Self::TimedOut | Self::Ended(ConnectionError::TimedOut), _) => "timeout",
            (_, Some(ChannelFault::RefusedHere { .. } | ChannelFault::RefusedThere { .. })) => "certificate",
            (_, Some(ChannelFault::Protocol { .. })) => "protocol",
            _ => "other",
        }
    }
}

impl Refusals {
    /// Returns the numbers of refused peers, by close code.
    pub fn peers(&self) -> Tally {
        self.peers.lock().clone()
    }

    /// Returns the numbers of failed handshakes, by reason.
    pub fn handshakes(&self) -> Tally {
        self.handshakes.lock().clone()
    }

    /// Returns whether a line of this kind may be written: the number of those left out since the one before, or `None`.
    fn line(&self, kind: &'static str) -> Option<u64> {
        self.lines.lock().entry(kind).or_insert_with(LogLimit::of_strangers).poll(Instant::now())
    }

    /// Counts a peer with a trusted certificate that is refused.
    pub(super) fn refuse(&self, peer: SocketAddr, close: &Close) {
        let code = close.code.name();
        self.peers.lock().add(code);
        if let Some(left_out) = self.line(code) {
            tracing::warn!(%peer, code, detail = close.detail, left_out, "peer refused");
        }
    }

    /// Counts a failed handshake. Strangers cause these at will, so few of them are logged.
    pub(super) fn fail(&self, peer: SocketAddr, failure: &HandshakeFailure) {
        let fault = match failure {
            HandshakeFailure::Ended(error) => Some(ChannelFault::of(peer, error)),
            _ => None,
        };
        let reason = failure.word(fault.as_ref());
        self.handshakes.lock().add(reason);
        if let Some(left_out) = self.line(reason) {
            let error = fault.map(|fault| fault.to_string());
            tracing::warn!(%peer, reason, error, left_out, "handshake failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_does_not_count_as_a_refused_peer() {
        let refusals = Refusals::default();
        let peer = SocketAddr::from(([10, 0, 0, 1], 7));
        let reset = HandshakeFailure::Ended(ConnectionError::Reset);
        let silent = HandshakeFailure::Ended(ConnectionError::TimedOut);
        for failure in [HandshakeFailure::TimedOut, silent, HandshakeFailure::Limit, reset] {
            refusals.fail(peer, &failure);
        }
        refusals.fail(peer, &HandshakeFailure::Ended(ConnectionError::VersionMismatch));
        assert_eq!(refusals.peers().counts(), []);
        let counts = [("limit", 1), ("other", 1), ("protocol", 1), ("timeout", 2)];
        assert_eq!(refusals.handshakes().counts(), counts.map(|(word, count)| (word.to_owned(), count)));
    }
}
