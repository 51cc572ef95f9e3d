//! The command line and its help.

mod promotion;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use netem::command::NetemCommand;
use receiver::PartitionOffset;
use sender::ResumeScope as Scope;

use crate::exit;
use crate::role::Role;
pub(crate) use promotion::{FailbackCommand, FailbackPlan, Failover, Salvage, SwitchOver};

const ABOUT: &str = "\
Moves Kafka topics between data centres at the speed of the line, exactly once.

  source Kafka ──▶ causeway send ═══ QUIC, TLS both ways ═══▶ causeway receive ──▶ target Kafka
                   near the source         one UDP port        near the target

A sender reads committed records and packs them into large compressed frames. A receiver writes
them to the target, together with the positions they end at, in one transaction. You can kill
either one at any moment: you lose time, never data, and nothing is written twice.";

const START: &str = "\
To set up a link:
  causeway pki init pki --link fra-to-sin --sender sender.fra.example --receiver link.sin.example
  causeway example receiver > receiver.toml     edit it; then, near the target cluster:
  causeway check receiver.toml && causeway receive receiver.toml
  causeway example sender > sender.toml         edit it; then, near the source cluster:
  causeway check sender.toml && causeway send sender.toml
  causeway status                               is it keeping up, is there a problem

`send` and `receive` drain and exit within 10 s of SIGTERM or SIGINT; a second signal makes them
exit immediately.";

const SEND: &str = "\
Runs a sender until it is stopped. Run it near the source cluster. It needs no disk: the receiver
tells it where to continue. A second sender of the same link, with another `instance`, stands by
and takes over when the first one fails.

Example:
  causeway send /etc/causeway/sender.toml

`causeway example sender` prints a file to start from; docs/reference/configuration.md lists every setting.";

const RECEIVE: &str = "\
Runs a receiver until it is stopped. Run it near the target cluster. It serves any number of links
on one UDP port, creates missing topics, and stores the positions of each link in the topic
`__causeway.<link>.state` of the target.

Example:
  causeway receive /etc/causeway/receiver.toml

`causeway example receiver` prints a file to start from; docs/reference/configuration.md lists every setting.";

const CHECK: &str = "\
Reads the file of a sender or a receiver and shows every setting, written or default, and what
follows from them: windows, credit, frame size, the rate that the memory allows.

Then it connects to the Kafka cluster. For a sender it also dials the receiver, until both have
accepted each other's certificate. It changes nothing and does not disturb a running session. It
does not show whether the receiver serves this link to this certificate: the sender does.

Example:
  causeway check /etc/causeway/sender.toml";

const STATUS: &str = "\
Asks a running sender or receiver on its admin port: is it keeping up, what limits it, which
problems it has, what to do about them, and the state of each lane. Without an address it asks
127.0.0.1:7401 and 127.0.0.1:7402, the defaults of a sender and a receiver.

Examples:
  causeway status
  causeway status --config sender.toml          address, token and CA from the file
  causeway status http://10.0.0.7:7401
  causeway status --watch
  causeway status --json | jq .lag_records
  causeway status --topics                      the lag and the halts of each topic
  causeway status --cost                        what each topic takes on the wire, and costs
  causeway status --topic orders                position, log, lag and state of each partition";

const TOP: &str = "\
Shows on a terminal what the page of the admin port shows in a browser, asked every second: is it
keeping up, what limits it, what is wrong and which command lifts it, the way of a record, curves,
topics, classes and consumer groups. Without an address it shows the process that answers on
127.0.0.1:7401 or 127.0.0.1:7402, the defaults of a sender and a receiver.

The arrow keys, PgUp, PgDn, Home and End scroll; `q`, Esc and Ctrl-C leave. While the process does
not answer, every value is unknown; the curves have a gap.

Examples:
  causeway top
  causeway top --config sender.toml             address, token and CA from the file
  causeway top --once http://10.0.0.7:7401      one screen as text, for a pipe or a ticket";

const RESUME: &str = "\
Resumes a halted partition, every halted partition of a topic, or all that are halted for a reason.
Ask the sender that holds the link: it knows the log of the source. The receiver stores the new
position, with who asked for it and why, in one transaction. The answer has a line per partition.

Without an option the partition resumes at its stored position; use that when you have repaired the
cause. `--skip` skips only what cannot be carried: the one record that the target refuses, the
range that retention deleted, or the old incarnation of a topic that was deleted and created again.
`--from` resumes one partition at a position that you choose; below the stored one, records are
written twice.

`causeway status` names the halted partitions; docs/troubleshoot.md says for each halt reason what it
means and what to do.

Examples:
  causeway resume orders/3
  causeway resume orders/3 --skip
  causeway resume orders/3 --from 120000 --admin 10.0.0.7:7401
  causeway resume orders                        every halted partition of the topic
  causeway resume --all record-rejected         every partition halted for this reason";

const COMPLETIONS: &str = "\
Prints the script by which a shell completes commands and options.

Examples:
  causeway completions bash > /usr/share/bash-completion/completions/causeway
  causeway completions zsh > /usr/share/zsh/vendor-completions/_causeway
  causeway completions fish > /usr/share/fish/vendor_completions.d/causeway.fish";

const RATE: &str = "\
Shows the rate of a running sender: the limit, where it comes from, until when, and how much of it
is used. With RATE, that rate takes effect now and overrides the schedule and the file, until its
time is over or `--reset`. It is not stored: a restarted sender uses its file again.

Examples:
  causeway rate
  causeway rate 200Mbit/s --for 2h
  causeway rate --reset --admin 10.0.0.7:7401";

const ADOPT: &str = "\
Lets a link write to a target topic that has records of another writer, or lacks records that the
link wrote: the partitions halted as `target-not-empty` or `target-replaced`. New records go after
the existing ones. Ask the sender that holds the link.

Examples:
  causeway adopt orders
  causeway adopt orders/3";

const FORGET: &str = "\
Drops the stored positions and halts of topics that are not carried: they were deleted at the
source, or left `source.topics`. Ask the sender that holds the link. The topics themselves and
their records in the target stay. The dropped positions go to the log that `causeway jumps` prints.

A topic of that name that appears later is a new one: it begins at its start, in an empty target
topic; without `forget` it halts as `topic-recreated`. A topic that is carried is refused: exclude
it first.

Examples:
  causeway forget orders
  causeway forget orders bills --admin 10.0.0.7:7401";

const JUMPS: &str = "\
Prints who resumed which halt or moved which position, when and why: one line of JSON each, the
newest 366 of each lane. They are part of the state of the link, stored in the transaction that
they describe. Ask the receiver, while a sender holds the link.

Example:
  causeway jumps | jq -r '[.topic, .partition, .from, .to, .reason] | @tsv'";

const TRANSLATE: &str = "\
Prints where the record at a source offset is in the target, or with `--reverse` where a target
record is at the source. The answer is exact: the receiver stores where each record goes in the
transaction that writes it. Offsets come from the command line or from standard input, and each
answer is one line: the offset, and the topic, partition and offset on the other side.

Where the link has no record, such as at a marker, the answer is the next one, and says so.
Otherwise it says that the offset is not carried yet, or is before the map: older than its
retention, or carried before the map began. Ask the receiver; no sender needs to be running.

A time in place of an offset asks for the first carried record with that timestamp or a later one:
its offsets in the target and at the source.

Examples:
  causeway translate orders/3@12345
  causeway translate orders/3@2026-11-30T01:00:00Z
  causeway translate --config receiver.toml orders/3@12345 orders/4@990
  causeway translate --reverse fra.orders/3@12340
  causeway translate --json < offsets.txt";

const ACLS: &str = "\
Prints what the access control lists of the source become in the target, one line for each rule:
its state, the rule at the source, and the rule in the target. Ask the receiver. With
`links.follow_acls = \"dry-run\"` it only plans, and makes nothing.

Examples:
  causeway acls
  causeway acls --config receiver.toml
  causeway acls --json | jq '.[] | select(.state == \"failed\")'";

const BYTES: &str = "\
Shows how small a link makes records like yours, and how fast, with each value of
`wan.compression`, and how large Kafka's own batches of them are. It makes and reads frames with
the code of a link. Each line of the file is a record: JSON, CSV, log lines or any other text; the
first 64 MiB count.

Examples:
  causeway bytes orders.ndjson
  causeway bytes orders.ndjson --price-per-gb 0.02 --records-per-second 5000
  kcat -b kafka:9092 -t orders -c 100000 -e | causeway bytes -";

const IMPORT_MM2: &str = "\
Reads MirrorMaker 2's `mm2.properties`, or Strimzi's `KafkaMirrorMaker2` as YAML, and writes
sender.toml and receiver.toml for one of its flows, with comments on what has no counterpart, and on
what must be done by hand. A password that the file has goes into a file of its own with mode 0600.
Existing files are never overwritten. It connects to nothing, and prints how to change over.

With `--offsets` it writes resume.sh instead: a command for each partition, by which the link begins
behind the last record that MirrorMaker 2 copied. See docs/migrate-mm2.md.

Examples:
  causeway import-mm2 mm2.properties link
  causeway import-mm2 mm2.properties link --flow 'fra->sin'
  causeway import-mm2 mm2.properties link --offsets mm2-offsets.txt";

const INIT: &str = "\
Makes a certificate authority for one link, and a certificate and key for each side. Existing files
are never overwritten.

Example:
  causeway pki init pki --link fra-to-sin --sender sender.fra.example --receiver link.sin.example";

const ISSUE: &str = "\
Makes a certificate and key with an authority that `causeway pki init` made: for a further sender
of a receiver, or for a side whose certificate expires. Existing files are never overwritten.

Examples:
  causeway pki issue pki sender-2 --for sender.par.example       then list the name in `links.senders`
  causeway pki issue pki sender-2027 --for sender.fra.example    a renewal: set `tls`, then reload";

fn start() -> String {
    format!("{START}\n\n{}", exit::help())
}

/// Moves Kafka topics between data centres at the speed of the line, exactly once
#[derive(Debug, Parser)]
#[command(name = "causeway", version, max_term_width = 100, long_about = ABOUT, after_long_help = start(), after_help = "`--help` says more")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands of `causeway`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a sender, near the source cluster
    #[command(long_about = SEND)]
    Send {
        /// Configuration file of the sender, TOML
        file: PathBuf,
    },
    /// Run a receiver, near the target cluster
    #[command(long_about = RECEIVE)]
    Receive {
        /// Configuration file of the receiver, TOML
        file: PathBuf,
    },
    /// Show the settings of a file and test its clusters and its peer; change nothing
    #[command(long_about = CHECK, after_long_help = exit::help_of("check"))]
    Check {
        /// Configuration file of a sender or a receiver, TOML
        file: PathBuf,
    },
    /// Show what a running sender or receiver is doing
    #[command(long_about = STATUS, after_long_help = exit::help_of("status"))]
    Status(Status),
    /// Watch a running sender or receiver on this terminal
    #[command(long_about = TOP, after_long_help = exit::help_of("top"))]
    Top(Top),
    /// Resume a halted partition, a topic, or all that are halted for a reason
    #[command(long_about = RESUME, after_long_help = exit::help_of("resume"))]
    Resume(Resume),
    /// Show the rate of a running sender, or set another one for a while
    #[command(long_about = RATE, after_long_help = exit::help_of("rate"))]
    Rate(Rate),
    /// Let a link write to a target topic that differs from what it wrote
    #[command(long_about = ADOPT, after_long_help = exit::help_of("adopt"))]
    Adopt(Adopt),
    /// Drop the positions of topics that are not carried any more
    #[command(long_about = FORGET, after_long_help = exit::help_of("forget"))]
    Forget(Forget),
    /// Print who resumed which halt or moved which position, when and why
    #[command(long_about = JUMPS, after_long_help = exit::help_of("jumps"))]
    Jumps(AdminOptions),
    /// Print where the records at these offsets are on the other side
    #[command(long_about = TRANSLATE, after_long_help = exit::help_of("translate"))]
    Translate(Translate),
    /// Print what the access control lists of the source become in the target
    #[command(long_about = ACLS, after_long_help = exit::help_of("acls"))]
    Acls(Acls),
    /// End a link because its source is gone, and state what is lost
    #[command(long_about = promotion::FAILOVER, after_long_help = exit::help_of("failover"))]
    Failover(Failover),
    /// Promote a link without loss: once nothing is written to its source any more, and all of it is carried
    #[command(long_about = promotion::SWITCH_OVER, after_long_help = exit::help_of("switch-over"))]
    SwitchOver(SwitchOver),
    /// Come back after a promotion: a link the other way
    Failback {
        #[command(subcommand)]
        command: FailbackCommand,
    },
    /// Copy the records that a promoted link never carried, at the cluster that was its source
    #[command(long_about = promotion::SALVAGE, after_long_help = exit::help_of("salvage"))]
    Salvage(Salvage),
    /// Show how small a link makes a sample of records, and what that costs
    #[command(long_about = BYTES, after_long_help = exit::help_of("bytes"))]
    Bytes(Bytes),
    /// Make the files of a link from those of MirrorMaker 2
    #[command(name = "import-mm2", long_about = IMPORT_MM2, after_long_help = exit::help_of("import-mm2"))]
    ImportMm2(ImportMm2),
    /// Print a configuration to start from, with every setting explained
    Example {
        /// Role of the process
        role: Role,
    },
    /// Run a whole link on this machine: two clusters, a load, restarts, and every record compared
    Demo {
        /// Duration of the load in seconds
        #[arg(long, default_value_t = 25, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
    },
    /// Emulate a WAN on this machine: for your own tests, with any protocol
    Netem {
        #[command(subcommand)]
        command: Box<NetemCommand>,
    },
    /// Make the certificates of a link
    Pki {
        #[command(subcommand)]
        command: PkiCommand,
    },
    /// Print the script by which a shell completes command lines
    #[command(long_about = COMPLETIONS)]
    Completions {
        /// Shell that reads the script
        shell: clap_complete::Shell,
    },
    /// Write a manual page for each command
    Man {
        /// Directory of the pages, such as /usr/local/share/man/man1; it is made if it is missing
        directory: PathBuf,
    },
}

/// The options that name an admin port and how to reach it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct AdminOptions {
    /// Admin port, such as 127.0.0.1:7401, or its URL
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,
    /// Configuration file of the process; address, token and CA come from its `[admin]` and `[tls]`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["admin", "ca", "token"])]
    pub(crate) config: Option<PathBuf>,
    /// Use HTTPS; the certificate must come from an authority in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// File with the token that the port requires
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,
}

/// Arguments of `causeway status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Admin port, such as 127.0.0.1:7401, or its URL
    #[arg(value_name = "ADDRESS", conflicts_with_all = ["admin", "config"])]
    pub(crate) address: Option<String>,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
    /// Show each topic of the link instead; ask the sender that holds it
    #[arg(long)]
    pub(crate) topics: bool,
    /// Show each partition of this topic instead; ask the sender that holds the link
    #[arg(long, value_name = "TOPIC", conflicts_with = "topics")]
    pub(crate) topic: Option<String>,
    /// Show each consumer group instead: at the source with its sender, in the target with its receiver
    #[arg(long, conflicts_with_all = ["topics", "topic"])]
    pub(crate) groups: bool,
    /// Show what each topic takes on the wire instead, in money if `cost.price_per_gb` is set; ask the sender
    #[arg(long, conflicts_with_all = ["topics", "topic", "groups"])]
    pub(crate) cost: bool,
    /// Print JSON, one line for each process that answered; docs/reference/status.md lists the fields
    #[arg(long)]
    pub(crate) json: bool,
    /// Ask again every 2 s, until interrupted: in place on a terminal, page after page elsewhere
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Arguments of `causeway top`.
#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// Admin port, such as 127.0.0.1:7401, or its URL
    #[arg(value_name = "ADDRESS", conflicts_with_all = ["admin", "config"])]
    pub(crate) address: Option<String>,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
    /// Print one screen as text and end
    #[arg(long)]
    pub(crate) once: bool,
}

/// Arguments of `causeway resume`.
#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// Partitions of the source, such as orders/3, or whole topics, such as orders
    #[arg(value_name = "TOPIC[/PARTITION]", value_parser = scope, required_unless_present = "all")]
    pub(crate) what: Vec<Scope>,
    /// Resume every partition that is halted for this reason, such as record-rejected
    #[arg(long, value_name = "REASON", conflicts_with_all = ["what", "from"])]
    pub(crate) all: Option<String>,
    /// Skip what cannot be carried
    #[arg(long, conflicts_with = "from")]
    pub(crate) skip: bool,
    /// Resume at this source offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) from: Option<i64>,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
}

/// Arguments of `causeway acls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Acls {
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
    /// Print JSON: an array with an entry for each rule
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `causeway bytes`.
#[derive(Debug, clap::Args)]
pub(crate) struct Bytes {
    /// File with a record in each line, or - for standard input
    pub(crate) file: PathBuf,
    /// Price of a gigabyte on your WAN, in your currency
    #[arg(long, value_name = "PRICE", value_parser = amount)]
    pub(crate) price_per_gb: Option<f64>,
    /// Records per second for which the price is stated
    #[arg(long, value_name = "N", default_value = "1000", value_parser = amount)]
    pub(crate) records_per_second: f64,
    /// Size of the frames: a link with little traffic or a low rate has smaller ones
    #[arg(long, value_name = "SIZE", default_value = "1 MiB", value_parser = frame)]
    pub(crate) frame: wire::units::Size,
}

/// Arguments of `causeway import-mm2`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportMm2 {
    /// File of MirrorMaker 2: mm2.properties, or YAML of Strimzi
    pub(crate) file: PathBuf,
    /// Directory for the files; it is made if it is missing
    pub(crate) directory: PathBuf,
    /// Flow, if several are enabled, such as 'fra->sin'
    #[arg(long, value_name = "SOURCE->TARGET")]
    pub(crate) flow: Option<String>,
    /// Name of the link instead of SOURCE-to-TARGET
    #[arg(long, value_name = "NAME")]
    pub(crate) link: Option<String>,
    /// Records of Kafka Connect's offsets topic, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) offsets: Option<PathBuf>,
}

/// Arguments of `causeway rate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Rate {
    /// New rate, such as 200Mbit/s
    #[arg(value_name = "RATE")]
    pub(crate) rate: Option<wire::units::Rate>,
    /// Duration of the new rate, such as 2h; without it until --reset
    #[arg(long = "for", value_name = "TIME", requires = "rate", value_parser = wire::units::parse_duration)]
    pub(crate) time: Option<Duration>,
    /// Remove the rate set by this command: the schedule and the file apply again
    #[arg(long, conflicts_with = "rate")]
    pub(crate) reset: bool,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
}

/// Arguments of `causeway adopt`.
#[derive(Debug, clap::Args)]
pub(crate) struct Adopt {
    /// Topics of the source, or single partitions, such as orders/3
    #[arg(value_name = "TOPIC[/PARTITION]", value_parser = scope, required = true)]
    pub(crate) what: Vec<Scope>,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
}

/// Arguments of `causeway forget`.
#[derive(Debug, clap::Args)]
pub(crate) struct Forget {
    /// Topics of the source
    #[arg(value_name = "TOPIC", required = true)]
    pub(crate) topics: Vec<String>,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
}

/// Arguments of `causeway translate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Translate {
    /// Offsets or times of the source, or with --reverse of the target; without any, standard input has them
    #[arg(value_name = "TOPIC/PARTITION@OFFSET-OR-TIME")]
    pub(crate) offsets: Vec<PartitionOffset>,
    /// Translate offsets of the target into those of the source
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Link, if the receiver serves several
    #[arg(long, value_name = "NAME")]
    pub(crate) link: Option<String>,
    /// Print JSON, one line for each offset
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
}

/// Reads `orders/3` as a partition and `orders` as a topic, whose name has no slash.
fn scope(text: &str) -> Result<Scope, String> {
    let Some((topic, number)) = text.rsplit_once('/') else { return Ok(Scope::Topic { whole_topic: text.to_owned() }) };
    let number = number.parse().ok().filter(|number| *number >= 0 && !topic.is_empty());
    let partition = number.map(|partition| Scope::Partition { topic: topic.to_owned(), partition });
    partition.ok_or_else(|| "write it like orders/3, or orders for the whole topic".to_owned())
}

/// The commands of `causeway pki`.
#[derive(Debug, Subcommand)]
pub(crate) enum PkiCommand {
    /// Make an authority and the certificates of both sides
    #[command(long_about = INIT)]
    Init(PkiInit),
    /// Make a further certificate with an authority of `init`
    #[command(long_about = ISSUE)]
    Issue(PkiIssue),
}

/// Arguments of `causeway pki issue`.
#[derive(Debug, clap::Args)]
pub(crate) struct PkiIssue {
    /// Directory of the authority, which has ca.pem and ca.key
    pub(crate) dir: PathBuf,
    /// Name of the two new files, without their endings
    pub(crate) name: String,
    /// DNS name or IP address in the certificate; repeat for more
    #[arg(long = "for", required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Arguments of `causeway pki init`.
#[derive(Debug, clap::Args)]
pub(crate) struct PkiInit {
    /// Directory for the six files
    pub(crate) dir: PathBuf,
    /// Name of the link
    #[arg(long)]
    pub(crate) link: String,
    /// DNS name or IP address of the sender; repeat for more
    #[arg(long = "sender", required = true, value_name = "NAME")]
    pub(crate) senders: Vec<String>,
    /// DNS name or IP address of the receiver; repeat for more
    #[arg(long = "receiver", required = true, value_name = "NAME")]
    pub(crate) receivers: Vec<String>,
}

/// Reads a number that is not negative.
fn amount(text: &str) -> Result<f64, String> {
    let amount = text.parse().ok().filter(|amount: &f64| amount.is_finite() && *amount >= 0.0);
    amount.ok_or_else(|| "a number, such as 0.02, is expected".to_owned())
}

/// Reads the size of a frame.
fn frame(text: &str) -> Result<wire::units::Size, String> {
    let size: wire::units::Size = text.parse().map_err(|error| format!("{error}"))?;
    let most = wire::limits::FRAME_RAW_TARGET as u64;
    if (1..=most).contains(&size.bytes()) { Ok(size) } else { Err("a frame has at most 1 MiB".to_owned()) }
}
