//! The first message of a session, and everything that may be wrong with it.

use std::sync::Arc;
use std::time::Duration;

use quinn::Connection;
use service::tls::PeerIdentity;
use transport::clock::Clock;
use transport::control::{ControlReader, ControlWriter};
use wire::close::CloseCode;
use wire::control::{Control, Hello, Role};
use wire::error::{PeerIncompatible, PeerMisbehaved};
use wire::hello::{VERSIONS, agree};
use wire::lanes::{ClassTable, LANE_HASH};
use wire::limits::LANES_MAX;

use super::Ending;
use crate::link::closes::CloseTally;
use crate::link::registry::ServedLinks;
use crate::link::{LinkSettings, ServedLink};
use crate::session::joinable::{JoinRequest, Joinable};
use crate::session::peers::Peers;

/// How long a peer may take to say hello.
const PATIENCE: Duration = Duration::from_secs(10);

/// What every session of this process needs.
pub struct Host {
    /// Kafka's id of the target cluster.
    pub cluster_id: String,
    /// Drawn at process start.
    pub process: u128,
    /// The links it serves, by name.
    pub links: Arc<ServedLinks>,
    /// Peers refused before they had a session.
    pub refusals: Arc<CloseTally>,
    /// The connections that stand.
    pub peers: Arc<Peers>,
    /// The sessions that further channels may join.
    pub joinable: Arc<Joinable>,
    /// What it tells senders of the time.
    pub clock: Clock,
}

/// What a peer wants.
pub enum Greeting {
    /// A link.
    Hello(Box<Greeted>),
    /// To be a further channel of a session.
    Join(JoinRequest),
}

/// A peer that may wait for a link.
pub struct Greeted {
    /// The link.
    pub link: Arc<ServedLink>,
    /// What the link was configured with when the peer was found to be allowed.
    pub settings: Arc<LinkSettings>,
    /// The name in its certificate that the link allows.
    pub sender: String,
    /// What the peer said.
    pub hello: Hello,
    /// The protocol version that both ends will speak.
    pub version: u16,
    /// Messages from it.
    pub reader: ControlReader,
    /// Messages to it.
    pub writer: ControlWriter,
}

/// A peer that may not, and what it is told.
pub struct Refusal {
    /// Why.
    pub ending: Ending,
    /// How to tell it, if it got as far as a control stream.
    pub writer: Option<ControlWriter>,
}

/// Takes the peer's first message, and checks a hello against the links of `host`.
pub async fn greet(connection: &Connection, host: &Host) -> Result<Greeting, Refusal> {
    let silent =
        |writer| Refusal { ending: PeerMisbehaved::UnexpectedMessage("silence instead of a hello").into(), writer };
    let (send, recv) = match tokio::time::timeout(PATIENCE, connection.accept_bi()).await {
        Ok(Ok(streams)) => streams,
        // `causeway check` shows its certificate, looks at ours and leaves.
        Ok(Err(error)) => {
            return Err(Refusal { ending: Ending::new(CloseCode::Normal, error.to_string()), writer: None });
        }
        Err(_) => return Err(silent(None)),
    };
    let (writer, mut reader) = (ControlWriter::new(send), ControlReader::new(recv));
    let message = match tokio::time::timeout(PATIENCE, reader.next()).await {
        Ok(Ok(message)) => message,
        Ok(Err(transport::control::ControlError::Bytes(error))) => {
            return Err(Refusal { ending: PeerMisbehaved::Bytes(error).into(), writer: Some(writer) });
        }
        _ => return Err(silent(Some(writer))),
    };
    let hello = match message {
        Control::Hello(hello) => hello,
        Control::JoinChannel { token, receiver, channel } => {
            return Ok(Greeting::Join(JoinRequest { token, receiver, channel, reader, writer }));
        }
        other => {
            let ending = PeerMisbehaved::UnexpectedMessage(wire::codec::control_name(&other)).into();
            return Err(Refusal { ending, writer: Some(writer) });
        }
    };
    match check(&hello, connection, host) {
        Ok(Checked { link, settings, sender, version }) => {
            Ok(Greeting::Hello(Box::new(Greeted { link, settings, sender, hello, version, reader, writer })))
        }
        Err(ending) => Err(Refusal { ending, writer: Some(writer) }),
    }
}

struct Checked {
    link: Arc<ServedLink>,
    settings: Arc<LinkSettings>,
    sender: String,
    version: u16,
}

fn check(hello: &Hello, connection: &Connection, host: &Host) -> Result<Checked, Ending> {
    if hello.role != Role::Sender {
        return Err(incompatible(&PeerIncompatible::Role));
    }
    let version = agree(VERSIONS, hello.versions).map_err(|error| incompatible(&error))?;
    let Some(link) = host.links.get(&hello.link) else { return Err(incompatible(&PeerIncompatible::LinkUnknown)) };
    let settings = link.settings();
    let identity = PeerIdentity::of(connection);
    let allowed = identity.as_ref().and_then(|identity| identity.names_any(&settings.senders));
    let Some(sender) = allowed.map(str::to_owned) else {
        let error = PeerIncompatible::LinkUnauthorized;
        let names = identity.map(|identity| identity.dns_names().join(", ")).unwrap_or_default();
        let detail =
            format!("{error}: it bears the DNS names [{names}], and the link's `senders` has none of its names");
        return Err(Ending::new(error.close_code(), detail));
    };
    if hello.cluster_id == host.cluster_id {
        return Err(incompatible(&PeerIncompatible::SameCluster));
    }
    if hello.lanes == 0 || hello.lanes > LANES_MAX {
        return Err(PeerMisbehaved::UnexpectedMessage("a lane count out of range").into());
    }
    if hello.lane_hash != LANE_HASH {
        return Err(incompatible(&PeerIncompatible::LaneHashChanged));
    }
    ClassTable::new(hello.lanes)
        .append(&hello.classes)
        .map_err(|error| Ending::new(CloseCode::LanesChanged, error.to_string()))?;
    Ok(Checked { link, settings, sender, version })
}

fn incompatible(error: &PeerIncompatible) -> Ending {
    Ending::new(error.close_code(), error.to_string())
}
