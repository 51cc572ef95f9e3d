//! What was found, one line each, as it is found.

use std::fmt::Display;

use crate::exit::Failure;

/// How many checks have failed so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    failed: usize,
}

impl Findings {
    /// It is as it should be.
    pub(super) fn ok(&mut self, what: &str, words: impl Display) {
        println!("  ok      {what:<16} {words}");
    }

    /// Nothing is wrong, but somebody may want to know.
    pub(super) fn note(&mut self, what: &str, words: impl Display) {
        println!("  note    {what:<16} {words}");
    }

    /// It is not, and this may help.
    pub(super) fn failed(&mut self, what: &str, why: impl Display, remedy: impl Display) {
        self.failed += 1;
        println!("  FAILED  {what:<16} {why}");
        println!("          {:<16} → {remedy}", "");
    }

    /// What all of it means for the exit code.
    pub(super) fn verdict(self) -> Result<(), Failure> {
        match self.failed {
            0 => Ok(()),
            1 => Err(Failure::Failed("1 check failed".to_owned())),
            failed => Err(Failure::Failed(format!("{failed} checks failed"))),
        }
    }
}
