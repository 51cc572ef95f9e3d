//! The results of the checks, printed one per line as they come.

use std::fmt::Display;

use crate::exit::Failure;

/// The results so far; counts the failed checks.
#[derive(Debug, Default)]
pub(super) struct Findings {
    failed: usize,
}

impl Findings {
    pub(super) fn ok(&mut self, what: &str, words: impl Display) {
        println!("  ok      {what:<16} {words}");
    }

    pub(super) fn note(&mut self, what: &str, words: impl Display) {
        println!("  note    {what:<16} {words}");
    }

    /// Prints a check that failed, and a remedy.
    pub(super) fn failed(&mut self, what: &str, why: impl Display, remedy: impl Display) {
        self.failed += 1;
        println!("  FAILED  {what:<16} {why}");
        println!("          {:<16} → {remedy}", "");
    }

    pub(super) fn verdict(self) -> Result<(), Failure> {
        match self.failed {
            0 => Ok(()),
            1 => Err(Failure::Failed("1 check failed".to_owned())),
            failed => Err(Failure::Failed(format!("{failed} checks failed"))),
        }
    }
}
