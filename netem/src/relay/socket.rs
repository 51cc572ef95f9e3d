//! A UDP socket with large buffers, which knows how many packets the system dropped in front of it.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, Type};

/// Bytes of each buffer that a socket requests: 100 ms of 500 Mbit/s, by the system's own accounting.
const BUFFER: usize = 8 << 20;
/// The longest UDP payload over IPv4, in bytes: 65,535 less the headers.
pub(super) const PAYLOAD_MAX: usize = 65_507;

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) socket: UdpSocket,
    /// Packets that the system dropped so far because the socket's buffer was full.
    missed: Cell<u32>,
}

pub(super) struct Received {
    pub(super) payload: Vec<u8>,
    pub(super) from: Option<SocketAddr>,
}

impl Socket {
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // The forced size needs privileges. The other size is limited by the system's settings.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            socket.set_recv_buffer_size(BUFFER)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &BUFFER).is_err() {
            socket.set_send_buffer_size(BUFFER)?;
        }
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        socket.bind(&address.into())?;
        Ok(Self { socket: socket.into(), missed: Cell::new(0) })
    }

    /// Creates a socket connected to `target`, which need not be listening.
    pub(super) fn towards(target: SocketAddr) -> io::Result<Self> {
        let any: IpAddr = if target.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = Self::bind((any, 0).into())?;
        socket.socket.connect(target)?;
        Ok(socket)
    }

    pub(super) fn missed(&self) -> u64 {
        self.missed.get().into()
    }

    /// Receives the next datagram, if there is one. `scratch` is working space.
    pub(super) fn receive(&self, scratch: &mut [u8; PAYLOAD_MAX]) -> io::Result<Option<Received>> {
        let mut control = cmsg_space!(u32);
        loop {
            let mut slices = [IoSliceMut::new(&mut scratch[..])];
            let flags = MsgFlags::MSG_DONTWAIT;
            let message =
                match recvmsg::<SockaddrStorage>(self.socket.as_raw_fd(), &mut slices, Some(&mut control), flags) {
                    Ok(message) => message,
                    Err(Errno::EAGAIN) => return Ok(None),
                    // No process listened at the target when an earlier packet arrived there.
                    Err(Errno::ECONNREFUSED | Errno::EINTR) => continue,
                    Err(errno) => return Err(errno.into()),
                };
            for control in message.cmsgs()? {
                if let ControlMessageOwned::RxqOvfl(dropped) = control {
                    self.missed.set(dropped);
                }
            }
            let length = message.bytes;
            let from = message.address.and_then(to_std);
            return Ok(Some(Received { payload: scratch[..length].to_vec(), from }));
        }
    }

    pub(super) fn send(&self, payload: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(payload);
        match sent {
            // The error is about an earlier packet, but this packet was not sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.socket.send(payload).map(drop),
            sent => sent.map(drop),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn to_std(address: SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|&address| SocketAddr::V4(address.into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|&address| SocketAddr::V6(address.into())))
}
