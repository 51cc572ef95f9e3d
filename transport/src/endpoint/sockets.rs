//! Source of the endpoints' sockets: the system, or a wrapper around it, or a simulated network.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Once};
use std::{fmt, io};

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

/// Size in bytes of the UDP buffers, about 100 ms at 500 Mbit/s, for the time that a thread is not scheduled. The usual
/// default of 208 KiB holds fewer than 100 packets.
const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Source of sockets, which thus sees every packet of their endpoints.
pub trait Sockets: fmt::Debug + Send + Sync {
    /// Binds a socket at `address`; port 0 means any port.
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;
}

/// Sockets of the system, with large buffers. It warns if the system grants smaller ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSockets;

impl Sockets for SystemSockets {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(bind(address)?)
    }
}

static CLAMP_REPORTED: Once = Once::new();

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    let receive = granted(socket.recv_buffer_size()?);
    let send = granted(socket.send_buffer_size()?);
    // Once per process, because the system's limit does not change with each dial.
    CLAMP_REPORTED.call_once(|| {
        for remedy in [remedy("receive", "rmem_max", receive), remedy("send", "wmem_max", send)].into_iter().flatten() {
            warn!("{remedy}");
        }
    });
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Returns the warning for a buffer that is too small, with the command that raises the system's limit.
fn remedy(buffer: &str, limit: &str, granted: usize) -> Option<String> {
    (granted < SOCKET_BUFFER_BYTES).then(|| {
        format!(
            "UDP {buffer} buffer has {granted} bytes instead of {SOCKET_BUFFER_BYTES}, so bursts of packets may be lost: \
             run `sysctl -w net.core.{limit}={SOCKET_BUFFER_BYTES}` and restart"
        )
    })
}

/// Returns the granted size: Linux reports twice as much, because it includes its own overhead.
fn granted(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_buffer_names_the_sysctl_line() {
        let warning = remedy("receive", "rmem_max", 212_992).unwrap();
        assert!(
            warning.contains("212992 bytes") && warning.contains("`sysctl -w net.core.rmem_max=8388608`"),
            "{warning}"
        );
        assert_eq!(remedy("send", "wmem_max", SOCKET_BUFFER_BYTES), None);
    }
}
