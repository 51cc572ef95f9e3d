//! QUIC endpoints: sockets with buffers for a burst, windows derived from rate and memory, and dialling that tells an
//! unreachable peer from a refused certificate.

mod address_tokens;
mod dialer;
mod fault;
mod gauge;
mod settings;
mod sockets;
mod windows;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::{Endpoint, EndpointConfig, ServerConfig, TokioRuntime};
use quinn_proto::HashedConnectionIdGenerator;
use service::tls::{Credentials, TlsError};

pub use dialer::{Dialer, Dialled};
pub use fault::{ChannelFault, DialError};
pub use gauge::{Gauge, Reading};
pub use settings::{EndpointSettings, FIRST_WINDOW_BYTES, PATH_MTU_BYTES, TIMES_THE_PATH};
pub use sockets::{Sockets, SystemSockets};
pub use windows::{admit, admit_streams, grant, keep_windows, meter};

/// First packets that a listening end keeps until the application has decided about them, and the bytes that may follow
/// each and all of them meanwhile. More are dropped.
const INCOMING_MAX: usize = 256;
const INCOMING_BYTES: u64 = 16 * 1024;
const INCOMING_BYTES_TOTAL: u64 = 1024 * 1024;

/// Error of an endpoint that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The UDP port is in use or forbidden, or the address does not belong to this machine.
    #[error("UDP socket on {address}: {source}")]
    Socket { address: SocketAddr, source: io::Error },
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Opens an endpoint that listens on `address`, on a socket of `sockets`; an unspecified IPv6 address includes IPv4. Peers without a certificate of
/// our authority are refused before any of their data is read. It panics outside a tokio runtime, like all that binds.
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
    server.transport_config(Arc::new(settings.transport(None)));
    server.max_incoming(INCOMING_MAX).incoming_buffer_size(INCOMING_BYTES);
    server.incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
    // A peer that validates its address while this process restarts or reloads need not begin again.
    server.token_key(Arc::new(credentials.derive_keys("address tokens")));
    server.validation_token_config(address_tokens::issued());
    Ok(server)
}

/// Derives connection ids and stateless resets (RFC 9000, section 10.3.2) from the private key. A process that was killed
/// cannot close its channels; its successor recognises their packets and resets them immediately. Otherwise the peers
/// would wait for the idle timeout of 10 s.
fn same_after_a_restart(credentials: &Credentials) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(credentials.derive_key("stateless reset")));
    let ids = u64::from_le_bytes(credentials.derive_bytes("connection ids"));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

#[cfg(test)]
mod tests;
