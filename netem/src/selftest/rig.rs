//! Two UDP sockets with a WAN between them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use clap::ValueEnum;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use crate::conditions::{Conditions, parse_knobs};
use crate::profile::Profile;
use crate::relay::{Datagram, Relay};
use crate::report::Report;
use crate::script::Script;
use crate::tun::{ADDRESSES, Site, SiteSettings};
use crate::wan::Wan;

/// Which carrier is to be tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Way {
    /// Namespaces and TUN devices; needs root
    Tun,
    /// The UDP relay on loopback
    Relay,
}

/// The seed of every check.
const SEED: u64 = 4;

/// Bytes that wait for a receiving thread that the machine does not let run: all of a check's packets, so that
/// none is lost where the emulator has no part in it.
const SOCKET_BUFFER: usize = 256 << 20;

/// Two UDP sockets with a WAN between them; what the source sends goes to the target.
pub(super) struct Rig {
    pub(super) source: UdpSocket,
    pub(super) target: UdpSocket,
    carrier: Carrier,
}

enum Carrier {
    Tun(Box<Site>),
    Relay(Relay),
}

impl Rig {
    /// A rig over a WAN of the same `knobs` each way.
    pub(super) fn build(way: Way, knobs: &str) -> io::Result<Self> {
        let knobs = parse_knobs(knobs).map_err(io::Error::other)?;
        let profile = Profile::both(Conditions::default().with(knobs));
        match way {
            Way::Tun => Self::tun(Wan::new(&profile, Script::default(), SEED)),
            Way::Relay => Self::relay(Wan::new(&profile, Script::default(), SEED)),
        }
    }

    fn tun(wan: Wan<Vec<u8>>) -> io::Result<Self> {
        let site = Site::build(wan, &SiteSettings::default())?;
        let [here, there] = ADDRESSES;
        let source = site.source.within(|| socket(here))?;
        let target = site.target.within(|| socket(there))?;
        source.connect(target.local_addr()?)?;
        Ok(Self { source, target, carrier: Carrier::Tun(Box::new(site)) })
    }

    fn relay(wan: Wan<Datagram>) -> io::Result<Self> {
        let (source, target) = (socket(Ipv4Addr::LOCALHOST)?, socket(Ipv4Addr::LOCALHOST)?);
        let relay = Relay::start((Ipv4Addr::LOCALHOST, 0).into(), target.local_addr()?, wan)?;
        source.connect(relay.address())?;
        Ok(Self { source, target, carrier: Carrier::Relay(relay) })
    }

    /// Takes the rig down, and says what the emulator did.
    pub(super) fn finish(self) -> io::Result<Report> {
        match self.carrier {
            Carrier::Tun(site) => site.emulator.stop(),
            Carrier::Relay(relay) => relay.stop(),
        }
    }
}

fn socket(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    // Beyond what everybody gets, where we may.
    if setsockopt(&socket, RcvBufForce, &SOCKET_BUFFER).is_err() {
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    }
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    Ok(socket.into())
}
