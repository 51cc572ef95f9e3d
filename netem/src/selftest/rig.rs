//! Test rig of the self-test: two UDP sockets with a WAN between them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use clap::ValueEnum;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBufForce;

use crate::tun::{ADDRESSES, Site, SiteSettings};
use crate::{Conditions, Profile, Relay, Report, Script, Wan, parse_knobs};

/// The carrier that is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CarrierKind {
    /// Namespaces and TUN devices; needs root
    Tun,
    /// The UDP relay on loopback
    Relay,
}

const SEED: u64 = 4;
/// Receive buffer of each socket, in bytes: all packets of a check fit, so that none is lost outside the emulator even
/// if the system does not schedule the receiving thread.
const SOCKET_BUFFER: usize = 256 << 20;

/// Two UDP sockets with a WAN between them. Packets that the source sends go to the target.
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
    /// Builds a rig over a WAN with the same `knobs` in both directions.
    pub(super) fn build(carrier: CarrierKind, knobs: &str) -> io::Result<Self> {
        let knobs = parse_knobs(knobs).map_err(io::Error::other)?;
        let profile = Profile::both(Conditions::default().with(knobs));
        match carrier {
            CarrierKind::Tun => {
                let wan = Wan::new(&profile, Script::default(), SEED);
                let site = Site::build(wan, &SiteSettings::default())?;
                let source = site.source.within(|| socket(ADDRESSES[0]))?;
                let target = site.target.within(|| socket(ADDRESSES[1]))?;
                source.connect(target.local_addr()?)?;
                Ok(Self { source, target, carrier: Carrier::Tun(Box::new(site)) })
            }
            CarrierKind::Relay => {
                let wan = Wan::new(&profile, Script::default(), SEED);
                let source = socket(Ipv4Addr::LOCALHOST)?;
                let target = socket(Ipv4Addr::LOCALHOST)?;
                let relay = Relay::start((Ipv4Addr::LOCALHOST, 0).into(), target.local_addr()?, wan)?;
                source.connect(relay.address)?;
                Ok(Self { source, target, carrier: Carrier::Relay(relay) })
            }
        }
    }

    pub(super) fn finish(self) -> io::Result<Report> {
        match self.carrier {
            Carrier::Tun(site) => site.emulator.stop(),
            Carrier::Relay(relay) => relay.emulator.stop(),
        }
    }
}

fn socket(address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    // This size needs privileges. Otherwise the system limits it.
    if setsockopt(&socket, RcvBufForce, &SOCKET_BUFFER).is_err() {
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    }
    socket.bind(&SocketAddr::from((address, 0)).into())?;
    Ok(socket.into())
}
