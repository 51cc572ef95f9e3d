//! How a command ends: what it says, and the exit code that scripts and service managers go by.

use std::fmt;

use service::config::Problems;

/// Why a command ended without success; `causeway --help` lists the exit codes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Something failed that may not fail the next time: exit code 1.
    Failed(String),
    /// The configuration or the command line, until it is mended: exit code 2.
    Config(String),
    /// A human must act before it makes sense to start again: exit code 3.
    Halted(String),
}

impl Failure {
    /// What the process exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Config(_) => 2,
            Self::Halted(_) => 3,
        }
    }

    /// Something failed that may not fail the next time.
    pub(crate) fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// What the configuration says cannot be used.
    pub(crate) fn config(error: impl fmt::Display) -> Self {
        Self::Config(error.to_string())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Config(format!("the configuration cannot be used:\n{problems}"))
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
