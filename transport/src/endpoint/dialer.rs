//! Dialler of channels. It tells an unreachable peer from a refused certificate.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use quinn::congestion::{ControllerFactory, CubicConfig};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, TokenMemoryCache, TokenStore, TokioRuntime};
use service::config::Address;
use service::tls::{Credentials, TlsError};

use super::address_tokens;
use super::fault::{ChannelFault, DialError};
use super::gauge::{Gauge, Gauged};
use super::settings::EndpointSettings;
use super::sockets::{Sockets, SystemSockets};
use crate::congestion::Flow;

/// Time limit for a peer's first answer, and then again for the rest of the handshake.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Dialer {
    tls: Arc<QuicClientConfig>,
    settings: EndpointSettings,
    sockets: Arc<dyn Sockets>,
    flow: Option<Flow>,
    tokens: Arc<TokenMemoryCache>,
}

/// Dialled channel. Each has its own socket, so that the network sees channels as separate flows.
#[derive(Debug, Clone)]
pub struct Dialled {
    pub connection: Connection,
    /// Endpoint of the channel: `wait_idle` on it lets the last close reach the peer.
    pub endpoint: Endpoint,
    /// Bytes that have left the channel, and bytes that have arrived.
    pub gauge: Arc<Gauge>,
    /// Name that was verified in the peer's certificate.
    pub server_name: String,
    pub(super) settings: EndpointSettings,
    pub(super) flow: Option<Flow>,
    /// Send window in bytes that was set last; 0 before the first.
    pub(super) window: Arc<AtomicU64>,
}

/// Controller for channels without a flow: those of tests and of `causeway check`.
fn quinns_own() -> Arc<dyn ControllerFactory + Send + Sync> {
    Arc::new(CubicConfig::default())
}

impl Dialer {
    pub fn new(credentials: &Credentials, settings: EndpointSettings) -> Result<Self, TlsError> {
        let tokens = address_tokens::kept();
        Ok(Self {
            tls: Arc::new(credentials.client()?),
            settings,
            sockets: Arc::new(SystemSockets),
            flow: None,
            tokens,
        })
    }

    /// Uses sockets of `sockets` instead of the system's.
    pub fn over(self, sockets: Arc<dyn Sockets>) -> Self {
        Self { sockets, ..self }
    }

    /// Uses `flow` as the congestion control of its channels.
    pub fn guided_by(self, flow: Flow) -> Self {
        Self { flow: Some(flow), ..self }
    }

    /// Dials `addresses` in order until one answers with a certificate that is valid for `server_name`, by default the
    /// dialled host. Names are resolved each time, and each of their IP addresses is tried.
    ///
    /// In TLS 1.3 the dialler finishes first. A peer that refuses *our* certificate closes the channel a round trip later;
    /// [`ChannelFault::of`] explains that close as well.
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
    pub async fn dial_again(&self, first: &Dialled) -> Result<Dialled, ChannelFault> {
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
        config.token_store(Arc::clone(&self.tokens) as Arc<dyn TokenStore>);
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
