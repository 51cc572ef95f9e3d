//! `netem up`, `exec` and `down`: a WAN that stays up until it is taken down. A process holds it, and a record names that
//! process. The next command removes a record whose process has ended.

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

use super::error::TunError;
use super::pid_namespace::{enter, launch, launcher, this_command, wait_with_signals};
use super::record::Record;
use super::site::{SITE_VARIABLE, Site, SiteSettings, prepare_command};
use crate::{Direction, Wan};

/// Environment variable of a process that is to become the command that it names, and to end with its parent.
const CHILD_VARIABLE: &str = "CAUSEWAY_NETEM_CHILD";
/// First word of the line that the holder prints when the WAN is up; its descriptors follow.
const READY: &str = "ready";
const RECORDED: &[u8] = b"recorded\n";
/// Checks of whether a holder has ended, before it is killed.
const END_CHECKS: u32 = 500;
/// Time between two checks of whether a holder has ended.
const END_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// Brings a WAN up, which stays up. Returns the process that holds it.
pub(crate) fn up(wan: impl FnOnce() -> Wan<Vec<u8>>, settings: &SiteSettings) -> Result<u32, TunError> {
    if let Some(launcher) = launcher() {
        enter(&launcher)?;
        hold(wan, settings)?;
        return Ok(std::process::id());
    }
    if let Some(record) = Record::read().filter(Record::is_alive) {
        return Err(TunError::AlreadyUp(record.holder));
    }
    let mut command = this_command()?;
    let mut holder = launch(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    record_when_ready(&mut holder).map_err(TunError::system("bringing the WAN up"))?;
    Ok(holder.id())
}

/// Waits until the WAN is up, writes its holder's record, and detaches the holder from this process.
fn record_when_ready(holder: &mut Child) -> io::Result<()> {
    let ended = || io::Error::other("the process that holds the WAN ended");
    let (mut stdin, stdout) = holder.stdin.take().zip(holder.stdout.take()).ok_or_else(ended)?;
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    // If the holder failed, it has printed the cause on standard error, which we share.
    let namespaces = parse_ready(&line).ok_or_else(ended)?;
    let record = Record::of(holder.id(), namespaces)?;
    record.write()?;
    stdin.write_all(RECORDED)?;
    // The holder closes its output once it no longer ends with us.
    stdout.read_to_string(&mut line)?;
    if record.is_alive() { Ok(()) } else { Err(ended()) }
}

/// Reads the descriptors of both namespaces from the holder's first line.
fn parse_ready(line: &str) -> Option<[i32; 2]> {
    let (source, target) = line.trim().strip_prefix(READY)?.trim().split_once(' ')?;
    Some([source.parse().ok()?, target.parse().ok()?])
}

/// Keeps the WAN up, as process 1, until a signal arrives. Then writes a report.
fn hold(wan: impl FnOnce() -> Wan<Vec<u8>>, settings: &SiteSettings) -> Result<(), TunError> {
    let site = Site::build(wan(), settings).map_err(TunError::system("building the namespaces"))?;
    let result = announce_and_wait(&site).map_err(TunError::system("holding the WAN"));
    let report = site.emulator.stop().map_err(TunError::system("carrying packets"))?;
    Record::leave_report(&report.to_string()).map_err(TunError::system("writing the report"))?;
    result
}

fn announce_and_wait(site: &Site) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM])?;
    println!("{READY} {} {}", site.source.descriptor(), site.target.descriptor());
    let mut answer = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut answer)?;
    if answer != RECORDED {
        return Err(io::Error::other("the record of this WAN was not written"));
    }
    // From here on the record leads to us, so that we need not end with the launcher.
    set_pdeathsig(None)?;
    setsid()?;
    // The terminal belongs to the launcher, which is about to end.
    let null = File::options().write(true).open("/dev/null")?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    signals.forever().next();
    Ok(())
}

/// Runs a command at one end of the WAN that this process is in, or else of the one that is up.
pub(crate) fn exec(end: Direction, command: &[OsString]) -> Result<i32, TunError> {
    if env::var_os(CHILD_VARIABLE).is_some() {
        set_pdeathsig(Signal::SIGKILL).map_err(TunError::system("requesting to end with the parent"))?;
        return become_command(command);
    }
    if let Ok(site) = env::var(SITE_VARIABLE) {
        let namespace = site.split(':').nth(end as usize).map(File::open).ok_or(TunError::NothingUp)?;
        let entered = namespace.and_then(|namespace| Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?));
        entered.map_err(TunError::system("entering the namespace"))?;
        return become_command(command);
    }
    let record = Record::read().filter(Record::is_alive).ok_or(TunError::NothingUp)?;
    // Inside the namespace, /proc does not show this process.
    let mut child = this_command()?;
    enter_namespaces(&record, end).map_err(TunError::system("entering the namespace"))?;
    let [source, target] = record.namespaces.map(|descriptor| format!("/proc/1/fd/{descriptor}"));
    let child = child.env(CHILD_VARIABLE, "1").env(SITE_VARIABLE, format!("{source}:{target}"));
    wait_with_signals(|| child.spawn().map_err(TunError::system("starting the command")))
}

fn become_command(command: &[OsString]) -> Result<i32, TunError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(0) };
    let error = prepare_command(Command::new(program).args(arguments)).env_remove(CHILD_VARIABLE).exec();
    Err(TunError::Command { command: program.display().to_string(), error })
}

/// Enters the holder's namespaces: the network with this process, the others with the processes that it starts.
fn enter_namespaces(record: &Record, end: Direction) -> io::Result<()> {
    let here = env::current_dir()?;
    let open = |of: &str| File::open(Path::new("/proc").join(record.holder.to_string()).join(of));
    let network = open(&format!("fd/{}", record.namespaces[end as usize]))?;
    let processes = open("ns/pid")?;
    let mounts = open("ns/mnt")?;
    setns(processes, CloneFlags::CLONE_NEWPID)?;
    setns(network, CloneFlags::CLONE_NEWNET)?;
    setns(mounts, CloneFlags::CLONE_NEWNS)?;
    // Entering the mount namespace has changed the working directory to its root.
    env::set_current_dir(here)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TakenDown {
    /// A WAN was taken down; this is its emulator's report.
    Running(String),
    /// The WAN had already ended; its record was removed from this directory.
    StaleRecord(PathBuf),
}

/// Takes down the WAN that is up, with every process in it.
pub(crate) fn down() -> Result<TakenDown, TunError> {
    const DOING: &str = "taking the WAN down";
    let record = Record::read().ok_or(TunError::NothingUp)?;
    if !record.is_alive() {
        return record.remove().map(TakenDown::StaleRecord).map_err(TunError::system(DOING));
    }
    let holder = Pid::from_raw(record.holder.cast_signed());
    kill(holder, Signal::SIGTERM).map_err(TunError::system(DOING))?;
    if !has_ended(&record) {
        kill(holder, Signal::SIGKILL).map_err(TunError::system(DOING))?;
        has_ended(&record);
    }
    let report = Record::take_report();
    record.remove().map_err(TunError::system(DOING))?;
    Ok(TakenDown::Running(report.unwrap_or_else(|| "the holder had to be killed and left no report".to_owned())))
}

/// Waits until the holder ends. It is not our child, so that its state must be polled.
fn has_ended(record: &Record) -> bool {
    (0..END_CHECKS).any(|_| {
        let ended = !record.is_alive();
        if !ended {
            sleep(END_CHECK_INTERVAL);
        }
        ended
    })
}
