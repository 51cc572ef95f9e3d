//! Tests of the emulator's accuracy with real packets. Only the checks that pass on a busy machine run here; the others
//! are left to `netem selftest`.

use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;

#[test]
fn the_self_test_passes() {
    let fit = geteuid().is_root() && Path::new("/dev/net/tun").exists();
    assert!(fit || std::env::var_os("CI").is_none(), "with CI set, this test needs root and /dev/net/tun");
    if !fit {
        eprintln!("NOT RUN: needs root and /dev/net/tun");
        return;
    }
    let mut selftest = Command::new(env!("CARGO_BIN_EXE_netem"));
    let output = selftest.args(["selftest", "loss", "bursts", "seed", "rate", "limit"]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(printed.matches("ok ").count(), 5, "{printed}");
}
