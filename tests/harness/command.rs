//! Commands of `causeway` that end by themselves.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::{Process, binary};

/// Result of a command: its exit code, and all it printed on both streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit code of the command.
    pub code: i32,
    /// Text that the command printed.
    pub printed: String,
}

impl Exit {
    /// Ensures the exit code, and that the command printed `sentence`.
    pub fn expect(&self, code: i32, sentence: &str) -> Result<()> {
        ensure!(self.code == code, "exit code {} where {code} is expected: {}", self.code, self.printed);
        ensure!(self.printed.contains(sentence), "{sentence:?} was not printed: {}", self.printed);
        Ok(())
    }
}

/// Runs `causeway` with these arguments.
pub fn run(arguments: &[&str]) -> Result<Exit> {
    let output = Command::new(binary()?).args(arguments).output()?;
    let printed = [output.stdout, output.stderr].concat();
    let code = output.status.code().with_context(|| format!("causeway {arguments:?} was killed by a signal"))?;
    Ok(Exit { code, printed: String::from_utf8_lossy(&printed).trim_end().to_owned() })
}

/// Runs `causeway` with these arguments and `--admin` with the address of `process`.
pub fn run_at(process: &Process, arguments: &[&str]) -> Result<Exit> {
    let address = process.admin.address().to_string();
    run(&[arguments, &["--admin", &address]].concat())
}
