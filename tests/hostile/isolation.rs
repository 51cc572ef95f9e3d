//! One link never stops another, however often its senders dial and ask.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

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

/// Returns the detail of a `PARTITION_HALTED`: lane, epoch, slot, position, reason and detail.
fn halt_detail(message: &Message) -> Result<String> {
    let mut fields = message.fields();
    for _ in 0..4 {
        fields.u()?;
    }
    fields.text()?;
    fields.text()
}
