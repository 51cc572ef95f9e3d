//! Acknowledgements that a channel asks its receiver for.

use std::time::Duration;

use wire::units::Rate;

/// Number of packets that a receiver is asked to let pass before it acknowledges. An ACK for every packet would cost
/// both ends a third of their CPU time; quinn keeps 64 ranges between two ACKs.
pub const ACK_PACKETS: u32 = 10;
/// Longest time for which a receiver is asked to delay an ACK.
pub const ACK_DELAY: Duration = Duration::from_millis(25);

/// Returns the number of packets that a receiver may take before it acknowledges. At a low initial rate it is smaller,
/// so that their wait is short.
pub fn ack_packets(rate: Option<Rate>) -> u32 {
    const WITHIN: Duration = Duration::from_millis(2);
    const PACKET_BYTES: u64 = 1_500;
    rate.map_or(ACK_PACKETS, |rate| (rate.bytes_in(WITHIN) / PACKET_BYTES).clamp(1, ACK_PACKETS.into()) as u32)
}
