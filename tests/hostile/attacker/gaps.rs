//! Channels whose streams lack their first byte, as if the packets with it were lost for good.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, Runtime, SendStream, TokioRuntime, TransportConfig,
    UdpPoller,
};

use super::tls::Identity;
use super::{ALPN, ANSWER, Attacker, Peer, SERVER_NAME};

/// Bytes at the start of a stream that are lost.
const START: usize = 100;
/// Most bytes that may be in flight without an answer.
const UNANSWERED: u64 = 1 << 30;

/// Connection to the receiver that loses packets on request.
pub(crate) struct Lossy {
    pub(crate) peer: Peer,
    socket: Arc<LossySocket>,
    written: u64,
    /// Streams stay open: dropping them would end them.
    streams: Vec<SendStream>,
}

#[derive(Debug)]
struct LossySocket {
    inner: Arc<dyn AsyncUdpSocket>,
    loses: AtomicBool,
    deaf: AtomicBool,
    lost: AtomicU64,
    sent: AtomicU64,
}

impl Lossy {
    pub(crate) async fn dial(attacker: &Attacker, identity: &Identity) -> Result<Self> {
        let tls = attacker.authority.client(Some(identity), ALPN)?;
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let mut transport = TransportConfig::default();
        let mut congestion = CubicConfig::default();
        congestion.initial_window(UNANSWERED);
        transport.congestion_controller_factory(Arc::new(congestion)).send_window(UNANSWERED);
        transport.keep_alive_interval(Some(Duration::from_secs(2))).max_idle_timeout(None);
        config.transport_config(Arc::new(transport));
        let inner = TokioRuntime.wrap_udp_socket(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)?;
        let socket = Arc::new(LossySocket {
            inner,
            loses: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        });
        let bound: Arc<dyn AsyncUdpSocket> = Arc::<LossySocket>::clone(&socket);
        let endpoint =
            Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, bound, Arc::new(TokioRuntime))?;
        let connecting = endpoint.connect_with(config, attacker.receiver, SERVER_NAME)?;
        let connection = tokio::time::timeout(ANSWER, connecting).await.context("no answer to a dial")??;
        Ok(Self { peer: Peer { connection, _endpoint: endpoint }, socket, written: 0, streams: Vec::new() })
    }

    /// Sends streams of `bytes` bytes that lack the first ones, until `most` streams, or the receiver's windows are full.
    /// Returns the bytes that were sent. The channel hears nothing from then on, so that it repeats nothing.
    pub(crate) async fn send_gaps(&mut self, most: usize, bytes: usize) -> Result<u64> {
        self.socket.deaf.store(true, Ordering::SeqCst);
        self.written = self.socket.sent.load(Ordering::SeqCst);
        let before = self.written;
        while self.streams.len() < most {
            let step = tokio::time::timeout(Duration::from_secs(1), self.send_gap(bytes)).await;
            match step {
                Ok(sent) => sent?,
                Err(_) => break,
            }
        }
        Ok(self.socket.sent.load(Ordering::SeqCst) - before)
    }

    async fn send_gap(&mut self, bytes: usize) -> Result<()> {
        let mut stream = self.peer.connection.open_uni().await?;
        self.socket.loses.store(true, Ordering::SeqCst);
        let lost = self.socket.lost.load(Ordering::SeqCst);
        stream.write_all(&start(bytes)).await?;
        while self.socket.lost.load(Ordering::SeqCst) == lost {
            tokio::task::yield_now().await;
        }
        self.socket.loses.store(false, Ordering::SeqCst);
        self.written += bytes as u64;
        stream.write_all(&vec![0; bytes]).await?;
        // Everything has left before the next packet is lost.
        while self.socket.sent.load(Ordering::SeqCst) < self.written {
            tokio::task::yield_now().await;
        }
        self.streams.push(stream);
        Ok(())
    }
}

/// Beginning of a stream of this many more bytes: a frame's header, since QUIC may repeat it on a slow machine.
fn start(bytes: usize) -> [u8; START] {
    let body = (START - 56 + bytes) as u32;
    let mut start = [0; START];
    start[..4].copy_from_slice(b"CWF\x01");
    start[32] = 1;
    start[40..44].copy_from_slice(&body.to_le_bytes());
    start[44..48].copy_from_slice(&body.to_le_bytes());
    start
}

impl AsyncUdpSocket for LossySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.loses.load(Ordering::SeqCst) {
            // Other packets are acks or keep connections alive.
            let has_start = transmit.contents.len() > START;
            self.lost.fetch_add(u64::from(has_start), Ordering::SeqCst);
            return Ok(());
        }
        self.inner.try_send(transmit)?;
        self.sent.fetch_add(transmit.contents.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    fn poll_recv(
        &self,
        context: &mut TaskContext<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.deaf.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        self.inner.poll_recv(context, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}
