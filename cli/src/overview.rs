//! What the page and `causeway top` show of a process, without how they draw it: is it keeping up, what limits it,
//! what is wrong and what to do, the stations of the way, curves, and tables.

mod place;
pub(crate) mod receiver;
pub(crate) mod sender;
mod stations;

use crate::history::Curve;

/// Rows of each table at most; the others are counted.
pub(crate) const ROWS_MAX: usize = 50;

/// How something is, said in a word and in a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Good,
    /// Not wrong, but worth a look.
    Look,
    Wrong,
    Unknown,
}

impl Level {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Look => "look",
            Self::Wrong => "wrong",
            Self::Unknown => "unknown",
        }
    }
}

/// The four answers, which one sees first.
pub(crate) struct Answer {
    pub(crate) level: Level,
    pub(crate) keeping_up: String,
    pub(crate) limited_by: String,
    pub(crate) problems: Vec<String>,
    pub(crate) actions: Vec<String>,
}

impl Answer {
    /// Words for an answer without actions.
    pub(crate) fn no_action(&self) -> &'static str {
        if self.problems.is_empty() { "none needed" } else { "look up the problem in docs/troubleshoot.md" }
    }
}

/// A sentence without control characters: some words come from the other end, or from a broker.
pub(crate) fn plain(words: &str) -> String {
    words.replace(char::is_control, " ")
}

/// A station of the way from source to target.
pub(crate) struct Station {
    pub(crate) name: &'static str,
    pub(crate) level: Level,
    pub(crate) what: String,
    pub(crate) facts: Vec<(&'static str, String)>,
    /// Used part of a limit, 0 to 1, with its name.
    pub(crate) used: Option<(&'static str, f64)>,
}

pub(crate) fn millis(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

pub(crate) fn or_unknown(value: Option<String>) -> String {
    value.unwrap_or_else(|| "unknown".to_owned())
}

pub(crate) fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

/// A table; columns from `numbers` on are aligned as numbers.
pub(crate) struct Table {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// A sentence below the title.
    pub(crate) note: String,
    pub(crate) head: &'static [&'static str],
    /// All rows, the most important first; those beyond the limit are counted.
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) numbers: usize,
}

/// A curve with its title and unit.
pub(crate) struct Chart {
    pub(crate) curve: Curve,
    pub(crate) title: &'static str,
    /// Shows a value with its unit.
    pub(crate) unit: fn(f64) -> String,
    /// Sentence in place of a curve that this process never has.
    pub(crate) unknown: &'static str,
}
