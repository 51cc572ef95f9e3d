//! The first message of a channel, and its checks.

use std::sync::Arc;
use std::time::Duration;

use kafka::catalog::Catalog;
use quinn::Connection;
use service::names::{is_class_name, is_id};
use service::tls::PeerIdentity;
use tokio::time::Instant;
use transport::clock::Clock;
use transport::control::{ControlError, ControlReader, ControlWriter};
use wire::close::{Close, CloseCode};
use wire::control::{Control, Hello, Role};
use wire::error::{PeerIncompatible, PeerMisbehaved};
use wire::hello::{FEATURE_PROBE, VERSIONS, agree};
use wire::lanes::{ClassTable, LANE_HASH};
use wire::limits::LANES_MAX;

use super::joinable::{JoinRequest, Joinable};
use super::peers::Peers;
use super::probe::{Proof, prove_other_cluster};
use super::refusal::Refusal;
use super::refusals::Refusals;
use crate::groups::GroupServices;
use crate::link::registry::ServedLinks;
use crate::link::{LinkSettings, ServedLink};
use crate::target_cluster::TargetCluster;

/// Time limit for a peer's first message.
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(10);

/// Facts and registries that every session of this process uses.
pub struct Host {
    pub cluster: Arc<TargetCluster>,
    /// Addresses that the target cluster is reached at, for messages.
    pub bootstrap_servers: String,
    /// Catalog of the target cluster.
    pub catalog: Arc<dyn Catalog>,
    /// A random number drawn at process start.
    pub process: u128,
    pub links: Arc<ServedLinks>,
    /// Peers that got no session.
    pub refusals: Arc<Refusals>,
    /// Open connections by certificate.
    pub peers: Arc<Peers>,
    /// Open sessions that extra channels may join.
    pub joinable: Arc<Joinable>,
    /// The clock that senders compare theirs with.
    pub clock: Clock,
    /// Services that carry consumer groups; `None` where no target keeps them.
    pub groups: Option<Arc<GroupServices>>,
}

pub(super) enum Greeting {
    /// The peer requests a link.
    Hello(Box<Greeted>),
    /// The peer requests to be an extra channel of a session.
    Join(JoinRequest),
}

/// A sender that may wait for a link.
pub(super) struct Greeted {
    pub(super) link: Arc<ServedLink>,
    /// Settings of the link when the sender was checked; the session uses these.
    pub(super) settings: Arc<LinkSettings>,
    /// The name in the sender's certificate that the link allows.
    pub(super) sender: String,
    /// Kafka's id of the target cluster.
    pub(super) target_cluster: String,
    pub(super) hello: Hello,
    /// The protocol version that both ends will speak.
    pub(super) version: u16,
    pub(super) reader: ControlReader,
    pub(super) writer: ControlWriter,
}

/// Takes the peer's first message, and checks a hello against the links of `host`.
pub(super) async fn greet(connection: &Connection, host: &Host) -> Result<Greeting, Refusal> {
    let silent = PeerMisbehaved::UnexpectedMessage("silence instead of a hello");
    let deadline = Instant::now() + FIRST_MESSAGE_WITHIN;
    let (send, recv) = match tokio::time::timeout_at(deadline, connection.accept_bi()).await {
        Ok(Ok(streams)) => streams,
        // `causeway check` connects, compares certificates and disconnects.
        Ok(Err(error)) => return Err(Refusal::new(Close::normal(error.to_string()), None)),
        Err(_) => return Err(Refusal::new(silent, None)),
    };
    let writer = ControlWriter::new(send);
    let mut reader = ControlReader::new(recv);
    match tokio::time::timeout_at(deadline, reader.first()).await {
        Ok(Ok(Control::Hello(hello))) => match check(&hello, connection, host) {
            Ok(Checked { link, settings, sender, target_cluster, version }) => {
                let differs = tokio::select! {
                    differs = check_same_id(&hello, &target_cluster, &link, host) => differs,
                    error = connection.closed() => Err(Close::normal(error.to_string())),
                };
                if let Err(close) = differs {
                    return Err(Refusal::new(close, writer));
                }
                Ok(Greeting::Hello(Box::new(Greeted {
                    link,
                    settings,
                    sender,
                    target_cluster,
                    hello,
                    version,
                    reader,
                    writer,
                })))
            }
            Err(close) => Err(Refusal::new(close, writer)),
        },
        Ok(Ok(Control::JoinChannel { token, receiver, channel })) => {
            Ok(Greeting::Join(JoinRequest { token, receiver, channel, reader, writer }))
        }
        Ok(Ok(other)) => {
            Err(Refusal::new(PeerMisbehaved::UnexpectedMessage(wire::codec::control_name(&other)), writer))
        }
        Ok(Err(ControlError::Bytes(error))) => Err(Refusal::new(error, writer)),
        _ => Err(Refusal::new(silent, writer)),
    }
}

struct Checked {
    link: Arc<ServedLink>,
    settings: Arc<LinkSettings>,
    sender: String,
    target_cluster: String,
    version: u16,
}

/// Refuses a source with the id of the target, unless a probe proves that they are two clusters.
async fn check_same_id(hello: &Hello, target_cluster: &str, link: &ServedLink, host: &Host) -> Result<(), Close> {
    if hello.cluster_id != target_cluster {
        return Ok(());
    }
    match prove_other_cluster(link, hello).await? {
        Proof::OtherCluster => Ok(()),
        Proof::SameCluster(topic) => {
            let close = same_cluster(target_cluster, host);
            let detail =
                format!("{}; it has topic {topic}, which the sender has just created at the source", close.detail);
            Err(Close { detail, ..close })
        }
    }
}

/// Refuses a sender whose source states the id of the target.
fn same_cluster(cluster_id: &str, host: &Host) -> Close {
    let close = Close::from(PeerIncompatible::SameCluster);
    let bootstrap_servers = &host.bootstrap_servers;
    let detail = format!("{close}: both have id {cluster_id}; the target's bootstrap servers are {bootstrap_servers}");
    Close { detail, ..close }
}

/// Checks the names in a hello, before they are stored, shown or compared.
fn check_names(hello: &Hello) -> Result<(), PeerMisbehaved> {
    if !is_id(&hello.instance) {
        return Err(PeerMisbehaved::Invalid("the instance name is not 1 to 253 visible ASCII characters"));
    }
    if !is_id(&hello.cluster_id) {
        return Err(PeerMisbehaved::Invalid("the source's cluster id is not 1 to 253 visible ASCII characters"));
    }
    if !hello.classes.iter().all(|class| is_class_name(&class.name)) {
        return Err(PeerMisbehaved::Invalid("a class name is not 1 to 64 of `a-z 0-9 . _ -`"));
    }
    Ok(())
}

fn check(hello: &Hello, connection: &Connection, host: &Host) -> Result<Checked, Close> {
    if hello.role != Role::Sender {
        return Err(PeerIncompatible::Role.into());
    }
    let version = agree(VERSIONS, hello.versions)?;
    let link = host.links.get(&hello.link).ok_or(PeerIncompatible::LinkUnknown)?;
    let settings = link.settings();
    let identity = PeerIdentity::of(connection);
    let allowed = identity.as_ref().and_then(|identity| identity.names_any(&settings.senders));
    let Some(sender) = allowed.map(str::to_owned) else {
        let close = Close::from(PeerIncompatible::LinkUnauthorized);
        let names = identity.map(|identity| identity.dns_names().join(", ")).unwrap_or_default();
        let detail = format!("{close}: its DNS names are [{names}], and the link's `senders` has none of them");
        return Err(Close { detail, ..close });
    };
    check_names(hello)?;
    let target_cluster = host.cluster.id_for(&settings)?;
    if hello.cluster_id == target_cluster && hello.features & FEATURE_PROBE == 0 {
        return Err(same_cluster(&target_cluster, host));
    }
    if hello.lanes == 0 {
        // `causeway check` asks without a session.
        return Err(Close::normal(format!("the target cluster is {target_cluster}")));
    }
    if hello.lanes > LANES_MAX {
        return Err(PeerMisbehaved::UnexpectedMessage("a lane count out of range").into());
    }
    if hello.lane_hash != LANE_HASH {
        return Err(PeerIncompatible::LaneHashChanged.into());
    }
    ClassTable::new(hello.lanes)
        .append(&hello.classes)
        .map_err(|error| Close::new(CloseCode::LanesChanged, error.to_string()))?;
    Ok(Checked { link, settings, sender, target_cluster, version })
}

#[cfg(test)]
mod tests {
    use wire::control::Range;
    use wire::lanes::ClassRequest;

    use super::*;

    fn hello() -> Hello {
        Hello {
            role: Role::Sender,
            versions: Range { min: 1, max: 1 },
            features: 0,
            link: "l".into(),
            cluster_id: "4L6g3nShT-eMCtK--X86sw".into(),
            instance: "fra-1".into(),
            process: 7,
            stand_by: false,
            lanes: 1,
            lane_hash: LANE_HASH.into(),
            filter_hash: 1,
            rate: 0,
            classes: vec![ClassRequest { name: "bulk".into(), lanes: 1, strict: false }],
        }
    }

    #[test]
    fn names_outside_their_grammar_get_no_session() {
        assert_eq!(check_names(&hello()), Ok(()));
        let breaks: [fn(&mut Hello); 6] = [
            |hello| hello.instance = "a\nb".into(),
            |hello| hello.instance = "x".repeat(254),
            |hello| hello.cluster_id = String::new(),
            |hello| hello.classes[0].name = "../a".into(),
            |hello| hello.classes[0].name = "a".repeat(65),
            |hello| hello.classes[0].name = String::new(),
        ];
        for break_it in breaks {
            let mut hello = hello();
            break_it(&mut hello);
            let close = Close::from(check_names(&hello).unwrap_err());
            assert_eq!(close.code, CloseCode::Misbehaved, "{close}");
        }
    }

    #[test]
    fn two_requests_for_one_class_count_once() {
        let request = |lanes| ClassRequest { name: "bulk".into(), lanes, strict: false };
        let twice = ClassTable::new(2).append(&[request(3), request(3)]).unwrap();
        assert_eq!((twice.lanes(), twice.classes().len()), (5, 2));
        assert!(ClassTable::new(2).append(&[request(3), request(4)]).is_err());
    }
}
