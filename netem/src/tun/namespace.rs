//! A network namespace without a name: it exists as long as a descriptor or a process refers to it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// File that shows the calling thread's own network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// Creates a namespace and runs `set_up` in it. Returns the namespace and the result of `set_up`.
    pub fn create<T: Send>(set_up: impl FnOnce() -> io::Result<T> + Send) -> io::Result<(Self, T)> {
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let namespace = Self(File::open(OWN)?);
            Ok((namespace, set_up()?))
        })
    }

    /// Runs `inside` in the namespace. Sockets that it opens and processes that it starts stay there.
    pub fn within<T: Send>(&self, inside: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        in_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            inside()
        })
    }

    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.within(|| command.spawn())
    }

    /// Returns the descriptor of the namespace, which another process finds under `/proc`.
    pub(super) fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Runs `work` in a thread of its own, because a network namespace belongs to a thread.
fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs `ip` with `lines` as a batch in the calling thread's namespace.
pub(super) fn ip(lines: &[String]) -> io::Result<()> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut ip = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other("the `ip` command is not installed (package iproute2)"),
        _ => error,
    })?;
    if let Some(mut stdin) = ip.stdin.take() {
        stdin.write_all(lines.join("\n").as_bytes())?;
    }
    let output = ip.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip: {}", errors.lines().next().unwrap_or("failed without an error message"))))
}
