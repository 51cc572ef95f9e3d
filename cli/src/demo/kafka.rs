//! Real Kafka brokers for `causeway demo --kafka`: KRaft nodes from the published jars, on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rand::RngExt;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;

use super::child::Guarded;
use super::files::free_tcp_port;

const POM: &str = include_str!("kafka.pom.xml");

/// Sets of jars in the user's cache: the one that the tests fetch where it is there, or our own.
const TESTS_SET: &str = "kafka-4.1.1-1";
const OWN_SET: &str = "kafka-4.1.1-demo";

/// How long a broker may take to answer; two start at once on what may be two cores.
const START: Duration = Duration::from_secs(60);

const STEP: Duration = Duration::from_millis(100);

/// The jars of a Kafka broker.
#[derive(Debug, Clone)]
pub(crate) struct Jars(PathBuf);

impl Jars {
    /// Those in the user's cache; fetched with Maven where they are missing. Blocks.
    pub(crate) fn get() -> Result<Self> {
        require("java")?;
        let cache = cache_dir()?;
        if let Some(set) = [TESTS_SET, OWN_SET].map(|set| cache.join(set)).into_iter().find(|set| set.exists()) {
            return Ok(Self(set.join("jars")));
        }
        require("mvn")?;
        println!("  fetching Kafka 4.1.1 with Maven, once, into {}", cache.display());
        fs::create_dir_all(&cache)?;
        // A finished set appears by one rename.
        let staging = tempfile::Builder::new().prefix(".fetching-").tempdir_in(&cache)?;
        fs::write(staging.path().join("pom.xml"), POM)?;
        let output = Command::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"])
            .current_dir(staging.path())
            .stdin(Stdio::null())
            .output()?;
        ensure!(output.status.success(), "mvn: {}", String::from_utf8_lossy(&output.stdout));
        let set = cache.join(OWN_SET);
        fs::rename(staging.path(), &set).with_context(|| format!("cannot put Kafka's jars into {}", set.display()))?;
        drop(staging.keep());
        Ok(Self(set.join("jars")))
    }

    /// `java` set up for one of Kafka's main classes.
    fn java(&self, main_class: &str) -> Command {
        let mut java = Command::new("java");
        java.arg("-cp").arg(self.0.join("*"));
        java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms128m", "-Xmx512m"]);
        java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", main_class]);
        java
    }
}

/// A cluster of one broker. Killed when dropped, and its data removed.
#[derive(Debug)]
pub(crate) struct Broker {
    address: String,
    process: Guarded,
    // Last, so that the process is gone before its data is.
    _dir: TempDir,
}

impl Broker {
    /// Starts one and waits until it answers. Blocks.
    pub(crate) fn start(jars: &Jars, name: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("causeway-demo-").tempdir()?;
        let (client, controller) = (free_tcp_port()?, free_tcp_port()?);
        let properties = dir.path().join("server.properties");
        fs::write(&properties, server_properties(&client.to_string(), &controller.to_string(), dir.path()))?;
        let format = jars
            .java("kafka.tools.StorageTool")
            .args(["format", "--cluster-id", &random_id(), "--config"])
            .arg(&properties)
            .stdin(Stdio::null())
            .output()?;
        ensure!(format.status.success(), "{}", String::from_utf8_lossy(&format.stderr));
        let mut java = jars.java("kafka.Kafka");
        java.arg(&properties);
        let process = Guarded::spawn(&java, &dir.path().join(format!("{name}-broker.log")))?;
        let mut broker = Self { address: client.to_string(), process, _dir: dir };
        broker.wait_until_ready()?;
        Ok(broker)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.address).create()?;
        let began = Instant::now();
        while began.elapsed() < START {
            self.process.ensure_running()?;
            if client.fetch_metadata(None, Duration::from_secs(2)).is_ok_and(|found| !found.brokers().is_empty()) {
                return Ok(());
            }
            std::thread::sleep(STEP);
        }
        bail!("the broker at {} did not answer within {} s", self.address, START.as_secs())
    }
}

fn server_properties(client: &str, controller: &str, dir: &Path) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
listeners=PLAINTEXT://{client},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{client}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
auto.create.topics.enable=false
",
        dir.join("data").display()
    )
}

fn cache_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir).join("causeway"));
    }
    let home = std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/causeway"))
}

fn require(program: &str) -> Result<()> {
    let answer = Command::new(program).arg("-version").stdin(Stdio::null()).output();
    ensure!(
        answer.is_ok_and(|output| output.status.success()),
        "--kafka needs Java 17 or newer, and Maven once; `{program} -version` does not run \
         (Debian, Ubuntu: apt-get install openjdk-17-jdk-headless maven)"
    );
    Ok(())
}

/// A random Kafka id: 16 bytes in unpadded URL-safe base64. Never with a dash in front, which would read as
/// an option.
fn random_id() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut rng = rand::rng();
    let mut digit = |range: std::ops::Range<usize>, step: usize| char::from(ALPHABET[rng.random_range(range) * step]);
    let mut id = String::from(digit(0..62, 1));
    id.extend((0..20).map(|_| digit(0..64, 1)));
    // The last digit may use only the upper two of its six bits.
    id.push(digit(0..4, 16));
    id
}
