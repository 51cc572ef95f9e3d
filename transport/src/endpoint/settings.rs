//! Settings of an endpoint, and the QUIC windows and timers derived from them.

use std::time::Duration;

use quinn::{AckFrequencyConfig, TransportConfig, VarInt};
use wire::units::{Rate, Size};

use crate::congestion::{ACK_DELAY, Flow, FlowReport, ack_packets};

/// Receive window of one stream in bytes. Gaps in 2 MiB cannot exceed the 1,024 chunks above which quinn closes the
/// connection. Each frame has its own stream, so this does not limit throughput.
pub(super) const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Interval of keep-alive packets: shorter than the 30 s after which most firewalls and NATs forget a UDP flow, and short
/// enough that several fit into [`IDLE_TIMEOUT`], because one may be lost.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Silence after which a channel is closed. The sender then dials again, with pauses of at most 1 s. A longer timeout
/// would not help: QUIC doubles the time between its probes, so that after a longer silence a new session notices earlier
/// than the old one that the path is back.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Packets by which another may be reordered before it counts as lost. quinn remembers 129 packets, and discards those
/// that arrive later.
const PACKET_THRESHOLD: u32 = 128;
/// Round trip for which windows are sized until one is measured: between continents, with a queue.
const RTT_ASSUMED: Duration = Duration::from_millis(300);
/// Initial round trip: packets of the handshake are repeated after three times as long. With the 333 ms of RFC 9002, the
/// second packet of a dial would follow a second after the first; this notices sooner that a path is back.
const RTT_OF_HANDSHAKES: Duration = Duration::from_millis(150);
/// Bytes of the IPv6 and UDP headers, which are part of a path's MTU but not of QUIC's packets.
const HEADER_BYTES: u16 = 40 + 8;
/// Range of [`EndpointSettings::path_mtu`]: QUIC's 1,200 bytes plus headers, up to the largest packet that a receiver
/// accepts.
pub const PATH_MTU_BYTES: std::ops::RangeInclusive<u64> = 1_248..=1_500;
/// Bytes that a channel may send to a guarded end before [`admit`](super::admit), and that wait there unread.
pub const FIRST_WINDOW_BYTES: u32 = 16 * 1024;
/// Send window in bytes of a guarded end, which sends control messages only.
const CONTROL_WINDOW_BYTES: u64 = 1024 * 1024;
/// Smallest send window in bytes: room for two frames.
pub(super) const SEND_WINDOW_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// Size of the send window as a multiple of what the path holds. A frame counts until its last packet is acknowledged,
/// and some of the 700 packets of 1 MiB are lost twice: that takes 2.3 round trips on average at 2 % loss, and 2.8 at 5 %.
/// At 2 % loss and 200 ms, a multiple of three reaches 91 % of the possible rate, and five reaches 99 %.
pub const TIMES_THE_PATH: u64 = 5;

/// Settings from which an endpoint's windows are derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Bandwidth of the link, if it is stated.
    pub rate: Option<Rate>,
    /// Memory of this process, which bounds the windows of one channel.
    pub memory: Size,
    /// Unidirectional streams (frames) that the peer may have open at the same time.
    pub uni_streams: u32,
    /// True for an end that gives each channel a window of [`FIRST_WINDOW_BYTES`] and no unidirectional streams until
    /// [`admit`](super::admit).
    pub guarded: bool,
    /// Largest IP packet in bytes that the path carries, within [`PATH_MTU_BYTES`]. If it is not stated, it is probed;
    /// after losses the probes may choose short packets for a minute.
    pub path_mtu: Option<u16>,
    /// Passing of many packets to the kernel in one call. Without it, the sender needs a quarter more CPU time, but some
    /// kernels and network cards damage such packets.
    pub segmentation_offload: bool,
}

impl EndpointSettings {
    /// Makes settings without a rate and without a path MTU.
    pub const fn new(memory: Size, uni_streams: u32) -> Self {
        Self { rate: None, memory, uni_streams, guarded: false, path_mtu: None, segmentation_offload: true }
    }

    /// Makes settings of an end that strangers may dial.
    pub const fn guarded(memory: Size) -> Self {
        Self { guarded: true, ..Self::new(memory, 0) }
    }

    /// Returns the bytes that may be sent and not yet acknowledged: 5 × rate × 300 ms, because data after a lost packet
    /// counts until that packet arrives. It is at least 4 MiB and at most half of the memory; without a rate, it is half of
    /// the memory.
    pub fn send_window(&self) -> u64 {
        let half = (self.memory.bytes() / 2).max(SEND_WINDOW_BYTES_MIN);
        let by_rate = self.rate.map_or(u64::MAX, |rate| rate.bytes_in(RTT_ASSUMED).saturating_mul(TIMES_THE_PATH));
        by_rate.clamp(SEND_WINDOW_BYTES_MIN, half)
    }

    /// Returns the bytes that may be received out of order or not yet read: all of the memory, unless the end is guarded.
    pub fn receive_window(&self) -> u64 {
        if self.guarded { u64::from(FIRST_WINDOW_BYTES) } else { self.memory.bytes() }
    }

    /// Returns quinn's settings for one channel. Without a flow, it uses quinn's congestion controller.
    pub fn transport(&self, flow: Option<&Flow>) -> TransportConfig {
        let window = |bytes: u64| VarInt::from_u64(bytes).unwrap_or(VarInt::MAX);
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
            .receive_window(window(self.receive_window()))
            .send_window(if self.guarded { CONTROL_WINDOW_BYTES } else { self.send_window() })
            .max_concurrent_uni_streams(VarInt::from_u32(self.uni_streams))
            // The control stream.
            .max_concurrent_bidi_streams(VarInt::from_u32(1))
            .packet_threshold(PACKET_THRESHOLD)
            .initial_rtt(RTT_OF_HANDSHAKES)
            .enable_segmentation_offload(self.segmentation_offload)
            // Each packet takes the most urgent stream. Otherwise control messages and urgent records would wait until
            // the frame in progress has been sent.
            .send_fairness(true)
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_idle_timeout(Some(IDLE_TIMEOUT.try_into().expect("10 s fit a QUIC timeout")))
            .datagram_receive_buffer_size(None);
        if let Some(mtu) = self.path_mtu {
            let payload = mtu.saturating_sub(HEADER_BYTES);
            transport.initial_mtu(payload).min_mtu(payload).mtu_discovery_config(None);
        }
        if let Some(flow) = flow {
            // Fewer ACKs: the window controller allows for their delay. quinn's own controllers would lose a quarter of
            // the rate, because its pacer has timers of 1 ms, and sends when ACKs arrive as much as when timers fire.
            let mut acks = AckFrequencyConfig::default();
            acks.ack_eliciting_threshold(VarInt::from_u32(ack_packets(self.rate)))
                .max_ack_delay(Some(ACK_DELAY))
                // Reordering matters only once a packet counts as lost.
                .reordering_threshold(VarInt::from_u32(PACKET_THRESHOLD - 1));
            transport.ack_frequency_config(Some(acks)).congestion_controller_factory(flow.controllers());
        }
        transport
    }

    /// Returns the send window of one of `channels` channels for a rate and a round trip: five times what the path holds,
    /// at least 4 MiB, and at most the channel's part of half of the memory. One channel may carry up to twice its part
    /// of the rate, because others may be dead or behind.
    pub fn send_window_for(&self, rate: Rate, rtt: Duration, channels: usize) -> u64 {
        let channels = channels.max(1) as u64;
        let most = (self.memory.bytes() / 2 / channels).max(SEND_WINDOW_BYTES_MIN);
        let share = rate.bytes_in(rtt).saturating_mul(TIMES_THE_PATH * channels.min(2)) / channels;
        share.clamp(SEND_WINDOW_BYTES_MIN, most)
    }

    /// Returns the send window for the path that a flow has found; before that, an equal part of the settings' window.
    pub(super) fn send_window_found(&self, found: Option<&FlowReport>, channels: usize) -> u64 {
        let by_path = found.and_then(|found| {
            let rate = found.budget.unwrap_or_else(|| found.allowed.max(found.delivery));
            Some(self.send_window_for(rate, found.base_rtt?.max(found.smoothed_rtt?), found.channels))
        });
        by_path.unwrap_or_else(|| (self.send_window() / channels.max(1) as u64).max(SEND_WINDOW_BYTES_MIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(memory: u64) -> EndpointSettings {
        EndpointSettings::new(Size::from_bytes(memory), 0)
    }

    fn mbit(rate: u64) -> Rate {
        Rate::from_bits_per_second(rate * 1_000_000)
    }

    #[test]
    fn the_send_window_is_five_times_what_the_path_holds() {
        let rtt = Duration::from_millis(200);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt, 1), 5 * 12_500_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt / 2, 1), 5 * 6_250_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(250), rtt, 1), 5 * 6_250_000);
        assert_eq!(settings(1 << 30).send_window_for(mbit(500), rtt, 4), 2 * 5 * 12_500_000 / 4);
    }

    #[test]
    fn all_channels_windows_stay_within_half_of_the_memory() {
        let rtt = Duration::from_secs(1);
        let memory = 256 << 20;
        for channels in 1..=16 {
            let windows = settings(memory).send_window_for(mbit(10_000), rtt, channels) * channels as u64;
            assert!(windows <= memory / 2, "{channels} channels: {windows}");
        }
        assert_eq!(settings(0).send_window_for(mbit(1), rtt, 4), SEND_WINDOW_BYTES_MIN);
    }

    #[test]
    fn before_the_path_is_known_channels_share_one_window() {
        let settings = settings(256 << 20);
        assert_eq!(settings.send_window_found(None, 1), settings.send_window());
        assert_eq!(settings.send_window_found(None, 4), settings.send_window() / 4);
        assert_eq!(settings.send_window_found(None, 1000), SEND_WINDOW_BYTES_MIN);
    }
}
