//! Plain QUIC for comparison: quinn with its default congestion controller, one frame's worth of random bytes per
//! unidirectional stream, and windows that never limit it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use netem::tun::ADDRESSES;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, RecvStream, ServerConfig, TransportConfig, VarInt};
use service::lock::Lock;
use service::tls::{Credentials, End};
use tokio::sync::Semaphore;
use wire::limits::FRAME_RAW_TARGET;

use super::protocol::{EndArgs, READY, report, write_line};
use super::sample::{SenderSample, SinkSample, monotonic};
use crate::pki::{RECEIVER_NAME, files};

const PORT: u16 = 7444;
/// Connection-level window in bytes: more than three times 500 Mbit/s × 300 ms.
const WINDOW: u32 = 128 << 20;
/// Streams that are written at the same time: four times what the product gives to QUIC.
const STREAMS: usize = 16;

pub(crate) async fn send(args: &EndArgs) -> Result<()> {
    let tls: QuicClientConfig = credentials(args, End::Client)?.client()?;
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport()));
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket(([0, 0, 0, 0], 0).into())?, runtime())?;
    let target = SocketAddr::from((ADDRESSES[1], PORT));
    let connection = endpoint.connect_with(config, target, RECEIVER_NAME)?.await.context("cannot connect")?;
    let payload = args.payload();
    let frame: Vec<u8> = (0..).flat_map(|offset| payload.value(0, offset).to_vec()).take(FRAME_RAW_TARGET).collect();
    let measured = connection.clone();
    tokio::select! {
        ended = write(connection, Bytes::from(frame)) => ended,
        failed = report(|| SenderSample {
            at: monotonic(),
            sessions: 1,
            rtt_ms: Some(measured.rtt().as_secs_f64() * 1e3),
            ..SenderSample::default()
        }) => failed,
    }
}

async fn write(connection: Connection, frame: Bytes) -> Result<()> {
    let room = Arc::new(Semaphore::new(STREAMS));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await?;
        let mut stream = connection.open_uni().await?;
        let frame = frame.clone();
        tokio::spawn(async move {
            if stream.write_chunk(frame).await.is_ok() {
                let _ = stream.finish();
            }
            drop(permit);
        });
    }
}

/// Receives streams and counts their bytes, in order within each stream. The product's sink waits for whole frames and
/// their order; this end does not, so that only the transport is compared.
pub(crate) async fn receive(args: &EndArgs) -> Result<()> {
    let mut config = ServerConfig::with_crypto(Arc::new(credentials(args, End::Server)?.server()?));
    config.transport_config(Arc::new(transport()));
    let listen = socket((ADDRESSES[1], PORT).into())?;
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), listen, runtime())?;
    write_line(READY)?;
    let connection = endpoint.accept().await.context("the endpoint closed")?.await.context("no handshake")?;
    let counts = Arc::new(Lock::new(SinkSample::default()));
    let accepting = async {
        loop {
            let stream = connection.accept_uni().await?;
            tokio::spawn(count(stream, Arc::clone(&counts)));
        }
    };
    tokio::select! {
        ended = accepting => ended,
        failed = report(|| SinkSample { at: monotonic(), ..counts.lock().clone() }) => failed,
    }
}

async fn count(mut stream: RecvStream, counts: Arc<Lock<SinkSample>>) {
    while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
        let mut counts = counts.lock();
        counts.bytes += chunk.bytes.len() as u64;
        counts.committed_at = monotonic();
    }
}

fn credentials(args: &EndArgs, end: End) -> Result<Credentials> {
    Ok(Credentials::load(&files(&args.dir, end), end, service::tls::now())?)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(2 << 20))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(WINDOW.into())
        .max_concurrent_uni_streams(VarInt::from_u32(1024));
    transport
}

fn socket(address: SocketAddr) -> Result<std::net::UdpSocket> {
    std::net::UdpSocket::bind(address).with_context(|| format!("UDP socket on {address}"))
}

fn runtime() -> Arc<dyn quinn::Runtime> {
    Arc::new(quinn::TokioRuntime)
}
