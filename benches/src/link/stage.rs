//! Clusters, the path between them, and a link's processes.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use harness::cluster::Cluster;
use harness::files::{LinkFiles, Side};
use harness::jars::compile_fully;
use harness::pair::Pair;
use harness::process::Process;
use harness::topics;
use netem::{Conditions, Profile, Relay, Script, Wan, parse_knobs};

/// Time that any step may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// Delay of a packet, each way.
pub(super) const ONE_WAY_MS: u64 = 50;
/// Rate of the path and of the link's configuration.
const RATE: &str = "500 Mbit/s";

/// Settings of the measured links beyond those that the harness makes.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Properties of the senders' Kafka clients, and of the receivers'.
    pub(super) source_client: Vec<(String, String)>,
    pub(super) target_client: Vec<(String, String)>,
    /// Settings of the senders, such as `lanes.count`.
    pub(super) sender: Vec<(String, String)>,
}

/// Two clusters of one node each, and the settings of the links between them.
pub(super) struct Stage {
    pub(super) pair: Pair,
    settings: Settings,
}

impl Stage {
    /// Starts the clusters with the Java options of production.
    pub(super) fn start(settings: Settings) -> Result<Self> {
        compile_fully();
        Ok(Self { pair: Pair::start(1, 1)?, settings })
    }

    /// Creates a topic at both clusters, and returns its name. Its records may have any timestamp.
    pub(super) fn create_topic(&self, stem: &str, partitions: i32) -> Result<String> {
        let topic = topics::unique(stem);
        for cluster in [&self.pair.source, &self.pair.target] {
            topics::create(cluster, &topic, partitions, &[("retention.ms", "-1")])?;
        }
        Ok(topic)
    }

    /// Returns the process id of a cluster's broker.
    pub(super) fn broker(&self, cluster: &Cluster) -> u32 {
        cluster.pid(1).unwrap_or_default()
    }
}

/// A link over the path, whose processes may not run yet.
pub(super) struct Link<'a> {
    pub(super) files: LinkFiles,
    pub(super) relay: Relay,
    binary: &'a Path,
}

impl<'a> Link<'a> {
    /// Makes a link for these topics over a path that loses `loss` percent of the packets each way.
    pub(super) fn new(stage: &Stage, binary: &'a Path, topics: &[&str], loss: f64) -> Result<Self> {
        let mut files = LinkFiles::new(&topics::unique("link"), &stage.pair.source, &stage.pair.target, topics)?;
        let listen = files.receiver.get("", "listen").context("no address to listen on")?.trim_matches('"').to_owned();
        let limit = 2 * ONE_WAY_MS;
        let knobs = parse_knobs(&format!("delay {ONE_WAY_MS} ms, loss {loss}%, rate {RATE}, limit {limit} ms"))?;
        let profile = Profile::both(Conditions::default().with(knobs));
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let relay = Relay::start(any, listen.parse()?, Wan::new(&profile, Script::default(), 1))?;
        files.sender.set("wan", "receiver", &format!("{:?}", relay.address.to_string()));
        let Settings { source_client, target_client, sender } = &stage.settings;
        let clients = [
            (&mut files.sender, "source.client", source_client),
            (&mut files.receiver, "target.client", target_client),
        ];
        for (side, table, properties) in clients {
            for (key, value) in properties {
                side.set(table, &format!("{key:?}"), &format!("{value:?}"));
            }
        }
        for (name, value) in sender {
            let (table, key) = name.rsplit_once('.').unwrap_or(("", name));
            files.sender.set(table, key, value);
        }
        files.sender.set("wan", "rate", &format!("{RATE:?}"));
        Ok(Self { files, relay, binary })
    }

    pub(super) fn start_receiver(&self) -> Result<Process> {
        let receiver = start(self.binary, "receive", &self.files.receiver)?;
        receiver.admin.wait_until_ready(PATIENCE)?;
        Ok(receiver)
    }

    pub(super) fn start_sender(&self) -> Result<Process> {
        start(self.binary, "send", &self.files.sender)
    }
}

/// Starts a process of this binary with the configuration of `side`.
pub(super) fn start(binary: &Path, command: &str, side: &Side) -> Result<Process> {
    Ok(side.start_as(Command::new(binary).arg(command).arg(side.write()?))?.quiet())
}

/// Waits until this many partitions are read.
pub(super) fn joined(sender: &Process, partitions: i32) -> Result<()> {
    sender.admin.wait_for("every partition to join", PATIENCE, |status| status["partitions"] == partitions).map(drop)
}

/// Returns the number of records that were committed over all links.
pub(super) fn committed(receiver: &Process) -> Result<u64> {
    count(receiver, "records")
}

/// Returns the number of lanes' parts of transactions that were committed over all links.
pub(super) fn transactions(receiver: &Process) -> Result<u64> {
    count(receiver, "transactions")
}

fn count(receiver: &Process, name: &str) -> Result<u64> {
    let status = receiver.admin.status()?;
    let links = status["links"].as_array().context("a receiver's status without links")?;
    Ok(links.iter().filter_map(|link| link["counts"][name].as_u64()).sum())
}
