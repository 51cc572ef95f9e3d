//! The WAN between the ends of the demo: a path of this machine's own, over a named profile, to be cut.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netem::{DropCause, Knob, PROFILES, Relay, Report, Script};

/// The path that the project's measurements begin with.
const PROFILE: &str = "fra-sin";

/// How long the WAN is cut: long enough to be seen, and less than the silence that ends a session.
pub(crate) const CUT: Duration = Duration::from_secs(3);

/// So long after the WAN was cut, all that had crossed before has been written and read.
pub(crate) const CROSSED: Duration = Duration::from_secs(2);

/// What the profile's dice are drawn from: a demo's path is the same each time.
const SEED: u64 = 1;

/// The path from the sender to the receiver.
#[derive(Debug)]
pub(crate) struct Wan {
    relay: Relay,
    receiver: SocketAddr,
}

impl Wan {
    /// Starts the path, and says on the screen which it is.
    pub(crate) fn start() -> Result<Self> {
        let named = PROFILES.iter().find(|named| named.name == PROFILE).context("the demo's profile is gone")?;
        let profile = named.profile();
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let relay = Relay::start(listen, receiver, netem::Wan::new(&profile, Script::default(), SEED))
            .context("the WAN's relay")?;
        let rate = profile.forward.rate.map(|rate| format!(", {rate}")).unwrap_or_default();
        println!("  WAN {PROFILE}: {}{rate}", named.about);
        Ok(Self { relay, receiver })
    }

    /// Where the sender finds the receiver: the near end.
    pub(crate) fn near_end(&self) -> SocketAddr {
        self.relay.address()
    }

    /// Where the receiver listens: the far end.
    pub(crate) fn far_end(&self) -> SocketAddr {
        self.receiver
    }

    /// From now on nothing passes.
    pub(crate) fn cut(&self) {
        self.relay.set_both(&[Knob::Down(true)]);
    }

    /// What comes from now on passes.
    pub(crate) fn mend(&self) {
        self.relay.set_both(&[Knob::Down(false)]);
    }

    /// What happened on the path so far.
    ///
    /// # Errors
    /// Less happened than the demo claims: `wire_bytes` that the senders sent did not come by here, or `cut` is
    /// said of a path that lost nothing.
    pub(crate) fn report(&self, wire_bytes: u64, cut: bool) -> Result<Report> {
        let report = self.relay.report();
        let down = report.forward.dropped_for(DropCause::Down) + report.back.dropped_for(DropCause::Down);
        // Half, because a machine that is too busy drops some in front of the relay.
        let by_here = report.forward.offered_bytes;
        ensure!(by_here >= wire_bytes / 2, "of {wire_bytes} B that were sent only {by_here} B came by the WAN");
        ensure!(!cut || down > 0, "the WAN was cut and lost nothing");
        Ok(report)
    }
}
