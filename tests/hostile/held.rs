//! Attacks that never did harm, kept so that they never will: garbage on the UDP port, wrong certificates and names.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use rand::RngExt;
use rcgen::ExtendedKeyUsagePurpose;

use crate::attacker::datagrams::{Flood, Initials, sources};
use crate::attacker::frames::Frame;
use crate::attacker::messages::{Message, kind};
use crate::attacker::tls::Authority;
use crate::attacker::{ALPN, Closed, EVIL_NAME};
use crate::stage::Stage;

/// Makes `count` datagrams of random lengths and bytes that begin with `first`.
fn garbage(count: usize, first: &[u8]) -> Vec<Vec<u8>> {
    let mut rng = rand::rng();
    let make = |_| {
        let length = rng.random_range(first.len() + 21..1_452);
        let mut datagram: Vec<u8> = (0..length).map(|_| rng.random()).collect();
        datagram[..first.len()].copy_from_slice(first);
        datagram
    };
    (0..count).map(make).collect()
}

#[test]
fn garbage_on_the_udp_port_costs_next_to_nothing() -> Result<()> {
    let stage = Stage::start("garbage")?;
    let to = stage.attacker.receiver;
    for (what, first) in [
        ("random datagrams", &[][..]),
        ("short headers", &[0x41]),
        ("long headers", &[0xc3, 0, 0, 0, 1, 8]),
        ("an unknown version", &[0xc3, 1, 2, 3, 4, 8]),
    ] {
        let list = garbage(2_000, first);
        let (flood, cost) = stage.during(what, Flood::run(sources(8)?, to, list, 20_000, 10_000))?;
        println!("{flood:?}");
        cost.ensure_calm()?;
        ensure!(flood.bytes_back < flood.bytes / 10, "{what}: {flood:?}");
    }
    let initials = Initials::new(stage.attacker.authority.client(None, ALPN)?)?.random(32)?;
    let flood = Flood::run(sources(8)?, to, initials, 32, 1_000);
    let (_, cost) = stage.during("a few handshakes that are not continued", flood)?;
    cost.ensure_calm()?;
    stage.finish()
}

#[test]
fn wrong_certificates_are_refused_by_tls() -> Result<()> {
    let stage = Stage::start("certificates")?;
    let attacker = &stage.attacker;
    let authority = &attacker.authority;
    let other = Authority::new(&authority.dir().join("other"))?;
    let year = Duration::from_secs(365 * 24 * 3600);
    let then = |time: SystemTime| move |params: &mut rcgen::CertificateParams| params.not_after = time.into();
    let later = |params: &mut rcgen::CertificateParams| params.not_before = (SystemTime::now() + year / 50).into();
    let for_servers = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    let cases = [
        ("none", None, 116),
        ("another authority's", Some(other.issue(&[EVIL_NAME])?), 48),
        ("expired", Some(authority.issue_with(&[EVIL_NAME], then(SystemTime::now() - Duration::from_secs(60)))?), 45),
        ("not yet valid", Some(authority.issue_with(&[EVIL_NAME], later)?), 45),
        ("for servers", Some(authority.issue_with(&[EVIL_NAME], for_servers)?), 43),
    ];
    let ((), cost) = stage.during("wrong certificates", async {
        for (what, identity, alert) in &cases {
            let closed = attacker.dial(identity.as_ref()).await?.closed().await?;
            ensure!(closed == Closed::Alert(*alert), "{what}: {closed:?}");
        }
        let alpn = attacker.dial_as(Some(&attacker.own_identity()?), b"causeway/2").await;
        ensure!(alpn.is_err_and(|error| format!("{error:#}").contains("120")), "another protocol is accepted");
        Ok(())
    })?;
    cost.ensure_calm()?;
    stage.finish()
}

#[test]
fn names_of_other_links_open_none() -> Result<()> {
    let stage = Stage::start("names")?;
    let attacker = &stage.attacker;
    let healthy = stage.files.sender.get("", "link").unwrap_or_default().trim_matches('"').to_owned();
    let ((), cost) = stage.during("names of other links", async {
        let evil = attacker.own_identity()?;
        let mut hello = attacker.hello();
        hello.link = healthy;
        let unlisted = attacker.authority.issue(&["sender.evil.test"])?;
        for (identity, hello) in [(&evil, &hello), (&unlisted, &attacker.hello())] {
            let peer = attacker.dial(Some(identity)).await?;
            peer.control().await?.send(&hello.message()).await?;
            peer.closed().await?.expect(34, "the peer's certificate is not authorised for this link")?;
        }
        let mut unknown = attacker.hello();
        unknown.link = "../x".to_owned();
        let peer = attacker.dial(Some(&evil)).await?;
        peer.control().await?.send(&unknown.message()).await?;
        peer.closed().await?.expect(33, "")
    })?;
    cost.ensure_calm()?;
    stage.finish()
}

/// The attacker follows the specification: without this, its refusals would prove little.
#[test]
fn attacker_can_write_records_to_its_own_link() -> Result<()> {
    let stage = Stage::start("own-link")?;
    let attacker = &stage.attacker;
    let topic = format!("{}.records", attacker.link);
    let ((), cost) = stage.during("a session by the rules", async {
        let mut session = attacker.session(&attacker.own_identity()?).await?;
        let open = session.offer(0, &topic).await?;
        ensure!(open.kind == kind::PARTITION_OPEN, "{open:?}");
        let frame = Frame::new(session.epoch, 0, 0, b"a record");
        session.peer.send_frame(&frame.bytes()).await?;
        session.control.next_of(ACK).await?;
        session.control.send(&Message::new(kind::CLOSE).u(0).text("")).await
    })?;
    cost.ensure_calm()?;
    let seen = harness::reader::read(&stage.pair.target, &[&topic], harness::reader::Isolation::Committed)?;
    ensure!(seen.len() == 1, "{} records", seen.len());
    stage.finish()
}

/// Kind of an acknowledgement.
const ACK: u8 = 48;
