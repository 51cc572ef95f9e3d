//! `netem run`: one command with a WAN of its own, and nothing left of either when it ends.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use super::lasting::SITE;
use super::site::{ADDRESSES, Site, SiteSettings};
use super::stage::{TunError, off_stage, on_stage};
use crate::report::Report;
use crate::wan::Wan;

/// Runs `command` in the source's namespace, and hands over what the emulator did when it has ended. Returns the
/// command's exit code.
///
/// # Errors
/// The machine does not let us, or the command cannot be started.
pub fn run(
    wan: impl FnOnce() -> Wan<Vec<u8>>,
    settings: &SiteSettings,
    command: &[OsString],
    done: impl FnOnce(&Report),
) -> Result<i32, TunError> {
    on_stage(|| {
        let site = Site::build(wan(), settings).map_err(TunError::machine("building the namespaces"))?;
        let code = run_inside(&site, command)?;
        let report = site.emulator.stop().map_err(TunError::machine("carrying packets"))?;
        done(&report);
        Ok(code)
    })
}

fn run_inside(site: &Site, command: &[OsString]) -> Result<i32, TunError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(0) };
    let failed = |error| TunError::Command { command: program.display().to_string(), error };
    let mut command = Command::new(program);
    let namespaces = [&site.source, &site.target].map(|namespace| format!("/proc/1/fd/{}", namespace.descriptor()));
    invite(command.args(arguments)).env(SITE, namespaces.join(":"));
    // Before there is somebody to pass it on to, so that none is lost.
    let signals = Signals::new([SIGTERM]).map_err(TunError::machine("waiting for signals"))?;
    let main = Pid::from_raw(site.source.spawn(&mut command).map_err(failed)?.id().cast_signed());
    pass_on(signals, main).map_err(TunError::machine("waiting for signals"))?;
    reap_until(main).map_err(TunError::machine("waiting for the command"))
}

/// Tells a command the addresses of both ends.
pub(super) fn invite(command: &mut Command) -> &mut Command {
    let [source, target] = ADDRESSES;
    off_stage(command).env("NETEM_SOURCE", source.to_string()).env("NETEM_TARGET", target.to_string())
}

/// Process 1 ignores what it does not ask for; the command must not.
fn pass_on(mut signals: Signals, main: Pid) -> io::Result<()> {
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            let _ = kill(main, Signal::SIGTERM);
        }
    })?;
    Ok(())
}

/// Orphans of the whole namespace become ours; each is buried, until the command itself ends.
fn reap_until(main: Pid) -> io::Result<i32> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == main => return Ok(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => return Ok(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
