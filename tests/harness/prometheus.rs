//! A real Prometheus: its programs, from the distribution's package, and a server that scrapes the processes under test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::admin::Admin;
use crate::broker::free_ports;
use crate::download::{cache_dir, publish, staging};
use crate::guard::Guarded;
use crate::scratch::Scratch;
use crate::wait::until_ok;

const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// Directory of the programs `prometheus` and `promtool`; `None` if they are on the path.
#[derive(Debug)]
pub struct Programs(Option<PathBuf>);

impl Programs {
    /// Finds the programs. Unpacks the package of Debian or Ubuntu into the user's cache if they are not installed: no
    /// service starts.
    pub fn get() -> Result<Self> {
        let on_path = Self(None);
        if on_path.answer() {
            return Ok(on_path);
        }
        let dir = cache_dir()?.join("prometheus");
        let unpacked = Self(Some(dir.join("usr/bin")));
        if !unpacked.answer() {
            unpack(&dir).context(
                "the tests of alerts need Prometheus: install it (Debian, Ubuntu: apt-get install prometheus)",
            )?;
        }
        ensure!(unpacked.answer(), "the package in {} has no program that runs", dir.display());
        Ok(unpacked)
    }

    /// Runs `promtool` in `dir`. Returns what it printed; it is an error if the program says that something is wrong.
    pub fn promtool(&self, arguments: &[&str], dir: &Path) -> Result<String> {
        let mut promtool = self.command("promtool");
        let output = promtool.args(arguments).current_dir(dir).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
        Ok(said)
    }

    fn command(&self, program: &str) -> Command {
        Command::new(self.0.as_ref().map_or_else(|| PathBuf::from(program), |dir| dir.join(program)))
    }

    fn answer(&self) -> bool {
        ["prometheus", "promtool"].iter().all(|program| {
            let mut command = self.command(program);
            let status =
                command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        })
    }
}

/// Unpacks the distribution's package into `set`, which appears as a whole.
fn unpack(set: &Path) -> Result<()> {
    let download = staging()?;
    let fetch = || run(Command::new("apt-get").args(["download", "-qq", "prometheus"]).current_dir(download.path()));
    if fetch().is_err() {
        // The lists may be old or missing; only root can fetch them.
        run(Command::new("apt-get").args(["update", "-qq"]))?;
        fetch()?;
    }
    let package = fs::read_dir(download.path())?.next().context("apt-get left no package")??.path();
    let unpacked = staging()?;
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(unpacked.path()))?;
    publish(unpacked, set)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { bail!("{command:?}: {said}") }
}

/// A running server. Dropping it kills the process and removes its data.
#[derive(Debug)]
pub struct Prometheus {
    web: Admin,
    // Before its files.
    _process: Guarded,
    _scratch: Scratch,
}

impl Prometheus {
    /// Starts a server that scrapes each admin port every second, by the name of its job, and evaluates `rules`.
    pub fn start(programs: &Programs, jobs: &[(&str, &Admin)], rules: &Path) -> Result<Self> {
        let scratch = Scratch::new("prometheus")?;
        let port = free_ports(1)?[0];
        let job = |(name, admin): &(&str, &Admin)| {
            format!("  - {{ job_name: {name}, static_configs: [{{ targets: [\"{}\"] }}] }}\n", admin.address())
        };
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}\"]\nscrape_configs:\n{}",
            rules.display(),
            jobs.iter().map(job).collect::<String>()
        );
        let file = scratch.path().join("prometheus.yml");
        fs::write(&file, config)?;
        let mut command = programs.command("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", scratch.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let mut process = Guarded::spawn(&command, &scratch.path().join("prometheus.log"))?;
        let web = Admin::new(([127, 0, 0, 1], port).into());
        until_ok("Prometheus to start", STARTED_WITHIN, || {
            if let Some(code) = process.exit_code()? {
                bail!("Prometheus ended with code {code}: {}", process.log_tail());
            }
            Ok(web.get("/-/ready").is_ok().then_some(()))
        })?;
        Ok(Self { web, _process: process, _scratch: scratch })
    }

    /// Returns the series that an expression has now.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let answer = self.web.get(&format!("/api/v1/query?query={}", encoded(expression)))?;
        let answer: Value = serde_json::from_str(&answer)?;
        let series = answer["data"]["result"].as_array().with_context(|| format!("{expression}: {answer}"))?;
        Ok(series.clone())
    }
}

/// Encodes a value for a query: everything but letters and digits.
fn encoded(value: &str) -> String {
    let byte =
        |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(byte).collect()
}
