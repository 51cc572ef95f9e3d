//! Measures Causeway. `wan`: its transport over emulated WANs.

#![forbid(unsafe_code)]

mod end;
mod payload;
mod pki;
mod wan;

use std::process::exit;

use clap::{Parser, Subcommand};

/// Measures Causeway.
#[derive(Debug, Parser)]
#[command(name = "benches", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the transport does over emulated WANs, beside TCP and plain QUIC; needs root and /dev/net/tun
    Wan(wan::WanArgs),
    /// One end of a run; the bench starts it
    #[command(hide = true)]
    End(end::EndArgs),
}

fn main() {
    let code = match Cli::parse().command {
        Command::Wan(args) => wan::run(&args),
        Command::End(args) => end::run(&args).map(|()| 0),
    };
    exit(code.unwrap_or_else(|error| {
        eprintln!("benches: {error:#}");
        1
    }))
}
