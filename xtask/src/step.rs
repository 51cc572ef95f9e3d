//! Steps of the gate: each is announced and timed, and a failure names the step and its command.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Steps that have run, for the summary.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    taken: Vec<(&'static str, Duration)>,
    notes: Vec<String>,
}

impl Steps {
    /// Runs a step and records its time, whether or not it succeeds.
    pub(crate) fn take(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n== {name}");
        let started = Instant::now();
        let result = step();
        let took = started.elapsed();
        println!("== {name}: {} after {}", if result.is_ok() { "ok" } else { "FAILED" }, seconds(took));
        self.taken.push((name, took));
        result.with_context(|| format!("check failed at {name}"))
    }

    /// Adds a line to the summary.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The summary: one line per step, the total, the notes.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::from("\n");
        let mut total = Duration::ZERO;
        for (name, took) in &self.taken {
            let _ = writeln!(text, "{name:<18}{:>10}", seconds(*took));
            total += *took;
        }
        let _ = writeln!(text, "{:<18}{:>10}", "total", seconds(total));
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// The root folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A cargo command that runs in the root of the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(root());
    if std::env::var_os("CI").is_some() {
        // A machine that builds once would only pay for what makes the next build faster.
        cargo.env("CARGO_INCREMENTAL", "0");
    }
    cargo
}

/// Runs a command without standard input until it exits; its output is passed on.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    println!("$ {line}");
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot run {line}"))?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// Runs a command without standard input, which must succeed. Returns what it printed.
pub(crate) fn printed(command: &mut Command) -> Result<String> {
    let line = line_of(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {line}"))?;
    let [printed, said] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    ensure!(output.status.success(), "{line}: {}: {said}{printed}", output.status);
    Ok(printed.into_owned())
}

/// Removes a directory with everything in it, if it exists.
pub(crate) fn remove_tree(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// The command line as a person would type it.
pub(crate) fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The folder for downloads and builds that all checkouts share.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        return Ok(PathBuf::from(dir).join("causeway"));
    }
    let home = std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/causeway"))
}
