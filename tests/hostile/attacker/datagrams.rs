//! QUIC's first packets, built by hand (RFC 9000 and 9001), and floods of datagrams from many source addresses.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{ClientConnection, Suite, Version};
use rustls::{ClientConfig, Side};

/// Length of a first datagram: the least that a server answers.
pub(crate) const INITIAL_BYTES: usize = 1_200;
/// Length of the tag that authenticates a packet.
const TAG: usize = 16;
/// Our connection id, which every packet has as its source.
const SOURCE_ID: [u8; 8] = *b"attacker";
/// Time of one burst of a flood.
const TICK: Duration = Duration::from_millis(1);

/// Builder of valid Initial packets with a ClientHello, each of which begins a handshake.
pub(crate) struct Initials {
    suite: Suite,
    client_hello: Vec<u8>,
}

/// Retry of a server: the connection id and the token for the next Initial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retry {
    pub(crate) id: Vec<u8>,
    pub(crate) token: Vec<u8>,
}

impl Initials {
    pub(crate) fn new(client: ClientConfig) -> Result<Self> {
        let suite = TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite()).context("no QUIC suite")?;
        // Transport parameters: only the source connection id (0x0f), which a server compares.
        let parameters = [&[0x0f, 8][..], &SOURCE_ID].concat();
        let name = "127.0.0.1".try_into()?;
        let mut client = ClientConnection::new(Arc::new(client), Version::V1, name, parameters)?;
        let mut client_hello = Vec::new();
        client.write_hs(&mut client_hello);
        Ok(Self { suite, client_hello })
    }

    /// Builds an Initial to a connection id, with a token or without.
    pub(crate) fn packet(&self, to: &[u8], token: &[u8]) -> Result<Vec<u8>> {
        let keys = self.suite.keys(to, Side::Client, Version::V1);
        // Long header, Initial, packet number of 4 bytes; version 1; both ids; token.
        let mut packet = vec![0xc3, 0, 0, 0, 1, u8::try_from(to.len())?];
        packet.extend(to);
        packet.push(SOURCE_ID.len() as u8);
        packet.extend(SOURCE_ID);
        packet.extend(two_bytes(token.len())?);
        packet.extend(token);
        let length = INITIAL_BYTES - packet.len() - 2;
        packet.extend(two_bytes(length)?);
        let number_at = packet.len();
        packet.extend([0; 4]);
        let header = packet.clone();
        // A CRYPTO frame at offset 0, then padding.
        let mut payload = vec![6, 0];
        payload.extend(two_bytes(self.client_hello.len())?);
        payload.extend(&self.client_hello);
        payload.resize(length - 4 - TAG, 0);
        let tag = keys.local.packet.encrypt_in_place(0, &header, &mut payload)?;
        packet.extend(payload);
        packet.extend(tag.as_ref());
        let (head, rest) = packet.split_at_mut(number_at);
        let (number, sample) = rest.split_at_mut(4);
        keys.local.header.encrypt_in_place(&sample[..keys.local.header.sample_len()], &mut head[0], number)?;
        Ok(packet)
    }

    /// Builds `count` Initials to random connection ids.
    pub(crate) fn random(&self, count: usize) -> Result<Vec<Vec<u8>>> {
        (0..count).map(|_| self.packet(&rand::random::<[u8; 8]>(), &[])).collect()
    }
}

impl Retry {
    /// Reads a Retry packet; `None` for any other.
    pub(crate) fn of(packet: &[u8]) -> Option<Self> {
        if *packet.first()? & 0xf0 != 0xf0 || packet.get(1..5)? != [0, 0, 0, 1] {
            return None;
        }
        let (_, rest) = id(packet.get(5..)?)?;
        let (id, rest) = id(rest)?;
        let token = &rest[..rest.len().checked_sub(TAG)?];
        Some(Self { id: id.to_vec(), token: token.to_vec() })
    }
}

fn id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(length.into())
}

/// Writes a number as QUIC's integer of two bytes.
fn two_bytes(number: usize) -> Result<[u8; 2]> {
    u16::try_from(number)
        .ok()
        .filter(|number| *number < 0x4000)
        .map(|number| (number | 0x4000).to_be_bytes())
        .ok_or_else(|| anyhow!("{number} does not fit two bytes"))
}

/// Binds sockets at different loopback addresses: sources of datagrams as a forger has them.
pub(crate) fn sources(count: u8) -> Result<Vec<UdpSocket>> {
    let bind = |number| {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 66, number, 1), 0))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    (0..count).map(bind).collect()
}

/// Numbers of a flood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flood {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
    /// Datagrams and bytes that came back during the flood and half a second after it.
    pub(crate) datagrams_back: u64,
    pub(crate) bytes_back: u64,
    pub(crate) took: Duration,
}

impl Flood {
    /// Sends `count` datagrams at a rate, over and over those of `list`, from each of `from` in turn. Runs on a thread
    /// of its own.
    pub(crate) async fn run(
        from: Vec<UdpSocket>,
        to: SocketAddr,
        list: Vec<Vec<u8>>,
        count: u64,
        per_second: u64,
    ) -> Result<Self> {
        tokio::task::spawn_blocking(move || Self::send(&from, to, &list, count, per_second)).await?
    }

    fn send(from: &[UdpSocket], to: SocketAddr, list: &[Vec<u8>], count: u64, per_second: u64) -> Result<Self> {
        let mut flood = Self::default();
        let started = Instant::now();
        let mut sources = from.iter().cycle();
        for datagram in list.iter().cycle().take(usize::try_from(count)?) {
            let due = started + Duration::from_secs_f64(flood.datagrams as f64 / per_second as f64);
            while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| *left >= TICK) {
                flood.drain(from);
                std::thread::park_timeout(left.min(TICK));
            }
            let socket = sources.next().context("no source address")?;
            match socket.send_to(datagram, to) {
                Ok(sent) => flood.bytes += sent as u64,
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::ConnectionRefused].contains(&error.kind()) => {}
                Err(error) => return Err(error.into()),
            }
            flood.datagrams += 1;
        }
        flood.took = started.elapsed();
        let end = Instant::now() + Duration::from_millis(500);
        while Instant::now() < end {
            flood.drain(from);
            std::thread::park_timeout(TICK);
        }
        Ok(flood)
    }

    fn drain(&mut self, from: &[UdpSocket]) {
        let mut buffer = [0; 2_048];
        for socket in from {
            while let Ok(length) = socket.recv(&mut buffer) {
                self.datagrams_back += 1;
                self.bytes_back += length as u64;
            }
        }
    }
}
