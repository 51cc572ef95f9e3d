//! Runs work as the first process of a PID namespace. When that process ends, for any reason, the kernel ends every
//! process that was started in the namespace; and that process ends when its parent ends.
//!
//! A process cannot enter a PID namespace, only its children can. The command therefore runs itself once more, with the
//! same arguments and [`LAUNCHER_VARIABLE`] set. The launcher only waits; the child, as process 1, does the work.

use std::env;
use std::io;
use std::path::Path;
use std::process::{Child, Command};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::error::TunError;

/// Environment variable that gives the launcher's process id to the child that becomes process 1.
const LAUNCHER_VARIABLE: &str = "CAUSEWAY_NETEM_LAUNCHER";

/// Runs `work` as the first process of a PID namespace and returns its exit code. In the launcher, which calls this
/// first, it starts that process and waits for it.
pub fn run_as_first_process(work: impl FnOnce() -> Result<i32, TunError>) -> Result<i32, TunError> {
    match launcher() {
        Some(launcher) => {
            enter(&launcher)?;
            work()
        }
        None => wait_with_signals(|| launch(&mut this_command()?)),
    }
}

/// Returns the launcher's process id, in a process that is to become process 1.
pub(super) fn launcher() -> Option<String> {
    env::var(LAUNCHER_VARIABLE).ok()
}

/// Returns a command that starts this program once more with the same arguments.
pub(super) fn this_command() -> Result<Command, TunError> {
    let program = env::current_exe().map_err(TunError::system("finding this program"))?;
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1));
    Ok(command)
}

pub(super) fn without_launcher(command: &mut Command) -> &mut Command {
    command.env_remove(LAUNCHER_VARIABLE)
}

pub(super) fn launch(command: &mut Command) -> Result<Child, TunError> {
    if let Err(error) = std::fs::metadata("/dev/net/tun") {
        return Err(TunError::Unsupported(io::Error::new(error.kind(), format!("/dev/net/tun: {error}"))));
    }
    unshare(CloneFlags::CLONE_NEWPID).map_err(|errno| TunError::Unsupported(errno.into()))?;
    let command = command.env(LAUNCHER_VARIABLE, std::process::id().to_string());
    command.spawn().map_err(TunError::system("starting the first process of the namespace"))
}

/// Prepares process 1: it dies with the launcher and sees only the namespace's processes under `/proc`.
pub(super) fn enter(launcher: &str) -> Result<(), TunError> {
    const DOING: &str = "entering the namespace";
    set_pdeathsig(Signal::SIGKILL).map_err(TunError::system(DOING))?;
    // The launcher may have died before the kernel knew; /proc still shows the launcher's namespace.
    if !Path::new("/proc").join(launcher).exists() {
        return Err(TunError::System { doing: DOING, error: Errno::ESRCH.into() });
    }
    let supported = |result: nix::Result<()>| result.map_err(|errno| TunError::Unsupported(errno.into()));
    supported(unshare(CloneFlags::CLONE_NEWNS))?;
    supported(mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    supported(mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>))
}

/// Starts a child, forwards SIGTERM to it, and returns its exit code when it ends. Other children are reaped meanwhile. A
/// terminal sends its own signals to the child directly; we only survive them, to return the child's exit code.
pub(super) fn wait_with_signals(start: impl FnOnce() -> Result<Child, TunError>) -> Result<i32, TunError> {
    const DOING: &str = "waiting for the command";
    // Signals are caught before the child starts, so that none is lost.
    let mut signals = Signals::new([SIGCHLD, SIGINT, SIGQUIT, SIGTERM]).map_err(TunError::system(DOING))?;
    let child = Pid::from_raw(start()?.id().cast_signed());
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            // The exit code as a shell returns it.
            Ok(WaitStatus::Exited(process, code)) if process == child => return Ok(code),
            Ok(WaitStatus::Signaled(process, signal, _)) if process == child => return Ok(128 + signal as i32),
            Ok(WaitStatus::StillAlive) => {
                for _ in signals.wait().filter(|&signal| signal == SIGTERM) {
                    // The child may have ended meanwhile.
                    let _ = kill(child, Signal::SIGTERM);
                }
            }
            // An orphan of the namespace, which becomes a child of its first process.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(TunError::system(DOING)(errno)),
        }
    }
}
