//! From the start of a process to the first record, on a link that exists.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use harness::process::Process;
use harness::wait;

use super::Figure;
use super::records::{Writer, write_all};
use super::stage::{Link, PATIENCE, Stage, committed, joined};

const PARTITIONS: i32 = 8;

/// Starts the sender of a link that has carried records before, while records wait.
pub(super) fn measure_start(stage: &Stage, binary: &Path) -> Result<Vec<Figure>> {
    let topic = stage.create_topic("start", PARTITIONS)?;
    let link = Link::new(stage, binary, &[&topic], 0.0)?;
    let receiver = link.start_receiver()?;
    let mut sender = link.start_sender()?;
    joined(&sender, PARTITIONS)?;
    write_all(&stage.pair.source, &topic, PARTITIONS, 1_000)?;
    let before = wait_beyond(&receiver, 999)?;
    sender.terminate(PATIENCE)?;
    write_all(&stage.pair.source, &topic, PARTITIONS, 1_000)?;
    let began = Instant::now();
    let _sender = link.start_sender()?;
    wait_beyond(&receiver, before)?;
    Ok(vec![Figure::new("first commit after", began.elapsed().as_secs_f64(), "s")])
}

/// Stops the receiver under load, and starts it again.
pub(super) fn measure_restart(stage: &Stage, binary: &Path) -> Result<Vec<Figure>> {
    let topic = stage.create_topic("restart", PARTITIONS)?;
    let link = Link::new(stage, binary, &[&topic], 0.0)?;
    let mut receiver = link.start_receiver()?;
    let sender = link.start_sender()?;
    joined(&sender, PARTITIONS)?;
    let writer = Writer::start(&stage.pair.source, &topic, PARTITIONS, 3_000)?;
    wait_beyond(&receiver, 3_000)?;
    receiver.kill();
    let began = Instant::now();
    let receiver = super::stage::start(binary, "receive", &link.files.receiver)?;
    wait_beyond_or_absent(&receiver)?;
    let took = began.elapsed();
    writer.stop()?;
    Ok(vec![Figure::new("first commit after", took.as_secs_f64(), "s")])
}

fn wait_beyond(receiver: &Process, count: u64) -> Result<u64> {
    wait::until_ok("a commit", PATIENCE, || Ok(Some(committed(receiver)?).filter(|at| *at > count)))
}

/// As [`wait_beyond`], of a process that may not answer yet.
fn wait_beyond_or_absent(receiver: &Process) -> Result<u64> {
    wait::until("a commit", PATIENCE, || committed(receiver).ok().filter(|at| *at > 0))
}
