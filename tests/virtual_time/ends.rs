//! Both ends of a channel with the link's settings, over a path in virtual time.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use netem::{Conditions, Direction, DropCause, Network, Profile, Script, Wan, parse_knobs};
use quinn::{AsyncUdpSocket, Endpoint};
use sender::{REDIAL_MAX, REDIAL_MIN};
use service::config::Address;
use service::pki;
use service::tls::{Credentials, End, TlsFiles};
use transport::backoff::Backoff;
use transport::endpoint::{Dialer, Dialled, EndpointSettings, Sockets, listen_over};
use wire::units::Size;

const SETTINGS: EndpointSettings = EndpointSettings::new(Size::from_bytes(64 << 20), 128);

/// Path, with its listening end and its dialling end.
pub(crate) struct Ends {
    pub(crate) network: Arc<Network>,
    pub(crate) listening: Endpoint,
    pub(crate) dialer: Dialer,
    pub(crate) address: Address,
    /// Directory of certificates, as `pki init` writes them.
    pub(crate) pki: tempfile::TempDir,
}

/// Sockets of one end.
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
    /// Makes a path with these settings both ways, and `seed` for its random numbers.
    pub(crate) fn new(knobs: &str, seed: u64) -> Self {
        Self::listening_with(knobs, seed, &SETTINGS)
    }

    /// Makes a path whose listening end has a receiver's guarded windows.
    pub(crate) fn guarded(knobs: &str, seed: u64) -> Self {
        Self::listening_with(knobs, seed, &EndpointSettings::guarded(SETTINGS.memory))
    }

    fn listening_with(knobs: &str, seed: u64, settings: &EndpointSettings) -> Self {
        let pki = tempfile::tempdir().unwrap();
        let sender = ["sender.example".to_owned()];
        let receiver = ["127.0.0.1".to_owned()];
        pki::init(pki.path(), &pki::Request { link: "virtual", sender: &sender, receiver: &receiver }).unwrap();
        let profile = Profile::both(Conditions::default().with(parse_knobs(knobs).unwrap()));
        let network = Arc::new(Network::start(Wan::new(&profile, Script::default(), seed)));
        let far = EndSockets { network: Arc::clone(&network), sends: Direction::Back };
        let credentials = credentials(pki.path(), "receiver", End::Server);
        let listening = listen_over(&far, (Ipv4Addr::LOCALHOST, 0).into(), &credentials, settings).unwrap();
        let listens_at = listening.local_addr().unwrap();
        let address = Address { host: listens_at.ip().to_string(), port: listens_at.port() };
        let dialer = dialer(pki.path(), SETTINGS).over(near(&network));
        Self { network, listening, dialer, address, pki }
    }

    /// Returns the sockets of the dialling end.
    pub(crate) fn near(&self) -> Arc<dyn Sockets> {
        near(&self.network)
    }

    /// Makes a dialer with other settings, over the sockets of the system.
    pub(crate) fn dialer_with(&self, settings: EndpointSettings) -> Dialer {
        dialer(self.pki.path(), settings)
    }

    /// Dials until the receiver responds, with a sender's back-off.
    pub(crate) async fn dial(&self) -> Dialled {
        let mut backoff = Backoff::try_new(REDIAL_MIN, REDIAL_MAX).unwrap();
        loop {
            match self.dialer.dial(std::slice::from_ref(&self.address), None).await {
                Ok(dialled) => return dialled,
                // The longest back-off: a sender that draws a shorter one connects sooner.
                Err(_) => tokio::time::sleep(backoff.next_delay(u64::MAX)).await,
            }
        }
    }

    /// Changes the path both ways.
    pub(crate) fn set(&self, knobs: &str) {
        self.network.set_both(&parse_knobs(knobs).unwrap());
    }

    /// Returns the packets of each way: offered, delivered and randomly lost.
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
