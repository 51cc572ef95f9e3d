//! Where endpoints get their sockets: from the system, or from what stands in front of it or in for it.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Once};

use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

/// Room for about 100 ms of 500 Mbit/s while a thread is not scheduled; the usual default of 208 KiB
/// holds fewer than 100 packets.
pub const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Gives endpoints their sockets, and so sees every packet of theirs.
pub trait Sockets: fmt::Debug + Send + Sync {
    /// A socket at `address`; port 0 is any.
    ///
    /// # Errors
    /// There is none to be had there.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;
}

/// The system's sockets, with large buffers; warns where the system grants less.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSockets;

impl Sockets for SystemSockets {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        TokioRuntime.wrap_udp_socket(bind(address)?)
    }
}

static CLAMP_NOTICED: Once = Once::new();

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    let (receive, send) = (granted(socket.recv_buffer_size()?), granted(socket.send_buffer_size()?));
    // A process dials again and again, and the system's limit stays what it is.
    CLAMP_NOTICED.call_once(|| warn_if_clamped(receive, send));
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn warn_if_clamped(granted_receive: usize, granted_send: usize) {
    if granted_receive.min(granted_send) < SOCKET_BUFFER_BYTES {
        warn!(
            granted_receive_bytes = granted_receive,
            granted_send_bytes = granted_send,
            wanted_bytes = SOCKET_BUFFER_BYTES,
            "UDP buffers are smaller than asked for, bursts will be lost: raise net.core.rmem_max and net.core.wmem_max"
        );
    }
}

/// Linux reports twice what it grants, its own book-keeping included.
fn granted(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}
