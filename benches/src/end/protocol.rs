//! The protocol between the bench and its ends: arguments, lines on standard input, and lines on standard output.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::payload::Payload;

/// Time between two samples that an end writes.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);
/// Command to an end: read the configuration again.
pub(crate) const RELOAD: &str = "reload";
/// Command to an end: discard the latencies measured so far.
pub(crate) const RESET: &str = "reset";
/// Command to an end: cut off the channel whose number follows after a space.
pub(crate) const CUT: &str = "cut";
/// First line of a receiving end, which means that it accepts connections.
pub(crate) const READY: &str = "ready";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The product's sender
    Sender,
    /// The product's receiver
    Receiver,
    /// A sender of plain QUIC streams
    PlainSender,
    /// A receiver of plain QUIC streams
    PlainReceiver,
}

/// Arguments of an end.
#[derive(Debug, Clone, Args)]
pub(crate) struct EndArgs {
    #[arg(value_enum)]
    pub(crate) role: Role,
    /// Directory of certificates and configuration
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Seed of the record values
    #[arg(long)]
    pub(crate) seed: u64,
    /// Bytes of a record's value
    #[arg(long)]
    pub(crate) record_bytes: usize,
    /// Partitions of the bulk topic
    #[arg(long)]
    pub(crate) partitions: i32,
    /// Also carry the trickle: a few records with the time at which they were produced
    #[arg(long)]
    pub(crate) trickle: bool,
    /// Leave out the bulk topic
    #[arg(long)]
    pub(crate) idle: bool,
}

impl EndArgs {
    /// Creates the record values that both ends of a run compute.
    pub(crate) fn payload(&self) -> Payload {
        Payload::new(self.seed, self.record_bytes)
    }
}

/// Writes a sample every [`SAMPLE_INTERVAL`] until that fails.
pub(crate) async fn report<S: Serialize>(sample: impl Fn() -> S) -> Result<()> {
    let mut tick = tokio::time::interval(SAMPLE_INTERVAL);
    loop {
        tick.tick().await;
        write_line(&serde_json::to_string(&sample())?)?;
    }
}

pub(crate) fn write_line(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("the bench has ended")
}
