//! The command line, and the help that teaches it.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

const ABOUT: &str = "\
Moves Kafka topics between data centres at the speed of the line, exactly once.

  source Kafka ──▶ causeway send ═══ QUIC, TLS both ways ═══▶ causeway receive ──▶ target Kafka
                   beside the source       one UDP port       beside the target

A sender reads committed records and packs them into large compressed frames; a receiver writes
them to the target together with the positions they end at, in one transaction. Either may be
killed at any moment: what is lost is time, never data, and nothing is written twice.";

const START: &str = "\
To set up a link:
  causeway pki init pki --link fra-to-sin --sender sender.fra.example --receiver link.sin.example
  causeway example receiver > receiver.toml     edit it; then, beside the target cluster:
  causeway check receiver.toml && causeway receive receiver.toml
  causeway example sender > sender.toml         edit it; then, beside the source cluster:
  causeway check sender.toml && causeway send sender.toml
  causeway status                               is it keeping up, is anything wrong

Exit codes:
  0  done; for `send` and `receive` also: told to leave, and left
  1  failed, and may not fail the next time: a port is taken, a check failed, nobody answers
  2  the configuration or the command line must be mended first
  3  halted: a human must act before it makes sense to start again

`send` and `receive` drain and leave within 10 s of SIGTERM or SIGINT; a second signal makes them
leave at once. A service manager should start them again on 1 and on a signal, not on 2 and 3.";

const SEND: &str = "\
Runs a sender until it is told to leave. It runs beside the source cluster, needs no disk, and
finds out from the receiver where to go on. A second one for the same link, with another
`instance`, stands by and takes over.

Example:
  causeway send /etc/causeway/sender.toml

`causeway example sender` prints a file to start from; docs/configuration.md lists every setting.";

const RECEIVE: &str = "\
Runs a receiver until it is told to leave. It runs beside the target cluster, serves any number of
links on one UDP port, creates missing topics, and keeps each link's positions in the topic
`__causeway.<link>.state` of the target.

Example:
  causeway receive /etc/causeway/receiver.toml

`causeway example receiver` prints a file to start from; docs/configuration.md lists every setting.";

const CHECK: &str = "\
Reads a sender's or a receiver's file and shows what holds: every setting, written or by default,
and what follows from them: windows, credit, frame size, the rate that the memory allows.

Then it asks the Kafka cluster, and for a sender dials the receiver up to the point where both
have accepted each other's certificate. It changes nothing, and no session that runs notices.
Whether the receiver serves this link to this certificate shows only when the sender runs.

Example:
  causeway check /etc/causeway/sender.toml

Exit codes: 0 all is well, 1 a check failed, 2 the file cannot be used.";

const STATUS: &str = "\
Asks a running sender or receiver, on its admin port, what it is doing: is it keeping up, what
state is it in, what is wrong, and each lane. Without an address it asks 127.0.0.1:7401 and
127.0.0.1:7402, where a sender and a receiver answer by default.

Examples:
  causeway status
  causeway status 10.0.0.7:7401
  causeway status --json | jq .lag_records

Exit codes: 0 somebody answered, 1 nobody did.";

const INIT: &str = "\
Makes a certificate authority for one link, and a certificate and key for each side. Existing files
are never overwritten.

Example:
  causeway pki init pki --link fra-to-sin --sender sender.fra.example --receiver link.sin.example";

/// Moves Kafka topics between data centres at the speed of the line, exactly once
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, long_about = ABOUT, after_long_help = START, after_help = "`--help` says more")]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What `causeway` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a sender, beside the source cluster
    #[command(long_about = SEND)]
    Send {
        /// Its configuration, TOML
        file: PathBuf,
    },
    /// Run a receiver, beside the target cluster
    #[command(long_about = RECEIVE)]
    Receive {
        /// Its configuration, TOML
        file: PathBuf,
    },
    /// Show what a configuration means and whether its clusters and peer answer; change nothing
    #[command(long_about = CHECK)]
    Check {
        /// A sender's or a receiver's configuration, TOML
        file: PathBuf,
    },
    /// Ask a running sender or receiver how it is
    #[command(long_about = STATUS)]
    Status(Status),
    /// Print a configuration to start from, every setting explained
    Example {
        /// Whose
        side: ExampleSide,
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

/// `causeway status`
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// The admin port to ask, such as 127.0.0.1:7401
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: Option<String>,
    /// The same, as an option
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "address")]
    pub(crate) admin: Option<String>,
    /// Print JSON, one line for each process that answered; docs/metrics.md lists the fields
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whose example.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ExampleSide {
    /// Beside the source cluster
    Sender,
    /// Beside the target cluster
    Receiver,
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
    #[command(long_about = INIT)]
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
    #[arg(long = "sender", required = true, value_name = "NAME")]
    pub(crate) senders: Vec<String>,
    /// A DNS name or IP address of the receiver; repeat for more
    #[arg(long = "receiver", required = true, value_name = "NAME")]
    pub(crate) receivers: Vec<String>,
}
