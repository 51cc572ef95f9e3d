//! One link never stops another, however often its senders dial and ask.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::attacker::Peer;
use crate::attacker::frames::Frame;
use crate::attacker::messages::{Message, kind};
use crate::stage::Stage;

/// Sessions that ask for a class and leave: more than tokio's 512 threads for blocking work.
const HELLOS: usize = 540;
/// Threads of a receiver with two links: at most 6 of each for blocking requests.
const THREADS: usize = 80;
/// Time in which a sender that was restarted has its session.
const SESSION_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn dials_and_opens_of_one_link_stop_no_other() -> Result<()> {
    let mut stage = Stage::start("isolation")?;
    let attacker = &stage.attacker;
    let identities = (0..3).map(|_| attacker.own_identity()).collect::<Result<Vec<_>>>()?;
    let (opens, cost) = stage.during("2,000 opens in one session", async {
        let mut session = attacker.session(&identities[0]).await?;
        let open = Message::new(kind::OPEN_LANE).u(0).bytes();
        session.control.send.write_all(&open.repeat(2_000)).await?;
        let answer = session.control.next_of(kind::LANE_OPEN).await?;
        let mut fields = answer.fields();
        fields.u()?;
        Ok(fields.u()? - u128::from(session.epoch))
    })?;
    ensure!(opens <= 5, "the lane was opened {opens} times");
    cost.ensure_calm()?;
    let ((), cost) = stage.during("540 hellos with a class, by three certificates", async {
        let mut dials = Vec::new();
        for number in 0..HELLOS {
            let peer = attacker.dial(Some(&identities[number % 3])).await?;
            let mut control = peer.control().await?;
            let mut hello = attacker.hello();
            hello.process = 1_000 + number as u128;
            hello.instance = format!("dials-{number}");
            hello.classes = vec![("urgent".to_owned(), 1, false)];
            control.send(&hello.message()).await?;
            dials.push((peer, control));
            if dials.len() == 64 {
                dials.clear();
            }
        }
        Ok(())
    })?;
    ensure!(cost.threads <= THREADS, "{cost}");
    cost.ensure_calm()?;
    stage.sender.kill();
    let began = Instant::now();
    stage.sender = stage.files.sender.start()?;
    stage.sender.admin.wait_for("a session", SESSION_WITHIN, |status| status["session_seconds"].is_number())?;
    println!("the healthy sender had its session {:?} after its start", began.elapsed());
    stage.finish()
}

#[test]
fn topics_and_partitions_beyond_a_links_limits_halt() -> Result<()> {
    let stage = Stage::start_with("limits", |files| {
        files.receiver.set("[links]#2", "topics_max", "3").set("[links]#2", "partitions_max", "10");
    })?;
    let attacker = &stage.attacker;
    let topic = |name: &str| format!("{}.{name}", attacker.link);
    let ((), cost) = stage.during("offers beyond the limits", async {
        let mut session = attacker.session(&attacker.own_identity()?).await?;
        for (slot, name, partitions, expected) in [
            (0, "a", 1, None),
            (1, "b", 2_000_000, Some("carry 10 partitions, and with the 2000000 of")),
            (2, "b", 9, None),
            (3, "c", 1, Some("raise `links.partitions_max`")),
        ] {
            let answer = session.offer_of(slot, &topic(name), partitions).await?;
            let halted = (answer.kind == kind::PARTITION_HALTED).then(|| halt_detail(&answer)).transpose()?;
            let is_right = match expected {
                Some(words) => halted.as_ref().is_some_and(|detail| detail.contains(words)),
                None => answer.kind == kind::PARTITION_OPEN,
            };
            ensure!(is_right, "{name} with {partitions} partitions: {halted:?}, {answer:?}");
        }
        Ok(())
    })?;
    cost.ensure_calm()?;
    let made = |name: &str| harness::topics::partitions(&stage.pair.target, &topic(name));
    let made = [made("a")?, made("b")?, made("c")?];
    ensure!(made == [1, 9, 0], "partitions of a, b and c: {made:?}");
    stage.finish()
}

/// Bandwidth of the attacker's link in bits per second, and the part that may be added: headers, and 5 % that QUIC allows.
const LINK_RATE: u64 = 20_000_000;
const RATE_TOLERANCE: f64 = 1.1;
/// Time of the attack, after what a new channel may send immediately.
const FLOOD_SETTLES: Duration = Duration::from_secs(2);
const FLOOD: Duration = Duration::from_secs(8);

/// Returns the IP bytes of a connection that have arrived: on a busy machine some packets are lost, and sent again.
fn arrived(peer: &Peer) -> u64 {
    let stats = peer.connection.stats();
    stats.udp_tx.bytes + 28 * stats.udp_tx.datagrams - stats.path.lost_bytes
}

#[test]
fn a_flood_stays_within_the_rate_of_its_link() -> Result<()> {
    let stage = Stage::start_with("link-rate", |files| {
        files.receiver.set("[links]#2", "rate", &format!("\"{} Mbit/s\"", LINK_RATE / 1_000_000));
    })?;
    let attacker = &stage.attacker;
    let identity = attacker.own_identity()?;
    let (rate, cost) = stage.during("frames at full speed", async {
        let session = attacker.session(&identity).await?;
        // An older epoch: the receiver drops them, and no credit counts them.
        let frame = Frame { epoch: session.epoch - 1, ..Frame::new(0, 0, 0, &[7; 100_000]) }.bytes();
        let peer = &session.peer;
        let mut streams = JoinSet::new();
        for _ in 0..64 {
            let connection = peer.connection.clone();
            let frame = frame.clone();
            streams.spawn(async move {
                while let Ok(mut stream) = connection.open_uni().await {
                    if stream.write_all(&frame).await.is_err() {
                        return;
                    }
                    let _ = stream.finish();
                }
            });
        }
        let measure = async {
            tokio::time::sleep(FLOOD_SETTLES).await;
            let before = arrived(peer);
            let began = Instant::now();
            tokio::time::sleep(FLOOD).await;
            (arrived(peer) - before) as f64 * 8.0 / began.elapsed().as_secs_f64()
        };
        tokio::select! {
            Some(_) = streams.join_next() => Err(anyhow!("the receiver ended the session: {:?}", peer.connection.close_reason())),
            rate = measure => Ok(rate),
        }
    })?;
    println!("{:.2} Mbit/s", rate / 1e6);
    ensure!(rate <= LINK_RATE as f64 * RATE_TOLERANCE, "{:.2} Mbit/s", rate / 1e6);
    ensure!(rate >= LINK_RATE as f64 * 0.7, "it did not flood: {:.2} Mbit/s", rate / 1e6);
    cost.ensure_calm()?;
    stage.finish()
}

/// Time within which the status tells of a lane that hangs: a reading of its state takes 10 s, and is tried again.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
/// Dials of one link while its lane waits: as many as tokio has threads for blocking work.
const DIALS: usize = 512;

/// A transaction that another process leaves open in a link's state makes its lane wait for the target. Nothing is hostile
/// here: a sender that gets no answer dials again.
#[test]
fn dials_to_a_lane_that_hangs_cost_other_links_nothing() -> Result<()> {
    let stage = Stage::start("hanging-lane")?;
    let attacker = &stage.attacker;
    let identities = (0..3).map(|_| attacker.own_identity()).collect::<Result<Vec<_>>>()?;
    let ((), cost) = stage.during("512 dials to a lane whose target hangs", async {
        // The state topic exists after this.
        drop(attacker.session(&identities[0]).await?);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", stage.pair.target.bootstrap());
        config.set("transactional.id", harness::topics::unique("hangs"));
        let hanging: BaseProducer = config.create()?;
        hanging.init_transactions(SESSION_WITHIN)?;
        hanging.begin_transaction()?;
        let state = format!("__causeway.{}.state", attacker.link);
        hanging.send(BaseRecord::to(&state).partition(0).key("k").payload("v")).map_err(|(error, _)| error)?;
        hanging.flush(SESSION_WITHIN)?;
        let mut dials = Vec::new();
        for number in 0..DIALS {
            let peer = attacker.dial(Some(&identities[number % 3])).await?;
            let mut control = peer.control().await?;
            let mut hello = attacker.hello();
            hello.process = 2_000 + number as u128;
            control.send(&hello.message()).await?;
            control.send(&Message::new(kind::OPEN_LANE).u(0)).await?;
            dials.push((peer, control));
            if dials.len() > 64 {
                dials.clear();
            }
        }
        let Some((last, mut control)) = dials.pop() else { return Err(anyhow!("no dial is left")) };
        let open = tokio::time::timeout(Duration::from_secs(2), control.next_of(kind::LANE_OPEN)).await;
        ensure!(open.is_err(), "the lane does not hang: {open:?}");
        let says_so = |status: &Value| {
            let mut links = status["links"].as_array().into_iter().flatten();
            links.any(|one| one["link"] == attacker.link.as_str() && one["trouble"].to_string().contains("lane 0: "))
        };
        stage.receiver.admin.wait_for("the lane's trouble", TOLD_WITHIN, says_so)?;
        drop((last, control, dials));
        hanging.abort_transaction(SESSION_WITHIN)?;
        let began = Instant::now();
        tokio::time::timeout(SESSION_WITHIN, attacker.session(&identities[0])).await??;
        println!("the lane was open {:?} after its target answered", began.elapsed());
        Ok(())
    })?;
    ensure!(cost.threads <= THREADS, "{cost}");
    cost.ensure_calm()?;
    stage.finish()
}

/// Returns the detail of a `PARTITION_HALTED`: lane, epoch, slot, position, reason and detail.
fn halt_detail(message: &Message) -> Result<String> {
    let mut fields = message.fields();
    for _ in 0..4 {
        fields.u()?;
    }
    fields.text()?;
    fields.text()
}
