//! Bytes that wait: a receiver holds no more than its `memory`, before a session and in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::admin::Admin;

use crate::attacker::gaps::Lossy;
use crate::attacker::messages::{Fields, Message, kind};
use crate::attacker::tls::Identity;
use crate::attacker::{Attacker, ControlStream, Peer};
use crate::stage::{Cost, Stage};

const MIB: u64 = 1 << 20;
/// What the receiver may hold of the attacker's link: 5/4 of its credit, which is half of half of 128 MiB, and of other
/// links' and the attacker's channels a little.
const LINK_BYTES: u64 = 40 * MIB;
const SLACK_BYTES: u64 = 16 * MIB;
/// `memory` of the receiver, and 64 MiB.
const PEAK_BYTES: u64 = (128 + 64) * MIB;
/// Time in which a write that the receiver does not stop would be done.
const BLOCKED: Duration = Duration::from_millis(500);
/// Streams and bytes that unread connections offer.
const UNREAD: usize = 8 << 20;

fn ensure_within(cost: &Cost, growth: u64) -> Result<()> {
    ensure!(cost.growth() <= growth && cost.resident_peak <= PEAK_BYTES, "{cost}");
    Ok(())
}

/// Writes frames and more on the control stream, as much as the receiver takes. Returns the bytes that it took.
async fn push_unread(peer: &Peer, control: &mut ControlStream) -> usize {
    let frame = tokio::time::timeout(BLOCKED, peer.send_frame(&vec![7; UNREAD])).await;
    let mut taken = usize::from(frame.is_ok()) * UNREAD;
    let piece = [0; 1024];
    while taken < UNREAD {
        match tokio::time::timeout(BLOCKED, control.send.write(&piece)).await {
            Ok(Ok(written)) => taken += written,
            _ => break,
        }
    }
    taken
}

#[test]
fn bytes_before_a_session_are_few() -> Result<()> {
    let stage = Stage::start("unread")?;
    let attacker = &stage.attacker;
    let identity = attacker.own_identity()?;
    let (taken, cost) = stage.during("60 connections without a hello", async {
        let mut connections = tokio::task::JoinSet::new();
        let mut open = Vec::new();
        for _ in 0..60 {
            let peer = attacker.dial(Some(&identity)).await?;
            let mut control = peer.control().await?;
            // A first message of 32 KiB, of which the last byte never comes.
            control.send.write_all(&(32u32 << 10).to_le_bytes()).await?;
            control.send.write_all(&vec![1; (32 << 10) - 1]).await?;
            open.push((peer, control));
        }
        for (peer, control) in open {
            connections.spawn(async move {
                let frame = tokio::time::timeout(BLOCKED, peer.send_frame(&[7; 100])).await;
                (frame.is_ok(), peer, control)
            });
        }
        let mut sent = 0;
        while let Some(done) = connections.join_next().await {
            sent += usize::from(done?.0);
        }
        Ok(sent)
    })?;
    ensure!(taken == 0, "{taken} connections could open streams for frames");
    ensure_within(&cost, SLACK_BYTES)?;
    stage.finish()
}

#[test]
fn sessions_that_stand_by_hold_next_to_nothing() -> Result<()> {
    let stage = Stage::start("standby")?;
    let attacker = &stage.attacker;
    let identity = attacker.own_identity()?;
    let (taken, cost) = stage.during("8 sessions that stand by and send", async {
        let _active = attacker.session(&identity).await?;
        let mut waiting = Vec::new();
        let mut taken = Vec::new();
        for number in 0..9 {
            let mut hello = attacker.hello();
            hello.instance = format!("standby-{number}");
            hello.process = 100 + number;
            let peer = attacker.dial(Some(&identity)).await?;
            let mut control = peer.control().await?;
            control.send(&hello.message()).await?;
            if number == 8 {
                // BUSY.
                peer.closed().await?.expect(5, "8 senders of the link stand by already: raise `links.standbys_max`")?;
                break;
            }
            control.next_of(STANDBY).await?;
            taken.push(push_unread(&peer, &mut control).await);
            waiting.push((peer, control));
        }
        Ok(taken)
    })?;
    println!("bytes taken of each of {UNREAD}: {taken:?}");
    ensure!(taken.iter().all(|taken| *taken <= 64 << 10), "{taken:?}");
    ensure_within(&cost, SLACK_BYTES)?;
    stage.finish()
}

/// Joins a channel that can lose packets to a session.
async fn join_lossy(attacker: &Attacker, identity: &Identity, join: Message) -> Result<(Lossy, ControlStream)> {
    let lossy = Lossy::dial(attacker, identity).await?;
    let mut control = lossy.peer.control().await?;
    control.send(&join).await?;
    control.next_of(CHANNEL_OPEN).await?;
    Ok((lossy, control))
}

/// Returns the most that a receiver's status says it holds of `link`, until `over`.
fn most_held(admin: Admin, link: &str, over: &AtomicBool) -> Result<u64> {
    let mut most = 0;
    while !over.load(Ordering::SeqCst) {
        let status = admin.status()?;
        let links = status["links"].as_array().context("no links")?;
        let evil = links.iter().find(|one| one["link"] == link).context("no link of the attacker")?;
        most = most.max(evil["held_bytes"].as_u64().unwrap_or(0));
    }
    Ok(most)
}

#[test]
fn streams_without_their_first_byte_are_charged() -> Result<()> {
    let stage = Stage::start("gaps")?;
    let attacker = &stage.attacker;
    let identity = attacker.own_identity()?;
    let link = attacker.link.clone();
    let ((sent, held), cost) = stage.during("4 channels of streams with gaps", async {
        let peer = attacker.dial(Some(&identity)).await?;
        let mut control = peer.control().await?;
        control.send(&attacker.hello().message()).await?;
        let welcome = control.next_of(kind::WELCOME).await?;
        let mut fields: Fields<'_> = welcome.fields();
        // Version, features and cluster id.
        fields.u()?;
        fields.u()?;
        fields.text()?;
        let receiver = fields.u()?;
        let token = fields.u()?;
        let admin = stage.receiver.admin;
        let over = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&over);
        let held = tokio::task::spawn_blocking(move || most_held(admin, &link, &watched));
        let mut channels = Vec::new();
        let mut sent = 0;
        for channel in 1..5 {
            let joined = join_lossy(attacker, &identity, Message::new(JOIN_CHANNEL).u(token).u(receiver).u(channel));
            // The session may end in the middle of any channel. The reason is asserted below.
            let Ok((mut lossy, join)) = joined.await else { break };
            let Ok(more) = lossy.send_gaps(12, 1 << 20).await else { break };
            sent += more;
            channels.push((lossy, join));
        }
        let end = peer.closed().await;
        over.store(true, Ordering::SeqCst);
        end?.expect(17, "credit is")?;
        Ok((sent, held.await??))
    })?;
    println!("sent {} MiB; `held_bytes` was {} MiB", sent / MIB, held / MIB);
    ensure!(held > 20 * MIB && held <= LINK_BYTES, "held_bytes was {held}");
    ensure_within(&cost, LINK_BYTES + SLACK_BYTES)?;
    stage.finish()
}

#[test]
fn topics_beyond_the_limit_are_refused() -> Result<()> {
    let stage = Stage::start("topics")?;
    let attacker = &stage.attacker;
    let identity = attacker.own_identity()?;
    let topic = |name: &str, setting: &str| {
        let value = "9".repeat(1_024);
        let message = Message::new(kind::TOPIC).text(name).raw(&[9; 16]).u(64);
        (0..64).fold(message, |message, _| message.text(setting).text(&value)).u(0)
    };
    let ((), cost) = stage.during("4,000 topics of 64 KiB", async {
        let mut session = attacker.session(&identity).await?;
        for number in 0..2_000 {
            // A topic of the link, with settings that are not copied; and one that it may not carry.
            session.control.send(&topic(&format!("{}.{number}", attacker.link), "min.insync.replicas")).await?;
            session.control.send(&topic(&format!("other.{number}"), "retention.ms")).await?;
        }
        let answer = session.offer(0, &format!("{}.0", attacker.link)).await?;
        ensure!(answer.kind == kind::PARTITION_OPEN, "{answer:?}");
        for number in 0..1_000 {
            let message = topic(&format!("{}.{number}", attacker.link), "retention.ms");
            if session.control.send(&message).await.is_err() {
                break;
            }
        }
        let limit = format!("more than {} bytes, the limit of this link: raise `memory`", 8 * MIB);
        session.peer.closed().await?.expect(5, &limit)
    })?;
    ensure_within(&cost, 8 * MIB + SLACK_BYTES)?;
    stage.finish()
}

const STANDBY: u8 = 3;
const JOIN_CHANNEL: u8 = 4;
const CHANNEL_OPEN: u8 = 7;
