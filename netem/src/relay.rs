//! A UDP relay on loopback over the model: no privileges, and one address for a client to dial instead of its
//! target. For QUIC and whatever else speaks UDP from one socket per peer.
//!
//! What passes is the payload. A flipped bit therefore arrives under a checksum that is right, and ECN marks end
//! here: quinn sees a path that does not carry them.

mod clients;
mod socket;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::carrier::{BATCH, Carrier, Waker};
use crate::conditions::Knob;
use crate::emulator::Emulator;
use crate::flow::{FlowKey, Flowing};
use crate::path::Delivery;
use crate::report::Report;
use crate::wan::{Direction, Wan};
use clients::{ClientId, Clients};
use socket::{PAYLOAD_MAX, Received, Socket};

/// Clients that a relay keeps apart. One more, and the one that has been silent longest is forgotten: what is
/// still under way to it is [`refused`](Report::refused).
pub const CLIENTS_MAX: usize = 256;

/// How many ready sockets one look at them yields; the others are ready at the next one too.
const READY: usize = 64;

/// A UDP datagram under way between a client and the target.
#[derive(Debug, Clone)]
pub struct Datagram {
    client: ClientId,
    payload: Vec<u8>,
}

impl Flowing for Datagram {
    /// Each client is one.
    fn flow(&self) -> FlowKey {
        FlowKey(self.client.0)
    }
}

/// A running relay. It ends when this is dropped.
///
/// The target need not be there, and may leave and come back at its address: until then the packets to it are
/// gone, as on a real path. Those are not the emulator's drops, and it does not count them.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    receive_buffer: usize,
    emulator: Emulator<Datagram>,
}

impl Relay {
    /// Listens on `listen` (port 0: any), and carries what comes over `wan` to `target` and back, from one socket
    /// per client, so that the target can tell clients apart.
    ///
    /// # Errors
    /// The machine's: the address is taken, or there are no descriptors left.
    pub fn start(listen: SocketAddr, target: SocketAddr, wan: Wan<Datagram>) -> io::Result<Self> {
        let carrier = UdpCarrier::new(listen, target)?;
        let (address, receive_buffer) = (carrier.listener.local_address()?, carrier.listener.receive_buffer()?);
        Ok(Self { address, receive_buffer, emulator: Emulator::start(carrier, wan)? })
    }

    /// Where clients send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that the system keeps for the relay while its thread does not run, its own book-keeping included.
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Turns a knob now.
    pub fn set(&self, direction: Direction, knob: Knob) {
        self.emulator.set(direction, knob);
    }

    /// Turns knobs in both directions now.
    pub fn set_both(&self, knobs: &[Knob]) {
        self.emulator.set_both(knobs);
    }

    /// What has happened so far.
    pub fn report(&self) -> Report {
        self.emulator.report()
    }

    /// Stops, and says what has happened.
    ///
    /// # Errors
    /// What the machine answered the relay with, if that stopped it before.
    pub fn stop(self) -> io::Result<Report> {
        self.emulator.stop()
    }
}

/// The clients' socket, and one towards the target per client.
#[derive(Debug)]
struct UdpCarrier {
    listener: Socket,
    clients: Clients,
    ready: Epoll,
    /// IP and UDP headers, in bytes.
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

    /// Hands over what clients have sent.
    fn receive_forward(&mut self, take: &mut dyn FnMut(Direction, Datagram, usize)) -> io::Result<()> {
        let now = Instant::now();
        for _ in 0..BATCH {
            let Some(Received { payload, from }) = self.listener.receive(&mut self.scratch)? else { break };
            let Some(from) = from else { continue };
            let client = match self.clients.heard(from, now) {
                Some(client) => client,
                None => {
                    let (client, upstream) = self.clients.welcome(from, now)?;
                    self.ready.add(upstream, readable(client))?;
                    client
                }
            };
            let length = payload.len() + self.headers;
            take(Direction::Forward, Datagram { client, payload }, length);
        }
        Ok(())
    }

    /// Hands over what the target has sent to one client.
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
        let gone = || io::Error::other("the client was forgotten");
        match direction {
            Direction::Forward => self.clients.upstream(client).ok_or_else(gone)?.send(payload),
            Direction::Back => self.listener.send_to(payload, self.clients.address(client).ok_or_else(gone)?),
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
