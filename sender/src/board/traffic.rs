//! UDP traffic of the channels of a session.

use quinn::Connection;
use serde::{Deserialize, Serialize};

/// UDP payloads of all sessions, as QUIC counts them: headers, acks, retransmissions and handshakes included, IP and
/// UDP headers not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// UDP payload bytes sent.
    pub sent_bytes: u64,
    /// UDP payload bytes received.
    pub received_bytes: u64,
    /// UDP packets sent, retransmissions included.
    pub sent_packets: u64,
    /// Packets sent that QUIC believes lost.
    pub lost_packets: u64,
}

service::add_fields!(Wire { sent_bytes, received_bytes, sent_packets, lost_packets });

/// Place of a channel in a session. The connection in it may change when the channel is dialled again.
#[derive(Debug, Clone, Default)]
pub struct ChannelPlace {
    pub connection: Option<Connection>,
    /// Traffic of the earlier connections in this place.
    pub before: Wire,
}

impl ChannelPlace {
    /// Returns the traffic of this place, earlier connections included.
    pub fn wire(&self) -> Wire {
        let Some(stats) = self.connection.as_ref().map(Connection::stats) else { return self.before };
        self.before
            + Wire {
                sent_bytes: stats.udp_tx.bytes,
                received_bytes: stats.udp_rx.bytes,
                sent_packets: stats.path.sent_packets,
                lost_packets: stats.path.lost_packets,
            }
    }
}
