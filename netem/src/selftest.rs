//! `netem selftest`: measures how accurate the emulator is on this machine, with real packets from outside.

mod checks;
mod rig;
mod traffic;

use std::io;

use checks::{CHECKS, Check, Finding};
pub(crate) use rig::CarrierKind;

/// Attempts at a check that fails or whose emulator is late.
const ATTEMPTS: u32 = 3;

/// Runs all checks, or those named in `only`, and prints their findings. Returns whether all passed.
pub(crate) fn run(carrier: CarrierKind, only: &[String]) -> io::Result<bool> {
    let mut all_passed = true;
    for (name, check) in CHECKS.into_iter().filter(|(name, _)| only.is_empty() || only.iter().any(|one| one == name)) {
        let finding = run_check(check, carrier)?;
        let verdict = if finding.counts_as_passed() { "ok" } else { "FAILED" };
        println!("{verdict:<6} {name:<11} {finding}");
        all_passed &= finding.counts_as_passed();
    }
    Ok(all_passed)
}

/// Returns the names of all checks.
pub(crate) fn names() -> [&'static str; CHECKS.len()] {
    CHECKS.map(|(name, _)| name)
}

/// Runs one check until it passes, at most [`ATTEMPTS`] times.
fn run_check(check: Check, carrier: CarrierKind) -> io::Result<Finding> {
    let mut finding = check(carrier)?;
    for _ in 1..ATTEMPTS {
        if finding.counts_as_passed() {
            break;
        }
        finding = check(carrier)?;
    }
    Ok(finding)
}
