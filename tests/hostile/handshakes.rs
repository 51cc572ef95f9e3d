//! Handshakes that are begun and never finished: bounded in number, memory, log lines and answers, at any rate.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::attacker::datagrams::{Flood, INITIAL_BYTES, Initials, Retry, sources};
use crate::attacker::{ALPN, Attacker};
use crate::stage::Stage;

/// Different Initials of a flood; they repeat after this many.
const DIFFERENT: usize = 4_096;
/// Growth of the receiver's memory that forged addresses may cause, and that real ones may, in bytes.
const FORGED_GROWTH: u64 = 4 << 20;
const REAL_GROWTH: u64 = 20 << 20;
/// Time within which an honest sender gets in during a flood.
const LET_IN: Duration = Duration::from_secs(5);
/// Lines of a kind that the receiver logs in 10 s.
const LINES: usize = 5;

fn initials(attacker: &Attacker) -> Result<Initials> {
    Initials::new(attacker.authority.client(None, ALPN)?)
}

#[test]
fn forged_addresses_hold_no_memory_and_log_nothing() -> Result<()> {
    let stage = Stage::start("forged")?;
    let list = initials(&stage.attacker)?.random(DIFFERENT)?;
    let to = stage.attacker.receiver;
    let (flood, cost) = stage.during("5,000 Initials", Flood::run(sources(32)?, to, list, 5_000, 1_000))?;
    println!("{flood:?}");
    cost.ensure_calm()?;
    ensure!(cost.growth() <= FORGED_GROWTH, "{cost}");
    ensure!(flood.datagrams_back > 4_000 && flood.bytes_back <= flood.bytes / 5, "{flood:?}");
    ensure!(cost.log.is_empty(), "{:?}", cost.log);
    stage.finish()
}

#[test]
fn honest_senders_get_in_during_a_flood() -> Result<()> {
    let stage = Stage::start("flood")?;
    let list = initials(&stage.attacker)?.random(DIFFERENT)?;
    let attacker = &stage.attacker;
    let honest = attacker.own_identity()?;
    let flood = async {
        let flood = tokio::spawn(Flood::run(sources(32)?, attacker.receiver, list, 200_000, 20_000));
        let mut times = Vec::new();
        while !flood.is_finished() {
            let began = Instant::now();
            let session = attacker.session(&honest).await.context("an honest sender")?;
            times.push(began.elapsed());
            session.peer.connection.close(0u32.into(), b"");
        }
        Ok((flood.await??, times))
    };
    let ((flood, mut times), cost) = stage.during("20,000 Initials per second", flood)?;
    times.sort_unstable();
    let worst = *times.last().context("no session")?;
    let median = times[times.len() / 2];
    println!("{flood:?}; {} sessions, median {median:?}, worst {worst:?}", times.len());
    ensure!(flood.took < Duration::from_secs(12), "the flood had fewer than 16,000 per second: {flood:?}");
    // A receiver that gets too little of a busy machine's CPU time loses packets of honest senders too.
    let has_cpu = flood.datagrams_back >= flood.datagrams / 10 * 9;
    ensure!(median <= LET_IN && (worst <= LET_IN || !has_cpu), "{times:?}");
    // The honest senders' sessions are part of it.
    cost.ensure_calm()?;
    stage.finish()
}

#[test]
fn unvalidated_address_gets_back_less_than_it_sent() -> Result<()> {
    let stage = Stage::start("amplification")?;
    let list = initials(&stage.attacker)?.random(1)?;
    let to = stage.attacker.receiver;
    let (back, cost) = stage
        .during("one Initial", async move { tokio::task::spawn_blocking(move || bytes_back(&list[0], to)).await? })?;
    println!("{back} bytes back for {INITIAL_BYTES}");
    ensure!(back < INITIAL_BYTES, "{back}");
    cost.ensure_calm()?;
    stage.finish()
}

/// Sends one datagram and returns the bytes that come back until 3 s pass without any.
fn bytes_back(datagram: &[u8], to: SocketAddr) -> Result<usize> {
    let socket = UdpSocket::bind("127.66.0.9:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    socket.send_to(datagram, to)?;
    let mut back = 0;
    let mut buffer = [0; 2_048];
    while let Ok(length) = socket.recv(&mut buffer) {
        back += length;
    }
    Ok(back)
}

/// The attacker has real addresses here, so that it gets past the Retry, and never continues.
#[test]
fn real_addresses_hold_a_bounded_number_of_handshakes() -> Result<()> {
    let stage = Stage::start("real-addresses")?;
    let attacker = &stage.attacker;
    let honest = attacker.own_identity()?;
    let before = stage.receiver.admin.status()?;
    let attack = async {
        let initials = initials(attacker)?;
        let to = attacker.receiver;
        let attack = tokio::task::spawn_blocking(move || begin_validated(&initials, to, 2_000));
        let mut worst = Duration::ZERO;
        while !attack.is_finished() {
            let began = Instant::now();
            attacker.session(&honest).await.context("an honest sender")?.peer.connection.close(0u32.into(), b"");
            worst = worst.max(began.elapsed());
        }
        Ok((attack.await??, worst))
    };
    let ((begun, worst), cost) = stage.during("2,000 validated handshakes", attack)?;
    println!("{begun} begun; an honest sender gets in within {worst:?}");
    ensure!(begun >= 1_900 && worst <= LET_IN, "{begun}, {worst:?}");
    cost.ensure_calm()?;
    ensure!(cost.growth() <= REAL_GROWTH, "{cost}");
    ensure!(cost.log.iter().filter(|line| line.contains("handshake failed")).count() <= 4 * LINES, "{:?}", cost.log);
    // An alert on refused peers is silent, and the handshakes are counted.
    let failed = stage.receiver.admin.wait_for("failed handshakes", LET_IN * 2, |status| {
        let failed = &status["failed_handshakes"];
        failed["limit"].as_u64() > Some(1_000) && failed["timeout"].as_u64() > Some(0)
    })?;
    println!("{}", failed["failed_handshakes"]);
    ensure!(failed["refusals"] == before["refusals"], "{}", failed["refusals"]);
    stage.finish()
}

/// Begins `count` handshakes from four real addresses: each answers the Retry, and then nothing. Returns how many did.
fn begin_validated(initials: &Initials, to: SocketAddr, count: usize) -> Result<usize> {
    let sources = sources(4)?;
    for socket in &sources {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    }
    let mut begun = 0;
    for socket in sources.iter().cycle().take(count) {
        socket.send_to(&initials.packet(&rand::random::<[u8; 8]>(), &[])?, to)?;
        if let Some(retry) = next_retry(socket) {
            socket.send_to(&initials.packet(&retry.id, &retry.token)?, to)?;
            begun += 1;
        }
    }
    Ok(begun)
}

/// Reads until a Retry comes: packets of handshakes that began before are in between.
fn next_retry(socket: &UdpSocket) -> Option<Retry> {
    let mut buffer = [0; 2_048];
    loop {
        let length = socket.recv(&mut buffer).ok()?;
        if let Some(retry) = Retry::of(&buffer[..length]) {
            return Some(retry);
        }
    }
}

#[test]
fn wrong_certificates_fill_no_log_and_ring_no_alert() -> Result<()> {
    let stage = Stage::start("strangers")?;
    let attacker = &stage.attacker;
    let ((), cost) = stage.during("60 strangers without a certificate", async {
        for _ in 0..60 {
            attacker.dial(None).await?.closed().await?;
        }
        Ok(())
    })?;
    cost.ensure_calm()?;
    let lines = cost.log.iter().filter(|line| line.contains("handshake failed")).count();
    ensure!((1..=2 * LINES).contains(&lines), "{:?}", cost.log);
    let certificates = r#"causeway_receiver_failed_handshakes_total{reason="certificate"}"#;
    ensure!(stage.receiver.admin.metric(certificates)? >= 60.0, "not counted");
    let metrics = stage.receiver.admin.get("/metrics")?;
    ensure!(!metrics.contains("causeway_receiver_refusals_total{"), "counted as refused peers");
    stage.finish()
}

#[test]
fn shutdown_does_not_wait_for_handshakes() -> Result<()> {
    let mut stage = Stage::start("shutdown")?;
    let initials = initials(&stage.attacker)?;
    let to = stage.attacker.receiver;
    let (begun, _) = stage.during("handshakes that are open at the end", async move {
        tokio::task::spawn_blocking(move || begin_validated(&initials, to, 40)).await?
    })?;
    ensure!(begun == 40, "{begun}");
    let asked = Instant::now();
    let code = stage.receiver.terminate(Duration::from_secs(10))?;
    println!("left {:?} after SIGTERM", asked.elapsed());
    ensure!(code == 0 && asked.elapsed() < Duration::from_secs(4), "code {code}, {:?}", asked.elapsed());
    Ok(())
}
