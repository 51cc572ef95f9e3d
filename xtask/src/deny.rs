//! Pinned cargo-deny: checks licences, bans and sources, and advisories if their database can be fetched.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step::{cache, cargo, line_of, root, run};

const VERSION: &str = "0.20.2";

/// The message of cargo-deny if the database cannot be fetched, which is not the fault of the change under test.
const DATABASE_UNREACHABLE: &str = "failed to fetch advisory database";

fn home() -> Result<PathBuf> {
    Ok(cache()?.join(format!("tools/cargo-deny-{VERSION}")))
}

/// Builds cargo-deny into the shared cache, unless it is there already.
pub(crate) fn install() -> Result<()> {
    let home = home()?;
    if home.join("bin/cargo-deny").exists() {
        return Ok(());
    }
    println!("building cargo-deny {VERSION}, once, into {}", home.display());
    let build = home.join("build");
    let mut install = cargo(&["install", "cargo-deny", "--locked", "--quiet", "--version", VERSION, "--root"]);
    install.arg(&home).arg("--target-dir").arg(&build);
    // cargo-deny runs for a second; the time to build it matters more.
    install.args(["--debug"]).env("CARGO_PROFILE_DEV_DEBUG", "0");
    run(&mut install)?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
}

/// Runs all checks; returns a note for the summary if advisories could not be checked.
pub(crate) fn check() -> Result<Option<String>> {
    run(command()?.args([
        "--log-level",
        "error",
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]))?;
    let mut advisories = command()?;
    advisories.args(["--locked", "check", "--hide-inclusion-graph", "advisories"]);
    println!("$ {}", line_of(&advisories));
    let output = advisories.stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        println!("advisories ok");
        return Ok(None);
    }
    if said.contains(DATABASE_UNREACHABLE) {
        let note = "advisories: NOT CHECKED";
        println!("{note} (their database cannot be fetched from here)");
        return Ok(Some(note.to_owned()));
    }
    bail!("{}: {said}", line_of(&advisories))
}

fn command() -> Result<Command> {
    let mut deny = Command::new(home()?.join("bin/cargo-deny"));
    deny.current_dir(root());
    Ok(deny)
}
