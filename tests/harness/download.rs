//! Download of Kafka's published jars by Maven, once, into the user's cache.
//!
//! A complete set appears in the cache by one rename. Test processes that download at the same time repeat each other's
//! work, and never see half a set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tempfile::TempDir;

use crate::broker::{Membership, Node};
use crate::guard::Signal;
use crate::jars::{CHECKPOINT, CLASS_ARCHIVE, Kafka};
use crate::wait::until_ok;

const POM: &str = include_str!("kafka-jars.pom.xml");

/// Version of Kafka that the tests run against.
const VERSION: &str = "4.1.1";

/// Oldest version that a link is tested against: the last line of Kafka that still had ZooKeeper.
const OLD_VERSION: &str = "3.9.1";

/// Version of the other files in a set: raise it when they change.
const SET: &str = "1";

impl Kafka {
    /// Returns the set in the user's cache. Downloads it first if it is missing.
    pub fn get() -> Result<Self> {
        static DIR: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        Self::of(&DIR, VERSION)
    }

    /// Returns the set of the oldest version that tests run against, as [`Kafka::get`].
    pub fn old() -> Result<Self> {
        static DIR: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        Self::of(&DIR, OLD_VERSION)
    }

    fn of(dir: &OnceLock<Result<PathBuf, String>>, version: &str) -> Result<Self> {
        let dir = dir.get_or_init(|| find_or_fetch(version).map_err(|error| format!("{error:#}")));
        dir.clone().map(Self::at).map_err(|error| anyhow!(error))
    }
}

fn find_or_fetch(version: &str) -> Result<PathBuf> {
    require("java", "-version")?;
    let cache = cache_dir()?;
    let set = cache.join(format!("kafka-{version}-{SET}"));
    if set.exists() {
        return Ok(set);
    }
    require("mvn", "-version")?;
    let staging = staging()?;
    fetch(staging.path(), version).context("cannot fetch Kafka's jars with Maven")?;
    let kafka = Kafka::at(staging.path().to_owned());
    format_once(&kafka).context("cannot format a Kafka log directory")?;
    archive_classes(&kafka).context("cannot start a first Kafka broker")?;
    publish(staging, &set)?;
    Ok(set)
}

/// Makes a directory the complete set at `set`, by one rename. Another process may have been faster.
pub fn publish(staging: TempDir, set: &Path) -> Result<()> {
    match fs::rename(staging.path(), set) {
        // The directory has moved: its guard must not remove what another process may create at the old path.
        Ok(()) => drop(staging.keep()),
        Err(error) => ensure!(set.exists(), "cannot put what was fetched into {}: {error}", set.display()),
    }
    Ok(())
}

/// Makes a directory in the user's cache for files that are being fetched.
pub fn staging() -> Result<TempDir> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache)?;
    Ok(tempfile::Builder::new().prefix(".fetching-").tempdir_in(&cache)?)
}

/// The user's cache, for what tests download.
pub fn cache_dir() -> Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache")
        }
    };
    Ok(cache.join("causeway"))
}

fn require(program: &str, question: &str) -> Result<()> {
    let answer = Command::new(program).arg(question).stdin(Stdio::null()).output();
    ensure!(
        answer.is_ok_and(|output| output.status.success()),
        "the real-Kafka tests need Java 17 or newer and Maven, and `{program} {question}` does not run: install them \
         (Debian, Ubuntu: apt-get install openjdk-17-jdk-headless maven)"
    );
    Ok(())
}

fn fetch(dir: &Path, version: &str) -> Result<()> {
    fs::write(dir.join("pom.xml"), POM.replace("KAFKA_VERSION", version))?;
    let output = Command::new("mvn")
        .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"])
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()?;
    let said = || String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "mvn failed: {}", said());
    Ok(())
}

fn format_once(kafka: &Kafka) -> Result<()> {
    let properties = kafka.dir().join("format.properties");
    let log_dir = kafka.dir().join("formatted");
    let membership = Membership { cluster_id: "AAAAAAAAAAAAAAAAAAAAAQ".to_owned(), voters: vec![(1, 1)] };
    let node = Node { id: 1, port: 2, controller_port: 1, dir: log_dir.clone(), secure: None };
    fs::write(&properties, node.properties(&membership))?;
    let output = kafka
        .java(&[], "kafka.tools.StorageTool")
        .args(["format", "--cluster-id", &membership.cluster_id, "--config"])
        .arg(&properties)
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::rename(node.log_dir().join(CHECKPOINT), kafka.checkpoint())?;
    fs::remove_dir_all(&log_dir)?;
    fs::remove_file(&properties)?;
    Ok(())
}

/// Runs one broker until it accepts connections. When it ends, Java writes the archive of the classes that it loaded.
fn archive_classes(kafka: &Kafka) -> Result<()> {
    let dir = kafka.dir().join("first");
    let (node, membership) = Node::alone(&dir)?;
    let option = format!("-XX:ArchiveClassesAtExit={CLASS_ARCHIVE}");
    let mut process = node.start(kafka, &membership, &[&option])?;
    until_ok("the first broker's port", Duration::from_secs(60), || {
        if let Some(code) = process.exit_code()? {
            bail!("the first broker exited with code {code}: {}", process.log_tail());
        }
        Ok(node.listens().then_some(()))
    })?;
    process.signal(Signal::Term);
    process.wait(Duration::from_secs(60))?;
    fs::remove_dir_all(&dir)?;
    Ok(())
}
