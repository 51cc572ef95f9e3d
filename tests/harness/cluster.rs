//! A real Kafka cluster on loopback, to start, kill and restart.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::broker::{Membership, Node, free_ports, random_id};
use crate::guard::Guarded;
use crate::jars::Kafka;
use crate::scratch::Scratch;
use crate::secure::Secure;
use crate::wait::until_ok;

/// How long a cluster may take to answer; six nodes that start at once on two cores need half of it.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// How long one metadata request may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// A KRaft cluster of 1 or 3 nodes, numbered from 1. Dropping it kills every node and removes its data.
///
/// Topics have a replication factor of 3 where there are 3 nodes, with 2 in sync required.
#[derive(Debug)]
pub struct Cluster {
    kafka: Kafka,
    membership: Membership,
    nodes: Vec<Node>,
    /// By node; `None` while it is down.
    processes: Mutex<Vec<Option<Guarded>>>,
    // Last, so that the processes are gone before their data is.
    _scratch: Scratch,
}

impl Cluster {
    /// Starts `nodes` nodes and waits until each of them knows all of them.
    pub fn start(nodes: u32) -> Result<Self> {
        Self::start_as(Kafka::get()?, nodes, false)
    }

    /// Starts one node with a second listener, which asks who one is.
    pub fn start_secure() -> Result<Self> {
        Self::start_as(Kafka::get()?, 1, true)
    }

    /// Starts one node of the oldest line of Kafka that the tests run against.
    pub fn start_old() -> Result<Self> {
        Self::start_as(Kafka::old()?, 1, false)
    }

    fn start_as(kafka: Kafka, nodes: u32, secure: bool) -> Result<Self> {
        ensure!(nodes == 1 || nodes == 3, "a test cluster has 1 or 3 nodes, not {nodes}");
        let scratch = Scratch::new("cluster")?;
        let ports = free_ports(2 * nodes as usize)?;
        let (client_ports, controller_ports) = ports.split_at(nodes as usize);
        let voters = (1..).zip(controller_ports.iter().copied()).collect();
        let membership = Membership { cluster_id: random_id(), voters };
        let mut nodes: Vec<Node> = (1..)
            .zip(client_ports.iter().zip(controller_ports))
            .map(|(id, (&port, &controller_port))| {
                let dir = scratch.path().join(format!("node-{id}"));
                Node { id, port, controller_port, dir, secure: None }
            })
            .collect();
        if secure {
            for node in &mut nodes {
                node.secure = Some(Secure::make(free_ports(1)?[0], &scratch.path().join(format!("pki-{}", node.id)))?);
            }
        }
        let processes = Mutex::new(nodes.iter().map(|_| None).collect());
        let cluster = Self { kafka, membership, nodes, processes, _scratch: scratch };
        for id in cluster.ids() {
            cluster.launch(id)?;
        }
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Every node's address, as `bootstrap.servers` wants it.
    pub fn bootstrap(&self) -> String {
        self.addresses().join(",")
    }

    /// Every node's address.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect()
    }

    /// The listener that asks who one is, of a cluster that has one.
    pub fn secure(&self) -> Result<&Secure> {
        self.nodes[0].secure.as_ref().context("not a secure cluster")
    }

    /// Kafka's id of the cluster.
    pub fn id(&self) -> &str {
        &self.membership.cluster_id
    }

    /// The node ids, from 1.
    pub fn ids(&self) -> std::ops::RangeInclusive<u32> {
        1..=self.nodes.len() as u32
    }

    /// SIGKILL to one node; returns when it is gone. Its data stays.
    pub fn kill(&self, node: u32) {
        let process = self.processes()[index(node)].take();
        // Dropped after the lock is released: nodes can be killed side by side.
        drop(process);
    }

    /// SIGKILL to all nodes.
    pub fn kill_all(&self) {
        self.ids().for_each(|node| self.kill(node));
    }

    /// Starts a killed node again, same ports, same data, and waits until it answers.
    pub fn restart(&self, node: u32) -> Result<()> {
        self.launch(node)?;
        self.wait_until_ready()
    }

    /// Starts every node that is down and waits until all answer.
    pub fn restart_all(&self) -> Result<()> {
        for node in self.ids() {
            if self.pid(node).is_none() {
                self.launch(node)?;
            }
        }
        self.wait_until_ready()
    }

    /// The process id of a running node.
    pub fn pid(&self, node: u32) -> Option<u32> {
        self.processes()[index(node)].as_ref().map(Guarded::pid)
    }

    /// Waits until every replica of every partition is in sync, as an operator would between two restarts.
    pub fn wait_until_in_sync(&self, timeout: Duration) -> Result<()> {
        let client = client(&self.bootstrap())?;
        until_ok("every replica to be in sync", timeout, || {
            let Ok(metadata) = client.fetch_metadata(None, ASK_TIMEOUT) else {
                return Ok(None);
            };
            let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
            Ok(partitions.all(|p| p.leader() >= 0 && p.isr().len() == p.replicas().len()).then_some(()))
        })
    }

    /// The node that leads a partition, to kill just that one.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<u32> {
        let metadata = client(&self.bootstrap())?.fetch_metadata(Some(topic), START_TIMEOUT)?;
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let found = partitions.find(|p| p.id() == partition && p.leader() > 0);
        Ok(found.with_context(|| format!("{topic}/{partition} has no leader"))?.leader() as u32)
    }

    /// Changes one byte of what node 1 holds of a partition, where its log has `found`: as a bad disk would.
    pub fn damage(&self, topic: &str, partition: i32, found: &[u8]) -> Result<()> {
        let log = self.nodes[0].log_dir().join(format!("{topic}-{partition}")).join("00000000000000000000.log");
        let held = fs::read(&log)?;
        let at = held.windows(found.len()).position(|window| window == found).context("not in the log")?;
        Ok(File::options().write(true).open(&log)?.write_all_at(&[found[0] ^ 1], at as u64)?)
    }

    /// Gives the batch that begins at `offset`, in what node 1 holds of a partition, a format that no version of Kafka
    /// has: the broker hands it out as it is, and no client can read it.
    pub fn mislabel(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let log = self.nodes[0].log_dir().join(format!("{topic}-{partition}")).join("00000000000000000000.log");
        let held = fs::read(&log)?;
        let mut at = 0;
        while let Some(head) = held.get(at..at + 17) {
            if i64::from_be_bytes(head[..8].try_into()?) == offset {
                return Ok(File::options().write(true).open(&log)?.write_all_at(&[9], at as u64 + 16)?);
            }
            at += 12 + u32::from_be_bytes(head[8..12].try_into()?) as usize;
        }
        bail!("{topic}/{partition} has no batch at {offset}")
    }

    /// Takes from what a killed node 1 holds of a partition every batch that reaches `offset`: as a machine does
    /// that lost what it had not written to its disk. It is restarted with a shorter log.
    pub fn truncate(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        ensure!(self.pid(1).is_none(), "node 1 runs: it would not notice");
        let dir = self.nodes[0].log_dir().join(format!("{topic}-{partition}"));
        let log = dir.join("00000000000000000000.log");
        let held = fs::read(&log)?;
        let mut at = 0;
        // Base offset, length of what follows, then at 23 the last offset's distance from the base.
        while let Some(head) = held.get(at..at + 27) {
            let base = i64::from_be_bytes(head[..8].try_into()?);
            let last = base + i64::from(i32::from_be_bytes(head[23..27].try_into()?));
            if last >= offset {
                break;
            }
            at += 12 + u32::from_be_bytes(head[8..12].try_into()?) as usize;
        }
        ensure!(at < held.len(), "{topic}/{partition} ends before {offset}");
        File::options().write(true).open(&log)?.set_len(at as u64)?;
        for file in fs::read_dir(&dir)? {
            let file = file?.path();
            // Made anew from the log.
            if file.extension().is_some_and(|kind| ["index", "timeindex", "snapshot"].iter().any(|of| kind == *of)) {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    fn launch(&self, node: u32) -> Result<()> {
        let mut processes = self.processes();
        let process = &mut processes[index(node)];
        ensure!(process.is_none(), "node {node} runs already");
        *process = Some(self.nodes[index(node)].start(&self.kafka, &self.membership, &[])?);
        Ok(())
    }

    /// Asks each running node by itself: one that answers has caught up, and what it says is its own view.
    fn wait_until_ready(&self) -> Result<()> {
        let running: Vec<&Node> = self.nodes.iter().filter(|node| self.pid(node.id).is_some()).collect();
        for node in &running {
            let client = client(&format!("127.0.0.1:{}", node.port))?;
            until_ok(&format!("node {} to answer", node.id), START_TIMEOUT, || {
                self.check_alive(node.id)?;
                // Asked too early, a client backs off for longer than a node needs to come up.
                if !node.listens() {
                    return Ok(None);
                }
                let Ok(metadata) = client.fetch_metadata(None, ASK_TIMEOUT) else {
                    return Ok(None);
                };
                Ok((metadata.brokers().len() >= running.len()).then_some(()))
            })?;
        }
        Ok(())
    }

    fn check_alive(&self, node: u32) -> Result<()> {
        let mut processes = self.processes();
        let process = processes[index(node)].as_mut().with_context(|| format!("node {node} was killed"))?;
        if let Some(code) = process.exit_code()? {
            bail!("node {node} left with code {code}\n{}", process.log_tail());
        }
        Ok(())
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Option<Guarded>>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(node: u32) -> usize {
    node as usize - 1
}

fn client(bootstrap: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", "causeway-tests");
    config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
    Ok(config.create()?)
}

/// Two clusters, started at the same time.
#[derive(Debug)]
pub struct Pair {
    /// Where records come from.
    pub source: Cluster,
    /// Where they go to.
    pub target: Cluster,
}

impl Pair {
    /// A pair of a test's own, to kill brokers in.
    pub fn start(source_nodes: u32, target_nodes: u32) -> Result<Self> {
        Kafka::get()?;
        thread::scope(|scope| {
            let source = scope.spawn(|| Cluster::start(source_nodes));
            let target = Cluster::start(target_nodes)?;
            let source = source.join().map_err(|_| anyhow!("starting the source panicked"))??;
            Ok(Self { source, target })
        })
    }

    /// A pair of clusters that ask who one is.
    pub fn start_secure() -> Result<Self> {
        Self::of(Cluster::start_secure)
    }

    /// One pair of clusters that ask who one is for all tests of a binary, as [`Pair::shared`].
    pub fn shared_secure() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Pair, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::start_secure().map_err(|error| format!("{error:#}")));
        shared.as_ref().map_err(|error| anyhow!("no shared clusters: {error}"))
    }

    /// A pair of the oldest line of Kafka that the tests run against.
    pub fn start_old() -> Result<Self> {
        Self::of(Cluster::start_old)
    }

    fn of(start: fn() -> Result<Cluster>) -> Result<Self> {
        thread::scope(|scope| {
            let source = scope.spawn(start);
            let target = start()?;
            let source = source.join().map_err(|_| anyhow!("starting the source panicked"))??;
            Ok(Self { source, target })
        })
    }

    /// One pair of single nodes for all tests of a binary that kill no broker, started by the first of them.
    /// Topics and link names must be unique per test; [`crate::topics::unique`] makes them so.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Pair, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Self::start(1, 1).map_err(|error| format!("{error:#}")));
        shared.as_ref().map_err(|error| anyhow!("no shared clusters: {error}"))
    }
}
