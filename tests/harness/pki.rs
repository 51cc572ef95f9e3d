//! Certificates of links and listeners, made by `causeway pki`.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::process::binary;

/// DNS name in the sender's certificate.
pub(crate) const SENDER_NAME: &str = "sender.test";

/// Makes certificates for both sides, in `dir`.
pub(crate) fn make_pki(dir: &Path, link: &str) -> Result<()> {
    let mut init = Command::new(binary()?);
    init.args(["pki", "init"]).arg(dir);
    succeed(init.args(["--link", link, "--sender", SENDER_NAME, "--receiver", "127.0.0.1"]))
}

/// Makes a certificate for a further name, in the files `name` of `dir`, which has an authority.
pub(crate) fn issue(dir: &Path, name: &str, dns_name: &str) -> Result<()> {
    let mut issue = Command::new(binary()?);
    succeed(issue.args(["pki", "issue"]).arg(dir).args([name, "--for", dns_name]))
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
