//! One receiver with many links, each with a sender process and a certificate of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use harness::files::LinkFiles;
use harness::process::{cpu_seconds_of, threads_and_files_of};
use harness::{topics, wait};

use super::Figure;
use super::records::write_all;
use super::stage::{PATIENCE, Stage, committed, start};

const PARTITIONS: i32 = 4;
const RECORDS: u64 = 1_000;
/// Time for which the idle hub is observed.
const IDLE: Duration = Duration::from_secs(20);

pub(super) fn measure(stage: &Stage, binary: &Path, links: usize) -> Result<Vec<Figure>> {
    let stem = topics::unique("hub");
    let name = |number: usize| format!("{stem}-{number}");
    for number in 0..links {
        for cluster in [&stage.pair.source, &stage.pair.target] {
            topics::create(cluster, &name(number), PARTITIONS, &[])?;
        }
        write_all(&stage.pair.source, &name(number), PARTITIONS, RECORDS)?;
    }
    let mut files = LinkFiles::new(&name(0), &stage.pair.source, &stage.pair.target, &[&name(0)])?;
    let mut sides = vec![files.sender.clone()];
    for number in 1..links {
        sides.push(files.sender_of_another_link(&name(number), &[&name(number)])?);
    }
    let processes = sides.iter().map(|side| start(binary, "send", side)).collect::<Result<Vec<_>>>()?;
    wait::through(Duration::from_secs(links as u64 / 4), || Ok(()))?;
    let began = Instant::now();
    let receiver = start(binary, "receive", &files.receiver)?;
    let all = links as u64 * RECORDS;
    wait::until("all records of all links", PATIENCE, || (committed(&receiver).ok()? >= all).then_some(()))?;
    let took = began.elapsed();
    let pids = [receiver.pid(), stage.broker(&stage.pair.target)];
    let cpu = || pids.iter().map(|pid| cpu_seconds_of(*pid)).collect::<Result<Vec<f64>>>();
    let before = cpu()?;
    wait::through(IDLE, || Ok(()))?;
    let percent = |(after, before): (&f64, &f64)| (after - before) / IDLE.as_secs_f64() * 100.0;
    let idle: Vec<f64> = cpu()?.iter().zip(&before).map(percent).collect();
    let (threads, open) = threads_and_files_of(receiver.pid())?;
    let figures = vec![
        Figure::new("all carried after", took.as_secs_f64(), "s"),
        Figure::new("threads", threads as f64, ""),
        Figure::new("descriptors", open as f64, ""),
        Figure::new("peak", (receiver.resident_peak()? >> 20) as f64, "MiB"),
        Figure::new("idle receiver", idle[0], "% CPU"),
        Figure::new("idle broker", idle[1], "% CPU"),
    ];
    drop(processes);
    Ok(figures)
}
