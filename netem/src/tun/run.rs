//! `netem run`: one command with a WAN of its own. Nothing is left when the command ends.

use std::ffi::OsString;
use std::process::Command;

use super::error::TunError;
use super::pid_namespace::{run_as_first_process, wait_with_signals};
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
    wait_with_signals(|| site.source.spawn(&mut command).map_err(failed))
}
