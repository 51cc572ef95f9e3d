//! `netem`: the emulator as a program of its own, the same as `causeway netem` without Kafka.

#![forbid(unsafe_code)]

use std::process::exit;

use clap::Parser;
use netem::command::{NetemCommand, end_with_reader, run};

/// Emulates a WAN on one machine
#[derive(Debug, Parser)]
#[command(name = "netem", version)]
struct Args {
    #[command(subcommand)]
    command: NetemCommand,
}

fn main() {
    end_with_reader();
    match run(Args::parse().command) {
        Ok(code) => exit(code),
        Err(error) => {
            eprintln!("netem: {error}");
            exit(1)
        }
    }
}
