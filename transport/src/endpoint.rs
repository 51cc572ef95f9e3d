//! QUIC endpoints: sockets with buffers for a burst, windows derived from rate and memory, and dialling that tells an
//! unreachable peer from a refused certificate.
//!
//! - [`sockets`]: source of the UDP sockets
//! - [`gauge`]: bytes that have left a channel, and bytes that have arrived
//! - [`windows`]: send windows that follow the path
//! - [`fault`]: reasons why a channel cannot be opened or ended, by who must act

pub mod fault;
pub mod gauge;
pub mod sockets;
pub mod windows;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use quinn::congestion::{ControllerFactory, CubicConfig};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    AckFrequencyConfig, ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use wire::units::{Rate, Size};

use crate::congestion::{ACK_DELAY, Flow, ack_packets};
pub use fault::{ChannelFault, DialError};
use gauge::Gauged;
pub use gauge::{Gauge, Reading};
use service::config::Address;
use service::tls::{Credentials, TlsError};
pub use sockets::{SOCKET_BUFFER_BYTES, Sockets, SystemSockets};
use windows::SEND_WINDOW_BYTES_MIN;
pub use windows::TIMES_THE_PATH;
pub use windows::keep_windows;

/// Receive window of one stream in bytes. Gaps in 2 MiB cannot exceed the 1,024 chunks above which quinn closes the
/// connection. Each frame has its own stream, so this does not limit throughput.
pub const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// Time limit for a peer's first answer, and then again for the rest of the handshake.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval of keep-alive packets: shorter than the 30 s after which most firewalls and NATs forget a UDP flow, and short
/// enough that several fit into [`IDLE_TIMEOUT`], because one may be lost.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// Silence after which a channel is closed. The sender then dials again, with pauses of at most 1 s. A longer timeout
/// would not help: QUIC doubles the time between its probes, so that after a longer silence a new session notices earlier
/// than the old one that the path is back.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Handshakes that may be pending at a listening end at the same time: it has few peers.
const INCOMING_MAX: usize = 64;

/// Settings from which an endpoint's windows are derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointSettings {
    /// Bandwidth of the link, if it is stated.
    pub rate: Option<Rate>,
    /// Memory of this process, which bounds the windows of one channel.
    pub memory: Size,
    /// Unidirectional streams (frames) that the peer may have open at the same time.
    pub uni_streams: u32,
    /// Largest IP packet in bytes that the path carries, within [`PATH_MTU_BYTES`]. If it is not stated, it is probed;
    /// after losses the probes may settle on short packets for a minute.
    pub path_mtu: Option<u16>,
    /// Passing of many packets to the kernel in one call. Without it, the sender needs a quarter more CPU time, but some
    /// kernels and network cards damage such packets.
    pub segmentation_offload: bool,
}

/// Dialler of channels.
#[derive(Clone)]
pub struct Dialer {
    tls: Arc<QuicClientConfig>,
    settings: EndpointSettings,
    sockets: Arc<dyn Sockets>,
    flow: Option<Flow>,
}

/// Dialled channel. Each has its own socket, so that the network sees channels as separate flows.
#[derive(Debug, Clone)]
pub struct Dialled {
    /// QUIC connection of the channel.
    pub connection: Connection,
    /// Endpoint of the channel: `wait_idle` on it lets the last close reach the peer.
    pub endpoint: Endpoint,
    /// Bytes that have left the channel, and bytes that have arrived.
    pub gauge: Arc<Gauge>,
    /// Name that was verified in the peer's certificate.
    pub server_name: String,
    settings: EndpointSettings,
    flow: Option<Flow>,
    /// Send window in bytes that was set last; 0 before the first.
    window: Arc<AtomicU64>,
}

/// Error of an endpoint that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The UDP port is in use or forbidden, or the address does not belong to this machine.
    #[error("UDP socket on {address}: {source}")]
    Socket {
        /// Address on which to listen.
        address: SocketAddr,
        /// Error of the system.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl EndpointSettings {
    /// Makes settings without a rate and without a path MTU.
    pub const fn new(memory: Size, uni_streams: u32) -> Self {
        Self { rate: None, memory, uni_streams, path_mtu: None, segmentation_offload: true }
    }

    /// Returns the bytes that may be sent and not yet acknowledged: 5 × rate × 300 ms, because data after a lost packet
    /// counts until that packet arrives. It is at least 4 MiB and at most half of the memory; without a rate, it is half of
    /// the memory.
    pub fn send_window(&self) -> u64 {
        let half = (self.memory.bytes() / 2).max(SEND_WINDOW_BYTES_MIN);
        let by_rate = self.rate.map_or(u64::MAX, |rate| rate.bytes_in(RTT_ASSUMED).saturating_mul(TIMES_THE_PATH));
        by_rate.clamp(SEND_WINDOW_BYTES_MIN, half)
    }

    /// Returns the bytes that may be received out of order or not yet read: all of the memory. Credit, which is less,
    /// stops a lane before QUIC's flow control does.
    pub fn receive_window(&self) -> u64 {
        self.memory.bytes()
    }

    /// Returns quinn's settings for one channel. Without a flow, it uses quinn's congestion controller.
    pub fn transport(&self, flow: Option<&Flow>) -> TransportConfig {
        let window = |bytes: u64| VarInt::from_u64(bytes).unwrap_or(VarInt::MAX);
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
            .receive_window(window(self.receive_window()))
            .send_window(self.send_window())
            .max_concurrent_uni_streams(VarInt::from_u32(self.uni_streams))
            // The control stream, and another one for a peer that opens it again while the old one closes.
            .max_concurrent_bidi_streams(VarInt::from_u32(2))
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
}

/// Opens an endpoint that listens on `address`; an unspecified IPv6 address includes IPv4. Peers without a certificate of
/// our authority are refused before any of their data is read.
///
/// # Panics
/// Outside a tokio runtime.
pub fn listen(
    address: SocketAddr,
    credentials: &Credentials,
    settings: &EndpointSettings,
) -> Result<Endpoint, EndpointError> {
    listen_over(&SystemSockets, address, credentials, settings)
}

/// Opens an endpoint like [`listen`], on a socket of `sockets`.
///
/// # Panics
/// Outside a tokio runtime.
pub fn listen_over(
    sockets: &dyn Sockets,
    address: SocketAddr,
    credentials: &Credentials,
    settings: &EndpointSettings,
) -> Result<Endpoint, EndpointError> {
    let server = server(credentials, settings)?;
    let socket = |source| EndpointError::Socket { address, source };
    let bound = sockets.bind(address).map_err(socket)?;
    let config = same_after_a_restart(credentials);
    Endpoint::new_with_abstract_socket(config, Some(server), bound, Arc::new(TokioRuntime)).map_err(socket)
}

/// Returns the server configuration of a listening endpoint. An endpoint that listens already can get a new one, with new
/// certificates; open channels keep theirs.
pub fn server(credentials: &Credentials, settings: &EndpointSettings) -> Result<ServerConfig, TlsError> {
    let mut server = ServerConfig::with_crypto(Arc::new(credentials.server()?));
    server.transport_config(Arc::new(settings.transport(None))).max_incoming(INCOMING_MAX);
    Ok(server)
}

/// Derives connection ids and stateless resets (RFC 9000, section 10.3.2) from the private key. A process that was killed
/// cannot close its channels; its successor recognises their packets and resets them immediately. Otherwise the peers
/// would wait for [`IDLE_TIMEOUT`].
fn same_after_a_restart(credentials: &Credentials) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(credentials.derive_key("stateless reset")));
    let ids = u64::from_le_bytes(credentials.derive_bytes("connection ids"));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

/// Controller for channels without a flow: those of tests and of `causeway check`.
fn quinns_own() -> Arc<dyn ControllerFactory + Send + Sync> {
    Arc::new(CubicConfig::default())
}

impl Dialer {
    /// Makes a dialler with these certificates.
    pub fn new(credentials: &Credentials, settings: EndpointSettings) -> Result<Self, TlsError> {
        Ok(Self { tls: Arc::new(credentials.client()?), settings, sockets: Arc::new(SystemSockets), flow: None })
    }

    /// Uses sockets of `sockets` instead of the system's.
    #[must_use]
    pub fn over(self, sockets: Arc<dyn Sockets>) -> Self {
        Self { sockets, ..self }
    }

    /// Uses `flow` as the congestion control of its channels.
    #[must_use]
    pub fn guided_by(self, flow: Flow) -> Self {
        Self { flow: Some(flow), ..self }
    }

    /// Dials `addresses` in order until one answers with a certificate that is valid for `server_name`, by default the
    /// dialled host. Names are resolved each time, and each of their IP addresses is tried.
    ///
    /// In TLS 1.3 the dialler finishes first. A peer that refuses *our* certificate closes the channel a round trip later;
    /// [`ChannelFault::of`] explains that close as well.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn dial(&self, addresses: &[Address], server_name: Option<&str>) -> Result<Dialled, DialError> {
        let mut faults = Vec::new();
        for address in addresses {
            let remotes = match tokio::net::lookup_host((address.host.as_str(), address.port)).await {
                Ok(remotes) => remotes.collect::<Vec<_>>(),
                Err(source) => {
                    faults.push(ChannelFault::Unresolved { address: address.clone(), source: Arc::new(source) });
                    continue;
                }
            };
            for remote in remotes {
                match self.dial_one(remote, server_name.unwrap_or(&address.host)).await {
                    Ok(dialled) => return Ok(dialled),
                    Err(fault) => faults.push(fault),
                }
            }
        }
        Err(DialError { faults })
    }

    /// Dials the peer of an open channel again, at the same address and with the same name.
    ///
    /// # Errors
    /// The reason why the peer does not answer, or why a certificate is refused.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn dial_beside(&self, first: &Dialled) -> Result<Dialled, ChannelFault> {
        self.dial_one(first.connection.remote_address(), &first.server_name).await
    }

    async fn dial_one(&self, remote: SocketAddr, server_name: &str) -> Result<Dialled, ChannelFault> {
        let unspecified = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = |source| ChannelFault::Socket { remote, source: Arc::new(source) };
        let bound = self.sockets.bind(SocketAddr::new(unspecified, 0)).map_err(socket)?;
        let config = EndpointConfig::default();
        let endpoint =
            Endpoint::new_with_abstract_socket(config, None, bound, Arc::new(TokioRuntime)).map_err(socket)?;
        let mut config = ClientConfig::new(Arc::clone(&self.tls) as Arc<dyn quinn::crypto::ClientConfig>);
        let gauge = Arc::new(Gauge::default());
        let mut transport = self.settings.transport(self.flow.as_ref());
        let inner = self.flow.as_ref().map_or_else(quinns_own, Flow::controllers);
        transport.congestion_controller_factory(Arc::new(Gauged { inner, gauge: Arc::clone(&gauge) }));
        config.transport_config(Arc::new(transport));
        let connecting = endpoint.connect_with(config, remote, server_name);
        let mut connecting =
            connecting.map_err(|error| ChannelFault::Impossible { remote, reason: error.to_string() })?;
        match tokio::time::timeout(ANSWER_TIMEOUT, connecting.handshake_data()).await {
            Err(_) => {
                return Err(ChannelFault::NoAnswer { remote, after: ANSWER_TIMEOUT });
            }
            Ok(Err(error)) => return Err(ChannelFault::of(remote, &error)),
            Ok(Ok(_)) => {}
        }
        match tokio::time::timeout(ANSWER_TIMEOUT, connecting).await {
            Err(_) => Err(ChannelFault::Unfinished { remote, after: ANSWER_TIMEOUT }),
            Ok(Err(error)) => Err(ChannelFault::of(remote, &error)),
            Ok(Ok(connection)) => Ok(Dialled {
                connection,
                endpoint,
                gauge,
                server_name: server_name.to_owned(),
                settings: self.settings,
                flow: self.flow.clone(),
                window: Arc::default(),
            }),
        }
    }
}

#[cfg(test)]
mod tests;
