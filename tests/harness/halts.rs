//! Halted partitions, as an operator sees and resumes them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::run_at;
use crate::process::Process;

/// Limit of a wait for a halt. A client that sees a topic no more may need its next metadata, 30 s later on an idle machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Halts of partitions of which nothing was ever carried: the receiver has no position for them.
const WITHOUT_POSITION: [&str; 4] =
    ["target-not-empty", "target-too-few-partitions", "target-refused", "origin-unknown"];
/// Reason of partitions that wait for the target: they are shown as waiting, not as halted.
const WAITS: &str = "target-unavailable";

/// Checks whether the sender shows the partition as halted, for any reason.
pub fn is_halted(sender: &Process, topic: &str, partition: i32) -> Result<bool> {
    let status = sender.admin.status()?;
    let mut halted = status["halted"].as_array().context("the status has no list of halted partitions")?.iter();
    Ok(halted.any(|halt| halt["topic"] == topic && halt["partition"] == partition))
}

/// Waits until the sender shows the partition as halted for `reason`, or as waiting for the target if that is the
/// reason, and returns what `status` shows.
///
/// The sender shows the halt before it knows the stored position; this waits for the position too.
pub fn wait_for(sender: &Process, topic: &str, partition: i32, reason: &str) -> Result<Value> {
    let waits = reason == WAITS;
    let find = |status: &Value| {
        let mut shown = status[if waits { "waiting" } else { "halted" }].as_array()?.iter();
        let is_of = |one: &Value| one["topic"] == topic && one["partition"] == partition;
        let is_wanted = |one: &&Value| if waits { one["cluster"] == "target" } else { one["reason"] == reason };
        shown.find(|one| is_of(one) && is_wanted(one)).cloned()
    };
    let is_complete = |halt: Value| waits || halt["position"] != -1 || WITHOUT_POSITION.contains(&reason);
    let what = format!("{topic}/{partition} to halt with {reason}");
    let status = sender.admin.wait_for(&what, PATIENCE, |status| find(status).is_some_and(is_complete))?;
    let halt = find(&status).with_context(|| format!("{topic}/{partition} is not halted any more"))?;
    println!("{topic}/{partition}: {reason}: {}", halt["detail"]);
    Ok(halt)
}

/// Waits for a halt, as [`wait_for`], ensures that it is at `position`, and returns its detail.
pub fn expect(sender: &Process, topic: &str, partition: i32, reason: &str, position: i64) -> Result<String> {
    let halt = wait_for(sender, topic, partition, reason)?;
    ensure!(halt["position"] == position, "{topic}/{partition} is halted, but not at position {position}: {halt}");
    let detail = halt["detail"].as_str().context("the halt has no detail")?;
    Ok(detail.to_owned())
}

/// Waits until the sender shows exactly these topics as deleted, each with its number of positions, and no halts.
pub fn wait_for_deleted(sender: &Process, topics: &[(&str, u32)]) -> Result<()> {
    let topic = |(topic, positions): &(&str, u32)| serde_json::json!({ "topic": topic, "positions": positions });
    let expected = Value::Array(topics.iter().map(topic).collect());
    let is_shown = |status: &Value| {
        let is_open = status["state"] == "active" && status["lanes_open"] == status["lanes"];
        is_open && status["deleted_topics"] == expected && status["halted"] == serde_json::json!([])
    };
    sender.admin.wait_for(&format!("the deleted topics {topics:?}"), PATIENCE, is_shown).map(drop)
}

/// Waits until the receiver shows these numbers of halted partitions and of orphaned positions for its first link.
pub fn wait_for_stored(receiver: &Process, halted: u64, orphaned: u64) -> Result<()> {
    let is_shown = |status: &Value| {
        let link = &status["links"][0];
        let is_open = link["lanes_open"] == link["lanes"] && link["lanes"] != 0;
        is_open && link["halted_partitions"] == halted && link["orphaned_positions"] == orphaned
    };
    let what = format!("{halted} halted partitions and {orphaned} orphaned positions");
    receiver.admin.wait_for(&what, PATIENCE, is_shown).map(drop)
}

/// Runs `causeway forget` at this sender, which must succeed.
pub fn forget(sender: &Process, topic: &str) -> Result<()> {
    succeed(sender, &["forget", topic])
}

/// Runs `causeway resume` at this sender, which must succeed.
pub fn resume(sender: &Process, arguments: &[&str]) -> Result<()> {
    succeed(sender, &[&["resume"], arguments].concat())
}

/// Runs `causeway adopt` at this sender, which must succeed.
pub fn adopt(sender: &Process, what: &str) -> Result<()> {
    succeed(sender, &["adopt", what])
}

fn succeed(process: &Process, arguments: &[&str]) -> Result<()> {
    let exit = run_at(process, arguments)?;
    println!("causeway {arguments:?}: {}", exit.printed);
    exit.expect(0, "")
}

/// A jump of a position, as `causeway jumps` prints it.
#[derive(Debug, Clone)]
pub struct Jump {
    row: Value,
}

impl Jump {
    /// Checks whether the position was moved from the one to the other.
    pub fn is_between(&self, from: i64, to: i64) -> bool {
        self.row["from"] == from && self.row["to"] == to
    }

    /// Position before the jump; −1 where nothing had been carried.
    pub fn from(&self) -> Option<i64> {
        self.row["from"].as_i64()
    }

    /// Decision that moved the position: a policy or an operator's command.
    pub fn reason(&self) -> &str {
        self.row["reason"].as_str().unwrap_or_default()
    }

    /// Condition of the target that an operator accepted.
    pub fn accepted(&self) -> &str {
        self.row["accepted"].as_str().unwrap_or_default()
    }

    /// Reason of the halt that the jump ended.
    pub fn halt_reason(&self) -> &str {
        self.row["halt"]["reason"].as_str().unwrap_or_default()
    }
}

/// Returns the rows that `causeway jumps` prints for this receiver.
pub fn jumps(receiver: &Process) -> Result<Vec<Jump>> {
    let exit = run_at(receiver, &["jumps"])?;
    exit.expect(0, "")?;
    let rows = exit.printed.lines().map(|line| serde_json::from_str(line).context("a jump is not JSON"));
    rows.map(|row| row.map(|row| Jump { row })).collect()
}

/// Returns the only jump that this receiver has recorded.
pub fn only_jump(receiver: &Process) -> Result<Jump> {
    let mut jumps = jumps(receiver)?;
    ensure!(jumps.len() == 1, "one jump is expected: {jumps:?}");
    jumps.pop().context("no jump")
}
