//! How `send` and `receive` come and go where no Kafka answers.

// What a test unwraps, it asserts.
#![allow(clippy::unwrap_used)]

mod process;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use process::{Place, Running, causeway, closed, get};

/// Both commands, each with a file for `kafka` and an admin port.
fn both(place: &Place, kafka: SocketAddr) -> [(&'static str, PathBuf, SocketAddr); 2] {
    let (first, second) = (closed(), closed());
    [("send", place.sender(kafka, closed(), first), first), ("receive", place.receiver(kafka, second), second)]
}

#[test]
fn a_signal_ends_a_process_without_kafka_with_0() {
    let place = Place::new();
    // Nothing listens; and something takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for kafka in [closed(), silent.local_addr().unwrap()] {
        for (command, file, admin) in both(&place, kafka) {
            let running = Running::start(command, &file).answering(admin);
            running.terminate();
            let (status, took, said) = running.ended();
            assert_eq!(status.code(), Some(0), "{command}: {said}");
            assert!(took < Duration::from_secs(10), "{command} took {took:?}");
            assert!(said.contains("draining; another signal exits immediately"), "{said}");
        }
    }
}

#[test]
fn a_second_signal_exits_immediately() {
    let place = Place::new();
    for (command, file, admin) in both(&place, closed()) {
        let running = Running::start(command, &file).answering(admin);
        running.terminate();
        running.terminate();
        let (status, took, said) = running.ended();
        assert_eq!(status.code(), Some(0), "{command}: {said}");
        assert!(took < Duration::from_secs(2), "{command} took {took:?}");
    }
}

#[test]
fn a_process_without_kafka_is_alive_and_not_ready() {
    let place = Place::new();
    for (command, file, admin) in both(&place, closed()) {
        let _running = Running::start(command, &file).answering(admin);
        assert_eq!(get(admin, "/live").unwrap(), (200, "live\n".to_owned()));
        let (status, reason) = get(admin, "/ready").unwrap();
        assert!(status == 503 && reason.starts_with("waiting for the "), "{status} {reason}");
        let (_, metrics) = get(admin, "/metrics").unwrap();
        assert!(metrics.contains("causeway_build_info{version="), "{metrics}");
        let (role, state) = match command {
            "send" => ("sender", "starting: waiting for the source cluster"),
            _ => ("receiver", "waiting for the target cluster"),
        };
        let table = String::from_utf8(causeway(&["status", &admin.to_string()]).stdout).unwrap();
        assert!(table.starts_with(role) && table.contains(state), "{table}");
        let json = causeway(&["status", "--json", "--admin", &admin.to_string()]);
        let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(json["role"], role);
    }
}
