//! Sockets that take each transmit from a budget.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::{Sleep, sleep_until};

use super::limiter::Budget;
use super::queue::WaiterId;
use crate::endpoint::Sockets;

/// Bytes of the UDP and IP headers of a datagram.
const HEADERS_V4: u64 = 8 + 20;
const HEADERS_V6: u64 = 8 + 40;

static WAITERS: AtomicU64 = AtomicU64::new(0);

/// Wrapper around other sockets, whose packets all count against one budget.
#[derive(Debug)]
pub struct BudgetSockets {
    inner: Arc<dyn Sockets>,
    budget: Budget,
}

#[derive(Debug)]
struct BudgetSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    budget: Budget,
}

/// Poller of one channel, which waits until the channel may send.
struct Poller {
    waiter: WaiterId,
    budget: Budget,
    inner: Pin<Box<dyn UdpPoller>>,
    /// Timer, created at the first wait and reused.
    sleep: Option<Pin<Box<Sleep>>>,
    /// The budget's queue may contain this waiter.
    queued: bool,
}

impl BudgetSockets {
    /// Wraps the sockets of `inner` with `budget`.
    pub fn new(inner: Arc<dyn Sockets>, budget: Budget) -> Self {
        Self { inner, budget }
    }
}

impl Sockets for BudgetSockets {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let inner = self.inner.bind(address)?;
        let budget = self.budget.clone();
        Ok(Arc::new(BudgetSocket { inner, budget }))
    }
}

impl AsyncUdpSocket for BudgetSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let inner = Arc::clone(&self.inner).create_io_poller();
        let waiter = WAITERS.fetch_add(1, Ordering::Relaxed);
        Box::pin(Poller { waiter, budget: self.budget.clone(), inner, sleep: None, queued: false })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (bytes, packets) = on_the_wire(transmit);
        let limited = self.budget.is_limited();
        if limited && !self.budget.take(bytes) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sent = self.inner.try_send(transmit);
        match &sent {
            Ok(()) => self.budget.record(bytes, packets),
            Err(_) if limited => self.budget.give_back(bytes),
            Err(_) => {}
        }
        sent
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments().min(self.budget.segments())
    }
    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }
    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.budget.is_limited() {
            let Err(at) = self.budget.turn(self.waiter, context.waker()) else { break };
            self.queued = true;
            let sleep = match &mut self.sleep {
                Some(sleep) => {
                    sleep.as_mut().reset(at);
                    sleep
                }
                unset => unset.insert(Box::pin(sleep_until(at))),
            };
            ready!(sleep.as_mut().poll(context));
        }
        self.inner.as_mut().poll_writable(context)
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        if self.queued {
            self.budget.leave(self.waiter);
        }
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("waiter", &self.waiter).field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// Returns the IP bytes and the packets of a transmit: each of its segments is one datagram.
fn on_the_wire(transmit: &Transmit<'_>) -> (u64, u64) {
    let payload = transmit.contents.len() as u64;
    let packets = transmit.segment_size.map_or(1, |size| payload.div_ceil(size.max(1) as u64)).max(1);
    // A socket for both address families shows IPv4 peers as mapped addresses.
    let v4 = transmit.destination.ip().to_canonical().is_ipv4();
    (payload + packets * if v4 { HEADERS_V4 } else { HEADERS_V6 }, packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_segment_is_charged_with_its_own_headers() {
        let wire = |to: &str, length, segment_size| {
            let contents = vec![0; length];
            let destination = to.parse().unwrap();
            on_the_wire(&Transmit { destination, ecn: None, contents: &contents, segment_size, src_ip: None })
        };
        assert_eq!(wire("10.0.0.1:1", 1200, None), (1228, 1));
        assert_eq!(wire("10.0.0.1:1", 3000, Some(1200)), (3084, 3));
        assert_eq!(wire("[2001:db8::1]:1", 2400, Some(1200)), (2496, 2));
        assert_eq!(wire("[::ffff:10.0.0.1]:1", 2400, Some(1200)), (2456, 2));
    }
}
