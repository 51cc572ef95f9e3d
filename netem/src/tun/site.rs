//! A site: two network namespaces and the WAN between them.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;

use super::device::{DEVICE, End, Tun};
use super::namespace::{Namespace, ip};
use super::offload::SEGMENTS_MAX;
use super::pid_namespace::without_launcher;
use crate::{Emulator, Wan};

/// Environment variable that names both namespaces to processes inside them, as two paths.
pub(super) const SITE_VARIABLE: &str = "CAUSEWAY_NETEM";
/// The source's and the target's address, from the block for network tests (RFC 2544, 198.18.0.0/15).
pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 19, 0, 1)];
/// Ethernet's MTU, in bytes; the default of the WAN.
pub const MTU: u16 = 1500;
/// Packets that the kernel queues for a device: a TCP sender in slow start sends a whole window in one go.
const TRANSMIT_QUEUE: u32 = 20_000;
/// Socket buffers of TCP in bytes: minimum, default and maximum. The maximum is more than twice what 500 Mbit/s over
/// 300 ms need, so that a comparison measures TCP and not a default.
const TCP_BUFFERS: &str = "4096 131072 67108864";

/// Two namespaces and the WAN between them. Dropping it removes them.
#[derive(Debug)]
pub struct Site {
    pub source: Namespace,
    pub target: Namespace,
    pub emulator: Emulator<Vec<u8>>,
}

/// Settings of both namespaces.
#[derive(Debug, Clone, clap::Args)]
pub struct SiteSettings {
    /// MTU of both ends, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = MTU)]
    pub mtu: u16,
    /// TCP's congestion control on this WAN, such as cubic or bbr [default: the system's]
    #[arg(long, value_name = "NAME")]
    pub tcp: Option<String>,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self { mtu: MTU, tcp: None }
    }
}

impl Site {
    /// Builds both namespaces and starts the emulator.
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
    // IPv6's neighbour discovery and router solicitations would add packets of their own.
    for scope in ["all", "default"] {
        write_if_there(&format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
    }
    write_if_there("/proc/sys/net/ipv4/tcp_rmem", TCP_BUFFERS)?;
    write_if_there("/proc/sys/net/ipv4/tcp_wmem", TCP_BUFFERS)?;
    // TCP must not reuse what an earlier connection measured, so that all runs start alike.
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

/// Writes `value` to a file, if the file exists. A kernel without a feature has no file for it.
fn write_if_there(path: &str, value: &str) -> io::Result<()> {
    match fs::write(path, value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), format!("{path}: {error}")))
        }
        _ => Ok(()),
    }
}

/// Gives a command the addresses of both ends, as `NETEM_SOURCE` and `NETEM_TARGET`.
pub(super) fn prepare_command(command: &mut Command) -> &mut Command {
    let [source, target] = ADDRESSES;
    without_launcher(command).env("NETEM_SOURCE", source.to_string()).env("NETEM_TARGET", target.to_string())
}
