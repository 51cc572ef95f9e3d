//! Commands of `causeway` that end by themselves.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process::binary;

/// Runs `causeway` with these arguments: its exit code, and all it printed.
pub fn run(arguments: &[&str]) -> Result<(i32, String)> {
    let output = Command::new(binary()?).args(arguments).output()?;
    let printed = [output.stdout, output.stderr].concat();
    let code = output.status.code().with_context(|| format!("causeway {arguments:?} was killed"))?;
    Ok((code, String::from_utf8_lossy(&printed).trim_end().to_owned()))
}
