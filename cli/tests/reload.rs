//! A configuration read again, by signal and by the admin port, where no Kafka answers.

// What a test unwraps, it asserts.
#![allow(clippy::unwrap_used)]

mod process;

use std::fs;

use process::{Place, Running, closed, get, post};

#[test]
fn an_invalid_file_changes_nothing_and_says_why() {
    let place = Place::new();
    let (first, second) = (closed(), closed());
    for (command, file, admin) in [
        ("send", place.sender(closed(), closed(), first), first),
        ("receive", place.receiver(closed(), second), second),
    ] {
        let running = Running::start(command, &file).answering(admin);
        let good = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("memroy = 1\n{good}")).unwrap();
        let (status, said) = post(admin, "/reload").unwrap();
        assert!(status == 422 && said.contains("unknown key `memroy`; did you mean `memory`?"), "{status} {said}");
        running.hang_up();
        running.wait_for_metric(admin, "causeway_reloads_refused_total", "2");
        fs::write(&file, good.replace("pki/ca.pem", "pki/none.pem")).unwrap();
        let (status, said) = post(admin, "/reload").unwrap();
        assert!(status == 422 && said.contains("`tls.ca`: ") && said.contains("none.pem cannot be used"), "{said}");
        fs::write(&file, &good).unwrap();
        let (status, said) = post(admin, "/reload").unwrap();
        assert_eq!((status, said.as_str()), (200, "{\"changed\":[],\"needs_restart\":[]}"));
        running.terminate();
        let (status, _, log) = running.ended();
        assert_eq!(status.code(), Some(0), "{log}");
        let refused: Vec<_> =
            log.lines().filter(|line| line.contains("configuration refused, nothing changed")).collect();
        assert_eq!(refused.len(), 3, "{log}");
        assert!(refused[1].contains(":1:1: unknown key `memroy`"), "{log}");
    }
}

#[test]
fn changes_are_logged_value_by_value() {
    let place = Place::new();
    let admin = closed();
    let file = place.sender(closed(), closed(), admin);
    let running = Running::start("send", &file).answering(admin);
    let text = fs::read_to_string(&file).unwrap();
    let new = text.replace("\"orders\"", "\"orders\", \"bills\"").replace("[wan]", "[wan]\nlinger = \"7 ms\"");
    fs::write(&file, format!("{new}[log]\nlevel = \"debug\"\n")).unwrap();
    running.hang_up();
    running.wait_for_metric(admin, "causeway_reloads_total", "1");
    // What needs a restart is named each time; a level of its own shows that it holds.
    fs::write(&file, format!("{new}[log]\nlevel = \"error\"\n")).unwrap();
    let (_, said) = post(admin, "/reload").unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["changed"][0]["setting"], "log.level");
    assert_eq!(said["changed"][0]["to"], "\"error\"");
    assert_eq!(said["needs_restart"][0]["setting"], "wan.linger");
    assert!(post(admin, "/reload").unwrap().0 == 200 && get(admin, "/live").is_ok());
    running.terminate();
    let (_, _, log) = running.ended();
    for expected in [
        r#"setting changed setting="source.topics" from="[\"orders\"]" to="[\"orders\", \"bills\"]""#,
        r#"setting changed setting="log.level" from="\"info\"" to="\"debug\"""#,
        r#"setting changed in the file, needs a restart setting="wan.linger" running="\"5 ms\"" file="\"7 ms\"""#,
        "configuration read again",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    assert_eq!(log.matches("configuration read again").count(), 1, "the log level holds from then on: {log}");
    assert!(!log.contains("draining"), "as does the level for all other lines: {log}");
}

#[test]
fn a_pair_that_does_not_fit_is_refused_on_reload() {
    let place = Place::new();
    let admin = closed();
    let file = place.receiver(closed(), admin);
    let running = Running::start("receive", &file).answering(admin);
    place.pki("new");
    let at = |name: &str| place.path().join(name);
    fs::copy(at("new/receiver.key"), at("pki/receiver.key")).unwrap();
    let (status, said) = post(admin, "/reload").unwrap();
    assert!(status == 422 && said.contains("receiver.key does not fit "), "{said}");
    fs::copy(at("new/receiver.pem"), at("pki/receiver.pem")).unwrap();
    let (status, said) = post(admin, "/reload").unwrap();
    assert!(status == 200 && said.contains("\"setting\":\"tls: contents of the files\""), "{said}");
    drop(running);
}
