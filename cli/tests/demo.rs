//! The demo proves itself: with nothing but the binary, everything that was sent arrives.

// What a test unwraps, it asserts.
#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn every_record_arrives_exactly_once_despite_restarts() {
    let output = Command::new(env!("CARGO_BIN_EXE_causeway")).args(["demo", "--seconds", "12"]).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}{said}");
    assert!(shown.contains("sender: back in session") && shown.contains("receiver: back in session"), "{shown}");
    assert!(shown.contains("WAN: cut for 3 s") && shown.contains("WAN: back; "), "{shown}");
    let verdict = shown.lines().find(|line| line.contains("verdict: exact: ")).expect("a verdict");
    assert!(verdict.ends_with(" 0 lost, 0 doubled, 0 reordered, 0 changed"), "{verdict}");
    assert!(!verdict.contains(": 0 sent"), "{verdict}");
    assert!(shown.contains("cargo xtask check"), "{shown}");
}
