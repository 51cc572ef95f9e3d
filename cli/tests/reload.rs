//! A configuration read again, by signal and by the admin port, where no Kafka answers.

// In a test, unwrap is an assertion.
#![allow(clippy::unwrap_used)]

mod process;

use std::fs;
use std::os::unix::fs::symlink;

use process::{Place, Running, closed, get, post};

#[test]
fn an_invalid_file_changes_nothing_and_says_why() {
    let place = Place::new();
    let first = closed();
    let second = closed();
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
    // A change that needs a restart is named each time; the new level shows that it took effect.
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

/// Points the files of `side` to a directory that a symbolic link names, as Kubernetes mounts a Secret.
fn mounted(place: &Place, side: &str, secret: &str) {
    let mount = place.path().join("pki");
    fs::remove_dir_all(&mount).unwrap();
    fs::create_dir(&mount).unwrap();
    swap(place, secret);
    for name in ["ca.pem".to_owned(), format!("{side}.pem"), format!("{side}.key")] {
        symlink(format!("..data/{name}"), mount.join(name)).unwrap();
    }
}

/// Swaps the symbolic link, which changes all files at the same moment.
fn swap(place: &Place, secret: &str) {
    let mount = place.path().join("pki");
    symlink(format!("../{secret}"), mount.join("..next")).unwrap();
    fs::rename(mount.join("..next"), mount.join("..data")).unwrap();
}

#[test]
fn a_mounted_secret_that_changes_is_taken_up() {
    let place = Place::new();
    let admin = closed();
    let file = place.receiver(closed(), admin);
    for secret in ["old", "new"] {
        place.pki(secret);
    }
    mounted(&place, "receiver", "old");
    let running = Running::start("receive", &file).answering(admin);
    let certificate = || get(admin, "/status").unwrap().1;
    let before: serde_json::Value = serde_json::from_str(&certificate()).unwrap();
    assert_eq!(before["certificates"][0]["certificate"], "own", "{before}");
    swap(&place, "new");
    running.wait_for_labelled(admin, r#"causeway_credentials_renewed_total{files="tls"} 1"#);
    let after: serde_json::Value = serde_json::from_str(&certificate()).unwrap();
    assert_ne!(before["certificates"][0]["serial"], after["certificates"][0]["serial"], "{after}");
    running.terminate();
    let (_, _, log) = running.ended();
    let serial = after["certificates"][0]["serial"].as_str().unwrap();
    let line = log.lines().find(|line| line.contains("changed files taken up")).unwrap();
    assert!(line.contains(serial) && line.contains("receiver.key") && line.contains("ca.pem"), "{line}");
    assert_eq!(log.matches("changed files taken up").count(), 1, "{log}");
}

#[test]
fn half_of_a_pair_is_named_and_the_former_one_stays_in_use() {
    let place = Place::new();
    let admin = closed();
    let file = place.sender(closed(), closed(), admin);
    let running = Running::start("send", &file).answering(admin);
    place.pki("new");
    let at = |name: &str| place.path().join(name);
    fs::copy(at("new/sender.pem"), at("pki/sender.pem")).unwrap();
    running.wait_for_labelled(admin, r#"causeway_credentials_unusable{files="tls"} 1.0"#);
    let status = get(admin, "/status").unwrap().1;
    let sentence = "tls: changed files cannot be used, those from before stay in use: ";
    assert!(status.contains(sentence) && status.contains("sender.key does not fit "), "{status}");
    fs::copy(at("new/sender.key"), at("pki/sender.key")).unwrap();
    running.wait_for_labelled(admin, r#"causeway_credentials_renewed_total{files="tls"} 1"#);
    running.wait_for_labelled(admin, r#"causeway_credentials_unusable{files="tls"} 0.0"#);
    assert!(!get(admin, "/status").unwrap().1.contains(sentence));
    running.terminate();
    let (_, _, log) = running.ended();
    assert_eq!(log.matches(sentence).count(), 1, "{log}");
}
