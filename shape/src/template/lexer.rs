//! Lexers: the slow path, which finds segments that are not in the graph yet.

use super::fields::Fields;
use super::json::Json;
use super::rule::{Found, Rule, State};
use super::words::Words;

/// Identity of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ColumnKey {
    pub(crate) path: u32,
    pub(crate) rule: Rule,
    /// Number of the token within its path, for a string that is split.
    pub(crate) ordinal: u16,
}

/// Lexer of one format.
#[derive(Debug, Clone)]
pub(crate) enum Lexer {
    Json(Json),
    Words(Words),
    Fields(Fields),
}

impl Lexer {
    pub(crate) fn json() -> Self {
        Self::Json(Json::default())
    }

    pub(crate) fn words() -> Self {
        Self::Words(Words::default())
    }

    pub(crate) const fn fields(delimiter: u8) -> Self {
        Self::Fields(Fields::new(delimiter))
    }

    /// Splits the strings of these paths at their digits, if the format has paths.
    pub(crate) fn split(&mut self, paths: impl IntoIterator<Item = u32>) {
        if let Self::Json(json) = self {
            json.split(paths);
        }
    }

    /// Finds the segment from `at` and the token behind it; `None` for a record that is too deep.
    pub(super) fn segment(&mut self, state: State, bytes: &[u8], at: usize, end: usize) -> Option<Found> {
        match self {
            Self::Json(json) => json.segment(state, bytes, at, end),
            Self::Words(words) => Some(words.segment(state, bytes, at, end)),
            Self::Fields(fields) => Some(fields.segment(state, bytes, at, end)),
        }
    }
}
