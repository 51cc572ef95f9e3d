//! MirrorMaker 2 in dedicated mode, as its documentation has it, with offsets of groups as often as it can.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use harness::guard::Guarded;
use harness::pair::Pair;
use harness::scratch::Scratch;

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>causeway</groupId><artifactId>mirror-maker-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>connect-mirror</artifactId><version>4.1.1</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>"#;

/// A running MirrorMaker 2.
pub(crate) struct MirrorMaker {
    _process: Guarded,
    _scratch: Scratch,
}

impl MirrorMaker {
    /// Fetches its jars with Maven and starts it. It carries `topic` as `source.TOPIC`, and the groups that match.
    pub(crate) fn start(pair: &Pair, topic: &str, groups: &str) -> Result<Self> {
        let scratch = Scratch::new("mirror-maker")?;
        fs::write(scratch.path().join("pom.xml"), POM)?;
        let copy = ["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=jars"];
        let fetched = Command::new("mvn")
            .args(copy)
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        ensure!(fetched.success(), "Maven cannot fetch MirrorMaker 2: {fetched}");
        let properties = scratch.path().join("mm2.properties");
        fs::write(&properties, text(pair, topic, groups))?;
        let mut java = Command::new("java");
        java.current_dir(scratch.path()).args(["-Xmx1g", "-cp", "jars/*"]);
        java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "org.apache.kafka.connect.mirror.MirrorMaker"]);
        let process = Guarded::spawn(java.arg(&properties), &scratch.path().join("mm2.log"))?;
        Ok(Self { _process: process, _scratch: scratch })
    }
}

/// Its configuration. It reads `read_committed`, as Causeway does.
fn text(pair: &Pair, topic: &str, groups: &str) -> String {
    let factors = ["", "checkpoints.topic.", "heartbeats.topic.", "offset-syncs.topic."];
    let storages = ["offset.storage.", "status.storage.", "config.storage."];
    let factors = factors.iter().chain(&storages).map(|name| format!("{name}replication.factor = 1\n"));
    let intervals = ["emit.checkpoints", "sync.group.offsets", "refresh.groups"];
    let intervals = intervals.iter().map(|name| format!("source->target.{name}.interval.seconds = 1\n"));
    format!(
        "clusters = source, target\n\
         source.bootstrap.servers = {}\n\
         target.bootstrap.servers = {}\n\
         source->target.enabled = true\n\
         target->source.enabled = false\n\
         source->target.topics = {topic}\n\
         source->target.groups = {groups}\n\
         source->target.sync.group.offsets.enabled = true\n\
         source.consumer.isolation.level = read_committed\n\
         {}{}",
        pair.source.bootstrap(),
        pair.target.bootstrap(),
        factors.collect::<String>(),
        intervals.collect::<String>()
    )
}
