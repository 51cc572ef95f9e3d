//! A sender that reaches its receiver only by way of an emulated WAN.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::cluster::{Cluster, Pair};
use harness::files::LinkFiles;
use harness::journal::Journal;
use harness::process::Process;
use harness::{topics, verify, wait};
use netem::{Conditions, Direction, DropCause, Knob, Profile, Relay, Report, Script, Wan, parse_knobs};

/// How long a packet is under way, each way.
pub(crate) const ONE_WAY: Duration = Duration::from_millis(100);

/// Longer than a session takes to come about and partitions to join.
const JOINED: Duration = Duration::from_secs(60);

/// Longer than anything a test writes takes to arrive.
const DELIVERED: Duration = Duration::from_secs(60);

/// Partitions of every topic.
pub(crate) const PARTITIONS: i32 = 8;

/// A link in session, with its topics joined.
pub(crate) struct WanLink {
    // First, so that they are gone before their files are.
    sender: Process,
    _receiver: Process,
    relay: Relay,
    _files: LinkFiles,
    target: &'static Cluster,
}

impl WanLink {
    /// Over a path of [`ONE_WAY`] with `knobs`, the same both ways. The topics exist at the target already.
    pub(crate) fn start(stem: &str, knobs: &str, topics: &[&str]) -> Result<Self> {
        let pair = Pair::shared()?;
        let mut files = LinkFiles::new(&topics::unique(stem), &pair.source, &pair.target, topics)?;
        let receives_at: SocketAddr = unquoted(files.receiver.get("", "listen"))?.parse()?;
        let knobs = [vec![Knob::Delay(ONE_WAY)], parse_knobs(knobs)?].concat();
        let profile = Profile::both(Conditions::default().with(knobs));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let relay = Relay::start(any, receives_at, Wan::new(&profile, Script::default(), 1))?;
        files.sender.set("wan", "receiver", &format!("{:?}", relay.address().to_string()));
        let receiver = files.receiver.start()?;
        receiver.admin.wait_until_ready(JOINED)?;
        let sender = files.sender.start()?;
        let link = Self { sender, _receiver: receiver, relay, _files: files, target: &pair.target };
        let partitions = PARTITIONS as usize * topics.len();
        let joined = |status: &serde_json::Value| status["partitions"] == partitions;
        link.sender.admin.wait_for("every partition to join", JOINED, joined)?;
        Ok(link)
    }

    /// Turns knobs of both directions.
    pub(crate) fn set(&self, knobs: &str) -> Result<()> {
        self.relay.set_both(&parse_knobs(knobs)?);
        Ok(())
    }

    /// Waits until all of `journal` is at the target, and refuses any difference; the link's first session must
    /// still be its only one.
    pub(crate) fn ensure_delivered_in_one_session(&self, journal: &Journal) -> Result<()> {
        verify::wait_until_delivered(&journal.written, self.target, "{topic}", DELIVERED)?;
        verify::ensure_exactly_once(&journal.written, self.target, "{topic}")?;
        let status = self.sender.admin.status()?;
        ensure!(status["sessions"] == 1, "{} sessions; the last ended: {}", status["sessions"], status["last_end"]);
        let sent = status["wire"]["sent_bytes"].as_u64().context("no sent bytes")?;
        let by_here = self.report().forward.offered_bytes;
        ensure!(by_here >= sent, "of {sent} B that were sent only {by_here} B came by the WAN");
        Ok(())
    }

    /// Waits until the path has dropped something for that cause, in either direction.
    pub(crate) fn wait_until_dropped(&self, cause: DropCause) -> Result<()> {
        let dropped = || Direction::BOTH.iter().any(|&way| self.report().direction(way).dropped_for(cause) > 0);
        wait::until(&format!("a packet dropped for {}", cause.name()), DELIVERED, || dropped().then_some(()))
    }

    /// What the sender says of itself.
    pub(crate) fn status(&self) -> Result<serde_json::Value> {
        self.sender.admin.status()
    }

    pub(crate) fn report(&self) -> Report {
        self.relay.report()
    }
}

fn unquoted(value: Option<&str>) -> Result<&str> {
    value.map(|value| value.trim_matches('"')).context("the receiver's file names no address")
}
