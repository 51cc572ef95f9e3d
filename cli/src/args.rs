//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Moves Kafka topics between data centres at the speed of the line, exactly once.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What `causeway` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a sender, beside the source cluster
    Send {
        /// Its configuration
        file: PathBuf,
    },
    /// Run a receiver, beside the target cluster
    Receive {
        /// Its configuration
        file: PathBuf,
    },
    /// Show a whole link at work: two clusters, a load, restarts, and every record compared
    Demo(Demo),
    /// Make certificates
    Pki {
        /// What to make.
        #[command(subcommand)]
        command: PkiCommand,
    },
}

/// `causeway demo`
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// How long the load runs
    #[arg(long, default_value_t = 25, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// Between two real Kafka brokers, with sender and receiver killed; needs Java 17, and Maven once
    #[arg(long)]
    pub(crate) kafka: bool,
}

/// What `causeway pki` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum PkiCommand {
    /// Make an authority and both sides' certificates
    Init(PkiInit),
}

/// `causeway pki init`
#[derive(Debug, clap::Args)]
pub(crate) struct PkiInit {
    /// Where to write the six files
    pub(crate) dir: PathBuf,
    /// The link they are for
    #[arg(long)]
    pub(crate) link: String,
    /// A DNS name or IP address of the sender; repeat for more
    #[arg(long = "sender", required = true)]
    pub(crate) senders: Vec<String>,
    /// A DNS name or IP address of the receiver; repeat for more
    #[arg(long = "receiver", required = true)]
    pub(crate) receivers: Vec<String>,
}
