//! Two namespaces and the WAN between them.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use super::namespace::{Namespace, ip};
use super::offload::SEGMENTS_MAX;
use super::{DEVICE, End, Tun};
use crate::emulator::Emulator;
use crate::wan::Wan;

/// The source's and the target's address: of the block for tests of networks (RFC 2544, 198.18.0.0/15), so that
/// no real host is ever meant.
pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 19, 0, 1)];

/// What Ethernet carries, and every WAN with it.
pub const MTU: u16 = 1500;

/// Packets that the kernel keeps for a device whose reader is busy: a TCP sender in slow start hands over a whole window at once.
const TRANSMIT_QUEUE: u32 = 20_000;

/// Socket buffers of TCP, smallest, first and largest: enough for 500 Mbit/s over 300 ms twice over, so that a
/// comparison measures TCP and not a default.
const TCP_BUFFERS: &str = "4096 131072 67108864";

/// Two namespaces and the WAN between them. Everything goes when this is dropped.
#[derive(Debug)]
pub struct Site {
    /// Where the source side's processes live.
    pub source: Namespace,
    /// Where the target side's processes live.
    pub target: Namespace,
    /// What lies between.
    pub emulator: Emulator<Vec<u8>>,
}

/// What the namespaces are like.
#[derive(Debug, Clone)]
pub struct SiteSettings {
    /// MTU of both devices, in bytes.
    pub mtu: u16,
    /// TCP's congestion control for everything that crosses the WAN; none is the machine's default.
    pub tcp: Option<String>,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self { mtu: MTU, tcp: None }
    }
}

impl Site {
    /// Builds both namespaces and starts the emulator.
    ///
    /// # Errors
    /// The machine's: a kernel without TUN, a congestion control that it does not have.
    pub fn build(wan: Wan<Vec<u8>>, settings: &SiteSettings) -> io::Result<Self> {
        let [source_address, target_address] = ADDRESSES;
        let (source, source_end) = Namespace::create(|| set_up(source_address, target_address, settings))?;
        let (target, target_end) = Namespace::create(|| set_up(target_address, source_address, settings))?;
        let emulator = Emulator::start(Tun::new(source_end, target_end), wan)?;
        Ok(Self { source, target, emulator })
    }
}

/// Makes the calling thread's namespace one end of the path.
fn set_up(own: Ipv4Addr, peer: Ipv4Addr, settings: &SiteSettings) -> io::Result<End> {
    // Neighbour discovery and router solicitations would be packets that nobody sent.
    for scope in ["all", "default"] {
        write_if_there(&format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
    }
    write_if_there("/proc/sys/net/ipv4/tcp_rmem", TCP_BUFFERS)?;
    write_if_there("/proc/sys/net/ipv4/tcp_wmem", TCP_BUFFERS)?;
    // What one connection learned must not help the next: every run is the first.
    write_if_there("/proc/sys/net/ipv4/tcp_no_metrics_save", "1")?;
    let end = End::create()?;
    let tcp = settings.tcp.as_ref().map(|name| format!(" congctl {name}")).unwrap_or_default();
    ip(&[
        "link set dev lo up".to_owned(),
        format!("address add {own} peer {peer} dev {DEVICE}"),
        format!(
            "link set dev {DEVICE} mtu {} txqueuelen {TRANSMIT_QUEUE} gso_max_segs {SEGMENTS_MAX} up",
            settings.mtu
        ),
        format!("route replace {peer} dev {DEVICE} src {own}{tcp}"),
    ])?;
    Ok(end)
}

/// A kernel without a feature has no file for it.
fn write_if_there(path: &str, value: &str) -> io::Result<()> {
    match fs::write(path, value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("{path}: {error}")))
        }
        _ => Ok(()),
    }
}
