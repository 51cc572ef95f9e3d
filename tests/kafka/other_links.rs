//! State topics of other links at the source that cannot be read. Any topic could be theirs, so that those which the link
//! has not carried wait; all others continue, also after a restart.

use std::time::Duration;

use anyhow::{Result, ensure};
use harness::files::LinkFiles;
use harness::guard::Signal;
use harness::pair::Pair;
use harness::process::Process;
use harness::raw::{self, RawRecord};
use harness::record::{Contents, small};
use harness::{halts, journal, topics, verify};

const PATIENCE: Duration = Duration::from_secs(60);
/// Time that a clean shutdown may take.
const LEAVES: Duration = Duration::from_secs(15);
/// Setting of state topics.
const COMPACTED: [(&str, &str); 1] = [("cleanup.policy", "compact")];

/// A link that carries every topic whose name begins with `orders`.
fn orders(pair: &Pair, name: &str) -> Result<LinkFiles> {
    let mut files = LinkFiles::new(name, &pair.source, &pair.target, &["orders.*"])?;
    files.sender.set("lanes", "count", "2");
    Ok(files)
}

fn write(pair: &Pair, topic: &str, written: &mut Contents, numbers: std::ops::Range<i64>) -> Result<()> {
    written.merge(&journal::write(&pair.source, topic, 0, &small(numbers))?.written);
    Ok(())
}

fn wait_until_named(sender: &Process, words: &[&str]) -> Result<()> {
    let is_named = |sentence: &str| words.iter().all(|word| sentence.contains(word));
    let what = format!("a sentence with {words:?}");
    sender.admin.wait_for(&what, PATIENCE, |status| {
        status["trouble"].as_array().into_iter().flatten().filter_map(|one| one.as_str()).any(is_named)
    })?;
    Ok(())
}

fn arrive(pair: &Pair, written: &Contents) -> Result<()> {
    verify::wait_until_delivered(written, &pair.target, "{topic}", PATIENCE)
}

#[test]
fn newer_state_of_another_link_holds_up_only_new_topics() -> Result<()> {
    let pair = Pair::start(1, 1)?;
    let mut files = orders(&pair, "newer-state")?;
    let mut written = Contents::default();
    topics::create(&pair.source, "orders.known", 1, &[])?;
    write(&pair, "orders.known", &mut written, 0..10)?;
    let (_receiver, mut sender) = files.start()?;
    arrive(&pair, &written)?;

    topics::create(&pair.source, "__causeway.left.state", 2, &COMPACTED)?;
    let entry =
        RawRecord { timestamp: journal::millis_now(), key: Some(vec![2, 16]), value: Some(vec![2]), headers: vec![] };
    raw::append(&pair.source, "__causeway.left.state", 1, &[entry])?;
    let sentence = ["__causeway.left.state/1 at offset 0", "format 2", "upgrade this sender", "source.ignore_links"];
    wait_until_named(&sender, &sentence)?;
    topics::create(&pair.source, "orders.new", 1, &[])?;
    let mut late = Contents::default();
    write(&pair, "orders.new", &mut late, 0..10)?;
    halts::wait_for(&sender, "orders.new", 0, "origin-unknown")?;
    write(&pair, "orders.known", &mut written, 10..20)?;
    arrive(&pair, &written)?;

    ensure!(sender.terminate(LEAVES)? == 0, "the sender exits with another code");
    write(&pair, "orders.known", &mut written, 20..30)?;
    let mut sender = files.sender.start()?;
    arrive(&pair, &written)?;
    wait_until_named(&sender, &sentence)?;
    halts::wait_for(&sender, "orders.new", 0, "origin-unknown")?;
    ensure!(topics::partitions(&pair.target, "orders.new")? == 0, "the target has the topic whose origin is unknown");

    files.sender.set("source", "ignore_links", "[\"left\"]").write()?;
    sender.signal(Signal::Hup);
    written.merge(&late);
    arrive(&pair, &written)?;
    let is_well = |status: &serde_json::Value| status["halted"] == serde_json::json!([]) && status["lag_records"] == 0;
    sender.admin.wait_for("no halt and no lag", PATIENCE, is_well)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}

#[test]
fn offline_state_of_another_link_holds_up_only_new_topics() -> Result<()> {
    let pair = Pair::start(3, 1)?;
    let files = orders(&pair, "offline-state")?;
    let mut written = Contents::default();
    topics::create(&pair.source, "orders.known", 1, &[])?;
    topics::create_on(&pair.source, "__causeway.left.state", 2, 3)?;
    write(&pair, "orders.known", &mut written, 0..10)?;
    let (_receiver, mut sender) = files.start()?;
    arrive(&pair, &written)?;
    ensure!(sender.terminate(LEAVES)? == 0, "the sender exits with another code");

    pair.source.kill(3);
    write(&pair, "orders.known", &mut written, 10..20)?;
    topics::create(&pair.source, "orders.new", 1, &[])?;
    let mut late = Contents::default();
    write(&pair, "orders.new", &mut late, 0..10)?;
    let sender = files.sender.start()?;
    arrive(&pair, &written)?;
    wait_until_named(&sender, &["__causeway.left.state/0", "has no leader", "start the broker that leads it"])?;
    halts::wait_for(&sender, "orders.new", 0, "origin-unknown")?;

    pair.source.restart(3)?;
    written.merge(&late);
    arrive(&pair, &written)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}").map(drop)
}
