//! A real Kafka cluster on loopback, to start, kill and restart.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::broker::{Membership, Node, free_ports, random_id};
use crate::guard::{Guarded, Signal};
use crate::jars::Kafka;
use crate::scratch::Scratch;
use crate::secure::Secure;
use crate::wait::{until, until_ok};

/// Time that a cluster may take to respond. Six nodes that start together on two cores need half of it.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Time-out of one metadata request.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// A KRaft cluster of 1 or 3 nodes, numbered from 1. Dropping it kills every node and removes its data.
///
/// With 3 nodes, topics have 3 replicas, of which 2 must be in sync.
#[derive(Debug)]
pub struct Cluster {
    kafka: Kafka,
    membership: Membership,
    nodes: Vec<Node>,
    /// Process of each node; `None` while the node is down.
    processes: Mutex<Vec<Option<Guarded>>>,
    /// Nodes that are suspended, which hold up every client that asks them.
    suspended: Mutex<BTreeSet<u32>>,
    // Last, so that the processes are gone before their data is removed.
    _scratch: Scratch,
}

impl Cluster {
    /// Starts `nodes` nodes and waits until each of them knows all of them.
    pub fn start(nodes: u32) -> Result<Self> {
        Self::start_as(Kafka::get()?, nodes, false)
    }

    /// Starts one node with a given cluster id, as a common image does.
    pub fn start_with_id(cluster_id: &str) -> Result<Self> {
        Self::start_of(Kafka::get()?, 1, false, cluster_id.to_owned())
    }

    /// Starts nodes with a second listener, which authenticates its clients.
    pub fn start_secure(nodes: u32) -> Result<Self> {
        Self::start_as(Kafka::get()?, nodes, true)
    }

    /// Starts one node of the oldest line of Kafka that the tests run against.
    pub fn start_old() -> Result<Self> {
        Self::start_as(Kafka::old()?, 1, false)
    }

    fn start_as(kafka: Kafka, nodes: u32, secure: bool) -> Result<Self> {
        Self::start_of(kafka, nodes, secure, random_id())
    }

    fn start_of(kafka: Kafka, nodes: u32, secure: bool, cluster_id: String) -> Result<Self> {
        ensure!(nodes == 1 || nodes == 3, "a test cluster has 1 or 3 nodes, not {nodes}");
        let scratch = Scratch::new("cluster")?;
        let ports = free_ports(2 * nodes as usize)?;
        let (client_ports, controller_ports) = ports.split_at(nodes as usize);
        let voters = (1..).zip(controller_ports.iter().copied()).collect();
        let membership = Membership { cluster_id, voters };
        let mut nodes: Vec<Node> = (1..)
            .zip(client_ports.iter().zip(controller_ports))
            .map(|(id, (&port, &controller_port))| {
                let dir = scratch.path().join(format!("node-{id}"));
                Node { id, port, controller_port, dir, secure: None }
            })
            .collect();
        if secure {
            let ports = free_ports(nodes.len())?;
            let first = Secure::make(ports[0], &scratch.path().join("pki"))?;
            for (node, port) in nodes.iter_mut().zip(ports) {
                node.secure = Some(Secure { port, ..first.clone() });
            }
        }
        let processes = Mutex::new(nodes.iter().map(|_| None).collect());
        let suspended = Mutex::default();
        let cluster = Self { kafka, membership, nodes, processes, suspended, _scratch: scratch };
        for id in cluster.ids() {
            cluster.launch(id)?;
        }
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Returns the address of every node that is not suspended, as `bootstrap.servers` takes them.
    pub fn bootstrap(&self) -> String {
        let suspended = self.suspended.lock().unwrap_or_else(PoisonError::into_inner);
        let awake = self.nodes.iter().filter(|node| !suspended.contains(&node.id));
        awake.map(|node| format!("127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
    }

    /// Returns the address of every node.
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect()
    }

    /// Returns the secure listener of a cluster that has one.
    pub fn secure(&self) -> Result<&Secure> {
        self.nodes[0].secure.as_ref().context("not a secure cluster")
    }

    /// Returns the cluster id.
    pub fn id(&self) -> &str {
        &self.membership.cluster_id
    }

    /// Returns the node ids, from 1.
    pub fn ids(&self) -> std::ops::RangeInclusive<u32> {
        1..=self.nodes.len() as u32
    }

    /// Sends SIGKILL to one node; returns when the process is gone. The data stays.
    pub fn kill(&self, node: u32) {
        let process = self.processes()[index(node)].take();
        self.suspended.lock().unwrap_or_else(PoisonError::into_inner).remove(&node);
        // Dropped after the lock is released, so that nodes can be killed in parallel.
        drop(process);
    }

    /// Kills one node, as [`Cluster::kill`], and waits until the cluster has noticed: a topic that only this node has lacks
    /// a leader.
    pub fn kill_noticed(&self, node: u32, topic_of_the_node: &str, patience: Duration) -> Result<()> {
        self.kill(node);
        let is_noticed = || self.leader(topic_of_the_node, 0).is_err().then_some(());
        until("the cluster to notice that the node is down", patience, is_noticed)
    }

    /// Sends a signal to one node.
    pub fn signal(&self, node: u32, signal: Signal) {
        let mut suspended = self.suspended.lock().unwrap_or_else(PoisonError::into_inner);
        match signal {
            Signal::Stop => drop(suspended.insert(node)),
            Signal::Cont => drop(suspended.remove(&node)),
            _ => {}
        }
        drop(suspended);
        if let Some(process) = &mut self.processes()[index(node)] {
            process.signal(signal);
        }
    }

    /// Suspends one node, and waits until another one leads this partition.
    pub fn suspend_leader(&self, topic: &str, partition: i32, patience: Duration) -> Result<u32> {
        let leader = self.leader(topic, partition)?;
        self.signal(leader, Signal::Stop);
        until_ok("another node to lead the partition", patience, || {
            Ok(self.leader(topic, partition).ok().filter(|&next| next != leader))
        })?;
        Ok(leader)
    }

    /// Sends SIGKILL to all nodes, one after the other.
    pub fn kill_all(&self) {
        self.ids().for_each(|node| self.kill(node));
    }

    /// Starts a killed node again, with its ports and its data, and waits until it responds.
    pub fn restart(&self, node: u32) -> Result<()> {
        self.launch(node)?;
        self.wait_until_ready()
    }

    /// Starts every node that is down and waits until all respond.
    pub fn restart_all(&self) -> Result<()> {
        for node in self.ids() {
            if self.pid(node).is_none() {
                self.launch(node)?;
            }
        }
        self.wait_until_ready()
    }

    /// Replaces the cluster by an empty one with another id, at the same addresses.
    pub fn rebuild(&mut self) -> Result<()> {
        self.kill_all();
        for node in &self.nodes {
            fs::remove_dir_all(node.log_dir())?;
        }
        self.membership.cluster_id = random_id();
        self.restart_all()
    }

    /// Returns the process id of a running node.
    pub fn pid(&self, node: u32) -> Option<u32> {
        self.processes()[index(node)].as_ref().map(Guarded::pid)
    }

    /// Waits until every replica of every partition is in sync, as an operator does between two restarts.
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

    /// Returns the address of one node.
    pub fn address(&self, node: u32) -> String {
        format!("127.0.0.1:{}", self.nodes[index(node)].port)
    }

    /// Returns the node that leads a partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<u32> {
        let metadata = client(&self.bootstrap())?.fetch_metadata(Some(topic), START_TIMEOUT)?;
        let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let found = partitions.find(|p| p.id() == partition && p.leader() > 0);
        Ok(found.with_context(|| format!("{topic}/{partition} has no leader"))?.leader() as u32)
    }

    /// Changes one byte of node 1's log of a partition, at the first place that has the bytes `found`, as a bad disk
    /// does.
    pub fn damage(&self, topic: &str, partition: i32, found: &[u8]) -> Result<()> {
        let log = self.nodes[0].log_dir().join(format!("{topic}-{partition}")).join("00000000000000000000.log");
        let bytes = fs::read(&log)?;
        let at = bytes
            .windows(found.len())
            .position(|window| window == found)
            .context("the log does not have these bytes")?;
        Ok(File::options().write(true).open(&log)?.write_all_at(&[found[0] ^ 1], at as u64)?)
    }

    /// Changes the format version of the batch at `offset`, in node 1's log of a partition, to one that no Kafka has.
    /// The broker still returns the batch, and no client can read it.
    pub fn mislabel(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let log = self.nodes[0].log_dir().join(format!("{topic}-{partition}")).join("00000000000000000000.log");
        let bytes = fs::read(&log)?;
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + 17) {
            if i64::from_be_bytes(head[..8].try_into()?) == offset {
                return Ok(File::options().write(true).open(&log)?.write_all_at(&[9], at as u64 + 16)?);
            }
            at += 12 + u32::from_be_bytes(head[8..12].try_into()?) as usize;
        }
        bail!("{topic}/{partition} has no batch at {offset}")
    }

    /// Removes every batch that reaches `offset` from the log of a partition. Node 1 must be down, and finds a shorter
    /// log at its start, as a machine does that lost what it had not yet written to its disk.
    pub fn truncate(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        ensure!(self.pid(1).is_none(), "node 1 is running and would not notice");
        let dir = self.nodes[0].log_dir().join(format!("{topic}-{partition}"));
        let log = dir.join("00000000000000000000.log");
        let bytes = fs::read(&log)?;
        let mut at = 0;
        // A batch begins with its base offset and the length of the rest; at 23 is its last offset minus the base.
        while let Some(head) = bytes.get(at..at + 27) {
            let base = i64::from_be_bytes(head[..8].try_into()?);
            let last = base + i64::from(i32::from_be_bytes(head[23..27].try_into()?));
            if last >= offset {
                break;
            }
            at += 12 + u32::from_be_bytes(head[8..12].try_into()?) as usize;
        }
        ensure!(at < bytes.len(), "{topic}/{partition} ends before {offset}");
        File::options().write(true).open(&log)?.set_len(at as u64)?;
        for file in fs::read_dir(&dir)? {
            let file = file?.path();
            // The broker makes these files again from the log.
            if file.extension().is_some_and(|kind| ["index", "timeindex", "snapshot"].iter().any(|of| kind == *of)) {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }

    fn launch(&self, node: u32) -> Result<()> {
        let mut processes = self.processes();
        let process = &mut processes[index(node)];
        ensure!(process.is_none(), "node {node} is already running");
        *process = Some(self.nodes[index(node)].start(&self.kafka, &self.membership, &[])?);
        Ok(())
    }

    /// Sends a metadata request to each running node. A node that responds with all nodes has caught up.
    fn wait_until_ready(&self) -> Result<()> {
        let running: Vec<&Node> = self.nodes.iter().filter(|node| self.pid(node.id).is_some()).collect();
        for node in &running {
            let client = client(&format!("127.0.0.1:{}", node.port))?;
            until_ok(&format!("node {} to answer", node.id), START_TIMEOUT, || {
                self.check_alive(node.id)?;
                // A client whose first request fails backs off for longer than a node needs to start.
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
            bail!("node {node} exited with code {code}\n{}", process.log_tail());
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
