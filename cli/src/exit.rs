//! The end of a command: its message, and the exit code that scripts and service managers use.

use std::fmt;

use kafka::{KafkaError, KafkaFault};
use service::config::Problems;

const FAILED: u8 = 1;
const CONFIG: u8 = 2;
const HALTED: u8 = 3;

/// Every exit code with its meaning, as `causeway --help` and `docs/reference/exit-codes.md` list them.
const EXIT_CODES: [(u8, &str); 4] = [
    (0, "success, or a clean shutdown"),
    (FAILED, "failed, a retry may succeed: port in use, Kafka client failed, check failed, no answer"),
    (CONFIG, "invalid configuration or arguments; every problem was printed"),
    (HALTED, "halted, an operator must act: the other side or the cluster refuses permanently"),
];

/// Meanings of 0, 1 and 2 for the commands that have their own words for them.
const OF_COMMANDS: [(&str, &[&str]); 16] = [
    ("check", &["every check passed", "a check failed", "the file cannot be used"]),
    ("status", &["a process answered", "none did"]),
    ("top", &["you left it, or its one screen was printed", "no process answered", "standard output is no terminal"]),
    ("resume", &["the partition resumed", "it did not; the message says why"]),
    ("rate", &["it is in effect", "it was refused or there was no response", "invalid rate or time"]),
    ("bytes", &["the table was printed", "the file cannot be read", "invalid price, number or size"]),
    ("import-mm2", &["the files were written", "one exists, or cannot be written", "a file or flow cannot be used"]),
    ("adopt", &["all of them resumed", "some did not; the message says why"]),
    ("forget", &["the positions were dropped", "some were not; the message says why"]),
    ("jumps", &["it answered", "it did not"]),
    ("acls", &["it answered", "it did not"]),
    ("failover", &["the statement was printed", "it is not finished; the message says why, ask again", "invalid time"]),
    (
        "switch-over",
        &[
            "the statement was printed",
            "the link was not changed, or it is not finished; the message says why",
            "invalid time",
        ],
    ),
    (
        "failback plan",
        &["every partition would be carried", "some would not, or nothing is promoted", "a file does not fit"],
    ),
    ("salvage", &["everything was copied", "some was not; the message says why", "invalid statement, file or topic"]),
    ("translate", &["every offset was translated", "some were not, or there was no response", "invalid offset"]),
];

/// The exit codes of all commands, for `causeway --help`.
pub(crate) fn help() -> String {
    let codes = EXIT_CODES.map(|(code, meaning)| format!("  {code}  {meaning}\n")).concat();
    let restart = "Configure your service manager to restart `send` and `receive`";
    format!("Exit codes:\n{codes}\n{restart} on {FAILED} and on a signal, not on {CONFIG} and {HALTED}.")
}

/// The exit codes of one command, for its help.
pub(crate) fn help_of(command: &str) -> String {
    let (_, meanings) = OF_COMMANDS.iter().find(|(name, _)| *name == command).expect("each has meanings");
    let codes = EXIT_CODES.iter().zip(*meanings).map(|((code, _), meaning)| format!("{code} {meaning}"));
    format!("Exit codes: {}.", codes.collect::<Vec<_>>().join(", "))
}

/// A command that ended without success.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A failure that a retry may get past.
    Failed(String),
    /// An invalid configuration or command line.
    Config(String),
    /// A halt; an operator must act before the next start.
    Halted(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => FAILED,
            Self::Config(_) => CONFIG,
            Self::Halted(_) => HALTED,
        }
    }

    pub(crate) fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    pub(crate) fn config(error: impl fmt::Display) -> Self {
        Self::Config(error.to_string())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Config(format!("the configuration cannot be used:\n{problems}"))
    }
}

/// A Kafka client that failed. Configuration and rights need an operator; any other fault may pass.
impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        match error.fault {
            KafkaFault::Misused => Self::config(error),
            KafkaFault::Unauthorized => Self::Halted(error.to_string()),
            _ => Self::failed(error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(reason) | Self::Config(reason) => f.write_str(reason),
            Self::Halted(reason) => write!(f, "halted, a human must act: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_exit_codes_are_printed_from_the_table() {
        let list = EXIT_CODES.map(|(code, meaning)| format!("- **{code}**: {meaning}.\n")).concat();
        let list = format!("{list}\nWith systemd: `RestartPreventExitStatus={CONFIG} {HALTED}`.\n");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/exit-codes.md");
        service::metrics::check_page(path.as_ref(), &[("exit-codes", list)]);
    }

    #[test]
    fn each_failure_has_a_code_of_the_table() {
        let failures = [Failure::Failed, Failure::Config, Failure::Halted].map(|failure| failure(String::new()));
        assert_eq!(EXIT_CODES.map(|(code, _)| code)[1..], failures.map(|failure| failure.exit_code()));
        assert_eq!(help_of("status"), "Exit codes: 0 a process answered, 1 none did.");
        assert!(help().ends_with(" on 1 and on a signal, not on 2 and 3."));
    }
}
