//! Settings of target topics that follow those of their source topics.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::cluster::Cluster;
use harness::command::run;
use harness::files::LinkFiles;
use harness::journal;
use harness::pair::Pair;
use harness::process::Process;
use harness::record::small;
use harness::{topics, verify, wait};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

/// Promised time until a changed setting is followed.
const FOLLOWED: Duration = Duration::from_secs(10);

/// Link of one carried topic.
struct Link {
    pair: Pair,
    topic: String,
    files: LinkFiles,
    receiver: Process,
    sender: Process,
}

impl Link {
    /// Starts a link that follows so, with a topic that has these settings and is carried.
    fn start(pair: Pair, stem: &str, follow: &str, configs: &[(&str, &str)]) -> Result<Self> {
        let topic = topics::create_unique_with(&pair.source, stem, 1, configs)?;
        let written = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
        let mut files = LinkFiles::new(&topics::unique(stem), &pair.source, &pair.target, &[&topic])?;
        files.receiver.set("[links]", "follow_configs", &format!("{follow:?}"));
        let (receiver, sender) = files.start()?;
        verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
        Ok(Self { pair, topic, files, receiver, sender })
    }

    /// Gives the source topic exactly these settings of its own, and waits until the target topic has these. Returns the
    /// time that it took.
    fn follows(&self, source: &[(&str, &str)], target: &[(&str, &str)]) -> Result<Duration> {
        topics::configure_all(&self.pair.source, &self.topic, source)?;
        let changed = Instant::now();
        self.target_has(target)?;
        let took = changed.elapsed();
        println!("{source:?} was followed after {took:?}");
        ensure!(took <= FOLLOWED, "{source:?} was followed only after {took:?}");
        Ok(took)
    }

    fn target_has(&self, settings: &[(&str, &str)]) -> Result<()> {
        let has = || {
            let found = topics::configs(&self.pair.target, &self.topic)?;
            Ok(settings.iter().all(|(name, value)| found[*name] == *value).then_some(()))
        };
        wait::until_ok(&format!("the target's {settings:?}"), PATIENCE, has)
    }

    /// Waits until the receiver names a setting that is not as at the source.
    fn names(&self, sentence: &str) -> Result<()> {
        let named = format!("{}: {sentence}", self.topic);
        let is_named = |status: &Value| status["links"][0]["unlike_settings"] == serde_json::json!([named]);
        self.receiver.admin.wait_for(&named, PATIENCE, is_named)?;
        let page = run(&["status", &self.receiver.admin.address().to_string()])?;
        page.expect(0, &named)
    }
}

fn own(cluster: &Cluster, topic: &str, name: &str) -> Result<Option<String>> {
    Ok(topics::set_on_topic(cluster, topic)?.remove(name))
}

#[test]
fn safe_follows_what_neither_deletes_nor_refuses() -> Result<()> {
    let start = [("retention.ms", "300000000000"), ("max.message.bytes", "2000000"), ("min.insync.replicas", "1")];
    let mut link = Link::start(Pair::shared()?, "safe", "safe", &start)?;
    let raised = [("retention.ms", "400000000000"), ("max.message.bytes", "3000000")];
    link.follows(&raised, &raised)?;
    // The lower retention is not followed, and does not hold up the other change.
    let lower = [("retention.ms", "200000000000"), ("max.message.bytes", "4000000")];
    link.follows(&lower, &[("retention.ms", "400000000000"), ("max.message.bytes", "4000000")])?;
    link.names("retention.ms stays 400000000000, at the source 200000000000: `safe` does not follow it")?;

    // A value that the source topic does not have any more is inherited again: here the target keeps all then.
    link.follows(&[("max.message.bytes", "4000000")], &[("retention.ms", "-1")])?;
    ensure!(own(&link.pair.target, &link.topic, "retention.ms")?.is_none(), "the target's own value stays");
    // What the operator of the target has set is the operator's.
    topics::configure_all(
        &link.pair.target,
        &link.topic,
        &[("segment.ms", "7777777"), ("max.message.bytes", "4000000")],
    )?;
    link.follows(&[("max.message.bytes", "4500000")], &[("max.message.bytes", "4500000")])?;
    ensure!(own(&link.pair.target, &link.topic, "segment.ms")?.as_deref() == Some("7777777"), "it was changed");
    let durable = own(&link.pair.target, &link.topic, "min.insync.replicas")?;
    ensure!(durable.is_none(), "a setting of durability was followed: {durable:?}");

    // A change while the receiver is down is followed, too.
    link.receiver.kill();
    topics::configure_all(&link.pair.source, &link.topic, &[("max.message.bytes", "5000000")])?;
    link.receiver = link.files.receiver.start()?;
    link.target_has(&[("max.message.bytes", "5000000")])?;
    let metric = format!("causeway_receiver_followed_settings_total{{link={:?}}}", link_name(&link.receiver)?);
    ensure!(link.receiver.admin.metric(&metric)? >= 1.0, "the metric does not count the change");
    drop(link.sender);
    Ok(())
}

fn link_name(receiver: &Process) -> Result<String> {
    let status = receiver.admin.status()?;
    Ok(status["links"][0]["link"].as_str().context("no link")?.to_owned())
}

#[test]
fn all_follows_what_deletes_too() -> Result<()> {
    let link = Link::start(Pair::shared()?, "all", "all", &[("retention.ms", "400000000000")])?;
    let lower =
        [("retention.ms", "200000000000"), ("cleanup.policy", "compact,delete"), ("max.message.bytes", "900000")];
    link.follows(&lower, &lower)?;
    link.follows(&[], &[("retention.ms", "-1"), ("cleanup.policy", "delete")])?;
    let left = topics::set_on_topic(&link.pair.target, &link.topic)?;
    ensure!(left.keys().all(|name| name.starts_with("message.timestamp.")), "the link left {left:?}");
    Ok(())
}

#[test]
fn nothing_follows_by_default() -> Result<()> {
    let link = Link::start(Pair::shared()?, "off", "off", &[("retention.ms", "300000000000")])?;
    topics::configure_all(&link.pair.source, &link.topic, &[("retention.ms", "400000000000")])?;
    wait::through(FOLLOWED + Duration::from_secs(2), || {
        let kept = own(&link.pair.target, &link.topic, "retention.ms")?;
        ensure!(kept.as_deref() == Some("300000000000"), "it was followed: {kept:?}");
        Ok(())
    })
}

#[test]
fn values_that_the_target_refuses_are_replaced_and_named() -> Result<()> {
    // The newest line requires segments of at least 1 MiB.
    let link = Link::start(Pair::start_old_to_new()?, "nearest", "all", &[("segment.bytes", "262144")])?;
    link.target_has(&[("segment.bytes", "1048576")])?;
    link.names("segment.bytes is 1048576, at the source 262144: the nearest that the target accepts")?;
    link.follows(&[("segment.bytes", "2097152")], &[("segment.bytes", "2097152")])?;
    link.follows(&[("segment.bytes", "524288")], &[("segment.bytes", "1048576")])?;
    link.names("segment.bytes is 1048576, at the source 524288: the nearest that the target accepts")
}
