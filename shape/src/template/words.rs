//! Lexer of lines of text, such as logs. Words with a digit and quoted texts are tokens; other words are constant.

use super::paths::Paths;
use super::rule::{Found, Rule, State, Within};
use crate::scan::{find, is_between_words, word_end};

#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    paths: Paths,
}

impl Words {
    pub(super) fn segment(&mut self, state: State, bytes: &[u8], start: usize, end: usize) -> Found {
        let mut at = start + usize::from(state.within == Within::Quotes && start < end);
        while at < end {
            if bytes[at] == b'"' && find(bytes, at + 1, end, b'"') < end {
                let text = self.token(state, &bytes[start..=at], Rule::Until(b'"'));
                return Found { end: at + 1, state: State { within: Within::Quotes, ..text.state }, ..text };
            }
            if is_between_words(bytes[at]) {
                at += 1;
                continue;
            }
            let word = word_end(bytes, at, end);
            if bytes[at..word].iter().any(u8::is_ascii_digit) {
                return Found { end: at, ..self.token(state, &bytes[start..at], Rule::Word) };
            }
            at = word;
        }
        Found::last(end)
    }

    /// Token behind a segment. Its column depends on the word before it; without one, on the number of tokens before.
    fn token(&mut self, before: State, segment: &[u8], rule: Rule) -> Found {
        let ordinal = before.ordinal.saturating_add(1);
        let state = State { ordinal, ..State::default() };
        let word = segment.iter().rposition(u8::is_ascii_alphabetic);
        let (path, ordinal) = match word {
            Some(last) => {
                let start = segment[..last].iter().rposition(|byte| is_between_words(*byte)).map_or(0, |at| at + 1);
                (self.paths.number(0, &segment[start..]), 0)
            }
            None => (self.paths.number(0, segment), ordinal),
        };
        Found { end: 0, rule, path, ordinal, state }
    }
}
