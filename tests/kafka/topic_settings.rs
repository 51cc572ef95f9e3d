//! Settings of topics that differ at both ends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::command::run;
use harness::files::LinkFiles;
use harness::pair::Pair;
use harness::record::small;
use harness::{journal, topics, verify};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn inherited_settings_that_delete_or_refuse_more_are_named() -> Result<()> {
    let pair = Pair::start(1, 1)?;
    topics::configure_node(&pair.target, &[("log.retention.ms", "86400000"), ("message.max.bytes", "1048588")])?;
    let topic = topics::create_unique(&pair.source, "inherits", 1)?;
    let written = journal::write(&pair.source, &topic, 0, &small(0..10))?.written;
    let link = topics::unique("inherits");
    let files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    let (receiver, mut sender) = files.start()?;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    let compared = |count: u64| move |status: &Value| status["links"][0]["weaker_topics"] == count;
    let status = receiver.admin.wait_for("the settings to be compared", PATIENCE, compared(1))?;
    let expected = "max.message.bytes is 1048588, at the source 10485760; retention.ms is 86400000, at the source -1";
    let named = format!("{topic}: {expected}");
    ensure!(status["links"][0]["weaker_settings"] == serde_json::json!([named]), "{status:#}");
    let trouble = status["links"][0]["trouble"].as_array().context("no trouble")?;
    ensure!(trouble.iter().any(|problem| problem.as_str().is_some_and(|said| said.contains(&named))), "{trouble:?}");
    let metric = format!("causeway_receiver_weaker_topics{{link=\"{link}\"}}");
    ensure!(receiver.admin.metric(&metric)? == 1.0, "the metric does not count the topic");
    let file = files.receiver.write()?.display().to_string();
    run(&["check", &file])?.expect(1, expected)?;

    // The operator sets them, and the next session compares again; a session does so each minute.
    topics::configure_all(&pair.target, &topic, &[("retention.ms", "-1"), ("max.message.bytes", "10485760")])?;
    sender.kill();
    let _sender = files.sender.start()?;
    receiver.admin.wait_for("the settings to be alike", PATIENCE, compared(0))?;
    run(&["check", &file])?.expect(0, "no target topic deletes earlier or accepts less")
}
