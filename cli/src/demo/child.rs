//! A child process that cannot outlive the demo, however that ends.
//!
//! A small shell stands between, with the read end of a pipe whose only write end is ours: when that closes,
//! by return, panic or SIGKILL, the shell kills the child. It leads a process group of its own, so that a
//! Ctrl-C meant for the demo does not take the child.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// `$1` is the log, the rest the command. Ends with the child.
const SUPERVISOR: &str = r#"
exec 3<&0 </dev/null
log=$1; shift
"$@" 3<&- >>"$log" 2>&1 &
child=$!
( while read -r signal; do kill -s "$signal" "$child"; done; kill -s KILL "$child" ) <&3 3<&- >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$child"; code=$?
kill -s KILL "$watcher"; wait "$watcher"
exit "$code"
"#;

/// How much of its log is shown where it ended by itself.
const LOG_TAIL_LINES: usize = 10;

/// How often one that was asked to leave is looked after.
const STEP: Duration = Duration::from_millis(20);

/// A running child. Dropping it kills it and waits until it is gone.
#[derive(Debug)]
pub(crate) struct Guarded {
    shell: Child,
    pipe: ChildStdin,
    log: PathBuf,
}

impl Guarded {
    /// Starts `command` and appends what it prints to `log`.
    pub(crate) fn spawn(command: &Command, log: &Path) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", SUPERVISOR, "causeway-demo"]).arg(log).arg(command.get_program()).args(command.get_args());
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        let streams = shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shell = streams.spawn().context("cannot start sh")?;
        let pipe = shell.stdin.take().context("sh has no stdin")?;
        Ok(Self { shell, pipe, log: log.to_owned() })
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        let _ = self.shell.wait();
    }

    /// SIGTERM, and SIGKILL if it is not gone `within` that time.
    pub(crate) fn terminate(&mut self, within: Duration) {
        self.signal("TERM");
        let asked = Instant::now();
        while asked.elapsed() < within && matches!(self.shell.try_wait(), Ok(None)) {
            std::thread::sleep(STEP);
        }
        self.kill();
    }

    /// Fails with the end of its log if it has ended by itself.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        let Some(status) = self.shell.try_wait()? else { return Ok(()) };
        let log = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n");
        bail!("{} ended with {status}:\n{tail}", self.log.file_stem().unwrap_or_default().display());
    }

    /// A broken pipe means that the shell has left, and it leaves only after the child.
    fn signal(&mut self, name: &str) {
        let _ = writeln!(self.pipe, "{name}");
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}
