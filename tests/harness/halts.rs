//! Halted partitions, as an operator sees and lifts them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::run;
use crate::process::Process;

/// Whether the sender shows the partition as halted, whatever for.
pub fn is_halted(sender: &Process, topic: &str, partition: i32) -> Result<bool> {
    let status = sender.admin.status()?;
    let mut halted = status["halted"].as_array().context("no list of what is halted")?.iter();
    Ok(halted.any(|halt| halt["topic"] == topic && halt["partition"] == partition))
}

/// Waits until the sender shows the partition halted and knows where it stands, if it has stood anywhere.
pub fn wait_until_halted(
    sender: &Process,
    topic: &str,
    partition: i32,
    reason: &str,
    timeout: Duration,
) -> Result<Value> {
    let of = |status: &Value| {
        let mut halted = status["halted"].as_array()?.iter();
        halted
            .find(|halt| halt["topic"] == topic && halt["partition"] == partition && halt["reason"] == reason)
            .cloned()
    };
    // Before anything of it was carried no position is stored; otherwise the receiver will say which.
    let settled =
        |halt: Value| halt["position"] != -1 || ["target-not-empty", "target-too-few-partitions"].contains(&reason);
    let what = format!("{topic}/{partition} to halt as {reason}");
    let status = sender.admin.wait_for(&what, timeout, |status| of(status).is_some_and(settled))?;
    of(&status).context("not halted any more")
}

/// `causeway resume` or `adopt` at this process, which must not fail; what it prints.
pub fn lift(sender: &Process, command: &str, what: &[&str]) -> Result<String> {
    let admin = sender.admin.address().to_string();
    let (code, printed) = run(&[&[command], what, &["--admin", &admin]].concat())?;
    ensure!(code == 0, "causeway {command} {what:?}: {printed}");
    Ok(printed)
}

/// What `causeway jumps` prints of this receiver.
pub fn jumps(receiver: &Process) -> Result<Vec<Value>> {
    let (code, printed) = run(&["jumps", "--admin", &receiver.admin.address().to_string()])?;
    ensure!(code == 0, "{printed}");
    printed.lines().map(|line| serde_json::from_str(line).context("no JSON")).collect()
}
