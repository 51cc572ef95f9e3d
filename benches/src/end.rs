//! One end of a run, in a process and a network namespace of its own: the bench starts itself again as this. It
//! says what it has done on standard output and obeys what it reads on standard input.

pub(crate) mod catalog;
pub(crate) mod clock;
pub(crate) mod plain;
pub(crate) mod product;
pub(crate) mod sample;
pub(crate) mod sink;
pub(crate) mod sockets;
pub(crate) mod source;

use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::payload::Payload;

/// How often an end says what it has done.
const EVERY: Duration = Duration::from_millis(100);

/// What an end is told once it runs; a line each.
pub(crate) const RELOAD: &str = "reload";
pub(crate) const RESET: &str = "reset";
/// Followed by a space and the channel's number.
pub(crate) const CUT: &str = "cut";

/// The first line that a receiving end writes: it can be dialled.
pub(crate) const READY: &str = "ready";

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The product's sender
    Sender,
    /// The product's receiver
    Receiver,
    /// A sender of plain QUIC streams
    PlainSender,
    /// What receives those
    PlainReceiver,
}

/// How an end is started.
#[derive(Debug, Clone, Args)]
pub(crate) struct EndArgs {
    #[arg(value_enum)]
    pub(crate) role: Role,
    /// Where certificates and configuration lie
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// What record values are drawn from
    #[arg(long)]
    pub(crate) seed: u64,
    /// Bytes of a record's value
    #[arg(long)]
    pub(crate) record_bytes: usize,
    /// Partitions of the bulk topic
    #[arg(long)]
    pub(crate) partitions: i32,
    /// A few records beside the bulk that say when they were made
    #[arg(long)]
    pub(crate) trickle: bool,
    /// No bulk
    #[arg(long)]
    pub(crate) idle: bool,
}

impl EndArgs {
    fn payload(&self) -> Payload {
        Payload::new(self.seed, self.record_bytes)
    }
}

/// Runs an end until it is killed.
pub(crate) fn run(args: &EndArgs) -> Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let (commands, inbox) = mpsc::channel(8);
    std::thread::Builder::new().name("commands".to_owned()).spawn(move || {
        let lines = io::stdin().lock().lines().map_while(Result::ok);
        // Nobody left to tell us anything is nobody left to work for; the end goes with its bench anyway.
        lines.take_while(|line| commands.blocking_send(line.clone()).is_ok()).for_each(drop);
    })?;
    match args.role {
        Role::Sender => product::run_sender(args, inbox),
        Role::Receiver => product::run_receiver(args, inbox),
        Role::PlainSender => run_on(Runtime::new(), plain::send(args)),
        Role::PlainReceiver => run_on(Runtime::new(), plain::receive(args)),
    }
}

fn run_on(runtime: io::Result<Runtime>, end: impl Future<Output = Result<()>>) -> Result<()> {
    runtime.context("cannot start the runtime")?.block_on(end)
}

/// Writes a sample every [`EVERY`], for ever.
async fn report<S: Serialize>(sample: impl Fn() -> S) -> Result<()> {
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tick.tick().await;
        say(&serde_json::to_string(&sample())?)?;
    }
}

/// One line for the bench.
fn say(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("the bench is gone")
}
