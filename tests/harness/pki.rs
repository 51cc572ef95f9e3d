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
    init.args(["--link", link, "--sender", SENDER_NAME, "--receiver", "127.0.0.1"]);
    let output = init.output()?;
    ensure!(output.status.success(), "{init:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
