//! A receiver that lies: it has a certificate that the sender trusts, and says anything.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, ServerConfig};

use super::messages::{Message, kind};
use super::tls::{Authority, Identity};
use super::{ALPN, ANSWER, ControlStream, Peer, SERVER_NAME};

/// Lane and epoch of the sessions.
const EPOCH: u128 = 1;

/// Listening end of one sender.
pub(crate) struct FalseReceiver {
    endpoint: Endpoint,
}

/// Session of a sender, from its hello on.
pub(crate) struct FalseSession {
    pub(crate) peer: Peer,
    pub(crate) control: ControlStream,
}

impl FalseReceiver {
    /// Listens on a free port. Call it on a runtime.
    pub(crate) fn listen(authority: &Authority) -> Result<Self> {
        let identity: Identity = authority.issue(&[SERVER_NAME])?;
        let tls = authority.server(&identity, ALPN)?;
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
        Ok(Self { endpoint: Endpoint::server(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))? })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr> {
        Ok(self.endpoint.local_addr()?)
    }

    /// Waits for a sender and its hello.
    pub(crate) async fn greeted(&self) -> Result<FalseSession> {
        let greeted = async {
            let connection = self.endpoint.accept().await.context("the endpoint is closed")?.await?;
            let (send, recv) = connection.accept_bi().await?;
            let mut control = ControlStream { send, recv };
            let hello = control.next().await?;
            ensure!(hello.kind == kind::HELLO, "{hello:?}");
            Ok(FalseSession { peer: Peer { connection, _endpoint: self.endpoint.clone() }, control })
        };
        tokio::time::timeout(ANSWER, greeted).await.context("no sender came")?
    }
}

impl FalseSession {
    /// Welcomes the sender to a link with one lane, as an honest receiver does.
    pub(crate) async fn welcome(&mut self) -> Result<()> {
        self.control.send(&welcome(1, 1 << 20, 16 << 20)).await
    }

    /// Opens lane 0, and returns the number of partitions that the sender offers there: their slots begin at 0.
    pub(crate) async fn open_lane(&mut self) -> Result<u32> {
        self.welcome().await?;
        self.control.next_of(kind::OPEN_LANE).await?;
        self.control.send(&Message::new(kind::LANE_OPEN).u(0).u(EPOCH)).await?;
        let offer = self.control.next_of(kind::OFFER).await?;
        let mut fields = offer.fields();
        ensure!((fields.u()?, fields.u()?) == (0, EPOCH), "{offer:?}");
        Ok(u32::try_from(fields.u()?)?)
    }
}

/// Makes a welcome to a link with one lane.
pub(crate) fn welcome(version: u16, reserve: u64, pool: u64) -> Message {
    let message = Message::new(kind::WELCOME).u(version.into()).u(0).text("false-target").u(5).u(6);
    message.u(reserve.into()).u(pool.into()).u(1).text("default").u(0).u(1)
}

/// Makes a message that opens a slot of lane 0 at a position.
pub(crate) fn partition_open(slot: u32, position: i64) -> Message {
    Message::new(kind::PARTITION_OPEN).u(0).u(EPOCH).u(slot.into()).i(position).i(-1)
}

/// Makes a message that halts a slot of lane 0.
pub(crate) fn partition_halted(slot: u32, reason: &str, detail: &str) -> Message {
    Message::new(kind::PARTITION_HALTED).u(0).u(EPOCH).u(slot.into()).i(7).text(reason).text(detail)
}
