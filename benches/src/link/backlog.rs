//! How fast a backlog is carried at 1 % loss, and what it costs.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use harness::reader::{Isolation, read};
use harness::wait;

use super::Figure;
use super::records::write_all;
use super::stage::{Link, PATIENCE, Stage, committed};

const RECORDS: u64 = 2_000_000;
const LOSS_PERCENT: f64 = 1.0;
/// Share of the backlog after whose arrival the rate is measured: the start of a session is another row.
const FIRST: u64 = RECORDS / 20;

pub(super) fn measure(stage: &Stage, binary: &Path, partitions: i32) -> Result<Vec<Figure>> {
    let topic = stage.create_topic("backlog", partitions)?;
    let bytes = write_all(&stage.pair.source, &topic, partitions, RECORDS)? as f64;
    let link = Link::new(stage, binary, &[&topic], LOSS_PERCENT)?;
    let receiver = link.start_receiver()?;
    let sender = link.start_sender()?;
    let reaches = |count: u64| {
        wait::until_ok("the backlog", PATIENCE, || {
            let at = committed(&receiver)?;
            Ok((at >= count).then(|| (Instant::now(), at)))
        })
    };
    let (first, from) = reaches(FIRST)?;
    let (last, to) = reaches(RECORDS)?;
    ensure!(to == RECORDS, "{to} of {RECORDS} records");
    let late = link.relay.emulator.report().invalid();
    let megabits = bytes * (to - from) as f64 / RECORDS as f64 * 8.0 / (last - first).as_secs_f64() / 1e6;
    let wan_bytes = link.relay.emulator.report().forward.offered_bytes as f64;
    let figures = vec![
        Figure::new("goodput", megabits, "Mbit/s"),
        Figure::new("sender", sender.cpu_seconds()? / (bytes / 1e9), "CPU s/GB"),
        Figure::new("receiver", receiver.cpu_seconds()? / (bytes / 1e9), "CPU s/GB"),
        Figure::new("sender's peak", (sender.resident_peak()? >> 20) as f64, "MiB"),
        Figure::new("receiver's peak", (receiver.resident_peak()? >> 20) as f64, "MiB"),
        Figure::new("WAN", wan_bytes / bytes, "B per byte"),
        Figure::new("emulator late", f64::from(u8::from(late.is_some())), ""),
    ];
    drop((sender, receiver));
    let arrived = read(&stage.pair.target, &[&topic], Isolation::Committed)?.len();
    ensure!(arrived as u64 == RECORDS, "{arrived} of {RECORDS} records are at the target");
    Ok(figures)
}
