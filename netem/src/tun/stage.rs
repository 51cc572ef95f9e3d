//! The process in which namespaces are used: the first of a PID namespace, so that the kernel ends everything
//! started there when it ends, however it ends, and ends it when the process that asked for it ends.
//!
//! A process cannot enter a PID namespace, only its children can. So the command runs itself once more, with the
//! same arguments and [`LAUNCHER`] set: the launcher only waits, and the child, as process 1, does the work.

use std::env;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// Names the launcher's process id to the child that is to be process 1.
const LAUNCHER: &str = "CAUSEWAY_NETEM_LAUNCHER";

/// Why the tun mode cannot be used or failed.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The machine or the user is not fit for it.
    #[error("the tun mode needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN) and /dev/net/tun: {0}")]
    Unfit(io::Error),
    /// The command could not be started.
    #[error("{command}: {error}")]
    Command {
        /// Its name.
        command: String,
        /// Why.
        error: io::Error,
    },
    /// No WAN is up.
    #[error("no WAN is up; start one with `causeway netem up`")]
    NothingUp,
    /// One WAN at a time.
    #[error("a WAN is up already, held by process {0}; take it down with `causeway netem down`")]
    AlreadyUp(u32),
    /// Something else that the machine said.
    #[error("{doing}: {error}")]
    Machine {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        error: io::Error,
    },
}

impl TunError {
    /// For `map_err`: what the machine said to something.
    pub(super) fn machine<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Machine { doing, error: error.into() }
    }
}

/// Does `work` as the first process of a PID namespace and returns its exit code; called first by the launcher,
/// for which it does not do the work but waits for it.
///
/// # Errors
/// The machine does not let us, or what `work` says.
pub fn on_stage(work: impl FnOnce() -> Result<i32, TunError>) -> Result<i32, TunError> {
    match launcher() {
        Some(launcher) => {
            enter(&launcher)?;
            work()
        }
        None => attend(|| launch(&mut itself()?)),
    }
}

/// The launcher's process id, in a process that is to be process 1.
pub(super) fn launcher() -> Option<String> {
    env::var(LAUNCHER).ok()
}

/// This very command once more.
pub(super) fn itself() -> Result<Command, TunError> {
    let program = env::current_exe().map_err(TunError::machine("finding this program"))?;
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1));
    Ok(command)
}

/// Takes from a command what is only for the stage.
pub(super) fn off_stage(command: &mut Command) -> &mut Command {
    command.env_remove(LAUNCHER)
}

/// Starts `command` as process 1 of a new PID namespace.
pub(super) fn launch(command: &mut Command) -> Result<Child, TunError> {
    if let Err(error) = std::fs::metadata("/dev/net/tun") {
        return Err(TunError::Unfit(io::Error::new(error.kind(), format!("/dev/net/tun: {error}"))));
    }
    unshare(CloneFlags::CLONE_NEWPID).map_err(|errno| TunError::Unfit(errno.into()))?;
    let command = command.env(LAUNCHER, std::process::id().to_string());
    command.spawn().map_err(TunError::machine("starting the first process of the namespace"))
}

/// As process 1: die with the launcher, see only the own processes under `/proc`.
pub(super) fn enter(launcher: &str) -> Result<(), TunError> {
    const DOING: &str = "entering the namespace";
    set_pdeathsig(Signal::SIGKILL).map_err(TunError::machine(DOING))?;
    // It may have died before the kernel was told; /proc is still the launcher's.
    if !Path::new("/proc").join(launcher).exists() {
        return Err(TunError::Machine { doing: DOING, error: Errno::ESRCH.into() });
    }
    let fit = |result: nix::Result<()>| result.map_err(|errno| TunError::Unfit(errno.into()));
    fit(unshare(CloneFlags::CLONE_NEWNS))?;
    fit(mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    fit(mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>))
}

/// Starts a child, waits for it, and passes on to it the signal that asks a process to end. The terminal's own
/// signals reach the child without us, which must outlive it to say how it ended.
pub(super) fn attend(start: impl FnOnce() -> Result<Child, TunError>) -> Result<i32, TunError> {
    const DOING: &str = "waiting for the command";
    // Before there is somebody to pass it on to, so that none is lost.
    let mut signals = Signals::new([SIGCHLD, SIGINT, SIGQUIT, SIGTERM]).map_err(TunError::machine(DOING))?;
    let mut child = start()?;
    let process = Pid::from_raw(child.id().cast_signed());
    loop {
        if let Some(status) = child.try_wait().map_err(TunError::machine(DOING))? {
            return Ok(exit_code(status));
        }
        for signal in signals.wait() {
            if signal == SIGTERM {
                // It may have ended meanwhile.
                let _ = kill(process, Signal::SIGTERM);
            }
        }
    }
}

/// As a shell says it: 128 and the signal's number where a signal ended it.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
