//! Sockets that can be cut off one by one, as if a router dropped the packets of a single channel.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use service::lock::Lock;
use transport::endpoint::{Sockets, SystemSockets};

/// The system's sockets, in the order in which they were created.
#[derive(Debug, Default)]
pub(crate) struct CutSockets(Lock<Vec<Arc<AtomicBool>>>);

impl CutSockets {
    /// Drops all packets of socket `index`, counted from 0, in both directions; not those of its successor.
    pub(crate) fn cut(&self, index: usize) -> Result<(), String> {
        let sockets = self.0.lock();
        let missing = || format!("there is no socket {index}; there are {}", sockets.len());
        sockets.get(index).map(|cut| cut.store(true, Ordering::Relaxed)).ok_or_else(missing)
    }
}

impl Sockets for CutSockets {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let inner = SystemSockets.bind(address)?;
        let cut = Arc::new(AtomicBool::new(false));
        self.0.lock().push(Arc::clone(&cut));
        Ok(Arc::new(CutSocket { inner, cut }))
    }
}

struct CutSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    cut: Arc<AtomicBool>,
}

impl CutSocket {
    fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for CutSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CutSocket").field("cut", &self.is_cut()).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for CutSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.is_cut() { Ok(()) } else { self.inner.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let received = self.inner.poll_recv(cx, buffers, meta);
            if !self.is_cut() || !matches!(received, Poll::Ready(Ok(_))) {
                return received;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use super::*;

    async fn send(from: &Arc<dyn AsyncUdpSocket>, to: SocketAddr) {
        let mut poller = Arc::clone(from).create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        let transmit = Transmit { destination: to, ecn: None, contents: b"packet", segment_size: None, src_ip: None };
        from.try_send(&transmit).unwrap();
    }

    #[tokio::test]
    async fn cutting_a_socket_leaves_the_others_open() {
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        peer.set_nonblocking(true).unwrap();
        let to = peer.local_addr().unwrap();
        let sockets = CutSockets::default();
        let bind = || sockets.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let cut = bind();
        let neighbour = bind();
        sockets.cut(0).unwrap();
        assert!(sockets.cut(2).is_err());
        let successor = bind();
        for socket in [&cut, &neighbour, &successor] {
            send(socket, to).await;
        }
        let arrived: Vec<_> = std::iter::from_fn(|| peer.recv_from(&mut [0; 16]).ok()).map(|(_, from)| from).collect();
        assert_eq!(arrived, [neighbour.local_addr().unwrap(), successor.local_addr().unwrap()]);
        let mut buffer = [0; 16];
        let mut meta = [RecvMeta::default()];
        peer.set_nonblocking(false).unwrap();
        peer.send_to(b"answer", cut.local_addr().unwrap()).unwrap();
        let receiving = std::future::poll_fn(|cx| cut.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
        let received = tokio::time::timeout(Duration::from_millis(50), receiving).await;
        assert!(received.is_err(), "a packet arrived at the socket that is cut off");
    }
}
