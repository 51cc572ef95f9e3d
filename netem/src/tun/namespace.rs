//! A network namespace without a name: it lives as long as something holds it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// Where a thread sees its own network namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// A new one, and what `set_up` makes in it.
    ///
    /// # Errors
    /// The machine's, or what `set_up` says.
    pub fn create<T: Send>(set_up: impl FnOnce() -> io::Result<T> + Send) -> io::Result<(Self, T)> {
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let namespace = Self(File::open(OWN)?);
            Ok((namespace, set_up()?))
        })
    }

    /// Does something inside: sockets that it opens and processes that it starts stay there.
    ///
    /// # Errors
    /// The machine's, or what `inside` says.
    pub fn within<T: Send>(&self, inside: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        in_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            inside()
        })
    }

    /// Starts a command inside.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        self.within(|| command.spawn())
    }

    /// The descriptor that holds it, for another process to find under `/proc`.
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A namespace is a thread's, so a thread of its own goes there and ends there.
fn in_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Lets `ip` do `lines` in the calling thread's namespace, all or nothing said about the rest.
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
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip: {}", said.lines().next().unwrap_or("it failed without a word"))))
}
