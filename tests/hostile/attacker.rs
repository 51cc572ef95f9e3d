//! An attacker of a receiver: QUIC connections with any certificate or none, messages and frames of any bytes, and
//! forged datagrams.
//!
//! - [`Attacker::dial`] connects with an [`tls::Identity`] or without; [`Peer`] is the connection
//! - [`Peer::control`] opens the control stream, which sends [`messages`] and reads the receiver's
//! - [`Attacker::session`] opens a session as a sender does, to go wrong from there; [`frames`] are its records
//! - [`receiver`] is the other way round: a receiver that lies to a sender
//! - [`datagrams`] builds QUIC's first packets without a connection, and sends many of them

pub(crate) mod datagrams;
pub(crate) mod frames;
pub(crate) mod gaps;
pub(crate) mod messages;
pub(crate) mod receiver;
pub(crate) mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};

use messages::{Fields, Hello, Message, kind};
use tls::{Authority, Identity};

/// DNS name of certificates that may use the attacker's link.
pub(crate) const EVIL_NAME: &str = "evil.test";
/// Name of the protocol in TLS.
pub(crate) const ALPN: &[u8] = b"causeway/1";
/// Name or address in the receiver's certificate.
const SERVER_NAME: &str = "127.0.0.1";
/// Time limit for an answer of the receiver.
const ANSWER: Duration = Duration::from_secs(20);

/// Attacker of one receiver.
pub(crate) struct Attacker {
    /// UDP address of the receiver.
    pub(crate) receiver: SocketAddr,
    /// Authority that the receiver trusts.
    pub(crate) authority: Authority,
    /// Link that certificates with [`EVIL_NAME`] may use.
    pub(crate) link: String,
    /// Id of the source cluster.
    pub(crate) cluster_id: String,
}

impl Attacker {
    pub(crate) fn new(receiver: SocketAddr, authority: Authority, link: String, cluster_id: String) -> Self {
        Self { receiver, authority, link, cluster_id }
    }

    /// Issues a certificate that may use the attacker's link.
    pub(crate) fn own_identity(&self) -> Result<Identity> {
        self.authority.issue(&[EVIL_NAME])
    }

    /// Connects, with a certificate or none. In TLS 1.3 the client finishes first: a receiver that refuses the
    /// certificate closes the connection, which [`Peer::closed`] returns.
    pub(crate) async fn dial(&self, identity: Option<&Identity>) -> Result<Peer> {
        self.dial_as(identity, ALPN).await
    }

    /// Connects with another name of the protocol.
    pub(crate) async fn dial_as(&self, identity: Option<&Identity>, alpn: &[u8]) -> Result<Peer> {
        let tls = self.authority.client(identity, alpn)?;
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        let mut transport = TransportConfig::default();
        // The receiver's answers must not be what limits an attack.
        transport.receive_window(VarInt::from_u32(64 << 20)).keep_alive_interval(Some(Duration::from_secs(2)));
        // As a sender: a lost first packet is repeated after three times as long.
        transport.initial_rtt(Duration::from_millis(150));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let connecting = endpoint.connect_with(config, self.receiver, SERVER_NAME)?;
        let connection = tokio::time::timeout(ANSWER, connecting).await.context("no answer to a dial")??;
        Ok(Peer { connection, _endpoint: endpoint })
    }

    /// Hello of the attacker's link, to change before it is sent.
    pub(crate) fn hello(&self) -> Hello {
        Hello::new(&self.link, &self.cluster_id)
    }

    /// Opens a session with one lane.
    pub(crate) async fn session(&self, identity: &Identity) -> Result<Session> {
        let peer = self.dial(Some(identity)).await?;
        let mut control = peer.control().await?;
        control.send(&self.hello().message()).await?;
        control.next_of(kind::WELCOME).await?;
        control.send(&Message::new(kind::OPEN_LANE).u(0)).await?;
        let open = control.next_of(kind::LANE_OPEN).await?;
        let mut fields = open.fields();
        fields.u()?;
        let epoch = u64::try_from(fields.u()?)?;
        Ok(Session { peer, control, epoch })
    }
}

/// Connection to the receiver.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    _endpoint: Endpoint,
}

impl Peer {
    /// Opens the control stream. The receiver sees it with the first message.
    pub(crate) async fn control(&self) -> Result<ControlStream> {
        let (send, recv) = self.connection.open_bi().await?;
        Ok(ControlStream { send, recv })
    }

    /// Sends bytes on a stream of their own and ends it, as frames are sent.
    pub(crate) async fn send_frame(&self, bytes: &[u8]) -> Result<()> {
        let mut stream = self.connection.open_uni().await?;
        // The receiver may stop reading at a fault.
        let _ = stream.write_all(bytes).await;
        let _ = stream.finish();
        Ok(())
    }

    /// Waits until the receiver closes the connection.
    pub(crate) async fn closed(&self) -> Result<Closed> {
        let error = tokio::time::timeout(ANSWER, self.connection.closed()).await;
        Closed::of(error.context("the receiver does not close the connection")?)
    }
}

/// Code and reason with which the receiver closed a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Code of the protocol, with its sentence.
    Session { code: u64, reason: String },
    /// TLS alert.
    Alert(u64),
}

impl Closed {
    fn of(error: ConnectionError) -> Result<Self> {
        match error {
            ConnectionError::ApplicationClosed(close) => Ok(Self::Session {
                code: close.error_code.into_inner(),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            }),
            ConnectionError::ConnectionClosed(close) => {
                let code = u64::from(close.error_code);
                ensure!((0x100..0x200).contains(&code), "QUIC closed with {close}");
                Ok(Self::Alert(code - 0x100))
            }
            other => bail!("the connection ended with {other}"),
        }
    }

    /// Ensures that the session was closed with `code` and a reason that contains `words`.
    pub(crate) fn expect(&self, code: u64, words: &str) -> Result<()> {
        let is_right = matches!(self, Self::Session { code: is, reason } if *is == code && reason.contains(words));
        ensure!(is_right, "expected code {code} with `{words}`, and it is {self:?}");
        Ok(())
    }
}

/// Control stream of a connection.
pub(crate) struct ControlStream {
    pub(crate) send: SendStream,
    pub(crate) recv: RecvStream,
}

impl ControlStream {
    pub(crate) async fn send(&mut self, message: &Message) -> Result<()> {
        Ok(self.send.write_all(&message.bytes()).await?)
    }

    /// Reads the receiver's next message.
    pub(crate) async fn next(&mut self) -> Result<Message> {
        let mut length = [0; 4];
        self.recv.read_exact(&mut length).await?;
        let mut bytes = vec![0; usize::try_from(u32::from_le_bytes(length))?];
        self.recv.read_exact(&mut bytes).await?;
        Message::of_bytes(&bytes)
    }

    /// Reads messages until one has this kind. A close is an error.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Result<Message> {
        let reading = async {
            loop {
                let message = self.next().await?;
                if message.kind == kind {
                    return Ok(message);
                }
                if message.kind == kind::CLOSE {
                    let mut fields = message.fields();
                    bail!("closed with {}: {}", fields.u()?, fields.text()?);
                }
            }
        };
        tokio::time::timeout(ANSWER, reading).await.with_context(|| format!("no message of kind {kind}"))?
    }
}

/// Open session of the attacker's link with lane 0.
pub(crate) struct Session {
    pub(crate) peer: Peer,
    pub(crate) control: ControlStream,
    /// Epoch of lane 0.
    pub(crate) epoch: u64,
}

impl Session {
    /// Offers one partition in slot `slot`, and returns the receiver's answer: `PARTITION_OPEN` or `PARTITION_HALTED`.
    pub(crate) async fn offer(&mut self, slot: u32, topic: &str) -> Result<Message> {
        self.offer_of(slot, topic, 1).await
    }

    /// Offers the first partition of a topic that has `partitions`.
    pub(crate) async fn offer_of(&mut self, slot: u32, topic: &str, partitions: i64) -> Result<Message> {
        let described = Message::new(kind::TOPIC).text(topic).raw(&[9; 16]).u(0).u(0);
        self.control.send(&described).await?;
        let offer = Message::new(kind::OFFER).u(0).u(u128::from(self.epoch)).u(1);
        // Slot, topic, partition, topic id, partitions, log start, log end, start, and no jump.
        let offer = offer.u(u128::from(slot)).text(topic).i(0).raw(&[9; 16]).i(partitions).i(0).i(100).i(0).u(0);
        self.control.send(&offer.u(1)).await?;
        loop {
            let message = self.control.next().await?;
            if [kind::PARTITION_OPEN, kind::PARTITION_HALTED, kind::CLOSE].contains(&message.kind) {
                return Ok(message);
            }
        }
    }
}

impl Message {
    /// Returns a reader of the fields.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields(&self.body)
    }
}
