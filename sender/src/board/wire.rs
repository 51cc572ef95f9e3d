//! The channels of a session as they are shown, and what crossed them.

use serde::{Deserialize, Serialize};

/// One channel's place in the session at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelStatus {
    /// Its number; 0 is the channel with the control messages.
    pub channel: usize,
    /// Whether it stands.
    pub up: bool,
    /// Its round-trip time in seconds, while it stands.
    pub rtt_seconds: Option<f64>,
    /// What crossed it, those before it in its place included.
    pub wire: Wire,
}

/// A channel's place, whichever connection has it.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) connection: Option<quinn::Connection>,
    /// Of the connections that had it before.
    pub(super) before: Wire,
}

impl Place {
    pub(super) fn of(connection: &quinn::Connection) -> Self {
        Self { connection: Some(connection.clone()), before: Wire::default() }
    }

    pub(super) fn wire(&self) -> Wire {
        self.before.plus(self.connection.as_ref())
    }

    pub(super) fn status(&self, channel: usize) -> ChannelStatus {
        let rtt_seconds = self.connection.as_ref().map(|connection| connection.rtt().as_secs_f64());
        ChannelStatus { channel, up: self.connection.is_some(), rtt_seconds, wire: self.wire() }
    }
}

/// UDP payloads of all sessions, as QUIC counts them: headers, acks, retransmissions and handshakes
/// included, IP and UDP headers not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets sent that QUIC believes lost.
    pub lost_packets: u64,
}

impl Wire {
    fn plus(self, channel: Option<&quinn::Connection>) -> Self {
        let Some(stats) = channel.map(quinn::Connection::stats) else { return self };
        self.and(Self {
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            sent_packets: stats.path.sent_packets,
            lost_packets: stats.path.lost_packets,
        })
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self {
            sent_bytes: self.sent_bytes + other.sent_bytes,
            received_bytes: self.received_bytes + other.received_bytes,
            sent_packets: self.sent_packets + other.sent_packets,
            lost_packets: self.lost_packets + other.lost_packets,
        }
    }
}
