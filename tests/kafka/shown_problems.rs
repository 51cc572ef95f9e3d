//! Problems of either end, as the status and the readiness of both ends show them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::command::run_at;
use harness::files::LinkFiles;
use harness::journal;
use harness::pair::Pair;
use harness::record::small;
use harness::{topics, verify};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(90);
/// Time within which one end shows what the other knows.
const SHOWN: Duration = Duration::from_secs(10);

fn has(trouble: &Value, words: &str) -> bool {
    trouble.as_array().into_iter().flatten().filter_map(Value::as_str).any(|sentence| sentence.contains(words))
}

#[test]
fn problems_of_the_target_show_at_the_sender_until_they_pass() -> Result<()> {
    let pair = Pair::start(1, 3)?;
    let link = topics::unique("shown");
    let topic = topics::create_unique(&pair.source, "shown", 2)?;
    // The only lane keeps its state on node 3 alone.
    topics::create_state_on(&pair.target, &link, 1, 3)?;
    let mut files = LinkFiles::new(&link, &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    files.receiver.set("target", "transaction_timeout", "\"10 s\"");
    let mut expected = journal::write(&pair.source, &topic, 0, &small(0..100))?.written;
    let (receiver, sender) = files.start()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    sender.admin.wait_until_ready(SHOWN)?;
    receiver.admin.wait_until_ready(SHOWN)?;

    pair.target.kill(3);
    expected.merge(&journal::write(&pair.source, &topic, 0, &small(100..200))?.written);
    receiver.admin.wait_for("the lane to fail", PATIENCE, |status| has(&status["links"][0]["trouble"], "lane 0"))?;
    let began = Instant::now();
    let status = sender.admin.wait_for("the sender to show it", SHOWN, |status| {
        has(&status["trouble"], "receiver: lane 0: ") && status["limited_by"] == "target"
    })?;
    println!("shown after {:.1?}: {}", began.elapsed(), status["trouble"]);
    run_at(&sender, &["status"])?.expect(0, "see docs/troubleshoot.md#failing-lanes")?;
    let link_label = format!("{{link=\"{link}\"}}");
    ensure!(sender.admin.metric(&format!("causeway_sender_receiver_lanes_failing{link_label}"))? == 1.0);
    sender.admin.wait_until_unready("no lane commits at the receiver: lane 0: ", SHOWN)?;
    receiver.admin.wait_until_unready("no lane commits: lane 0: ", SHOWN)?;

    pair.target.kill_all();
    pair.source.kill_all();
    let began = Instant::now();
    sender.admin.wait_for("the sender to show both clusters", PATIENCE, |status| {
        has(&status["trouble"], "receiver: target cluster: ") && has(&status["trouble"], "source")
    })?;
    println!("both clusters shown after {:.1?}", began.elapsed());
    receiver.admin.wait_until_unready("the target cluster is unreachable: no answer for ", PATIENCE)?;
    println!("receiver: target unreachable after {:.1?}", began.elapsed());
    receiver
        .admin
        .wait_for("the receiver to show the source", SHOWN, |status| has(&status["links"][0]["trouble"], "sender: "))?;
    sender.admin.wait_until_unready("the source cluster is unreachable: no answer for ", PATIENCE)?;
    println!("sender: source unreachable after {:.1?}", began.elapsed());

    pair.source.restart_all()?;
    pair.target.restart_all()?;
    verify::wait_until_delivered(&expected, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&expected, &pair.target, "{topic}")?;
    sender.admin.wait_until_ready(PATIENCE)?;
    receiver.admin.wait_until_ready(PATIENCE)?;
    let is_fine = |status: &Value| status["trouble"].as_array().is_some_and(Vec::is_empty);
    sender.admin.wait_for("no problem at the sender", PATIENCE, |status| {
        is_fine(status) && status["lag_records"] == 0 && status["limited_by"] == "nothing"
    })?;
    receiver
        .admin
        .wait_for("no problem at the receiver", PATIENCE, |status| is_fine(status) && is_fine(&status["links"][0]))?;
    Ok(())
}
