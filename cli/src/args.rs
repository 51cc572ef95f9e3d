//! The command line, and the help that teaches it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use netem::command::NetemCommand;

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

`causeway example sender` prints a file to start from; docs/reference/configuration.md lists every setting.";

const RECEIVE: &str = "\
Runs a receiver until it is told to leave. It runs beside the target cluster, serves any number of
links on one UDP port, creates missing topics, and keeps each link's positions in the topic
`__causeway.<link>.state` of the target.

Example:
  causeway receive /etc/causeway/receiver.toml

`causeway example receiver` prints a file to start from; docs/reference/configuration.md lists every setting.";

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
limits it, what is wrong, what to do, and each lane. Without an address it asks 127.0.0.1:7401 and
127.0.0.1:7402, where a sender and a receiver answer by default.

Examples:
  causeway status
  causeway status 10.0.0.7:7401
  causeway status --watch
  causeway status --json | jq .lag_records
  causeway status --topics                      each topic: how far behind, what is halted
  causeway status --topic orders                each partition: position, log, lag, state

Exit codes: 0 somebody answered, 1 nobody did.";

const RESUME: &str = "\
Lets a halted partition go on. Ask the sender that holds the link: it knows the source's log, and
the receiver stores what becomes of the position, in one transaction with who asked and why.

Without an option the partition goes on where it stands: for when the cause is repaired. `--skip`
leaves out what cannot be carried, and no more: the one record that the target refuses, the range
that retention deleted, or the old incarnation of a topic that was made again. `--from` goes on at
a position of yours; below the present one, records are written again.

`causeway status` names the halted partitions; docs/troubleshoot.md says for each halt reason what it
means and what to do.

Examples:
  causeway resume orders/3
  causeway resume orders/3 --skip
  causeway resume orders/3 --from 120000 --admin 10.0.0.7:7401

Exit codes: 0 it goes on, 1 it does not, and why.";

const RATE: &str = "\
Shows the rate of a running sender: what holds, why, until when, and what is used of it. With a rate,
it holds from now on, before the schedule and the file, until its time is over or `--reset` takes it
back. It is not written down: a sender that is started anew begins with its file again.

Examples:
  causeway rate
  causeway rate 200Mbit/s --for 2h
  causeway rate --reset --admin 10.0.0.7:7401

Exit codes: 0 it holds, 1 it was refused or nobody answers, 2 that is no rate or no time.";

const ADOPT: &str = "\
Lets a link write to a target topic that holds what it did not write, or lacks what it did: the
partitions of the source topic that are halted as `target-not-empty` or `target-replaced`. Records
go behind what is there. Ask the sender that holds the link.

Examples:
  causeway adopt orders
  causeway adopt orders/3

Exit codes: 0 all of them go on, 1 some do not, and why.";

const JUMPS: &str = "\
Prints who lifted which halt, and moved which position, when and why: one line of JSON each, the
newest 366 of each lane. They are part of the link's state, stored in the transaction that they
describe. Ask the receiver, while a sender holds the link.

Example:
  causeway jumps | jq -r '[.topic, .partition, .from, .to, .reason] | @tsv'

Exit codes: 0 it answered, 1 it did not.";

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
    /// Let a halted partition go on
    #[command(long_about = RESUME)]
    Resume(Resume),
    /// Show the rate of a running sender, or set another one for a while
    #[command(long_about = RATE)]
    Rate(Rate),
    /// Let a link write to a target topic that is not as it left it
    #[command(long_about = ADOPT)]
    Adopt(Adopt),
    /// Print which halts were lifted and which positions were moved, by whom and why
    #[command(long_about = JUMPS)]
    Jumps {
        /// The receiver's admin port
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7402")]
        admin: String,
        #[command(flatten)]
        access: AdminAccess,
    },
    /// Print a configuration to start from, every setting explained
    Example {
        /// Whose
        side: ExampleSide,
    },
    /// Show a whole link at work: two clusters, a load, restarts, and every record compared
    Demo {
        /// Time in seconds that the load runs
        #[arg(long, default_value_t = 25, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
    },
    /// Emulate a WAN on this machine: for your own tests, with any protocol
    Netem {
        /// What is asked of the emulator.
        #[command(subcommand)]
        command: Box<NetemCommand>,
    },
    /// Make certificates
    Pki {
        /// What to make.
        #[command(subcommand)]
        command: PkiCommand,
    },
}

/// How an admin port is asked that is not on loopback.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminAccess {
    /// Ask over TLS, and believe certificates of the authorities in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The file with the token that the port wants
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,
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
    #[command(flatten)]
    pub(crate) access: AdminAccess,
    /// Show each topic of the link instead; ask the sender that holds it
    #[arg(long)]
    pub(crate) topics: bool,
    /// Show each partition of this topic instead; ask the sender that holds the link
    #[arg(long, value_name = "TOPIC", conflicts_with = "topics")]
    pub(crate) topic: Option<String>,
    /// Print JSON, one line for each process that answered; docs/reference/status.md lists the fields
    #[arg(long)]
    pub(crate) json: bool,
    /// Ask again every 2 s, until interrupted: in place on a terminal, page after page elsewhere
    #[arg(long)]
    pub(crate) watch: bool,
}

/// `causeway resume`
#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The source's topic and partition, such as orders/3
    #[arg(value_name = "TOPIC/PARTITION", value_parser = partition)]
    pub(crate) partition: (String, i32),
    /// Leave out what cannot be carried
    #[arg(long, conflicts_with = "from")]
    pub(crate) skip: bool,
    /// Go on at this source offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) from: Option<i64>,
    /// The admin port of the sender that holds the link
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7401")]
    pub(crate) admin: String,
    #[command(flatten)]
    pub(crate) access: AdminAccess,
}

/// `causeway rate`
#[derive(Debug, clap::Args)]
pub(crate) struct Rate {
    /// The rate that is to hold, such as 200Mbit/s
    #[arg(value_name = "RATE")]
    pub(crate) rate: Option<wire::units::Rate>,
    /// For how long, such as 2h; without it until --reset
    #[arg(long = "for", value_name = "TIME", requires = "rate", value_parser = wire::units::parse_duration)]
    pub(crate) time: Option<Duration>,
    /// Take the rate back: the schedule and the file decide again
    #[arg(long, conflicts_with = "rate")]
    pub(crate) reset: bool,
    /// The admin port of the sender
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7401")]
    pub(crate) admin: String,
    #[command(flatten)]
    pub(crate) access: AdminAccess,
}

/// `causeway adopt`
#[derive(Debug, clap::Args)]
pub(crate) struct Adopt {
    /// The source's topic, or one partition of it, such as orders/3
    #[arg(value_name = "TOPIC[/PARTITION]")]
    pub(crate) topic: String,
    /// The admin port of the sender that holds the link
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7401")]
    pub(crate) admin: String,
    #[command(flatten)]
    pub(crate) access: AdminAccess,
}

/// `orders/3`, taken apart.
pub(crate) fn partition(text: &str) -> Result<(String, i32), String> {
    let parts = text.rsplit_once('/').and_then(|(topic, number)| Some((topic, number.parse::<i32>().ok()?)));
    let parts = parts.filter(|(topic, number)| !topic.is_empty() && *number >= 0);
    parts.map(|(topic, number)| (topic.to_owned(), number)).ok_or_else(|| "write it like orders/3".to_owned())
}

/// Whose example.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ExampleSide {
    /// Beside the source cluster
    Sender,
    /// Beside the target cluster
    Receiver,
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
