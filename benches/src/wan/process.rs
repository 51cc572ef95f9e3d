//! An end's process: started in a namespace, listened to, told things, and gone when this is dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use netem::tun::Namespace;
use serde::de::DeserializeOwned;

/// Ticks per second in `/proc`: `USER_HZ`, which every Linux shows processes as this, whatever the kernel's own is.
const TICKS_PER_SECOND: f64 = 100.0;

/// How much of a log is shown where a process ended by itself.
const LOG_TAIL_LINES: usize = 5;

/// A running process whose lines of JSON are kept, the last one of them.
#[derive(Debug)]
pub(crate) struct Process<S> {
    child: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
    heard: Arc<Mutex<Heard<S>>>,
}

#[derive(Debug, Default)]
struct Heard<S> {
    last: Option<S>,
    other: Vec<String>,
}

/// Lines that are no samples; there is one, when an end is ready.
const OTHER_LINES_MAX: usize = 16;

impl<S: DeserializeOwned + Clone + Default + Send + 'static> Process<S> {
    /// Starts `command` in `namespace`; what it says on standard error goes to `log`.
    pub(crate) fn spawn(namespace: &Namespace, command: &mut Command, log: &Path) -> Result<Self> {
        let stderr = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = namespace.spawn(command).context("cannot start an end")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let heard = Arc::new(Mutex::new(Heard { last: None, other: Vec::new() }));
        let process = Self { child, stdin, log: log.to_owned(), heard: Arc::clone(&heard) };
        let stdout = stdout.context("an end has no standard output")?;
        thread::Builder::new().name("listener".to_owned()).spawn(move || listen(stdout, &heard))?;
        Ok(process)
    }

    /// The last sample.
    pub(crate) fn last(&self) -> S {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).last.clone().unwrap_or_default()
    }

    /// Whether it has said that line.
    pub(crate) fn has_said(&self, line: &str) -> bool {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).other.iter().any(|said| said == line)
    }

    /// Says a line to it.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("an end does not listen")?;
        writeln!(stdin, "{line}").context("an end does not listen any more")
    }

    /// Processor time that it has taken.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        cpu_of(&stat).context("/proc says nothing about an end's processor time")
    }

    /// Fails with the end of its log if it has ended by itself.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join(" | ");
        bail!("an end left by itself ({status}): {tail}");
    }
}

impl<S> Drop for Process<S> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen<S: DeserializeOwned>(stdout: ChildStdout, heard: &Mutex<Heard<S>>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        match serde_json::from_str(&line) {
            Ok(sample) => heard.last = Some(sample),
            Err(_) if heard.other.len() < OTHER_LINES_MAX => heard.other.push(line),
            Err(_) => {}
        }
    }
}

/// User and system time, the 14th and 15th field of `/proc/PID/stat`; the second one is a name in brackets that may
/// hold anything.
fn cpu_of(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_whatever_a_process_is_called() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1000 1 1";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_of("42 (a"), None);
    }
}
