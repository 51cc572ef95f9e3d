//! A receiver that is killed at the points of a transaction that decide between once, twice and never.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use harness::files::LinkFiles;
use harness::journal::Load;
use harness::pair::Pair;
use harness::process::KILLED;
use harness::reader::{Isolation, read};
use harness::{topics, verify};
use serde_json::Value;

use self::receiver::KillPoint;

mod receiver;

const PATIENCE: Duration = Duration::from_secs(120);

/// Time until a new receiver commits: much less than the 30 s after which the target aborts a transaction by itself.
const RESUMED: Duration = Duration::from_secs(15);

/// Records per second, written until the second receiver commits, so that it always has some left to do.
const RATE: u32 = 6_000;

/// Number of records before the kill: more than the first transaction has, so that positions are stored already.
const DIES_AFTER: u64 = 6_000;

/// Environment variable with the configuration file. If it is set, this executable is the receiver that is killed.
const FILE: &str = "CAUSEWAY_TESTS_RECEIVER";

#[test]
fn after_produce_leaves_aborted_records_and_no_gap() -> Result<()> {
    let aborted = kill_at(KillPoint::Produced, "after_produce_leaves_aborted_records_and_no_gap")?;
    ensure!(aborted > 0, "no record was aborted: the receiver was not killed inside of a transaction");
    Ok(())
}

#[test]
fn after_positions_leaves_neither_records_nor_positions() -> Result<()> {
    let aborted = kill_at(KillPoint::PositionsWritten, "after_positions_leaves_neither_records_nor_positions")?;
    ensure!(aborted > 0, "no record was aborted: the receiver was not killed inside of a transaction");
    Ok(())
}

#[test]
fn between_commit_and_ack_commits_no_record_again() -> Result<()> {
    let aborted = kill_at(KillPoint::Committed, "between_commit_and_ack_commits_no_record_again")?;
    ensure!(aborted == 0, "{aborted} records were aborted: the receiver was not killed between two transactions");
    Ok(())
}

/// Kills a receiver at `point`. Returns the number of aborted records at the target. The link has one lane, so that the
/// receiver is in one transaction when it is killed.
///
/// The receiver is this executable, which runs the test with the name `test` of this module and finds [`FILE`] set.
fn kill_at(point: KillPoint, test: &str) -> Result<usize> {
    if let Some(file) = env::var_os(FILE) {
        receiver::run(&PathBuf::from(file), point, DIES_AFTER)?;
        bail!("the receiver ended before {point:?}");
    }
    let pair = Pair::shared()?;
    let topic = topics::create_unique(&pair.source, "named-point", 4)?;
    let mut files = LinkFiles::new(&topics::unique("named-point"), &pair.source, &pair.target, &[&topic])?;
    files.sender.set("lanes", "count", "1");
    let mut doomed = Command::new(env::current_exe()?);
    // The test runner's names begin with the module, and not with the crate.
    let name = format!("kill_points::{test}");
    doomed.args([name.as_str(), "--exact", "--nocapture"]).env(FILE, files.receiver.write()?);
    let mut doomed = files.receiver.start_as(&mut doomed)?;
    let sender = files.sender.start()?;
    let load = Load::new(&topic, 4).rate(RATE).value_max(2_000).seed(point as u64).start(&pair.source)?;
    ensure!(doomed.wait(PATIENCE)? == KILLED, "the receiver did not end by SIGKILL");

    let receiver = files.receiver.start()?;
    let restarted = Instant::now();
    let flows = |status: &Value| status["links"][0]["counts"]["records"].as_u64() > Some(0);
    receiver.admin.wait_for("records to be committed", PATIENCE, flows)?;
    let took = restarted.elapsed();
    println!("killed at {point:?}: committing again after {took:.1?}");
    ensure!(took < RESUMED, "no record was committed for {took:?} after a kill at {point:?}");
    let written = load.stop()?.written;
    verify::wait_until_delivered(&written, &pair.target, "{topic}", PATIENCE)?;
    verify::ensure_exactly_once(&written, &pair.target, "{topic}")?;
    drop((sender, receiver));
    let all = read(&pair.target, &[&topic], Isolation::Uncommitted)?.len();
    println!("killed at {point:?}: {} records written, {} aborted at the target", written.len(), all - written.len());
    Ok(all - written.len())
}
