//! `netem up`, `exec` and `down`: a WAN that stays until it is taken down. A process holds it; a record says
//! which, and whoever comes next sweeps a record whose process is gone.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout, setsid};
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

use super::record::Record;
use super::site::{Site, SiteSettings};
use super::stage::{TunError, attend, enter, itself, launch, launcher};
use crate::wan::{Direction, Wan};

/// Names the namespaces to processes inside, as two paths.
pub(super) const SITE: &str = "CAUSEWAY_NETEM";

/// Tells a process that it is to become the command that it names, and to end with its parent.
const LEASHED: &str = "CAUSEWAY_NETEM_LEASHED";

/// What the holder says when the WAN is there, before its descriptors, and what it is answered with once the
/// record is written.
const READY: &str = "ready";
const RECORDED: &[u8] = b"recorded\n";

/// How long a holder may take to end, in steps of [`STEP`], before it is killed.
const STEPS: u32 = 500;
const STEP: Duration = Duration::from_millis(10);

/// Brings a WAN up and leaves it there. Returns the process that holds it.
///
/// # Errors
/// The machine does not let us, or one is up.
pub fn up(wan: impl FnOnce() -> Wan<Vec<u8>>, settings: &SiteSettings) -> Result<u32, TunError> {
    if let Some(launcher) = launcher() {
        enter(&launcher)?;
        hold(wan, settings)?;
        return Ok(std::process::id());
    }
    if let Some(record) = Record::read().filter(Record::is_alive) {
        return Err(TunError::AlreadyUp(record.holder));
    }
    let mut command = itself()?;
    let mut holder = launch(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    introduce(&mut holder).map_err(TunError::machine("bringing the WAN up"))?;
    Ok(holder.id())
}

/// Waits until the WAN is there, records its holder, and lets that go on without us.
fn introduce(holder: &mut Child) -> io::Result<()> {
    let ended = || io::Error::other("the process that was to hold it ended");
    let (mut stdin, stdout) = holder.stdin.take().zip(holder.stdout.take()).ok_or_else(ended)?;
    let (mut stdout, mut line) = (BufReader::new(stdout), String::new());
    stdout.read_line(&mut line)?;
    let mut numbers = line.trim().strip_prefix(READY).unwrap_or_default().split_whitespace().map(str::parse);
    // Otherwise why stands on the error output that we share.
    let (Some(Ok(source)), Some(Ok(target))) = (numbers.next(), numbers.next()) else { return Err(ended()) };
    let record = Record::of(holder.id(), [source, target])?;
    record.write()?;
    stdin.write_all(RECORDED)?;
    // It closes its output once it no longer ends with us.
    stdout.read_to_string(&mut line)?;
    if record.is_alive() { Ok(()) } else { Err(ended()) }
}

/// As process 1: hold the WAN until asked to end, and leave a report.
fn hold(wan: impl FnOnce() -> Wan<Vec<u8>>, settings: &SiteSettings) -> Result<(), TunError> {
    let site = Site::build(wan(), settings).map_err(TunError::machine("building the namespaces"))?;
    let result = announce_and_wait(&site).map_err(TunError::machine("holding the WAN"));
    let report = site.emulator.stop().map_err(TunError::machine("carrying packets"))?;
    Record::leave_report(&report.to_string()).map_err(TunError::machine("leaving the report"))?;
    result
}

fn announce_and_wait(site: &Site) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM])?;
    println!("{READY} {} {}", site.source.descriptor(), site.target.descriptor());
    let mut answer = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut answer)?;
    if answer != RECORDED {
        return Err(io::Error::other("nobody recorded it"));
    }
    // From here on the record leads back to us, not the launcher's life.
    set_pdeathsig(None)?;
    setsid()?;
    // Nor is there anybody left to tell.
    let nowhere = File::options().write(true).open("/dev/null")?;
    dup2_stdout(&nowhere)?;
    dup2_stderr(&nowhere)?;
    signals.forever().next();
    Ok(())
}

/// Runs a command in the namespace at one end of the WAN: the one that this process is inside of, or the one
/// that is up. Returns its exit code.
///
/// # Errors
/// No WAN is up, the machine does not let us, or the command cannot be started.
pub fn exec(end: Direction, command: &[OsString]) -> Result<i32, TunError> {
    if env::var_os(LEASHED).is_some() {
        set_pdeathsig(Signal::SIGKILL).map_err(TunError::machine("taking the leash"))?;
        return become_command(command);
    }
    if let Ok(site) = env::var(SITE) {
        let namespace = site.split(':').nth(end as usize).map(File::open).ok_or(TunError::NothingUp)?;
        let entered = namespace.and_then(|namespace| Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?));
        entered.map_err(TunError::machine("entering the namespace"))?;
        return become_command(command);
    }
    let record = Record::read().filter(Record::is_alive).ok_or(TunError::NothingUp)?;
    // Once inside, /proc knows this process no more.
    let mut child = itself()?;
    join(&record, end).map_err(TunError::machine("entering the namespace"))?;
    let [source, target] = record.namespaces.map(|descriptor| format!("/proc/1/fd/{descriptor}"));
    let child = child.env(LEASHED, "1").env(SITE, format!("{source}:{target}"));
    attend(|| child.spawn().map_err(TunError::machine("starting the command")))
}

fn become_command(command: &[OsString]) -> Result<i32, TunError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(0) };
    let error = super::run::invite(Command::new(program).args(arguments)).env_remove(LEASHED).exec();
    Err(TunError::Command { command: program.display().to_string(), error })
}

/// Goes where the holder is: this process for the network, what it starts for the rest.
fn join(record: &Record, end: Direction) -> io::Result<()> {
    let here = env::current_dir()?;
    let open = |of: &str| File::open(Path::new("/proc").join(record.holder.to_string()).join(of));
    let network = open(&format!("fd/{}", record.namespaces[end as usize]))?;
    let (processes, mounts) = (open("ns/pid")?, open("ns/mnt")?);
    setns(processes, CloneFlags::CLONE_NEWPID)?;
    setns(network, CloneFlags::CLONE_NEWNET)?;
    setns(mounts, CloneFlags::CLONE_NEWNS)?;
    // Entering mounts leads to their root.
    env::set_current_dir(here)
}

/// What [`down`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// A WAN, which is gone now: what its emulator did.
    Taken(String),
    /// Only the record of one that had ended by itself.
    Swept(PathBuf),
}

/// Takes down the WAN that is up, and with it everything that runs in it.
///
/// # Errors
/// None is up, or it does not end.
pub fn down() -> Result<Down, TunError> {
    const DOING: &str = "taking the WAN down";
    let record = Record::read().ok_or(TunError::NothingUp)?;
    if !record.is_alive() {
        return record.remove().map(Down::Swept).map_err(TunError::machine(DOING));
    }
    let holder = Pid::from_raw(record.holder.cast_signed());
    kill(holder, Signal::SIGTERM).map_err(TunError::machine(DOING))?;
    if !has_ended(&record) {
        kill(holder, Signal::SIGKILL).map_err(TunError::machine(DOING))?;
        has_ended(&record);
    }
    let report = Record::take_report();
    record.remove().map_err(TunError::machine(DOING))?;
    Ok(Down::Taken(report.unwrap_or_else(|| "it had to be killed, and left no report".to_owned())))
}

/// Waits for the holder's end; not our child, so nobody tells us.
fn has_ended(record: &Record) -> bool {
    (0..STEPS).any(|_| {
        let ended = !record.is_alive();
        if !ended {
            sleep(STEP);
        }
        ended
    })
}
