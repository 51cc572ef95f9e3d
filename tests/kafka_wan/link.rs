//! A sender that reaches its receiver only over an emulated WAN.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::files::LinkFiles;
use harness::journal::Journal;
use harness::pair::Pair;
use harness::process::Process;
use harness::{topics, verify, wait};
use netem::{Conditions, Direction, DropCause, Knob, Profile, Relay, Report, Script, Wan, parse_knobs};

/// Delay of a packet, each way.
pub(crate) const ONE_WAY: Duration = Duration::from_millis(100);

/// Time until the link has a session and its partitions have joined.
const JOINED: Duration = Duration::from_secs(60);

/// Time until all records of a test have arrived.
const DELIVERED: Duration = Duration::from_secs(60);

/// Number of partitions of every topic.
pub(crate) const PARTITIONS: i32 = 8;

/// A link with a session, whose topics have joined.
pub(crate) struct WanLink<'a> {
    // First, so that the processes are gone before their files are.
    sender: Process,
    _receiver: Process,
    relay: Relay,
    _files: LinkFiles,
    target: &'a Cluster,
}

impl<'a> WanLink<'a> {
    /// Starts a link over a path of [`ONE_WAY`] with `knobs`, the same both ways, and waits until its topics have
    /// joined.
    pub(crate) fn start(pair: &'a Pair, stem: &str, knobs: &str, topics: &[&str]) -> Result<Self> {
        let mut files = LinkFiles::new(&topics::unique(stem), &pair.source, &pair.target, topics)?;
        let receives_at: SocketAddr = unquoted(files.receiver.get("", "listen"))?.parse()?;
        let knobs = [vec![Knob::Delay(ONE_WAY)], parse_knobs(knobs)?].concat();
        let profile = Profile::both(Conditions::default().with(knobs));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let relay = Relay::start(any, receives_at, Wan::new(&profile, Script::default(), 1))?;
        files.sender.set("wan", "receiver", &format!("{:?}", relay.address.to_string()));
        let receiver = files.receiver.start()?;
        receiver.admin.wait_until_ready(JOINED)?;
        let sender = files.sender.start()?;
        let link = Self { sender, _receiver: receiver, relay, _files: files, target: &pair.target };
        let partitions = PARTITIONS as usize * topics.len();
        let joined = |status: &serde_json::Value| status["partitions"] == partitions;
        link.sender.admin.wait_for("every partition to join", JOINED, joined)?;
        Ok(link)
    }

    /// Changes the path in both directions.
    pub(crate) fn set(&self, knobs: &str) -> Result<()> {
        self.relay.emulator.set_both(&parse_knobs(knobs)?);
        Ok(())
    }

    /// Waits until all of `journal` is at the target, exactly once, and ensures that the link had one session only.
    pub(crate) fn ensure_delivered_in_one_session(&self, journal: &Journal) -> Result<()> {
        verify::wait_until_delivered(&journal.written, self.target, "{topic}", DELIVERED)?;
        verify::ensure_exactly_once(&journal.written, self.target, "{topic}")?;
        let status = self.sender.admin.status()?;
        ensure!(status["sessions"] == 1, "{} sessions; the last ended: {}", status["sessions"], status["last_end"]);
        let sent = status["wire"]["sent_bytes"].as_u64().context("no sent bytes")?;
        let crossed = self.report().forward.offered_bytes;
        ensure!(crossed >= sent, "the sender sent {sent} B, of which {crossed} B crossed the WAN");
        Ok(())
    }

    /// Waits until the path has dropped a packet for that cause, in either direction.
    pub(crate) fn wait_until_dropped(&self, cause: DropCause) -> Result<()> {
        let dropped = || Direction::BOTH.iter().any(|&way| self.report().direction(way).dropped_for(cause) > 0);
        wait::until(&format!("a packet dropped for {}", cause.name()), DELIVERED, || dropped().then_some(()))
    }

    /// Returns the sender's `/status`.
    pub(crate) fn status(&self) -> Result<serde_json::Value> {
        self.sender.admin.status()
    }

    pub(crate) fn report(&self) -> Report {
        self.relay.emulator.report()
    }
}

fn unquoted(value: Option<&str>) -> Result<&str> {
    value.map(|value| value.trim_matches('"')).context("the receiver's file names no address")
}
