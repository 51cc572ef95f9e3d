//! `netem run`: one command with a WAN of its own. Nothing is left when the command ends.

use std::ffi::OsString;
use std::io;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use super::error::TunError;
use super::pid_namespace::run_as_first_process;
use super::site::{SITE_VARIABLE, Site, SiteSettings, prepare_command};
use crate::{Report, Wan};

/// Runs `command` in the source's namespace. Passes the report to `done` and returns the command's exit code.
pub(crate) fn run(
    wan: impl FnOnce() -> Wan<Vec<u8>>,
    settings: &SiteSettings,
    command: &[OsString],
    done: impl FnOnce(&Report),
) -> Result<i32, TunError> {
    run_as_first_process(|| {
        let site = Site::build(wan(), settings).map_err(TunError::system("building the namespaces"))?;
        let code = run_inside(&site, command)?;
        let report = site.emulator.stop().map_err(TunError::system("carrying packets"))?;
        done(&report);
        Ok(code)
    })
}

fn run_inside(site: &Site, command: &[OsString]) -> Result<i32, TunError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(0) };
    let failed = |error| TunError::Command { command: program.display().to_string(), error };
    let mut command = Command::new(program);
    let namespaces = [&site.source, &site.target].map(|namespace| format!("/proc/1/fd/{}", namespace.descriptor()));
    prepare_command(command.args(arguments)).env(SITE_VARIABLE, namespaces.join(":"));
    // Signals are caught before the command starts, so that none is lost.
    let signals = Signals::new([SIGTERM]).map_err(TunError::system("waiting for signals"))?;
    let main = Pid::from_raw(site.source.spawn(&mut command).map_err(failed)?.id().cast_signed());
    forward(signals, main).map_err(TunError::system("waiting for signals"))?;
    reap_until(main).map_err(TunError::system("waiting for the command"))
}

/// Forwards SIGTERM to the command. As process 1 of the namespace we would otherwise ignore it.
fn forward(mut signals: Signals, main: Pid) -> io::Result<()> {
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            let _ = kill(main, Signal::SIGTERM);
        }
    })?;
    Ok(())
}

/// Waits for the command and returns its exit code. Orphans of the namespace become our children and are reaped.
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
