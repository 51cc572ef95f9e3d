//! Senders of one link: one has the session, the others stand by or are refused.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::files::{LinkFiles, Side};
use harness::journal::Load;
use harness::pair::Pair;
use harness::process::{HALTED, Process};
use harness::{topics, verify};
use kafka::properties::forbidden;
use sender::{Identity, SessionEnd, shake_hands};
use service::tls::{Credentials, End};
use tokio::sync::oneshot;
use transport::endpoint::{Dialer, EndpointSettings};
use wire::close::{Close, CloseCode};
use wire::units::Size;

const DELIVERED: Duration = Duration::from_secs(120);
const LEAVES: Duration = Duration::from_secs(15);

/// Time until a standby replaces a killed sender: 10 s of silence, and the time that a loaded machine may add.
const TAKEN_OVER: Duration = Duration::from_secs(15);

fn wait_until_active(sender: &Process) -> Result<()> {
    let open = |status: &serde_json::Value| status["state"] == "active" && status["lanes_open"] == status["lanes"];
    sender.admin.wait_for("the sender to be active", DELIVERED, open).map(drop)
}

fn wait_until_behind(sender: &Process, whom: &str) -> Result<()> {
    let behind = |status: &serde_json::Value| status["state"]["standby"]["behind"] == whom;
    sender.admin.wait_for("the sender to stand by", DELIVERED, behind).map(drop)
}

/// Starts a sender that must be refused, with this sentence in the last line of its log.
fn ensure_refused(side: &Side, sentence: &str) -> Result<()> {
    let mut process = side.start()?;
    let code = process.wait(DELIVERED)?;
    ensure!(code == HALTED, "exit code {code}");
    let log = process.log()?;
    let last = log.lines().last().context("the log is empty")?;
    ensure!(
        last.starts_with("causeway: halted, a human must act: ") && last.contains(sentence),
        "the last line is {last:?}"
    );
    Ok(())
}

#[test]
fn standby_takes_over_and_a_restart_replaces_it() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "standby", 8)?;
    let files = LinkFiles::new("standby", &pair.source, &pair.target, &[&topic])?;
    let receiver = files.receiver.start()?;
    let mut first = files.sender.start()?;
    wait_until_active(&first)?;
    let second = files.another_sender("second")?.start()?;
    wait_until_behind(&second, "sender")?;
    ensure!(second.admin.get("/ready").is_ok(), "a standby is not ready");
    ensure!(receiver.admin.status()?["links"][0]["standbys"] == 1, "the receiver shows another number of standbys");

    let load = Load::new(&topic, 8).rate(500).seed(1).start(&pair.source)?;
    let killed = Instant::now();
    first.kill();
    wait_until_active(&second)?;
    let took = killed.elapsed();
    println!("taken over after {took:?}");
    ensure!(took <= TAKEN_OVER, "taken over only after {took:?}");

    // The same instance name with another process id counts as a restart.
    let mut restarted = files.another_sender("second-again")?;
    restarted.set("", "instance", "\"second\"");
    let third = restarted.start()?;
    wait_until_active(&third)?;
    wait_until_behind(&second, "second")?;
    let journal = load.stop()?.written;
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal, &pair.target, "{topic}")?;
    ensure!(third.admin.status()?["state"] == "active", "the third sender was replaced");
    Ok(())
}

/// A sender that the test plays, up to its handshake.
struct Played {
    dialer: Dialer,
    addresses: Vec<service::config::Address>,
    identity: Identity,
}

/// Makes a sender with this configuration and process id.
fn play(side: &Side, cluster_id: &str, process: u128) -> Result<Played> {
    let config = service::config::load::<sender::config::Config>(&side.write()?, forbidden)
        .map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let credentials = Credentials::load(&config.process.tls, End::Client, service::tls::now())?;
    let settings = EndpointSettings::new(Size::from_bytes(64 << 20), 0);
    let identity = Identity {
        link: config.link.to_string(),
        cluster_id: cluster_id.to_owned(),
        instance: config.instance.to_string(),
        process,
        lanes: config.lanes,
        filter_hash: 1,
        rate: 0,
        probes: false,
        classes: vec![],
    };
    Ok(Played { dialer: Dialer::new(&credentials, settings)?, addresses: config.wan.receiver, identity })
}

#[test]
fn second_live_process_of_one_name_is_contested() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "contested", 1)?;
    let files = LinkFiles::new("contested", &pair.source, &pair.target, &[&topic])?;
    let receiver = files.receiver.start()?;
    receiver.admin.wait_until_ready(DELIVERED)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // The sessions stay open until the end: the name of one that ended would be free.
    let mut sessions = Vec::new();
    let mut attempt = |process: u128| -> Result<Result<(), SessionEnd>> {
        let Played { dialer, addresses, identity } = play(&files.sender, pair.source.id(), process)?;
        let (done, outcome) = oneshot::channel();
        sessions.push(runtime.spawn(async move {
            let dialled = dialer.dial(&addresses, None).await;
            let Ok(dialled) = dialled else { return };
            match shake_hands(&dialled.connection, &identity, false, |_| ()).await {
                Ok(session) => {
                    let _ = done.send(Ok(()));
                    dialled.connection.closed().await;
                    drop(session);
                }
                Err(end) => drop(done.send(Err(end))),
            }
        }));
        runtime.block_on(outcome).context("no outcome")
    };
    ensure!(attempt(1)?.is_ok(), "the first process gets no session");
    ensure!(attempt(2)?.is_ok(), "a restarted process gets no session");
    let Err(SessionEnd::Closed(Close { code, detail })) = attempt(1)? else {
        anyhow::bail!("the first process got another session")
    };
    ensure!(code == CloseCode::Contested && detail.contains("give each sender its own `instance`"), "{code}: {detail}");
    let sender = receiver.admin.status()?["links"][0]["sender"].clone();
    ensure!(sender == "sender", "{sender}");
    drop(runtime);
    Ok(())
}

#[test]
fn standby_with_another_topic_filter_is_refused() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "filter", 1)?;
    let files = LinkFiles::new("filter", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, sender) = files.start()?;
    wait_until_active(&sender)?;
    let mut other = files.another_sender("other")?;
    other.set("source", "topics", "[\"something.*\"]");
    let other = other.start()?;
    let refused = |status: &serde_json::Value| {
        let why = status["last_end"].as_str().unwrap_or_default();
        why.contains("the sender \"sender\", which has the link, has another topic filter")
    };
    let status = other.admin.wait_for("the sender to be refused", DELIVERED, refused)?;
    ensure!(status["closes"]["STANDBY_FILTER"] == 1, "{status:#}");
    ensure!(sender.admin.status()?["state"] == "active", "the first sender is not active");
    Ok(())
}

#[test]
fn link_into_its_own_source_is_refused() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "itself", 1)?;
    let files = LinkFiles::new("itself", &pair.source, &pair.source, &[&topic])?;
    let _receiver = files.receiver.start()?;
    ensure_refused(&files.sender, "source and target are the same cluster")?;
    ensure!(topics::partitions(&pair.source, "__causeway.itself.state")? == 0, "a refusal created the state topic");
    Ok(())
}

#[test]
fn unauthorised_sender_and_unknown_link_are_refused() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "refused", 1)?;
    let mut files = LinkFiles::new("strange", &pair.source, &pair.target, &[&topic])?;
    files.receiver.set("[links]", "senders", "[\"another.sender\"]");
    let _receiver = files.receiver.start()?;
    ensure_refused(&files.sender, "certificate is not authorised for this link")?;
    files.sender.set("", "link", "\"unheard-of\"");
    ensure_refused(&files.sender, "the receiver has no such link")?;
    ensure!(topics::partitions(&pair.target, "__causeway.strange.state")? == 0, "a refusal created the state topic");
    Ok(())
}

#[test]
fn another_number_of_lanes_is_refused_and_changes_nothing() -> Result<()> {
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "lanes", 6)?;
    let mut files = LinkFiles::new("lanes", &pair.source, &pair.target, &[&topic])?;
    let (_receiver, mut sender) = files.start()?;
    let mut journal = Load::new(&topic, 6).limit(1_000).seed(1).start(&pair.source)?.finish()?.written;
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    ensure!(sender.terminate(LEAVES)? == 0, "another exit code");

    files.sender.set("lanes", "count", "4");
    ensure_refused(&files.sender, "the sender's `lanes.count` is 4: it is fixed for the life of a link")?;
    ensure!(topics::partitions(&pair.target, "__causeway.lanes.state")? == 8, "the refusal changed the state topic");

    files.sender.set("lanes", "count", "8");
    let sender = files.sender.start()?;
    wait_until_active(&sender)?;
    journal.merge(&Load::new(&topic, 6).limit(1_000).seed(2).start(&pair.source)?.finish()?.written);
    verify::wait_until_delivered(&journal, &pair.target, "{topic}", DELIVERED)?;
    verify::ensure_exactly_once(&journal, &pair.target, "{topic}").map(drop)
}
