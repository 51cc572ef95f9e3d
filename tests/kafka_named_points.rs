//! The receiver is killed at the points that decide between once, twice and never.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use harness::cluster::Pair;
use harness::files::LinkFiles;
use harness::journal::Load;
use harness::reader::{Isolation, read};
use harness::{topics, verify};
use receiver_with_kill_point::KillPoint;
use serde_json::Value;

mod receiver_with_kill_point;

const PATIENCE: Duration = Duration::from_secs(120);
/// Far below the 30 s after which the target gives up the dead receiver's transaction by itself.
const RESUMED: Duration = Duration::from_secs(15);
/// Records per second, written until the second receiver commits: however much the first one got done, there is
/// work left.
const RATE: u32 = 6_000;
/// Past the first transaction, so that there are positions to be wrong about.
const DIES_AFTER: u64 = 6_000;
/// What the exit code of a process is that SIGKILL ended.
const KILLED: i32 = 137;

/// Names the configuration of the receiver that this executable is to be.
const FILE: &str = "CAUSEWAY_TESTS_RECEIVER";

#[test]
fn a_receiver_killed_after_it_produced_leaves_aborted_records_and_no_gap() -> Result<()> {
    let test = "a_receiver_killed_after_it_produced_leaves_aborted_records_and_no_gap";
    let aborted = kill_at(KillPoint::Produced, test)?;
    ensure!(aborted > 0, "no record was aborted: the receiver died too early or too late");
    Ok(())
}

#[test]
fn a_receiver_killed_after_it_wrote_positions_leaves_neither_records_nor_positions() -> Result<()> {
    let test = "a_receiver_killed_after_it_wrote_positions_leaves_neither_records_nor_positions";
    let aborted = kill_at(KillPoint::PositionsWritten, test)?;
    ensure!(aborted > 0, "no record was aborted: the receiver died too early or too late");
    Ok(())
}

#[test]
fn a_receiver_killed_between_commit_and_ack_does_not_commit_the_same_records_again() -> Result<()> {
    let test = "a_receiver_killed_between_commit_and_ack_does_not_commit_the_same_records_again";
    let aborted = kill_at(KillPoint::Committed, test)?;
    ensure!(aborted == 0, "{aborted} records were aborted, so the receiver did not die between two transactions");
    Ok(())
}

/// How many records an uncommitted reader sees beside those that were written. One lane, so that it is in no
/// other transaction when it dies.
///
/// The receiver that dies is this very executable, asked to run `test`, which finds that it is to be one.
fn kill_at(point: KillPoint, test: &str) -> Result<usize> {
    if let Some(file) = env::var_os(FILE) {
        receiver_with_kill_point::run(&PathBuf::from(file), point, DIES_AFTER)?;
        bail!("the receiver left before it came to {point:?}");
    }
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "named-point", 4)?;
    let mut files = LinkFiles::new(&topics::unique("named-point"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let mut doomed = Command::new(env::current_exe()?);
    doomed.args([test, "--exact", "--nocapture"]).env(FILE, files.receiver.write()?);
    let mut doomed = files.receiver.start_as(&mut doomed)?;
    let sender = files.sender.start()?;
    let load = Load::new(&topic, 4).rate(RATE).value_max(2_000).seed(point as u64).start(&pair.source)?;
    ensure!(doomed.wait(PATIENCE)? == KILLED, "the receiver ended, and not by SIGKILL");

    let receiver = files.receiver.start()?;
    let restarted = Instant::now();
    let flows = |status: &Value| status["links"][0]["counts"]["records"].as_u64() > Some(0);
    receiver.admin.wait_for("records to be committed", PATIENCE, flows)?;
    let stood = restarted.elapsed();
    println!("killed {point:?}: committing again after {stood:.1?}");
    ensure!(stood < RESUMED, "records stood still for {stood:?} after a kill {point:?}");
    let written = load.stop()?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    drop((sender, receiver));
    let all = read(&pair.target, &[&topic], Isolation::Uncommitted)?.len();
    println!("killed {point:?}: {} records written, {} aborted at the target", written.len(), all - written.len());
    Ok(all - written.len())
}
