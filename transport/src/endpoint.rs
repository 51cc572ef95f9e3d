//! QUIC endpoints: sockets with buffers that hold a burst, windows derived from rate and memory, and
//! dialling that tells a dark path from a refused certificate.
//!
//! - [`sockets`]: where their sockets come from
//! - [`gauge`]: how much of what was handed to a channel has left
//! - [`windows`]: how much a channel may buffer
//! - [`fault`]: why a channel did not come about or ended, by who must act

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

/// One stream's window. Gaps in 2 MiB cannot exceed the 1,024 chunks beyond which quinn closes the
/// whole connection; frames have a stream each, so it bounds no throughput.
pub const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;

/// How long a peer may take to answer at all, and then to finish the handshake.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Below the 30 s after which most firewalls and NATs forget a UDP flow, and often enough that a lost one is
/// made up for well within [`IDLE_TIMEOUT`].
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// After this a silent peer or path is given up and dialled again, at most 1 s apart. Waiting longer would not
/// save the session's work: QUIC doubles the time between its probes, so that after a longer silence it finds
/// out later than a new session that the path is back.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// quinn's duplicate window holds 129 packets: a reordering beyond this is discarded anyway.
const PACKET_THRESHOLD: u32 = 128;

/// The round trip that windows are sized for until one is measured: between continents, with a queue.
const RTT_ASSUMED: Duration = Duration::from_millis(300);

/// The round trip by which the handshake's packets are repeated, after three times as long. RFC 9002 takes 333 ms, so
/// that the second packet of a dial comes a second after the first; this finds a path that is back sooner.
const RTT_OF_HANDSHAKES: Duration = Duration::from_millis(150);

/// IPv6 and UDP headers: what of a path's MTU is not QUIC's.
const HEADER_BYTES: u16 = 40 + 8;

/// The least and the largest [`EndpointSettings::path_mtu`]: QUIC's 1200 bytes and their headers, and what a
/// receiver of ours takes.
pub const PATH_MTU_BYTES: std::ops::RangeInclusive<u64> = 1_248..=1_500;

/// Handshakes that may be pending at once at a listening end; its peers are few and known.
const INCOMING_MAX: usize = 64;

/// The facts that an endpoint's windows follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointSettings {
    /// The link's bandwidth, where it is stated.
    pub rate: Option<Rate>,
    /// What this process may hold; the windows of one channel stay within it.
    pub memory: Size,
    /// How many unidirectional streams (frames) the peer may have open at once.
    pub uni_streams: u32,
    /// The longest IP packet that passes, in bytes, where it is stated: within [`PATH_MTU_BYTES`]. It is found out
    /// otherwise, which losses may mislead into short packets for a minute.
    pub path_mtu: Option<u16>,
    /// Whether the kernel may be handed many packets at once. Off costs a quarter more of the sender's CPU time;
    /// some kernels and network cards damage such packets.
    pub segmentation_offload: bool,
}

/// Dials, as often as needed.
#[derive(Clone)]
pub struct Dialer {
    tls: Arc<QuicClientConfig>,
    settings: EndpointSettings,
    sockets: Arc<dyn Sockets>,
    flow: Option<Flow>,
}

/// A channel as dialled. It has a socket of its own, so that channels are separate flows to the network.
#[derive(Debug, Clone)]
pub struct Dialled {
    /// The channel.
    pub connection: Connection,
    /// Its endpoint: `wait_idle` on it lets the last close reach the peer.
    pub endpoint: Endpoint,
    /// What has left it and what has arrived.
    pub gauge: Arc<Gauge>,
    /// The name that the peer's certificate was found to bear.
    pub server_name: String,
    settings: EndpointSettings,
    flow: Option<Flow>,
    /// The send window that was set last; 0 before any was.
    window: Arc<AtomicU64>,
}

/// Why an endpoint cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The UDP port is taken or forbidden, or the address is not ours.
    #[error("UDP socket on {address}: {source}")]
    Socket {
        /// Where it was to listen.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl EndpointSettings {
    /// Settings without a rate; the path's MTU is found out.
    pub const fn new(memory: Size, uni_streams: u32) -> Self {
        Self { rate: None, memory, uni_streams, path_mtu: None, segmentation_offload: true }
    }

    /// Bytes sent and not yet acknowledged by QUIC: 5 × rate × 300 ms, because data behind a lost packet
    /// counts until that is repaired, within 4 MiB and half of the memory; half of the memory where no
    /// rate is stated.
    pub fn send_window(&self) -> u64 {
        let half = (self.memory.bytes() / 2).max(SEND_WINDOW_BYTES_MIN);
        let wanted = self.rate.map_or(u64::MAX, |rate| rate.bytes_in(RTT_ASSUMED).saturating_mul(TIMES_THE_PATH));
        wanted.clamp(SEND_WINDOW_BYTES_MIN, half)
    }

    /// Bytes received out of order or not yet read. All of the memory: credit, which is less, is what
    /// stops a lane, never QUIC's flow control.
    pub fn receive_window(&self) -> u64 {
        self.memory.bytes()
    }

    /// quinn's settings for one channel. The congestion controller is the flow's; without one, quinn's default.
    pub fn transport(&self, flow: Option<&Flow>) -> TransportConfig {
        let window = |bytes: u64| VarInt::from_u64(bytes).unwrap_or(VarInt::MAX);
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
            .receive_window(window(self.receive_window()))
            .send_window(self.send_window())
            .max_concurrent_uni_streams(VarInt::from_u32(self.uni_streams))
            // The control stream, and one for a peer that opens it anew while the old one closes.
            .max_concurrent_bidi_streams(VarInt::from_u32(2))
            .packet_threshold(PACKET_THRESHOLD)
            .initial_rtt(RTT_OF_HANDSHAKES)
            .enable_segmentation_offload(self.segmentation_offload)
            // Each packet asks anew which stream is the most urgent: otherwise control and critical records would wait
            // until the frame that has begun to leave is gone.
            .send_fairness(true)
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_idle_timeout(Some(IDLE_TIMEOUT.try_into().expect("10 s fit a QUIC timeout")))
            .datagram_receive_buffer_size(None);
        if let Some(mtu) = self.path_mtu {
            let payload = mtu.saturating_sub(HEADER_BYTES);
            transport.initial_mtu(payload).min_mtu(payload).mtu_discovery_config(None);
        }
        if let Some(flow) = flow {
            // Fewer ACKs: the law knows how long they wait. quinn's own controllers would lose a quarter of the rate, since
            // its pacer, whose timers are rounded to 1 ms, sends by ACKs as much as by time.
            let mut acks = AckFrequencyConfig::default();
            acks.ack_eliciting_threshold(VarInt::from_u32(ack_packets(self.rate)))
                .max_ack_delay(Some(ACK_DELAY))
                // What is out of order is of interest to us once it makes a loss.
                .reordering_threshold(VarInt::from_u32(PACKET_THRESHOLD - 1));
            transport.ack_frequency_config(Some(acks)).congestion_controller_factory(flow.controllers());
        }
        transport
    }
}

/// An endpoint that listens on `address` (an unspecified IPv6 address takes IPv4 too). Peers without a
/// certificate of our authority are refused before anything they send is read.
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

/// As [`listen`], on a socket of `sockets`.
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

/// How whoever dials is met: also for an endpoint that listens already, to give it new certificates. Channels
/// that stand keep theirs.
pub fn server(credentials: &Credentials, settings: &EndpointSettings) -> Result<ServerConfig, TlsError> {
    let mut server = ServerConfig::with_crypto(Arc::new(credentials.server()?));
    server.transport_config(Arc::new(settings.transport(None))).max_incoming(INCOMING_MAX);
    Ok(server)
}

/// A process that was killed could not say goodbye. Its successor does it in its place: connection ids and
/// stateless resets (RFC 9000, 10.3.2) come from the private key, so that it recognises the packets of its
/// predecessor's channels and ends those at once. Their peers would wait for [`IDLE_TIMEOUT`] otherwise.
fn same_after_a_restart(credentials: &Credentials) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(credentials.derive_key("stateless reset")));
    let ids = u64::from_le_bytes(credentials.derive_bytes("connection ids"));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

/// For channels that no flow guides: those of tests and of `check`.
fn quinns_own() -> Arc<dyn ControllerFactory + Send + Sync> {
    Arc::new(CubicConfig::default())
}

impl Dialer {
    /// A dialler with these certificates.
    pub fn new(credentials: &Credentials, settings: EndpointSettings) -> Result<Self, TlsError> {
        Ok(Self { tls: Arc::new(credentials.client()?), settings, sockets: Arc::new(SystemSockets), flow: None })
    }

    /// The same dialler on sockets of `sockets`.
    #[must_use]
    pub fn over(self, sockets: Arc<dyn Sockets>) -> Self {
        Self { sockets, ..self }
    }

    /// The same dialler, its channels guided by `flow`.
    #[must_use]
    pub fn guided_by(self, flow: Flow) -> Self {
        Self { flow: Some(flow), ..self }
    }

    /// Tries `addresses` in order, each name resolved anew and each of its addresses tried in turn,
    /// until one answers whose certificate is valid for `server_name` (by default the host dialled).
    ///
    /// In TLS 1.3 the dialler is done first: a peer that refuses *our* certificate says so a round trip
    /// later, by closing the channel; [`ChannelFault::of`] explains that too.
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

    /// Dials the peer of a channel that stands once more: the same address, the same name.
    ///
    /// # Errors
    /// Why it does not answer, or is not believed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn dial_beside(&self, first: &Dialled) -> Result<Dialled, ChannelFault> {
        self.dial_one(first.connection.remote_address(), &first.server_name).await
    }

    async fn dial_one(&self, remote: SocketAddr, server_name: &str) -> Result<Dialled, ChannelFault> {
        let any = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = |source| ChannelFault::Socket { remote, source: Arc::new(source) };
        let bound = self.sockets.bind(SocketAddr::new(any, 0)).map_err(socket)?;
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
