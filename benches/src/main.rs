//! Measures Causeway. Its command `wan` measures the transport over emulated WANs, and `link` whole links between real
//! clusters.

#![forbid(unsafe_code)]

mod end;
mod link;
mod payload;
mod pki;
mod wan;

use std::process::exit;

use clap::{Parser, Subcommand};

/// Measures Causeway's transport over emulated WANs
#[derive(Debug, Parser)]
#[command(name = "benches", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the transport over emulated WANs, and TCP and plain QUIC for comparison; needs root and /dev/net/tun
    Wan(wan::WanArgs),
    /// Measure latency, throughput and cost of whole links between real Kafka clusters, over an emulated WAN
    Link(link::LinkArgs),
    /// Run one end of a trial; the bench starts this process itself
    #[command(hide = true)]
    End(end::protocol::EndArgs),
}

fn main() {
    let code = match Cli::parse().command {
        Command::Wan(args) => wan::run(&args),
        Command::Link(args) => link::run(&args),
        Command::End(args) => end::run(&args).map(|()| 0),
    };
    exit(code.unwrap_or_else(|error| {
        eprintln!("benches: {error:#}");
        1
    }))
}
