//! Runs the emulator's command and detects when every process that it started has ended.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

/// Environment variable that names the directory of the record.
const RECORD: &str = "CAUSEWAY_NETEM_RECORD";

/// Longer than any step takes on a busy machine. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns true if this user can create namespaces on this machine. With CI set, the test fails if not.
pub(crate) fn is_fit() -> bool {
    let fit = geteuid().is_root() && Path::new("/dev/net/tun").exists();
    assert!(fit || std::env::var_os("CI").is_none(), "with CI set, this test needs root and /dev/net/tun");
    if !fit {
        eprintln!("NOT RUN: needs root and /dev/net/tun");
    }
    fit
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn netem(arguments: &[&str]) -> Printed {
    ended(Command::new(Netem::PATH).args(arguments))
}

/// A record directory of the test's own. However the test ends, a WAN that it left up is taken down.
pub(crate) struct Record {
    directory: TempDir,
    sweeper: Child,
}

impl Record {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut sweeper = Command::new("sh");
        // The sweeper's input closes when this process ends.
        sweeper.args(["-c", "cat > /dev/null; exec \"$0\" down 2> /dev/null", Netem::PATH]).process_group(0);
        let sweeper = sweeper.env(RECORD, directory.path()).stdin(Stdio::piped()).spawn().unwrap();
        Self { directory, sweeper }
    }

    pub(crate) fn netem(&self, arguments: &[&str]) -> Printed {
        ended(Command::new(Netem::PATH).args(arguments).env(RECORD, self.directory.path()))
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Netem {
        Netem::spawn(Command::new(Netem::PATH).args(arguments).env(RECORD, self.directory.path()))
    }

    /// Kills the process that holds the WAN.
    pub(crate) fn kill_holder(&self) {
        let record = fs::read_to_string(self.directory.path().join("record.json")).unwrap();
        let (_, rest) = record.split_once("\"holder\":").unwrap();
        let holder = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
        kill(Pid::from_raw(holder), Signal::SIGKILL).unwrap();
        let is_gone = || {
            let stat = fs::read_to_string(format!("/proc/{holder}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        let patience = Instant::now() + PATIENCE;
        while !is_gone() {
            assert!(Instant::now() < patience, "process {holder} does not end");
            thread::yield_now();
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        let _ = self.sweeper.wait();
    }
}

fn ended(command: &mut Command) -> Printed {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Printed { code: output.status.code().unwrap_or(-1), out, err }
}

/// A running command. Every process that it starts inherits the pipe for its output; its input closes when this is
/// dropped.
pub(crate) struct Netem {
    child: Child,
    lines: Receiver<String>,
}

impl Netem {
    pub(crate) const PATH: &str = env!("CARGO_BIN_EXE_netem");

    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::spawn(Command::new(Self::PATH).args(arguments))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines: Lines<BufReader<ChildStdout>> = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines: receiver }
    }

    pub(crate) fn await_line(&mut self, expected: &str) {
        while self.lines.recv_timeout(PATIENCE).unwrap() != expected {}
    }

    /// Waits until every process that has the pipe has ended.
    pub(crate) fn await_end_of_all(&mut self) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(error) => panic!("a process is left behind: {error}"),
            }
        }
        self.child.wait().unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    pub(crate) fn ask_to_end(&self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
    }

    pub(crate) fn exit_code(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Netem {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
