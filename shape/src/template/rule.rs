//! Ends of tokens, and the states between segments.

use crate::scan::{digits_end, find, number_end, string_end, word_end};

/// Rule by which the token behind a segment ends. Only the encoder has rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// The inside of a JSON string.
    Text,
    Number,
    Digits,
    /// A word of a line of text that contains a digit.
    Word,
    /// Everything up to a byte.
    Until(u8),
    /// Everything that is left.
    Rest,
    /// No token: the record ends.
    End,
}

impl Rule {
    /// Returns the end of the token at `at`, if there is one.
    pub(super) fn token_end(self, bytes: &[u8], at: usize, end: usize) -> Option<usize> {
        let begins_with = |fits: fn(u8) -> bool| at < end && fits(bytes[at]);
        match self {
            Self::Text => Some(string_end(bytes, at, end)),
            Self::Number => begins_with(begins_number).then(|| number_end(bytes, at, end)),
            Self::Digits => begins_with(|byte| byte.is_ascii_digit()).then(|| digits_end(bytes, at, end)),
            Self::Word => {
                let word = word_end(bytes, at, end);
                bytes[at..word].iter().any(u8::is_ascii_digit).then_some(word)
            }
            Self::Until(b'"') => Some(find(bytes, at, end, b'"')),
            Self::Until(delimiter) => (!begins_with(|byte| byte == b'"')).then(|| find(bytes, at, end, delimiter)),
            Self::Rest => Some(end),
            Self::End => (at == end).then_some(end),
        }
    }
}

/// Returns whether a JSON number can begin with this byte.
pub(super) const fn begins_number(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'-'
}

/// State of a lexer behind a token. Nodes with the same segment and different states are different nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    /// Number of the objects and arrays that are open.
    pub(super) context: u32,
    /// Number of the path of a string that is split.
    pub(super) path: u32,
    pub(super) within: Within,
    /// Number of tokens before, as far as it matters.
    pub(super) ordinal: u16,
}

/// Text that a token is in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Within {
    #[default]
    Nothing,
    /// Quotes, of which the closing one follows the token.
    Quotes,
    /// Quotes, in which more tokens may follow.
    SplitString,
}

/// Next segment of a record, and the token behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// End of the segment.
    pub(super) end: usize,
    pub(super) rule: Rule,
    pub(super) path: u32,
    pub(super) ordinal: u16,
    pub(super) state: State,
}

impl Found {
    pub(super) fn last(end: usize) -> Self {
        Self { end, rule: Rule::End, path: 0, ordinal: 0, state: State::default() }
    }
}
