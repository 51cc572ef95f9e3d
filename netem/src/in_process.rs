//! Sockets for QUIC within one process, over the path model, in the time of the tokio runtime. With tokio's clock
//! paused, an outage of two minutes takes a test no time, and one seed decides which packets are lost.
//!
//! tokio's timers have a resolution of 1 ms, so that a packet arrives up to 1 ms after it is due.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::emulator::report::Lateness;
use crate::{Delivery, Direction, FlowKey, Flowing, Knob, Report, Wan};

/// Bytes that a socket holds until they are read. More are dropped and count as `missed` in the report.
const INBOX_MAX: usize = 8 << 20;
/// The first port given to a socket that is bound to port 0.
const FIRST_PORT: u16 = 1024;
/// Bytes of the IPv4 and UDP headers.
const HEADERS: usize = 20 + 8;

/// A path between the sockets of its two ends. Dropping it removes the path.
#[derive(Debug)]
pub struct Network {
    shared: Arc<Shared>,
    driver: AbortHandle,
}

#[derive(Debug, Clone)]
pub struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    ecn: Option<EcnCodepoint>,
    payload: Vec<u8>,
}

impl Flowing for Datagram {
    fn flow(&self) -> FlowKey {
        FlowKey::of_ports(self.from.port(), self.to.port())
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    offered: Notify,
    start: Instant,
}

#[derive(Debug)]
struct State {
    wan: Wan<Datagram>,
    inboxes: BTreeMap<SocketAddr, Inbox>,
    next_port: u16,
    missed: u64,
}

#[derive(Debug, Default)]
struct Inbox {
    datagrams: VecDeque<Datagram>,
    bytes: usize,
    reader: Option<Waker>,
}

struct Socket {
    shared: Arc<Shared>,
    address: SocketAddr,
    sends: Direction,
}

impl Network {
    /// Starts a path over `wan`, in a tokio runtime. The script's times count from this moment.
    pub fn start(wan: Wan<Datagram>) -> Self {
        let state = State { wan, inboxes: BTreeMap::new(), next_port: FIRST_PORT, missed: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), offered: Notify::new(), start: Instant::now() });
        let driver = tokio::spawn(drive(Arc::clone(&shared))).abort_handle();
        Self { shared, driver }
    }

    /// Binds a socket at the end that sends in direction `sends`. An unspecified address becomes this host's; port 0
    /// becomes a port that no socket has had before.
    pub fn bind(&self, sends: Direction, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let address = self.shared.state().take_address(address)?;
        Ok(Arc::new(Socket { shared: Arc::clone(&self.shared), address, sends }))
    }

    pub fn set_both(&self, knobs: &[Knob]) {
        let mut state = self.shared.state();
        let now = self.shared.start.elapsed();
        for direction in Direction::BOTH {
            knobs.iter().for_each(|&knob| state.wan.set(direction, knob, now));
        }
        drop(state);
        self.shared.offered.notify_one();
    }

    /// Returns a report of everything since the start. In virtual time nothing is late.
    pub fn report(&self) -> Report {
        let state = self.shared.state();
        let ran = self.shared.start.elapsed();
        let [forward, back] = Direction::BOTH.map(|direction| state.wan.counters(direction).clone());
        let lateness = Lateness::default();
        Report { ran, forward, back, refused: 0, missed: state.missed, cpu: Duration::ZERO, lateness }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn drive(shared: Arc<Shared>) {
    loop {
        let next = shared.state().deliver(shared.start.elapsed());
        let offered = shared.offered.notified();
        match next {
            Some(next) => drop(tokio::time::timeout_at(shared.start + next, offered).await),
            None => offered.await,
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_address(&mut self, mut address: SocketAddr) -> io::Result<SocketAddr> {
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        if address.port() == 0 {
            address.set_port(self.next_port);
            self.next_port = self.next_port.checked_add(1).ok_or(io::ErrorKind::AddrNotAvailable)?;
        }
        if self.inboxes.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.inboxes.insert(address, Inbox::default());
        Ok(address)
    }

    /// Delivers the packets that have arrived by `now`. Returns when the next one arrives.
    fn deliver(&mut self, now: Duration) -> Option<Duration> {
        while let Some((_, mut delivery)) = self.wan.poll(now) {
            let mut payload = std::mem::take(&mut delivery.packet.payload);
            delivery.damage(&mut payload);
            let Delivery { packet, .. } = delivery;
            // A packet to an address without a socket is lost, as where a process was killed.
            let Some(inbox) = self.inboxes.get_mut(&packet.to) else { continue };
            if inbox.bytes + payload.len() > INBOX_MAX {
                self.missed += 1;
                continue;
            }
            inbox.bytes += payload.len();
            inbox.datagrams.push_back(Datagram { payload, ..packet });
            if let Some(reader) = inbox.reader.take() {
                reader.wake();
            }
        }
        self.wan.next_timeout()
    }
}

impl Inbox {
    fn read(&mut self, buffer: &mut [u8]) -> Option<RecvMeta> {
        let Datagram { from, to, ecn, payload } = self.datagrams.pop_front()?;
        self.bytes -= payload.len();
        let len = payload.len().min(buffer.len());
        buffer[..len].copy_from_slice(&payload[..len]);
        Some(RecvMeta { addr: from, len, stride: len, ecn, dst_ip: Some(to.ip()) })
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let &Transmit { destination: to, ecn, contents, .. } = transmit;
        let datagram = Datagram { from: self.address, to, ecn, payload: contents.to_vec() };
        // A dropped packet is counted by the model.
        let now = self.shared.start.elapsed();
        let _ = self.shared.state().wan.offer(self.sends, datagram, contents.len() + HEADERS, now);
        self.shared.offered.notify_one();
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.shared.state();
        let Some(inbox) = state.inboxes.get_mut(&self.address) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let mut count = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Some(read) = inbox.read(buffer) else { break };
            *meta = read;
            count += 1;
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        inbox.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shared.state().inboxes.remove(&self.address);
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({} {})", self.address, self.sends.name())
    }
}

/// A poller that is always writable: the path accepts every packet and drops those that are too many.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
