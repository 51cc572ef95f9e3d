//! First messages of a session: the sender identifies itself and learns whether it holds the link.

use quinn::Connection;
use service::names::is_id;
use transport::control::{ControlError, ControlReader, ControlWriter};
use wire::close::Close;
use wire::codec::control_name;
use wire::control::{Control, Hello, Range, Role, Welcome};
use wire::error::{PeerIncompatible, PeerMisbehaved};
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

/// Sends the hello and waits for the welcome. Calls `standby` whenever another instance holds the link.
pub async fn shake_hands(
    connection: &Connection,
    identity: &Identity,
    stand_by: bool,
    mut standby: impl FnMut(&str),
) -> Result<Handshaken, SessionEnd> {
    let lost = |error: &dyn std::fmt::Display| SessionEnd::of(connection, || error.to_string());
    let (send, recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let mut writer = ControlWriter::new(send);
    let mut reader = ControlReader::new(recv);
    let hello = Control::Hello(identity.hello(stand_by));
    writer.send(&hello).await.map_err(|error| lost(&error))?;
    loop {
        let misbehaved = |close: Close| {
            transport::control::close(connection, &close);
            SessionEnd::Misbehaved(close)
        };
        let message = reader.next().await.map_err(|error| match error {
            ControlError::Ended(error) => lost(&error),
            ControlError::Bytes(error) => misbehaved(error.into()),
        })?;
        match message {
            Control::Welcome(welcome) => {
                let welcome = checked(welcome).map_err(misbehaved)?;
                return Ok(Handshaken { reader, writer, welcome });
            }
            Control::Standby { behind } => standby(&behind),
            Control::Close(close) => return Err(SessionEnd::Closed(close)),
            other => return Err(misbehaved(PeerMisbehaved::UnexpectedMessage(control_name(&other)).into())),
        }
    }
}

/// Checks what a welcome states. Features that this end has not offered are ignored.
fn checked(welcome: Welcome) -> Result<Welcome, Close> {
    let Range { min, max } = VERSIONS;
    if !(min..=max).contains(&welcome.version) {
        let theirs = Range { min: welcome.version, max: welcome.version };
        return Err(PeerIncompatible::Version { ours: VERSIONS, theirs }.into());
    }
    if !is_id(&welcome.cluster_id) {
        return Err(PeerMisbehaved::Invalid("the target's cluster id is not 1 to 253 visible ASCII characters").into());
    }
    Ok(Welcome { features: welcome.features & FEATURES, ..welcome })
}

/// Asks the receiver whether it would admit this sender, without a session. Returns its answer: the code is
/// `NORMAL` if it would.
pub async fn ask_admission(connection: &Connection, config: &Config, cluster_id: String) -> Result<Close, SessionEnd> {
    let identity = Identity { lanes: 0, ..Identity::of(config, cluster_id, 0) };
    match shake_hands(connection, &identity, true, |_| ()).await {
        Err(SessionEnd::Closed(close)) => Ok(close),
        Err(end) => Err(end),
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

#[cfg(test)]
mod tests {
    use wire::close::CloseCode;
    use wire::control::CreditTerms;

    use super::*;

    fn welcome() -> Welcome {
        Welcome {
            version: 1,
            features: FEATURES,
            cluster_id: "sin".to_owned(),
            receiver: 1,
            token: 1,
            credit: CreditTerms { reserve: 1 << 20, pool: 1 << 20 },
            classes: Vec::new(),
        }
    }

    #[test]
    fn only_what_was_offered_is_welcome() {
        assert_eq!(checked(welcome()), Ok(welcome()));
        let refused = checked(Welcome { version: 9, ..welcome() }).unwrap_err();
        assert_eq!(refused.code, CloseCode::Version);
        assert!(refused.detail.contains("we speak 1, the peer speaks 9"), "{refused}");
        let more = Welcome { features: u64::MAX, ..welcome() };
        assert_eq!(checked(more), Ok(welcome()), "bits that were not offered count for nothing");
        for id in ["", "a b", "a\nb", &"x".repeat(254)] {
            let refused = checked(Welcome { cluster_id: id.to_owned(), ..welcome() }).unwrap_err();
            assert_eq!(refused.code, CloseCode::Misbehaved, "{id:?}");
        }
    }
}
