//! `netem selftest`: measures how accurate the emulator is on this machine, with real packets from outside.

mod checks;
mod rig;
mod traffic;

use std::io;

use checks::{Check, Finding};

pub(crate) use checks::CHECKS;
pub(crate) use rig::CarrierKind;

/// Attempts at a check that fails or whose emulator is late.
const ATTEMPTS: u32 = 3;

/// Runs all checks, or those named in `only`, and prints their findings. Returns whether all passed.
pub(crate) fn run(carrier: CarrierKind, only: &[String]) -> io::Result<bool> {
    let mut all_passed = true;
    for check in CHECKS.iter().filter(|check| only.is_empty() || only.iter().any(|name| name == check.name)) {
        let finding = run_check(check, carrier)?;
        let verdict = if finding.counts_as_passed() { "ok" } else { "FAILED" };
        println!("{verdict:<6} {:<11} {finding}", check.name);
        all_passed &= finding.counts_as_passed();
    }
    Ok(all_passed)
}

/// Runs one check until it passes, at most [`ATTEMPTS`] times.
fn run_check(check: &Check, carrier: CarrierKind) -> io::Result<Finding> {
    let mut finding = (check.run)(carrier)?;
    for _ in 1..ATTEMPTS {
        if finding.counts_as_passed() {
            break;
        }
        finding = (check.run)(carrier)?;
    }
    Ok(finding)
}
