//! An end of a trial, in a process and a network namespace of its own: the bench starts itself again as this process. It
//! writes samples to standard output and executes the commands that it reads from standard input.

pub(crate) mod plain;
pub(crate) mod product;
pub(crate) mod protocol;
pub(crate) mod sample;
pub(crate) mod sink;
pub(crate) mod sockets;
pub(crate) mod source;

use std::io::{self, BufRead};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use protocol::{EndArgs, Role};

pub(crate) fn run(args: &EndArgs) -> Result<()> {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let commands = read_commands()?;
    match args.role {
        Role::Sender => product::run_sender(args, commands),
        Role::Receiver => product::run_receiver(args, commands),
        Role::PlainSender => plain_runtime()?.block_on(plain::send(args)),
        Role::PlainReceiver => plain_runtime()?.block_on(plain::receive(args)),
    }
}

fn plain_runtime() -> Result<Runtime> {
    Runtime::new().context("cannot start the runtime")
}

/// Reads commands from standard input in a thread. They end when the bench does.
fn read_commands() -> Result<mpsc::Receiver<String>> {
    let (commands, inbox) = mpsc::channel(8);
    std::thread::Builder::new().name("commands".to_owned()).spawn(move || {
        let lines = io::stdin().lock().lines().map_while(Result::ok);
        lines.take_while(|line| commands.blocking_send(line.clone()).is_ok()).for_each(drop);
    })?;
    Ok(inbox)
}
