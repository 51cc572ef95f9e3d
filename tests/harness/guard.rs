//! A child process that cannot outlive the test process.
//!
//! A small shell is the child's parent. It reads from a pipe whose only write end is in the test process. When the test
//! process ends, by return, panic or SIGKILL, the kernel closes that end, and the shell kills the child. The shell
//! leads a process group of its own, so that Ctrl-C in the terminal does not end the shell first. Signals for the child
//! are words on the same pipe: the shell is the parent, so the process id cannot have been reused.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait::until_ok;

/// Shell script: `$1` is the log, `$2` is `family` to end the child's children too, the rest is the command. Exits with
/// the child's code, or 128 + n after signal n.
const SUPERVISOR: &str = r#"
exec 3<&0 </dev/null
log=$1; ends=$2; shift 2
"$@" 3<&- >>"$log" 2>&1 &
child=$!
( while read -r signal; do kill -s "$signal" "$child"; done; kill -s KILL "$child" ) <&3 3<&- >/dev/null 2>&1 &
watcher=$!
exec 3<&-
echo "$child"
exec >&- 2>&-
wait "$child"; code=$?
kill -s KILL "$watcher"; wait "$watcher"
if [ "$ends" = family ]; then echo "ended with code $code" >>"$log"; kill -s KILL 0; fi
exit "$code"
"#;

/// Lines of a log that an error shows.
const LOG_TAIL_LINES: usize = 40;

/// Signals that tests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGKILL: ends the process without any clean-up.
    Kill,
    /// SIGTERM: requests a clean shutdown.
    Term,
    /// SIGHUP: requests a reload of the configuration.
    Hup,
    /// SIGSTOP: suspends the process until [`Signal::Cont`].
    Stop,
    /// SIGCONT: resumes a suspended process.
    Cont,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "KILL",
            Self::Term => "TERM",
            Self::Hup => "HUP",
            Self::Stop => "STOP",
            Self::Cont => "CONT",
        }
    }
}

/// Running child process. Dropping it kills the child and waits until the child is gone.
#[derive(Debug)]
pub struct Guarded {
    supervisor: Child,
    pipe: ChildStdin,
    pid: u32,
    log: PathBuf,
}

impl Guarded {
    /// Starts `command`, of which the program, arguments, environment and directory are used, and appends its output to
    /// `log`.
    pub fn spawn(command: &Command, log: &Path) -> Result<Self> {
        Self::spawn_that_ends(command, log, "child")
    }

    /// Starts `command` as [`Self::spawn`]. When it ends, every process that it started is killed, unless that left the
    /// process group. Its exit code is only in the log: the shell that knows it is killed too.
    pub fn spawn_family(command: &Command, log: &Path) -> Result<Self> {
        Self::spawn_that_ends(command, log, "family")
    }

    fn spawn_that_ends(command: &Command, log: &Path, ends: &str) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", SUPERVISOR, "causeway-test-guard"]).arg(log).arg(ends);
        shell.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(key, value),
                None => shell.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            shell.current_dir(dir);
        }
        let mut supervisor =
            shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start sh")?;
        let pipe = supervisor.stdin.take().context("sh has no stdin")?;
        let stdout = supervisor.stdout.take().context("sh has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let pid = line.trim().parse().with_context(|| format!("sh printed {line:?}, not a process id"))?;
        Ok(Self { supervisor, pipe, pid, log: log.to_owned() })
    }

    /// Returns the child's process id, for `/proc`.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal, without waiting for its effect. It is no error if the child is gone already.
    pub fn signal(&mut self, signal: Signal) {
        // A broken pipe means that the shell has ended, which it does only after the child.
        let _ = writeln!(self.pipe, "{}", signal.name());
    }

    /// Sends SIGKILL and waits until the child is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::Kill);
        let _ = self.supervisor.wait();
    }

    /// Returns the exit code if the child has ended: 128 + n after signal n, as in a shell.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        Ok(self.supervisor.try_wait()?.map(|status| status.code().unwrap_or(-1)))
    }

    /// Waits until the child ends by itself.
    pub fn wait(&mut self, timeout: Duration) -> Result<i32> {
        until_ok("a process to end", timeout, || self.exit_code()).with_context(|| self.log_tail())
    }

    /// Returns the last lines of its log, under the log's name.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the last lines of a log, under its name.
pub fn log_tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..];
    format!("--- last lines of {}\n{}", log.display(), tail.join("\n"))
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;
    use crate::scratch::Scratch;

    const SOON: Duration = Duration::from_secs(10);

    fn guarded(scratch: &Scratch, script: &str) -> Result<Guarded> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Guarded::spawn(&command, &scratch.path().join("log"))
    }

    #[test]
    fn exit_code_and_output_are_kept() -> Result<()> {
        let scratch = Scratch::new("guard")?;
        let mut child = guarded(&scratch, "echo out; echo err >&2; exit 7")?;
        assert_eq!(child.wait(SOON)?, 7);
        assert!(child.log_tail().ends_with("out\nerr"));
        Ok(())
    }

    #[test]
    fn signals_reach_the_child() -> Result<()> {
        let scratch = Scratch::new("guard")?;
        let mut child = guarded(&scratch, "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done")?;
        until_ok("the child to be up", SOON, || Ok(child.log_tail().ends_with("up").then_some(())))?;
        child.signal(Signal::Term);
        assert_eq!(child.wait(SOON)?, 5);
        let mut child = guarded(&scratch, "exec sleep 60")?;
        child.kill();
        assert_eq!(child.exit_code()?, Some(137));
        Ok(())
    }

    #[test]
    fn a_family_ends_with_its_parent() -> Result<()> {
        let scratch = Scratch::new("guard")?;
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]);
        let child = Guarded::spawn_family(&command, &scratch.path().join("log"))?;
        let sleeper = until_ok("the grandchild", SOON, || {
            let log = child.log_tail();
            Ok(log.lines().last().and_then(|pid| pid.parse::<u32>().ok()))
        })?;
        // A grandchild whose exit code no one reads stays as a zombie, without a command line.
        let runs = || fs::read(format!("/proc/{sleeper}/cmdline")).is_ok_and(|command| !command.is_empty());
        ensure!(runs(), "the grandchild runs");
        drop(child);
        until_ok("the grandchild to end", SOON, || Ok((!runs()).then_some(())))
    }

    #[test]
    fn drop_kills_the_child() -> Result<()> {
        let scratch = Scratch::new("guard")?;
        let child = guarded(&scratch, "exec sleep 60")?;
        let process = Path::new("/proc").join(child.pid().to_string());
        assert!(process.exists());
        drop(child);
        assert!(!process.exists());
        Ok(())
    }
}
