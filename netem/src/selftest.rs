//! `netem selftest`: how accurate the emulator is on this machine, measured with real packets from outside.

mod checks;
mod rig;
mod traffic;

use std::fmt;
use std::io;

pub use checks::{CHECKS, Check};
pub use rig::Way;

/// A check that was made while the emulator was late is made again so often before it counts.
const TRIES: u32 = 3;

/// What one check found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was measured, with its unit.
    pub measured: String,
    /// What it had to be.
    pub bound: String,
    /// Whether it was.
    pub kept: bool,
    /// Why it does not count, if it does not: the emulator's own word.
    pub invalid: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (must be {})", self.measured, self.bound)?;
        if let Some(why) = &self.invalid {
            write!(f, " [{why}]")?;
        }
        Ok(())
    }
}

/// Makes one check, again while the emulator is late.
///
/// # Errors
/// The machine's.
pub fn make(check: &Check, way: Way) -> io::Result<Finding> {
    let mut finding = (check.make)(way)?;
    for _ in 1..TRIES {
        if finding.kept && finding.invalid.is_none() {
            break;
        }
        finding = (check.make)(way)?;
    }
    Ok(finding)
}

/// Makes all checks, says what they found, and whether all was kept.
///
/// # Errors
/// The machine's.
pub fn run(way: Way, only: &[String]) -> io::Result<bool> {
    let mut kept = true;
    for check in CHECKS.iter().filter(|check| only.is_empty() || only.iter().any(|name| name == check.name)) {
        let finding = make(check, way)?;
        let passed = finding.kept && finding.invalid.is_none();
        println!("{:<6} {:<11} {finding}", if passed { "ok" } else { "FAILED" }, check.name);
        kept &= passed;
    }
    Ok(kept)
}
