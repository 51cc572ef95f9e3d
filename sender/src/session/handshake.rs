//! First messages of a session: the sender identifies itself and learns whether it holds the link.

use quinn::Connection;
use transport::control::{ControlError, ControlReader, ControlWriter};
use wire::close::Close;
use wire::control::{Control, Hello, Role, Welcome};
use wire::hello::{FEATURE_PROBE, FEATURES, VERSIONS};
use wire::lanes::{ClassRequest, LANE_HASH};

use super::end::SessionEnd;
use crate::config::Config;

/// Identity of this process, as every handshake states it.
#[derive(Debug, Clone)]
pub struct Identity {
    pub link: String,
    /// Kafka's id of the source cluster.
    pub cluster_id: String,
    pub instance: String,
    /// Random number of this process, drawn at its start.
    pub process: u128,
    /// Number of lanes of the default class.
    pub lanes: u16,
    /// Classes other than the default one.
    pub classes: Vec<ClassRequest>,
    pub filter_hash: u64,
    /// Rate in bytes per second; 0 for unlimited.
    pub rate: u64,
    /// True if this process has created a probe topic at the source.
    pub probes: bool,
}

/// A session that may begin.
#[derive(Debug)]
pub struct Handshaken {
    pub reader: ControlReader,
    pub writer: ControlWriter,
    pub welcome: Welcome,
}

/// Reason why no session began.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The receiver refused, or the channel was lost.
    #[error(transparent)]
    Ended(#[from] SessionEnd),
    /// The receiver answered with an unexpected message.
    #[error("receiver answered the handshake with {0}")]
    Unexpected(&'static str),
}

/// Sends the hello and waits for the welcome. Calls `standby` whenever another instance holds the link.
pub async fn shake_hands(
    connection: &Connection,
    identity: &Identity,
    stand_by: bool,
    mut standby: impl FnMut(&str),
) -> Result<Handshaken, HandshakeError> {
    let lost = |error: &dyn std::fmt::Display| SessionEnd::of(connection, || error.to_string());
    let (send, recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let mut writer = ControlWriter::new(send);
    let mut reader = ControlReader::new(recv);
    let hello = Control::Hello(identity.hello(stand_by));
    writer.send(&hello).await.map_err(|error| lost(&error))?;
    loop {
        let message = reader.next().await.map_err(|error| match error {
            ControlError::Ended(error) => lost(&error),
            ControlError::Bytes(error) => SessionEnd::Lost(error.to_string()),
        })?;
        match message {
            Control::Welcome(welcome) => return Ok(Handshaken { reader, writer, welcome }),
            Control::Standby { behind } => standby(&behind),
            Control::Close(close) => return Err(SessionEnd::Closed(close).into()),
            other => return Err(HandshakeError::Unexpected(wire::codec::control_name(&other))),
        }
    }
}

/// Asks the receiver whether it would admit this sender, without a session. Returns its answer: the code is
/// `NORMAL` if it would.
pub async fn ask_admission(connection: &Connection, config: &Config, cluster_id: String) -> Result<Close, SessionEnd> {
    let identity = Identity { lanes: 0, ..Identity::of(config, cluster_id, 0) };
    match shake_hands(connection, &identity, true, |_| ()).await {
        Err(HandshakeError::Ended(SessionEnd::Closed(close))) => Ok(close),
        Err(HandshakeError::Ended(end)) => Err(end),
        Err(error) => Err(SessionEnd::Lost(error.to_string())),
        Ok(_) => Err(SessionEnd::Lost("receiver began a session that was not asked for".to_owned())),
    }
}

impl Identity {
    /// Creates the identity of this process, from its configuration.
    pub fn of(config: &Config, cluster_id: String, filter_hash: u64) -> Self {
        Self {
            link: config.link.to_string(),
            cluster_id,
            instance: config.instance.to_string(),
            process: rand::random(),
            lanes: config.lanes,
            filter_hash,
            rate: config.wan.rate.map_or(0, |rate| rate.bytes_per_second()),
            classes: config.classes.requests(),
            probes: false,
        }
    }

    fn hello(&self, stand_by: bool) -> Hello {
        Hello {
            role: Role::Sender,
            versions: VERSIONS,
            features: if self.probes { FEATURES | FEATURE_PROBE } else { FEATURES },
            link: self.link.clone(),
            cluster_id: self.cluster_id.clone(),
            instance: self.instance.clone(),
            process: self.process,
            stand_by,
            lanes: self.lanes,
            lane_hash: LANE_HASH.to_owned(),
            filter_hash: self.filter_hash,
            rate: self.rate,
            classes: self.classes.clone(),
        }
    }
}
