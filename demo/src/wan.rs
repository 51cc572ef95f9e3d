//! The emulated WAN between the ends of the demo, with a named profile. The demo can cut it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netem::{DropCause, Knob, PROFILES, Relay, Report, Script};

use super::screen::print_line;

/// Profile of the path, which the project's benchmarks use too.
const PROFILE: &str = "fra-sin";
/// Duration of the cut: long enough to be seen, and shorter than the silence that ends a session.
pub(crate) const CUT: Duration = Duration::from_secs(3);
/// Time after the cut in which all records that had crossed before are written and read.
pub(crate) const CROSSED: Duration = Duration::from_secs(2);
/// Seed of the profile's random numbers: the path of a demo is the same each time.
const SEED: u64 = 1;

#[derive(Debug)]
pub(crate) struct Wan {
    /// Path whose address the sender dials.
    pub(crate) relay: Relay,
    pub(crate) receiver: SocketAddr,
}

impl Wan {
    pub(crate) fn start() -> Result<Self> {
        let named = PROFILES.iter().find(|named| named.name == PROFILE).context("the demo's profile is gone")?;
        let profile = named.profile();
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let relay = Relay::start(listen, receiver, netem::Wan::new(&profile, Script::default(), SEED))
            .context("the WAN's relay")?;
        let rate = profile.forward.rate.map(|rate| format!(", {rate}")).unwrap_or_default();
        print_line(format_args!("  WAN {PROFILE}: {}{rate}", named.about));
        Ok(Self { relay, receiver })
    }

    /// Cuts the path in both directions, or restores it.
    pub(crate) fn set_down(&self, down: bool) {
        self.relay.emulator.set_both(&[Knob::Down(down)]);
    }

    /// The counters of the path so far. Fails if the demo claims more than happened: the senders' `wire_bytes` did not
    /// cross this path, or a `cut` path lost nothing.
    pub(crate) fn report(&self, wire_bytes: u64, cut: bool) -> Result<Report> {
        let report = self.relay.emulator.report();
        let down = report.forward.dropped_for(DropCause::Down) + report.back.dropped_for(DropCause::Down);
        // Half, because a machine that is too busy drops some in front of the relay.
        let by_here = report.forward.offered_bytes;
        ensure!(by_here >= wire_bytes / 2, "only {by_here} B of the {wire_bytes} B sent crossed the WAN");
        ensure!(!cut || down > 0, "the WAN was cut and lost nothing");
        Ok(report)
    }
}
