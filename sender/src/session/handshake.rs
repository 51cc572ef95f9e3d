//! The first messages of a session: who we are, and whether the link is ours now.

use quinn::Connection;
use transport::control::{ControlError, ControlReader, ControlWriter};
use wire::control::{Control, Hello, Role, Welcome};
use wire::hello::{FEATURES, VERSIONS};
use wire::lanes::{ClassRequest, LANE_HASH};

use super::SessionEnd;

/// What this process says of itself in every handshake.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The link's name.
    pub link: String,
    /// Kafka's id of the source cluster.
    pub cluster_id: String,
    /// A name that survives restarts.
    pub instance: String,
    /// Drawn at process start.
    pub process: u128,
    /// How many lanes the default class has.
    pub lanes: u16,
    /// The other classes.
    pub classes: Vec<ClassRequest>,
    /// The topic filter's hash.
    pub filter_hash: u64,
    /// The budget in bytes per second; 0 for unlimited.
    pub rate: u64,
}

/// A session that may begin.
#[derive(Debug)]
pub struct Handshaken {
    /// Messages from the receiver.
    pub reader: ControlReader,
    /// Messages to the receiver.
    pub writer: ControlWriter,
    /// What the receiver said.
    pub welcome: Welcome,
}

/// Why no session began.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The receiver refused, or the channel was lost.
    #[error(transparent)]
    Ended(#[from] SessionEnd),
    /// The receiver answered with something else.
    #[error("receiver answered the handshake with {0}")]
    Unexpected(&'static str),
}

/// Says hello and waits for the welcome; `standby` is told behind whom, as often as that changes.
pub async fn shake_hands(
    connection: &Connection,
    identity: &Identity,
    stand_by: bool,
    mut standby: impl FnMut(&str),
) -> Result<Handshaken, HandshakeError> {
    let lost = |error: &dyn std::fmt::Display| SessionEnd::of(connection, || error.to_string());
    let (send, recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let (mut writer, mut reader) = (ControlWriter::new(send), ControlReader::new(recv));
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
            Control::Close { code, detail } => return Err(SessionEnd::Closed { code, detail }.into()),
            other => return Err(HandshakeError::Unexpected(wire::codec::control_name(&other))),
        }
    }
}

impl Identity {
    fn hello(&self, stand_by: bool) -> Hello {
        Hello {
            role: Role::Sender,
            versions: VERSIONS,
            features: FEATURES,
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
