//! A UDP relay on loopback over the path model. It needs no privileges: a client dials the relay's address instead of
//! its server's. For QUIC and other protocols over UDP that use one socket per peer.
//!
//! The relay passes payloads, not headers. A flipped bit therefore arrives under a valid checksum, and ECN marks are
//! lost: quinn finds a path that does not carry them.

mod clients;
mod socket;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::emulator::Emulator;
use crate::emulator::carrier::{BATCH, Carrier, Waker};
use crate::{Delivery, Direction, FlowKey, Flowing, Wan};
use clients::{ClientId, Clients};
use socket::{PAYLOAD_MAX, Received, Socket};

/// Ready sockets that one call of epoll returns. Sockets beyond that are returned by the next call.
const READY: usize = 64;

#[derive(Debug, Clone)]
pub struct Datagram {
    client: ClientId,
    payload: Vec<u8>,
}

impl Flowing for Datagram {
    /// Returns the client's key: each client is one flow.
    fn flow(&self) -> FlowKey {
        FlowKey(self.client.0)
    }
}

/// A running relay. Dropping it stops it.
///
/// The target may start after the relay, stop, and return at its address. While it is absent, packets to it are lost, as
/// on a real path. The report does not count these as the emulator's drops.
#[derive(Debug)]
pub struct Relay {
    /// Address that clients send to.
    pub address: SocketAddr,
    pub emulator: Emulator<Datagram>,
}

impl Relay {
    /// Starts a relay that listens on `listen` (port 0: any port) and carries packets over `wan` to `target` and back.
    /// Each client has a socket of its own towards the target, so that the target can tell clients apart.
    pub fn start(listen: SocketAddr, target: SocketAddr, wan: Wan<Datagram>) -> io::Result<Self> {
        let carrier = UdpCarrier::new(listen, target)?;
        let address = carrier.listener.socket.local_addr()?;
        Ok(Self { address, emulator: Emulator::start(carrier, wan)? })
    }
}

/// A carrier of UDP payloads: one socket for all clients, and one towards the target per client.
#[derive(Debug)]
struct UdpCarrier {
    listener: Socket,
    clients: Clients,
    ready: Epoll,
    /// Bytes of the IP and UDP headers of a packet.
    headers: usize,
    scratch: Box<[u8; PAYLOAD_MAX]>,
}

impl UdpCarrier {
    fn new(listen: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let listener = Socket::bind(listen)?;
        ready.add(&listener, readable(ClientId::LISTENER))?;
        let headers = if listen.is_ipv4() { 20 + 8 } else { 40 + 8 };
        Ok(Self { listener, clients: Clients::new(target), ready, headers, scratch: Box::new([0; PAYLOAD_MAX]) })
    }

    fn receive_forward(&mut self, take: &mut dyn FnMut(Direction, Datagram, usize)) -> io::Result<()> {
        let now = Instant::now();
        for _ in 0..BATCH {
            let Some(Received { payload, from }) = self.listener.receive(&mut self.scratch)? else { break };
            let Some(from) = from else { continue };
            let client = match self.clients.find(from, now) {
                Some(client) => client,
                None => {
                    let (client, upstream) = self.clients.add(from, now)?;
                    self.ready.add(upstream, readable(client))?;
                    client
                }
            };
            let length = payload.len() + self.headers;
            take(Direction::Forward, Datagram { client, payload }, length);
        }
        Ok(())
    }

    fn receive_back(&mut self, client: ClientId, take: &mut dyn FnMut(Direction, Datagram, usize)) -> io::Result<()> {
        let Some(upstream) = self.clients.upstream(client) else { return Ok(()) };
        for _ in 0..BATCH {
            let Some(Received { payload, .. }) = upstream.receive(&mut self.scratch)? else { break };
            let length = payload.len() + self.headers;
            take(Direction::Back, Datagram { client, payload }, length);
        }
        Ok(())
    }

    fn send(&self, direction: Direction, client: ClientId, payload: &[u8]) -> io::Result<()> {
        let gone = || io::Error::other("the client was removed: too many others have come since");
        match direction {
            Direction::Forward => self.clients.upstream(client).ok_or_else(gone)?.send(payload),
            Direction::Back => {
                let address = self.clients.address(client).ok_or_else(gone)?;
                self.listener.socket.send_to(payload, address).map(drop)
            }
        }
    }
}

impl Carrier for UdpCarrier {
    type Packet = Datagram;

    fn wait(&mut self, waker: &Waker, timeout: Option<Duration>) -> io::Result<()> {
        waker.sleep(&[self.ready.0.as_fd()], timeout)
    }

    fn receive(&mut self, take: &mut dyn FnMut(Direction, Datagram, usize)) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); READY];
        let count = self.ready.wait(&mut events, EpollTimeout::ZERO)?;
        for event in &events[..count] {
            match ClientId(event.data()) {
                ClientId::LISTENER => self.receive_forward(take)?,
                client => self.receive_back(client, take)?,
            }
        }
        Ok(())
    }

    fn deliver(&mut self, direction: Direction, mut delivery: Delivery<Datagram>) -> usize {
        let mut payload = std::mem::take(&mut delivery.packet.payload);
        delivery.damage(&mut payload);
        usize::from(self.send(direction, delivery.packet.client, &payload).is_err())
    }

    fn missed(&mut self) -> io::Result<u64> {
        Ok(self.listener.missed() + self.clients.missed())
    }
}

fn readable(client: ClientId) -> EpollEvent {
    EpollEvent::new(EpollFlags::EPOLLIN, client.0)
}
