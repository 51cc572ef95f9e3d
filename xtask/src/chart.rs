//! `cargo xtask chart`: checks `deploy/helm` and `deploy/compose` with Helm's and Compose's own code. The checks are a Go
//! module, because that code is one; they have the program read every configuration that comes out.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::step::{root, run as run_command};

/// Where the Go module is.
const MODULE: &str = "deploy/helm/check";

/// Reason why this machine cannot run the checks; `None` if it can.
pub(crate) fn obstacle() -> Option<String> {
    Command::new("go").arg("version").output().is_err().then(|| "not found: go".to_owned())
}

/// Runs the checks with a built program.
pub(crate) fn check(program: &Path) -> Result<()> {
    ensure!(program.exists(), "{} does not exist: cargo build --workspace --bins", program.display());
    let module = root().join(MODULE);
    let unformatted = Command::new("gofmt").arg("-l").arg(&module).output().context("cannot run gofmt")?;
    let names = String::from_utf8_lossy(&unformatted.stdout);
    ensure!(unformatted.status.success() && names.is_empty(), "run gofmt -w on: {names}");
    // `-count=1`: Go remembers results by what its tests read, and does not see that the program has changed.
    let mut test = Command::new("go");
    test.args(["test", "-count=1", "./..."]).current_dir(module);
    // What the module states, and no setting of a machine.
    test.env("GOFLAGS", "-mod=readonly").env("GOWORK", "off");
    run_command(test.env("CAUSEWAY_BIN", program))
}
