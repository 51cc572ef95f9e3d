//! `causeway check` against a peer that speaks QUIC and TLS, and no Kafka.

// In a test, unwrap is an assertion.
#![allow(clippy::unwrap_used)]

mod process;

use std::net::SocketAddr;

use process::{Place, closed, on};
use service::tls::{Credentials, End, TlsFiles};
use transport::endpoint::{EndpointSettings, SystemSockets, listen_over};
use wire::units::Size;

/// A receiver's endpoint that counts what opens a stream on it.
struct Peer {
    address: SocketAddr,
    streams: tokio::sync::mpsc::Receiver<bool>,
    _runtime: tokio::runtime::Runtime,
}

fn peer(place: &Place, pki: &str) -> Peer {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let of = |name: &str| place.path().join(pki).join(name);
    let files = TlsFiles { ca: of("ca.pem"), certificate: of("receiver.pem"), key: of("receiver.key") };
    let credentials = Credentials::load(&files, End::Server, service::tls::now()).expect("certificates");
    let settings = EndpointSettings::new(Size::from_bytes(64 << 20), 16);
    let guard = runtime.enter();
    let endpoint = listen_over(&SystemSockets, SocketAddr::from(([127, 0, 0, 1], 0)), &credentials, &settings)
        .expect("an endpoint");
    drop(guard);
    let address = endpoint.local_addr().expect("an address");
    let (seen, streams) = tokio::sync::mpsc::channel(8);
    runtime.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                if let Ok(connection) = incoming.await {
                    let _ = seen.send(connection.accept_bi().await.is_ok()).await;
                }
            });
        }
    });
    Peer { address, streams, _runtime: runtime }
}

#[test]
fn check_shows_settings_and_derived_values() {
    let place = Place::new();
    let (_, said, _) = on("check", &place.sender(closed(), closed(), closed()));
    for line in [
        "sender.toml: a sender of link a-to-b\n",
        "  * rate = \"500 Mbit/s\"\n",
        "    linger = \"5 ms\"\n",
        "  frame                  up to 1 MiB before compression\n",
        "  at a 200 ms round trip bdp 11.9 MiB; the window allows 537 Mbit/s\n",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
    let entry = "[[wan.schedule]]\ndays = \"mon-sun\"\nfrom = \"00:00\"\nto = \"24:00\"\nrate = \"30 Mbit/s\"\n";
    let sender = std::fs::read_to_string(place.sender(closed(), closed(), closed())).unwrap();
    let (_, said, _) = on("check", &place.write("scheduled.toml", &(sender + entry)));
    for line in
        ["[[wan.schedule]]\n  * days = \"mon-sun\"\n", " 30 Mbit/s, by the schedule's mon-sun 00:00-24:00 UTC\n"]
    {
        assert!(said.contains(line), "{line}{said}");
    }
    let (_, said, _) = on("check", &place.receiver(closed(), closed()));
    for line in [
        "  credit of each link    256 MiB, half of its part of memory\n",
        "  at a 300 ms round trip credit allows a link ",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
}

#[test]
fn a_peer_that_accepts_us_is_found_and_not_disturbed() {
    let place = Place::new();
    let mut peer = peer(&place, "pki");
    let (code, said, error) = on("check", &place.sender(closed(), peer.address, closed()));
    assert!(
        said.contains(&format!("  ok      receiver         {} is localhost, accepts our certificate", peer.address)),
        "{said}"
    );
    assert!(said.contains("  FAILED  source brokers   127.0.0.1:"), "{said}");
    assert_eq!((code, error.as_str()), (1, "causeway: 1 check failed\n"));
    assert_eq!(peer.streams.blocking_recv(), Some(false), "no stream was opened");
}

#[test]
fn a_foreign_certificate_differs_from_an_unreachable_peer() {
    let place = Place::new();
    place.pki("other");
    // The peer trusts another authority, and shows a certificate of ours.
    std::fs::create_dir(place.path().join("mixed")).unwrap();
    for (from, to) in
        [("other/ca.pem", "ca.pem"), ("pki/receiver.pem", "receiver.pem"), ("pki/receiver.key", "receiver.key")]
    {
        std::fs::copy(place.path().join(from), place.path().join("mixed").join(to)).unwrap();
    }
    let there = peer(&place, "mixed");
    let (code, said, _) = on("check", &place.sender(closed(), there.address, closed()));
    assert_eq!(code, 1);
    assert!(
        said.contains("refuses this side's certificate") && said.contains("→ the receiver's `ca` must hold"),
        "{said}"
    );
    let here = peer(&place, "other");
    let (_, said, _) = on("check", &place.sender(closed(), here.address, closed()));
    assert!(said.contains("is refused here") && said.contains("→ `ca` here must hold"), "{said}");
}

#[test]
fn a_key_of_another_certificate_fails_on_both_sides() {
    let place = Place::new();
    place.pki("other");
    for (side, file) in
        [("sender", place.sender(closed(), closed(), closed())), ("receiver", place.receiver(closed(), closed()))]
    {
        let key = format!("{side}.key");
        std::fs::copy(place.path().join("other").join(&key), place.path().join("pki").join(&key)).unwrap();
        let (code, said, _) = on("check", &file);
        assert_eq!(code, 1, "{said}");
        let failed = said.lines().find(|line| line.starts_with("  FAILED  certificate ")).expect("a failed check");
        assert!(
            failed.contains(&format!("{key} does not fit ")) && failed.contains(&format!("{side}.pem")),
            "{failed}"
        );
        assert!(!said.contains("  ok      certificate"), "{said}");
    }
}
