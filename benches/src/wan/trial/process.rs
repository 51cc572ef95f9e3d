//! The process of one end: starts it in a namespace, reads its samples, sends it commands, and ends it when dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use netem::tun::Namespace;
use serde::de::DeserializeOwned;
use service::lock::Lock;

/// Ticks per second in `/proc` (`USER_HZ`). Every Linux shows processes this value, independent of the kernel's own.
const TICKS_PER_SECOND: f64 = 100.0;
/// Lines of a log that are shown if the process ends by itself.
const LOG_TAIL_LINES: usize = 5;

/// A running process, with the last sample that it wrote.
#[derive(Debug)]
pub(crate) struct Process<S> {
    child: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
    output: Arc<Lock<Output<S>>>,
}

#[derive(Debug, Default)]
struct Output<S> {
    last: Option<S>,
    other: Vec<String>,
}

/// Lines that are kept although they are no samples. An end writes one, when it is ready.
const OTHER_LINES_MAX: usize = 16;

impl<S: DeserializeOwned + Clone + Default + Send + 'static> Process<S> {
    /// Starts `command` in `namespace`, with its standard error written to `log`.
    pub(crate) fn spawn(namespace: &Namespace, command: &mut Command, log: &Path) -> Result<Self> {
        let stderr = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut child = namespace.spawn(command).context("cannot start an end")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let output = Arc::new(Lock::new(Output { last: None, other: Vec::new() }));
        let process = Self { child, stdin, log: log.to_owned(), output: Arc::clone(&output) };
        let stdout = stdout.context("an end has no standard output")?;
        thread::Builder::new().name("reader".to_owned()).spawn(move || read(stdout, &output))?;
        Ok(process)
    }

    /// Returns the last sample, or an empty one if there is none yet.
    pub(crate) fn last(&self) -> S {
        self.output.lock().last.clone().unwrap_or_default()
    }

    pub(crate) fn has_written(&self, line: &str) -> bool {
        self.output.lock().other.iter().any(|written| written == line)
    }

    pub(crate) fn send(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("an end has no standard input")?;
        writeln!(stdin, "{line}").context("an end has closed its standard input")
    }

    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        cpu_of(&stat).context("/proc shows no processor time of an end")
    }

    /// Returns an error with the last lines of the log if the process has ended.
    pub(crate) fn ensure_running(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join(" | ");
        bail!("an end stopped by itself ({status}); its log ends with: {tail}");
    }
}

impl<S> Drop for Process<S> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read<S: DeserializeOwned>(stdout: ChildStdout, output: &Lock<Output<S>>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let mut output = output.lock();
        match serde_json::from_str(&line) {
            Ok(sample) => output.last = Some(sample),
            Err(_) if output.other.len() < OTHER_LINES_MAX => output.other.push(line),
            Err(_) => {}
        }
    }
}

/// Returns the sum of user and system time, the 14th and 15th field of `/proc/PID/stat`. The second field is a name in
/// parentheses, which may contain any character.
fn cpu_of(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_processor_time_after_a_name_with_parentheses() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1000 1 1";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(3)));
        assert_eq!(cpu_of("42 (a"), None);
    }
}
