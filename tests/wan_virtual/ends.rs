//! Both ends of a channel with the link's own settings, over a path in virtual time.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use netem::conditions::{Conditions, parse_knobs};
use netem::in_process::Network;
use netem::path::DropCause;
use netem::profile::Profile;
use netem::script::Script;
use netem::wan::{Direction, Wan};
use quinn::{AsyncUdpSocket, Endpoint};
use sender::session::{REDIAL_MAX, REDIAL_MIN};
use service::config::Address;
use service::pki;
use service::tls::{Credentials, End, TlsFiles};
use transport::backoff::Backoff;
use transport::endpoint::{Dialer, Dialled, EndpointSettings, Sockets, listen_over};
use wire::units::Size;

const SETTINGS: EndpointSettings = EndpointSettings::new(Size::from_bytes(64 << 20), 128);

/// A path, the listening end of it, and what dials over it.
pub(crate) struct Ends {
    pub(crate) network: Arc<Network>,
    pub(crate) listening: Endpoint,
    pub(crate) dialer: Dialer,
    pub(crate) address: Address,
    /// Certificates, as `pki init` writes them.
    pub(crate) pki: tempfile::TempDir,
}

/// The sockets of one end.
#[derive(Debug)]
pub(crate) struct EndSockets {
    network: Arc<Network>,
    sends: Direction,
}

impl Sockets for EndSockets {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.network.bind(self.sends, address)
    }
}

impl Ends {
    /// Over a path with these knobs both ways, its dice drawn from `seed`.
    pub(crate) fn new(knobs: &str, seed: u64) -> Self {
        let pki = tempfile::tempdir().unwrap();
        let (sender, receiver) = (["sender.example".to_owned()], ["127.0.0.1".to_owned()]);
        pki::init(pki.path(), &pki::Request { link: "virtual", sender: &sender, receiver: &receiver }).unwrap();
        let profile = Profile::both(Conditions::default().with(parse_knobs(knobs).unwrap()));
        let network = Arc::new(Network::start(Wan::new(&profile, Script::default(), seed)));
        let far = EndSockets { network: Arc::clone(&network), sends: Direction::Back };
        let credentials = credentials(pki.path(), "receiver", End::Server);
        let listening = listen_over(&far, (Ipv4Addr::LOCALHOST, 0).into(), &credentials, &SETTINGS).unwrap();
        let listens_at = listening.local_addr().unwrap();
        let address = Address { host: listens_at.ip().to_string(), port: listens_at.port() };
        let dialer = dialer(pki.path(), SETTINGS).over(near(&network));
        Self { network, listening, dialer, address, pki }
    }

    /// The sockets of the dialling end.
    pub(crate) fn near(&self) -> Arc<dyn Sockets> {
        near(&self.network)
    }

    /// Who dials with other settings, over the system's own sockets.
    pub(crate) fn dialer_with(&self, settings: EndpointSettings) -> Dialer {
        dialer(self.pki.path(), settings)
    }

    /// Dials until it answers, waiting between as a sender does.
    pub(crate) async fn dial(&self) -> Dialled {
        let mut backoff = Backoff::try_new(REDIAL_MIN, REDIAL_MAX).unwrap();
        loop {
            match self.dialer.dial(std::slice::from_ref(&self.address), None).await {
                Ok(dialled) => return dialled,
                // The longest wait: whoever draws a shorter one is sooner there.
                Err(_) => tokio::time::sleep(backoff.next_delay(u64::MAX)).await,
            }
        }
    }

    /// Turns knobs both ways.
    pub(crate) fn set(&self, knobs: &str) {
        self.network.set_both(&parse_knobs(knobs).unwrap());
    }

    /// Packets of each way: offered, delivered and lost by chance.
    pub(crate) fn trace(&self) -> [[u64; 3]; 2] {
        let report = self.network.report();
        [report.forward, report.back].map(|way| [way.offered, way.delivered, way.dropped_for(DropCause::Loss)])
    }
}

fn near(network: &Arc<Network>) -> Arc<dyn Sockets> {
    Arc::new(EndSockets { network: Arc::clone(network), sends: Direction::Forward })
}

fn dialer(pki: &Path, settings: EndpointSettings) -> Dialer {
    Dialer::new(&credentials(pki, "sender", End::Client), settings).unwrap()
}

fn credentials(pki: &Path, side: &str, end: End) -> Credentials {
    let path = |name: String| pki.join(name);
    let files = TlsFiles {
        ca: path("ca.pem".to_owned()),
        certificate: path(format!("{side}.pem")),
        key: path(format!("{side}.key")),
    };
    Credentials::load(&files, end, service::tls::now()).unwrap()
}
