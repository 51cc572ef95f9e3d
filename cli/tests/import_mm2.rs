//! `causeway import-mm2` writes files, and overwrites none.

// In a test, unwrap is an assertion.
#![allow(clippy::unwrap_used)]

mod process;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use process::causeway;

const MM2: &str = "clusters = fra, sin\nfra.bootstrap.servers = f1:9092\nsin.bootstrap.servers = s1:9092\n\
    fra->sin.enabled = true\nfra->sin.topics = orders.*\nfra.security.protocol = SASL_SSL\nfra.sasl.mechanism = PLAIN\n\
    fra.sasl.jaas.config = x required username=\"mirror\" password=\"hunter2\";\n";

fn said(arguments: &[&str]) -> (i32, String) {
    let output = causeway(arguments);
    (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn files_are_written_once_and_the_secret_is_private() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("mm2.properties"), MM2).unwrap();
    let import = ["import-mm2", &path("mm2.properties"), &path("link")];
    let (code, shown) = said(&import);
    assert_eq!(code, 0, "{shown}");
    for words in ["By hand:", "causeway pki init", "mm2-offsets.fra.internal", "--bootstrap-server s1:9092", "SIGTERM"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("link/source-sasl.password"), 0o600);
    assert_eq!(fs::read_to_string(path("link/source-sasl.password")).unwrap(), "hunter2\n");
    for name in ["link/sender.toml", "link/receiver.toml"] {
        assert!(!fs::read_to_string(path(name)).unwrap().contains("hunter2") && !shown.contains("hunter2"));
    }
    // With certificates, the process reads it: what is missing now is the cluster.
    let link = path("link/pki");
    assert_eq!(said(&["pki", "init", &link, "--link", "fra-to-sin", "--sender", "a", "--receiver", "b"]).0, 0);
    let status = said(&["status", "--config", &path("link/sender.toml")]);
    assert!(status.1.contains("no response"), "{status:?}");
    let (code, shown) = said(&import);
    assert!(code == 1 && shown.contains("sender.toml: it exists; remove it"), "{shown}");
}

#[test]
fn offsets_become_a_command_for_each_partition() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("mm2.properties"), MM2).unwrap();
    let of = |topic: &str, partition: i32, offset: i64| {
        let key = format!(
            "[\"MirrorSourceConnector\",{{\"cluster\":\"fra\",\"partition\":{partition},\"topic\":\"{topic}\"}}]"
        );
        format!("{key}\t{{\"offset\":{offset}}}\n")
    };
    let records = [of("orders", 0, 41), of("orders", 1, 7), of("heartbeats", 0, 5), of("orders", 0, 99)];
    fs::write(path("offsets.txt"), records.concat()).unwrap();
    let import = ["import-mm2", &path("mm2.properties"), &path("link"), "--offsets", &path("offsets.txt")];
    let (code, shown) = said(&import);
    assert!(code == 0 && shown.contains("resume.sh"), "{shown}");
    let script = fs::read_to_string(path("link/resume.sh")).unwrap();
    let commands: Vec<_> = script.lines().filter(|line| line.starts_with("causeway")).collect();
    let expected = ["orders/0 --from 100", "orders/1 --from 8"];
    assert_eq!(commands, expected.map(|words| format!("causeway resume {words} --config sender.toml || failed=1")));
    fs::write(path("empty.txt"), "").unwrap();
    let (code, shown) = said(&["import-mm2", &path("mm2.properties"), &path("other"), "--offsets", &path("empty.txt")]);
    assert!(code == 2 && shown.contains("no offset of cluster fra; is it topic mm2-offsets.fra.internal?"), "{shown}");
}

#[test]
fn a_file_that_cannot_be_used_writes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("both.properties"), format!("{MM2}sin->fra.enabled = true\n")).unwrap();
    let (code, shown) = said(&["import-mm2", &path("both.properties"), &path("link")]);
    assert!(code == 2 && shown.contains("choose one with --flow, of fra->sin, sin->fra"), "{shown}");
    assert!(!place.path().join("link").exists());
    let (code, shown) = said(&["import-mm2", &path("none"), &path("link")]);
    assert!(code == 2 && shown.contains("No such file"), "{shown}");
}
