//! How accurate the emulator is, with real packets. What the machine's load could spoil is left to
//! `netem selftest`: this holds everywhere.

use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;

#[test]
fn the_emulator_keeps_what_it_promises_of_itself() {
    let fit = geteuid().is_root() && Path::new("/dev/net/tun").exists();
    assert!(fit || std::env::var_os("CI").is_none(), "with CI set, this test needs root and /dev/net/tun");
    if !fit {
        eprintln!("NOT RUN: needs root and /dev/net/tun");
        return;
    }
    let mut selftest = Command::new(env!("CARGO_BIN_EXE_netem"));
    let output = selftest.args(["selftest", "loss", "bursts", "seed", "rate", "limit"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("ok ").count(), 5, "{said}");
}
