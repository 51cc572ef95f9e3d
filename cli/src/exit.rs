//! The end of a command: its message, and the exit code that scripts and service managers use.

use std::fmt;

use kafka::{KafkaError, KafkaFault};
use service::config::Problems;

/// A command that ended without success; `causeway --help` lists the exit codes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A failure that a retry may get past: exit code 1.
    Failed(String),
    /// An invalid configuration or command line: exit code 2.
    Config(String),
    /// A halt; an operator must act before the next start: exit code 3.
    Halted(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Config(_) => 2,
            Self::Halted(_) => 3,
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
