//! Who may send: one sender at a time, the others wait or are told why not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::cluster::Pair;
use harness::files::{LinkFiles, Side};
use harness::journal::Load;
use harness::process::Process;
use harness::{topics, verify};
use kafka::properties::forbidden;
use sender::session::{HandshakeError, Identity, SessionEnd, shake_hands};
use service::tls::{Credentials, End};
use tokio::sync::oneshot;
use transport::endpoint::{Dialer, EndpointSettings};
use wire::close::CloseCode;
use wire::units::Size;

const DELIVERED: Duration = Duration::from_secs(120);
const LEAVES: Duration = Duration::from_secs(15);

/// A killed sender says nothing: its standby waits for 10 s of silence, and a loaded machine may add its part.
const TAKEN_OVER: Duration = Duration::from_secs(15);

/// What a process leaves with when a human must act.
const HALTED: i32 = 3;

fn wait_until_active(sender: &Process) -> Result<()> {
    let open = |status: &serde_json::Value| status["state"] == "active" && status["lanes_open"] == status["lanes"];
    sender.admin.wait_for("the sender to hold the link", DELIVERED, open).map(drop)
}

fn wait_until_behind(sender: &Process, whom: &str) -> Result<()> {
    let behind = |status: &serde_json::Value| status["state"]["standby"]["behind"] == whom;
    sender.admin.wait_for("the sender to stand by", DELIVERED, behind).map(drop)
}

/// Starts a sender that is refused: the exit code and one sentence say so.
fn ensure_refused(side: &Side, sentence: &str) -> Result<()> {
    let mut process = side.start()?;
    let code = process.wait(DELIVERED)?;
    ensure!(code == HALTED, "exit code {code}");
    let log = process.log()?;
    let last = log.lines().last().context("an empty log")?;
    ensure!(
        last.starts_with("causeway: halted, a human must act: ") && last.contains(sentence),
        "the last line is {last:?}"
    );
    Ok(())
}

#[test]
fn a_standby_takes_over_from_a_killed_sender_and_a_process_of_the_same_name_replaces_it() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "standby", 8)?;
    let files = LinkFiles::new("standby", &pair.source, &pair.target, &[&topic])?;
    let receiver = files.receiver.start()?;
    let mut first = files.sender.start()?;
    wait_until_active(&first)?;
    let second = files.another_sender("second")?.start()?;
    wait_until_behind(&second, "sender")?;
    ensure!(second.admin.get("/ready").is_ok(), "a standby is as ready as it can be");
    ensure!(receiver.admin.status()?["links"][0]["standbys"] == 1);

    let load = Load::new(&topic, 8).rate(500).seed(1).start(&pair.source)?;
    let killed = Instant::now();
    first.kill();
    wait_until_active(&second)?;
    let took = killed.elapsed();
    println!("taken over within {took:?}");
    ensure!(took <= TAKEN_OVER, "taken over only after {took:?}");

    // The same name under another process id: a restart, as far as anybody can tell.
    let mut restarted = files.another_sender("second-again")?;
    restarted.set("", "instance", "\"second\"");
    let third = restarted.start()?;
    wait_until_active(&third)?;
    wait_until_behind(&second, "second")?;
    let journal = load.stop()?.written;
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal, &pair.target, "{topic}")?;
    ensure!(third.admin.status()?["state"] == "active", "it is replaced no further");
    Ok(())
}

/// What a sender would say, of process `process`.
fn identity(side: &Side, cluster_id: &str, process: u128) -> Result<(Dialer, Vec<service::config::Address>, Identity)> {
    let config = service::config::load::<sender::config::Config>(&side.write()?, forbidden)
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let credentials = Credentials::load(&config.tls, End::Client, service::tls::now())?;
    let settings = EndpointSettings::new(Size::from_bytes(64 << 20), 0);
    let identity = Identity {
        link: config.link.to_string(),
        cluster_id: cluster_id.to_owned(),
        instance: config.instance.to_string(),
        process,
        lanes: config.lanes,
        filter_hash: 1,
        rate: 0,
        classes: vec![],
    };
    Ok((Dialer::new(&credentials, settings)?, config.wan.receiver, identity))
}

#[test]
fn two_live_processes_of_one_name_are_contested_and_the_one_that_comes_back_stays_out() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "contested", 1)?;
    let files = LinkFiles::new("contested", &pair.source, &pair.target, &[&topic])?;
    let receiver = files.receiver.start()?;
    receiver.admin.wait_until_ready(DELIVERED)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Held until the end, each: a session that ends would not be contested but gone.
    let mut held = Vec::new();
    let mut attempt = |process: u128| -> Result<Result<(), SessionEnd>> {
        let (dialer, addresses, identity) = identity(&files.sender, pair.source.id(), process)?;
        let (done, outcome) = oneshot::channel();
        held.push(runtime.spawn(async move {
            let dialled = dialer.dial(&addresses, None).await;
            let Ok(dialled) = dialled else { return };
            match shake_hands(&dialled.connection, &identity, false, |_| ()).await {
                Ok(session) => {
                    let _ = done.send(Ok(()));
                    dialled.connection.closed().await;
                    drop(session);
                }
                Err(HandshakeError::Ended(end)) => drop(done.send(Err(end))),
                Err(HandshakeError::Unexpected(_)) => {}
            }
        }));
        runtime.block_on(outcome).context("no outcome")
    };
    ensure!(attempt(1)?.is_ok(), "the first holds the link");
    ensure!(attempt(2)?.is_ok(), "a restart replaces it");
    let Err(SessionEnd::Closed { code, detail }) = attempt(1)? else { anyhow::bail!("the first came back") };
    ensure!(code == CloseCode::Contested && detail.contains("give each sender its own `instance`"), "{code}: {detail}");
    let held_by = receiver.admin.status()?["links"][0]["sender"].clone();
    ensure!(held_by == "sender", "{held_by}");
    drop(runtime);
    Ok(())
}

#[test]
fn a_standby_with_another_topic_filter_is_refused() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "filter", 1)?;
    let files = LinkFiles::new("filter", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = (files.receiver.start()?, files.sender.start()?);
    wait_until_active(&sender)?;
    let mut other = files.another_sender("other")?;
    other.set("source", "topics", "[\"something.*\"]");
    let other = other.start()?;
    let refused = |status: &serde_json::Value| {
        let why = status["last_end"].as_str().unwrap_or_default();
        why.contains("the sender \"sender\", which holds the link, has another topic filter")
    };
    let status = other.admin.wait_for("the sender to be refused", DELIVERED, refused)?;
    ensure!(status["closes"]["STANDBY_FILTER"] == 1, "{status:#}");
    ensure!(sender.admin.status()?["state"] == "active");
    Ok(())
}

#[test]
fn a_link_into_its_own_source_an_unknown_one_and_a_stranger_are_refused_in_one_sentence() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "refused", 1)?;
    let itself = LinkFiles::new("itself", &pair.source, &pair.source, &[&topic])?;
    let _receiver = itself.receiver.start()?;
    ensure_refused(&itself.sender, "source and target are the same cluster")?;

    let mut files = LinkFiles::new("strange", &pair.source, &pair.target, &[&topic])?;
    files.receiver.set("[links]", "senders", "[\"somebody.else\"]");
    let _other = files.receiver.start()?;
    ensure_refused(&files.sender, "certificate does not allow it this link")?;
    files.sender.set("", "link", "\"unheard-of\"");
    ensure_refused(&files.sender, "the receiver has no such link")?;
    ensure!(topics::partitions(&pair.source, "__causeway.itself.state")? == 0, "a refusal leaves nothing behind");
    ensure!(topics::partitions(&pair.target, "__causeway.strange.state")? == 0, "a refusal leaves nothing behind");
    Ok(())
}

#[test]
fn another_number_of_lanes_is_refused_and_changes_nothing() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "lanes", 6)?;
    let mut files = LinkFiles::new("lanes", &pair.source, &pair.target, &[&topic])?;
    let (receiver, mut sender) = (files.receiver.start()?, files.sender.start()?);
    let mut journal = Load::new(&topic, 6).limit(1_000).seed(1).start(&pair.source)?.finish()?.written;
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    ensure!(sender.terminate(LEAVES)? == 0);

    files.sender.set("lanes", "count", "4");
    ensure_refused(&files.sender, "the sender's `lanes.count` is 4: it is fixed for the life of a link")?;
    ensure!(topics::partitions(&pair.target, "__causeway.lanes.state")? == 8);

    files.sender.set("lanes", "count", "8");
    let sender = files.sender.start()?;
    wait_until_active(&sender)?;
    journal.merge(&Load::new(&topic, 6).limit(1_000).seed(2).start(&pair.source)?.finish()?.written);
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal, &pair.target, "{topic}")?;
    drop(receiver);
    Ok(())
}
