//! Commands about promotions: failover, switch-over, the way back, and what was never carried.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::AdminOptions;
use crate::exit;

pub(super) const FAILOVER: &str = "\
Ends a link for good, because its source is gone: the target belongs to its applications from then
on. Ask the receiver. It commits what it has, takes every lane so that no sender and no other
receiver of the link can write again, commits the offsets of consumer groups a last time, and states
what is lost: per partition up to where it was carried, what is known and not carried, and since
when nothing is known. The statement is kept in the target. A sender that comes back is refused.

Asked again, it finishes what is not finished, and prints the same statement. `--dry-run` prints the
statement as it would be now and changes nothing.

Examples:
  causeway failover --link fra-to-sin --dry-run
  causeway failover --link fra-to-sin --reason 'flood in Frankfurt'
  causeway failover --link fra-to-sin --config receiver.toml --json | jq '.partitions[]'
  causeway failover --link fra-to-sin --config receiver.toml --without-receiver";

pub(super) const SWITCH_OVER: &str = "\
Moves the applications of a link to its target without loss: for a migration or maintenance. Ask the
receiver while the sender runs. Stop the producers at the source first. The command waits until no
partition of the source has moved for `--quiet`, and all of it and the offsets of consumer groups are
in the target; it names what it waits for, such as topics that are still written. Then it promotes
the link like `causeway failover`, and prints the same statement, with nothing lost.

After `--timeout` it fails, and the link was not changed. The receiver abandons it too, some seconds
after the command was stopped. Choose a `--quiet` that is longer than the pauses of your producers.

With `--topics` only these topics are switched over, for a migration in waves: they are halted as
switched-over, and the link carries the others.

Examples:
  causeway switch-over --link fra-to-sin --reason 'move to Singapore'
  causeway switch-over --link fra-to-sin --topics orders,payments --reason 'wave 2'
  causeway switch-over --link fra-to-sin --quiet 30s --timeout 1h --config receiver.toml --json";

const FAILBACK_PLAN: &str = "\
Prints what a link that goes back after a promotion will do, and changes nothing: per partition the
offset from which it is carried, how much that is, behind which offset of the target it continues,
how many offsets there were never carried, and why a partition would wait or halt. --config is the
file of its sender (`start = \"promotion\"` and `promoted_link`). With --receiver-config the old source
is looked at too, which then has to be reachable from here.

Examples:
  causeway failback plan --config sin-to-fra.toml
  causeway failback plan --config sin-to-fra.toml --receiver-config fra.toml --json";

pub(super) const SALVAGE: &str = "\
Copies the records that a promoted link never carried, at the cluster that was its source: exactly
those that the statement of loss is about, in order, each once, into topics next to theirs such as
orders.diverged. Headers say where each was (causeway.link, causeway.topic, causeway.partition,
causeway.offset); key, value, timestamp and other headers are as they were. The records themselves
stay where they are. A link can carry the copies to the other cluster like any other topic.

Run it again where it was stopped, or where transactions were open: it continues behind what is
copied. What a link has brought to the same topics since is not copied.

Examples:
  causeway failover --link fra-to-sin --config receiver.toml --json > loss.json
  causeway salvage loss.json --config sender.toml --dry-run
  causeway salvage loss.json --config sender.toml --topic orders";

/// Arguments of `causeway failover`.
#[derive(Debug, clap::Args)]
pub(crate) struct Failover {
    /// Name of the link
    #[arg(long, value_name = "NAME")]
    pub(crate) link: String,
    /// Reason, which the refused sender and the statement show
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// State what would be lost now, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it in this process, with the `--config` of a receiver: no receiver of the link runs
    #[arg(long, requires = "config")]
    pub(crate) without_receiver: bool,
    /// Longest wait for the receiver
    #[arg(long, value_name = "TIME", default_value = "2 min", value_parser = wire::units::parse_duration)]
    pub(crate) timeout: Duration,
    /// Print JSON: the statement
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
}

/// Arguments of `causeway switch-over`.
#[derive(Debug, clap::Args)]
pub(crate) struct SwitchOver {
    /// Name of the link
    #[arg(long, value_name = "NAME")]
    pub(crate) link: String,
    /// Reason, which the refused sender and the statement show
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Topics at the source that are switched over alone, separated by commas; the link carries the others
    #[arg(long, value_name = "TOPICS", value_delimiter = ',')]
    pub(crate) topics: Vec<String>,
    /// Time for which nothing may be written to the source
    #[arg(long, value_name = "TIME", default_value = "2 s", value_parser = wire::units::parse_duration)]
    pub(crate) quiet: Duration,
    /// Time after which it fails without a change of the link
    #[arg(long, value_name = "TIME", default_value = "10 min", value_parser = wire::units::parse_duration)]
    pub(crate) timeout: Duration,
    /// Print JSON: the statement
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) admin: AdminOptions,
}

/// The commands of `causeway failback`.
#[derive(Debug, Subcommand)]
pub(crate) enum FailbackCommand {
    /// Print what the link that goes back will do
    #[command(long_about = FAILBACK_PLAN, after_long_help = exit::help_of("failback plan"))]
    Plan(FailbackPlan),
}

/// Arguments of `causeway failback plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct FailbackPlan {
    /// Configuration file of the sender that goes back
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Configuration file of the receiver of that link
    #[arg(long, value_name = "FILE")]
    pub(crate) receiver_config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `causeway salvage`.
#[derive(Debug, clap::Args)]
pub(crate) struct Salvage {
    /// File with the statement of loss that `causeway failover --json` printed, or - for standard input
    #[arg(value_name = "STATEMENT")]
    pub(crate) statement: PathBuf,
    /// Configuration file of a sender of the link, or of another one whose source is that cluster
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Only this topic of the source; repeat for more
    #[arg(long = "topic", value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// Ending of the names of the topics with the copies
    #[arg(long, value_name = "TEXT", default_value = ".diverged", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) suffix: String,
    /// Print what would be copied, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
