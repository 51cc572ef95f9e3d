//! Processes of the `causeway` binary, as users run them, to watch, shut down and kill.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::admin::Admin;
use crate::guard::{Guarded, Signal};

/// Exit code of a process that waits for an operator.
pub const HALTED: i32 = 3;

/// Exit code of a process that SIGKILL ended.
pub const KILLED: i32 = 137;

/// Unit of CPU time in `/proc`: Linux reports hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// Running `causeway`. Dropping it kills the process and prints the end of its log, which the test runner shows if the
/// test failed.
#[derive(Debug)]
pub struct Process {
    guarded: Guarded,
    log: PathBuf,
    is_quiet: bool,
    /// Client of its admin port.
    pub admin: Admin,
}

impl Process {
    /// Starts `command` and appends its output to `log`.
    pub fn start(command: &Command, log: &Path, admin: Admin) -> Result<Self> {
        Ok(Self { guarded: Guarded::spawn(command, log)?, log: log.to_owned(), is_quiet: false, admin })
    }

    /// Prints no log when it is dropped, for measurements whose output is a table.
    pub fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.guarded.pid()
    }

    /// Sends SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) {
        self.guarded.kill();
    }

    /// Sends a signal, without waiting for its effect.
    pub fn signal(&mut self, signal: Signal) {
        self.guarded.signal(signal);
    }

    /// Returns the exit code if the process has ended: 128 + n after signal n, so [`KILLED`] after SIGKILL.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        self.guarded.exit_code()
    }

    /// Waits until the process ends by itself, and returns its exit code.
    pub fn wait(&mut self, timeout: Duration) -> Result<i32> {
        self.guarded.wait(timeout)
    }

    /// Sends SIGTERM, waits, and returns the exit code.
    pub fn terminate(&mut self, timeout: Duration) -> Result<i32> {
        self.signal(Signal::Term);
        self.wait(timeout)
    }

    /// Returns its log, with the output of all its starts; nothing before its guard has made the file.
    pub fn log(&self) -> Result<String> {
        match fs::read(&self.log) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => Ok(String::from_utf8_lossy(&read?).into_owned()),
        }
    }

    /// Returns its resident memory, in bytes.
    pub fn resident(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// Returns the peak of its resident memory, in bytes.
    pub fn resident_peak(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let value = status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
        Ok(value.with_context(|| format!("no {field}"))?.parse::<u64>()? * 1024)
    }

    /// Returns the CPU time that all its threads have used so far, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds_of(self.pid())
    }
}

/// Returns the number of threads of a process, and that of its open files.
pub fn threads_and_files_of(pid: u32) -> Result<(usize, usize)> {
    let entries = |of: &str| Ok::<_, anyhow::Error>(fs::read_dir(format!("/proc/{pid}/{of}"))?.count());
    Ok((entries("task")?, entries("fd")?))
}

/// Returns the CPU time that all threads of a process have used so far, in seconds.
pub fn cpu_seconds_of(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Fields count from behind the process name, which may contain spaces.
    let (_, fields) = stat.rsplit_once(") ").context("malformed stat")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? as f64 / TICKS_PER_SECOND)
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_quiet {
            println!("{}", self.guarded.log_tail());
        }
    }
}

static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// Makes `path` the `causeway` under test. It must come before the first use of [`binary`].
pub fn use_binary(path: &Path) -> Result<()> {
    BINARY.set(Ok(path.to_owned())).map_err(|_| anyhow!("the binary is in use already"))
}

/// Returns the path of the `causeway` under test: that of [`use_binary`], `CAUSEWAY_BIN`, or a binary that cargo builds
/// with this crate's Kafka feature.
pub fn binary() -> Result<PathBuf> {
    let find = || match std::env::var_os("CAUSEWAY_BIN") {
        Some(path) => Ok(PathBuf::from(path)),
        None => build().map_err(|error| format!("{error:#}")),
    };
    BINARY.get_or_init(find).clone().map_err(|error| anyhow!("no causeway binary: {error}"))
}

fn build() -> Result<PathBuf> {
    let feature = if cfg!(feature = "kafka-system") { "kafka-system" } else { "kafka-vendored" };
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "causeway-cli", "--message-format", "json"])
        .args(["--no-default-features", "--features", feature])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "cargo build: {}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout)?;
    let messages = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut executables = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables.next().context("cargo built no executable")
}
