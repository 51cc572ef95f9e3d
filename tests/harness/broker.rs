//! One Kafka node: its properties, its log directory, its process.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use rand::RngExt;

use crate::guard::Guarded;
use crate::jars::Kafka;
use crate::secure::Secure;

/// Ports for brokers. They are below the range that systems give to outgoing connections, so a killed broker finds
/// its port still free.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Settings that all nodes of a cluster share.
#[derive(Debug, Clone)]
pub struct Membership {
    /// Cluster id: 16 bytes in URL-safe base64.
    pub cluster_id: String,
    /// Node ids with their controller ports.
    pub voters: Vec<(u32, u16)>,
}

/// Kafka node in combined mode: broker and controller.
#[derive(Debug, Clone)]
pub struct Node {
    /// Node id, from 1.
    pub id: u32,
    /// Port for clients, on loopback.
    pub port: u16,
    /// Port for the other controllers, on loopback.
    pub controller_port: u16,
    /// Directory of its properties, logs and data, which a restart keeps.
    pub dir: PathBuf,
    /// Second listener, which authenticates its clients.
    pub secure: Option<Secure>,
}

impl Node {
    /// Makes a node that is a cluster by itself.
    pub fn alone(dir: &Path) -> Result<(Self, Membership)> {
        let ports = free_ports(2)?;
        let node = Self { id: 1, port: ports[0], controller_port: ports[1], dir: dir.to_owned(), secure: None };
        let membership = Membership { cluster_id: random_id(), voters: vec![(1, ports[1])] };
        Ok((node, membership))
    }

    /// Directory in which Kafka keeps the partitions.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Starts the process, on the data of its last run if there was one.
    pub fn start(&self, kafka: &Kafka, membership: &Membership, java_options: &[&str]) -> Result<Guarded> {
        if !self.log_dir().exists() {
            self.format(kafka, membership)?;
        }
        let properties = self.dir.join("server.properties");
        let secure = self.secure.as_ref().map(|secure| secure.properties(self.port, self.controller_port));
        // Java uses the last of two values of a property.
        fs::write(&properties, self.properties(membership) + &secure.unwrap_or_default())?;
        let mut java = kafka.java(java_options, "kafka.Kafka");
        java.arg(&properties);
        Guarded::spawn(&java, &self.dir.join("broker.log"))
    }

    /// Checks whether the client port accepts connections.
    pub fn listens(&self) -> bool {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port);
        TcpStream::connect_timeout(&address.into(), Duration::from_millis(200)).is_ok()
    }

    /// Writes what `kafka-storage format` writes, without starting Java for it.
    fn format(&self, kafka: &Kafka, membership: &Membership) -> Result<()> {
        let log_dir = self.log_dir();
        fs::create_dir_all(&log_dir)?;
        fs::copy(kafka.checkpoint(), log_dir.join("bootstrap.checkpoint"))?;
        let meta = format!(
            "version=1\nnode.id={}\ncluster.id={}\ndirectory.id={}\n",
            self.id,
            membership.cluster_id,
            random_id()
        );
        fs::write(log_dir.join("meta.properties"), meta)?;
        Ok(())
    }

    /// Returns the text of its `server.properties`.
    ///
    /// Broker sessions time out after 3 s, so that the partitions of a killed broker get a new leader soon.
    pub fn properties(&self, membership: &Membership) -> String {
        let Self { id, port, controller_port, .. } = self;
        let log_dir = self.log_dir();
        let is_replicated = membership.voters.len() >= 3;
        let replicas = if is_replicated { 3 } else { 1 };
        let in_sync = if is_replicated { 2 } else { 1 };
        // Only clients that state a rack read from followers.
        let rack = if is_replicated {
            let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
            format!("broker.rack=r{id}\nreplica.selector.class={selector}\n")
        } else {
            String::new()
        };
        let mut voters = String::new();
        for (id, port) in &membership.voters {
            let comma = if voters.is_empty() { "" } else { "," };
            let _ = write!(voters, "{comma}{id}@127.0.0.1:{port}");
        }
        // Records have old timestamps: without log.retention.ms a broker deletes them half a minute after its start,
        // and without log.roll.hours it begins a new segment at the first transaction marker behind them.
        format!(
            "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log_dir}
default.replication.factor={replicas}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=8
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
message.max.bytes=10485760
log.retention.ms=-1
log.roll.hours=175200
log.cleaner.backoff.ms=500
{rack}",
            log_dir = log_dir.display()
        )
    }
}

/// Finds loopback ports that are free for TCP and for UDP.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    let mut rng = rand::rng();
    // The sockets stay open until all ports are found, so that no port is found twice.
    let mut held: Vec<(u16, TcpListener, UdpSocket)> = Vec::new();
    for _ in 0..1_000 {
        if held.len() == count {
            return Ok(held.into_iter().map(|(port, ..)| port).collect());
        }
        let port = rng.random_range(PORTS);
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
        if let (Ok(tcp), Ok(udp)) = (tcp, udp) {
            held.push((port, tcp, udp));
        }
    }
    bail!("no {count} free loopback ports in {PORTS:?}")
}

/// Makes a random Kafka id: 16 bytes in unpadded URL-safe base64.
pub(crate) fn random_id() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut rng = rand::rng();
    // 22 digits have 132 bits; the last may use only the upper 2 of its 6, or the id is not 16 bytes long.
    // Kafka's tools would take an id that begins with a dash for an option.
    let first = char::from(ALPHABET[rng.random_range(0..62)]);
    let middle = (0..20).map(|_| char::from(ALPHABET[rng.random_range(0..64)])).collect::<String>();
    let last = char::from(ALPHABET[rng.random_range(0..4) * 16]);
    format!("{first}{middle}{last}")
}
