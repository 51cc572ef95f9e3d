//! Lexer of delimited fields, such as CSV: every field is a token, the delimiters and quotes around it are constant.

use super::rule::{Found, Rule, State, Within};

/// Fields of a record that have columns of their own.
const FIELDS_MAX: u16 = 1_000;

#[derive(Debug, Clone)]
pub(crate) struct Fields {
    delimiter: u8,
}

impl Fields {
    pub(super) const fn new(delimiter: u8) -> Self {
        Self { delimiter }
    }

    pub(super) fn segment(&self, state: State, bytes: &[u8], start: usize, end: usize) -> Found {
        if start == end {
            return Found::last(end);
        }
        let path = u32::from(state.ordinal);
        if state.ordinal >= FIELDS_MAX {
            return Found { end: start, rule: Rule::Rest, path, ordinal: 0, state };
        }
        let mut at = start + usize::from(state.within == Within::Quotes);
        let is_new_field =
            state.ordinal == 0 || bytes.get(at..end).is_some_and(|rest| rest.first() == Some(&self.delimiter));
        if state.ordinal > 0 && is_new_field {
            at += 1;
        } else if at == end {
            return Found::last(end);
        }
        let next = State { ordinal: state.ordinal + 1, ..State::default() };
        if bytes[..end].get(at) == Some(&b'"') {
            let state = State { within: Within::Quotes, ..next };
            return Found { end: at + 1, rule: Rule::Until(b'"'), path, ordinal: 1, state };
        }
        Found { end: at, rule: Rule::Until(self.delimiter), path, ordinal: 0, state: next }
    }
}
