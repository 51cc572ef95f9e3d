//! Tests with QUIC on loopback: opened channels, refused ones, and the reasons that each end reports.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, ConnectionError};
use rustls::pki_types::UnixTime;
use service::config::Address;
use service::pki;
use service::tls::{End, PeerIdentity, TlsFiles, now};
use wire::units::{Rate, Size};

use super::settings::{IDLE_TIMEOUT, SEND_WINDOW_BYTES_MIN, STREAM_WINDOW_BYTES};
use super::*;

const SETTINGS: EndpointSettings = EndpointSettings::new(Size::from_bytes(64 << 20), 16);

struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Self {
        Self::as_of(SystemTime::now())
    }

    fn as_of(now: SystemTime) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sender = ["sender.example".to_owned()];
        let receiver = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let request = pki::Request { link: "test", sender: &sender, receiver: &receiver };
        pki::init_as_of(dir.path(), &request, now).unwrap();
        Self(dir)
    }

    /// Makes an authority whose certificates have expired, and returns a time at which they had not.
    fn expired() -> (Self, UnixTime) {
        let made = SystemTime::now() - Duration::from_secs(u64::from(pki::LEAF_DAYS + 1) * 86_400);
        (Self::as_of(made), UnixTime::since_unix_epoch(made.duration_since(UNIX_EPOCH).unwrap()))
    }

    fn files(&self, side: &str) -> TlsFiles {
        let path = |name: String| self.0.path().join(name);
        TlsFiles {
            ca: path("ca.pem".into()),
            certificate: path(format!("{side}.pem")),
            key: path(format!("{side}.key")),
        }
    }

    fn dialer(&self) -> Dialer {
        dialer(&self.files("sender"))
    }

    fn listen(&self) -> Endpoint {
        self.listen_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    fn listen_at(&self, address: SocketAddr) -> Endpoint {
        let credentials = Credentials::load(&self.files("receiver"), End::Server, UnixTime::now()).unwrap();
        listen_over(&SystemSockets, address, &credentials, &SETTINGS).unwrap()
    }
}

fn dialer(files: &TlsFiles) -> Dialer {
    Dialer::new(&Credentials::load(files, End::Client, UnixTime::now()).unwrap(), SETTINGS).unwrap()
}

fn trusting(files: TlsFiles, ca: &Path) -> TlsFiles {
    TlsFiles { ca: ca.to_owned(), ..files }
}

fn at(endpoint: &Endpoint) -> [Address; 1] {
    [of(endpoint.local_addr().unwrap())]
}

fn of(address: SocketAddr) -> Address {
    Address { host: address.ip().to_string(), port: address.port() }
}

/// Accepts one handshake; the error is the one of the listening end.
async fn accept(endpoint: Endpoint) -> Result<Connection, ConnectionError> {
    endpoint.accept().await.unwrap().await
}

#[tokio::test]
async fn two_ends_of_one_authority_meet_and_know_each_other_by_name() {
    let authority = Authority::new();
    let listening = authority.listen();
    let addresses = at(&listening);
    let dialer = authority.dialer();
    let (dialled, accepted) = tokio::join!(dialer.dial(&addresses, None), accept(listening));
    let dialled = dialled.unwrap();
    let accepted = accepted.unwrap();
    let sender = PeerIdentity::of(&accepted).unwrap();
    assert_eq!(sender.names_any(&["sender.example".to_owned()]), Some("sender.example"));
    assert_eq!(sender.names_any(&["localhost".to_owned()]), None);

    let mut stream = dialled.connection.open_uni().await.unwrap();
    let sent = vec![7; 3 * STREAM_WINDOW_BYTES as usize];
    let write = async {
        stream.write_all(&sent).await.unwrap();
        stream.finish().unwrap();
    };
    let read = async { accepted.accept_uni().await.unwrap().read_to_end(sent.len()).await.unwrap() };
    let ((), received) = tokio::join!(write, read);
    assert!(received == sent, "a stream carries more than its window");
}

#[tokio::test]
async fn a_sender_of_another_authority_is_refused_and_told_why() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let listening = authority.listen();
    let addresses = at(&listening);
    let files = trusting(stranger.files("sender"), &authority.files("sender").ca);
    let dialer = dialer(&files);
    let (dialled, accepted) = tokio::join!(dialer.dial(&addresses, None), accept(listening));
    accepted.unwrap_err();
    let dialled = dialled.unwrap();
    let fault = ChannelFault::of(dialled.connection.remote_address(), &dialled.connection.closed().await);
    assert!(matches!(fault, ChannelFault::RefusedThere { .. }), "{fault:?}");
    assert!(fault.to_string().contains("refuses this side's certificate: it is "), "{fault}");
    assert!(!fault.may_pass());
}

#[tokio::test]
async fn an_expired_sender_is_refused_with_the_reason() {
    let (authority, valid) = Authority::expired();
    let fresh = Authority::new();
    let credentials =
        Credentials::load(&trusting(fresh.files("receiver"), &authority.files("sender").ca), End::Server, now());
    let listening =
        listen_over(&SystemSockets, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &credentials.unwrap(), &SETTINGS)
            .unwrap();
    let addresses = at(&listening);
    let files = trusting(authority.files("sender"), &fresh.files("sender").ca);
    let dialer = Dialer::new(&Credentials::load(&files, End::Client, valid).unwrap(), SETTINGS).unwrap();
    let (dialled, accepted) = tokio::join!(dialer.dial(&addresses, None), accept(listening));
    let refused = ChannelFault::of(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), &accepted.unwrap_err());
    let sentence = "the certificate of 127.0.0.1:1 is refused here: it has expired, or a clock is wrong";
    assert_eq!(refused.to_string(), sentence);
    let dialled = dialled.unwrap();
    let fault = ChannelFault::of(dialled.connection.remote_address(), &dialled.connection.closed().await);
    assert!(
        fault.to_string().ends_with("refuses this side's certificate: it has expired, or a clock is wrong"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_receiver_whose_certificate_has_expired_is_refused_here() {
    let (authority, valid) = Authority::expired();
    let fresh = Authority::new();
    let credentials = Credentials::load(&authority.files("receiver"), End::Server, valid).unwrap();
    let listening =
        listen_over(&SystemSockets, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &credentials, &SETTINGS).unwrap();
    let addresses = at(&listening);
    let dialer = dialer(&trusting(fresh.files("sender"), &authority.files("sender").ca));
    let (dialled, accepted) = tokio::join!(dialer.dial(&addresses, None), accept(listening));
    accepted.unwrap_err();
    let error = dialled.unwrap_err();
    assert!(error.to_string().ends_with("refused here: it has expired, or a clock is wrong"), "{error}");
}

#[tokio::test]
async fn a_sender_without_a_certificate_is_refused() {
    let authority = Authority::new();
    let listening = authority.listen();
    let remote = listening.local_addr().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls::pki_types::pem::PemObject::from_pem_file(authority.files("sender").ca).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![wire::hello::ALPN.to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let connecting = endpoint.connect_with(config, remote, "localhost").unwrap();
    let (connection, accepted) = tokio::join!(connecting, accept(listening));
    accepted.unwrap_err();
    let fault = ChannelFault::of(remote, &connection.unwrap().closed().await);
    assert_eq!(fault.to_string(), format!("{remote} refuses this side's certificate: none was shown"));
}

#[tokio::test]
async fn a_receiver_of_another_authority_is_refused_here() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let listening = stranger.listen();
    let addresses = at(&listening);
    let dialer = authority.dialer();
    let (dialled, accepted) = tokio::join!(dialer.dial(&addresses, None), accept(listening));
    accepted.unwrap_err();
    let error = dialled.unwrap_err();
    assert!(matches!(error.faults[..], [ChannelFault::RefusedHere { .. }]), "{error:?}");
    assert!(error.to_string().ends_with("refused here: it is not from an authority in this side's `ca`"), "{error}");
}

#[tokio::test]
async fn a_receiver_of_another_name_is_refused_here() {
    let authority = Authority::new();
    let listening = authority.listen();
    let addresses = at(&listening);
    let dialer = authority.dialer();
    let (dialled, accepted) = tokio::join!(dialer.dial(&addresses, Some("other.example")), accept(listening));
    accepted.unwrap_err();
    let error = dialled.unwrap_err();
    assert!(matches!(error.faults[..], [ChannelFault::RefusedHere { .. }]), "{error:?}");
    assert!(error.to_string().contains("other.example"), "{error}");
}

#[tokio::test]
async fn another_protocol_on_the_port_is_named_as_such() {
    let authority = Authority::new();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let files = authority.files("receiver");
    let chain = vec![rustls::pki_types::pem::PemObject::from_pem_file(&files.certificate).unwrap()];
    let key = rustls::pki_types::pem::PemObject::from_pem_file(&files.key).unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let listening = Endpoint::server(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let addresses = at(&listening);
    let dialer = authority.dialer();
    let (dialled, accepted) = tokio::join!(dialer.dial(&addresses, None), accept(listening));
    accepted.unwrap_err();
    let error = dialled.unwrap_err();
    assert!(matches!(error.faults[..], [ChannelFault::Protocol { .. }]), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn after_a_silent_address_the_next_one_is_dialled() {
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let address = |host: &str| Address { host: host.to_owned(), port };
    let error = Authority::new().dialer().dial(&[address("127.0.0.1"), address("127.0.0.1")], None).await.unwrap_err();
    assert_eq!(error.faults.len(), 2);
    let expected = format!("no UDP answer from 127.0.0.1:{port} within 5 s: ");
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(error.faults[0].may_pass());
}

#[tokio::test]
async fn after_an_unresolved_name_the_next_address_is_dialled() {
    let authority = Authority::new();
    let listening = authority.listen();
    let [good] = at(&listening);
    let nowhere = Address { host: "nowhere.invalid".to_owned(), port: 1 };
    let dialer = authority.dialer();
    let error = dialer.dial(std::slice::from_ref(&nowhere), None).await.unwrap_err();
    assert!(error.to_string().starts_with("nowhere.invalid:1 does not resolve: "), "{error}");
    let addresses = [nowhere, good];
    let (dialled, accepted) = tokio::join!(dialer.dial(&addresses, None), accept(listening));
    accepted.unwrap();
    dialled.unwrap();
}

#[test]
fn windows_follow_rate_and_memory() {
    let settings = |rate: Option<u64>, memory: u64| EndpointSettings {
        rate: rate.map(Rate::from_bits_per_second),
        ..EndpointSettings::new(Size::from_bytes(memory), 1)
    };
    // 5 × 500 Mbit/s × 300 ms
    assert_eq!(settings(Some(500_000_000), 256 << 20).send_window(), 93_750_000);
    assert_eq!(settings(Some(500_000_000), 64 << 20).send_window(), 32 << 20);
    assert_eq!(settings(Some(1_000), 64 << 20).send_window(), SEND_WINDOW_BYTES_MIN);
    assert_eq!(settings(None, 64 << 20).send_window(), 32 << 20);
    assert_eq!(settings(None, 64 << 20).receive_window(), 64 << 20);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let authority = Authority::new();
    let listening = authority.listen();
    let address = listening.local_addr().unwrap();
    let credentials = Credentials::load(&authority.files("receiver"), End::Server, UnixTime::now()).unwrap();
    let error = listen_over(&SystemSockets, address, &credentials, &SETTINGS).unwrap_err();
    assert!(error.to_string().starts_with(&format!("UDP socket on {address}: ")), "{error}");
}

/// A dropped runtime is like a killed process: it sends nothing, and its port is free again.
#[test]
fn a_restarted_receiver_resets_its_predecessors_channels() {
    let authority = Authority::new();
    let dialling = tokio::runtime::Runtime::new().unwrap();
    let killed = tokio::runtime::Runtime::new().unwrap();
    let listening = killed.block_on(async { authority.listen() });
    let address = listening.local_addr().unwrap();
    let accepting = killed.spawn(accept(listening));
    let dialled = dialling.block_on(authority.dialer().dial(&[of(address)], None)).unwrap();
    let accepted = killed.block_on(accepting).unwrap().unwrap();
    // Waits for the drivers, which own the socket: its port is free after that.
    killed.shutdown_timeout(IDLE_TIMEOUT);
    drop(accepted);

    dialling.block_on(async {
        let _restarted = authority.listen_at(address);
        // Any packet of the sender is answered with the end of the channel; a late ACK may have been enough.
        if let Ok(mut stream) = dialled.connection.open_uni().await {
            let _ = stream.write_all(b"frame").await;
        }
        let ended = tokio::time::timeout(IDLE_TIMEOUT / 2, dialled.connection.closed()).await;
        assert!(matches!(ended, Ok(ConnectionError::Reset)), "{ended:?}");
    });
}

/// Sockets on another address of this machine.
#[derive(Debug)]
struct Elsewhere;

impl Sockets for Elsewhere {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        SystemSockets.bind(SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), address.port()))
    }
}

/// Accepts channels as a receiver does. Returns the number of Retries before each.
async fn accept_validated(listening: Endpoint, retries: tokio::sync::mpsc::UnboundedSender<u32>) {
    let mut before = 0;
    let mut open = Vec::new();
    while let Some(incoming) = listening.accept().await {
        if incoming.remote_address_validated() {
            open.push(incoming.await.unwrap());
            retries.send(std::mem::take(&mut before)).unwrap();
        } else {
            incoming.retry().unwrap();
            before += 1;
        }
    }
}

#[tokio::test]
async fn a_peer_that_was_here_needs_no_retry_from_its_address() {
    let authority = Authority::new();
    let listening = authority.listen();
    let addresses = at(&listening);
    let (counted, mut retries) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(accept_validated(listening, counted));
    let dialer = authority.dialer();
    let first = dialer.dial(&addresses, None).await.unwrap();
    assert_eq!(retries.recv().await, Some(1), "a new address is validated");
    // The tokens come with the first packets after the handshake.
    while first.connection.stats().frame_rx.new_token < 2 {
        tokio::task::yield_now().await;
    }
    let second = dialer.dial(&addresses, None).await.unwrap();
    assert_eq!(retries.recv().await, Some(0), "it has a token");
    while second.connection.stats().frame_rx.new_token < 2 {
        tokio::task::yield_now().await;
    }
    let elsewhere = dialer.clone().over(Arc::new(Elsewhere));
    let third = elsewhere.dial(&addresses, None).await.unwrap();
    assert_eq!(retries.recv().await, Some(1), "a token is of one address");
    drop((first, second, third));
}
