//! cargo-deny, pinned: licences, bans and sources always, advisories where their database can be fetched.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::step::{cache, cargo, line_of, root, run};

const VERSION: &str = "0.20.2";

/// What cargo-deny says where the database is out of reach, which is no fault of the change under test.
const OUT_OF_REACH: &str = "failed to fetch advisory database";

fn home() -> Result<PathBuf> {
    Ok(cache()?.join(format!("tools/cargo-deny-{VERSION}")))
}

/// Builds it into the user's cache unless it is there.
pub(crate) fn install() -> Result<()> {
    let home = home()?;
    if home.join("bin/cargo-deny").exists() {
        return Ok(());
    }
    println!("building cargo-deny {VERSION}, once, into {}", home.display());
    let build = home.join("build");
    let mut install = cargo(&["install", "cargo-deny", "--locked", "--quiet", "--version", VERSION, "--root"]);
    install.arg(&home).arg("--target-dir").arg(&build);
    // It runs for a second; what counts is how long it takes to build.
    install.args(["--debug"]).env("CARGO_PROFILE_DEV_DEBUG", "0");
    run(&mut install)?;
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
}

/// Checks; a note for the summary where something could not be.
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
    if said.contains(OUT_OF_REACH) {
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
