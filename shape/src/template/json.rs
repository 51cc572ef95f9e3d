//! Lexer of JSON. Keys, punctuation, `null`, `true` and `false` are constant; strings and numbers are tokens. Bytes
//! that are not JSON are constant too.

use std::collections::{HashMap, HashSet};

use super::paths::Paths;
use super::rule::{Found, Rule, State, Within, begins_number};
use crate::scan::string_end;

/// Objects and arrays within each other.
const DEPTH_MAX: u8 = 64;

/// Objects and arrays that are open at a place, the innermost of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Context {
    parent: u32,
    /// Path of the elements, or of the object whose keys follow.
    path: u32,
    is_object: bool,
    depth: u8,
}

#[derive(Debug, Clone)]
pub(crate) struct Json {
    paths: Paths,
    contexts: Vec<Context>,
    numbers: HashMap<Context, u32>,
    split: HashSet<u32>,
}

impl Default for Json {
    fn default() -> Self {
        let root = Context::default();
        Self { paths: Paths::default(), contexts: vec![root], numbers: HashMap::new(), split: HashSet::new() }
    }
}

impl Json {
    pub(super) fn split(&mut self, paths: impl IntoIterator<Item = u32>) {
        self.split.extend(paths);
    }

    pub(super) fn segment(&mut self, state: State, bytes: &[u8], start: usize, end: usize) -> Option<Found> {
        let mut context = state.context;
        let mut at = start;
        match state.within {
            Within::Nothing => {}
            Within::Quotes => at += usize::from(at < end),
            Within::SplitString => {
                let close = string_end(bytes, at, end);
                if let Some(found) = next_digits(state, bytes, at, close) {
                    return Some(found);
                }
                at = (close + 1).min(end);
            }
        }
        let mut path = self.contexts[context as usize].path;
        while at < end {
            let behind = State { context, path, ..State::default() };
            match bytes[at] {
                b'{' | b'[' => {
                    context = self.open(context, path, bytes[at] == b'{')?;
                    path = self.contexts[context as usize].path;
                }
                b'}' | b']' => {
                    context = self.contexts[context as usize].parent;
                    path = self.contexts[context as usize].path;
                }
                b'"' => {
                    let close = string_end(bytes, at + 1, end);
                    if let Some(colon) = self.colon_behind_key(context, bytes, close, end) {
                        path = self.paths.number(self.contexts[context as usize].path, &bytes[at + 1..close]);
                        at = colon;
                    } else if self.split.contains(&path) {
                        let inside = State { within: Within::SplitString, ..behind };
                        if let Some(found) = next_digits(inside, bytes, at + 1, close) {
                            return Some(found);
                        }
                        at = close;
                    } else {
                        let state = State { within: Within::Quotes, path: 0, ..behind };
                        return Some(Found { end: at + 1, rule: Rule::Text, path, ordinal: 0, state });
                    }
                }
                byte if begins_number(byte) => {
                    let state = State { path: 0, ..behind };
                    return Some(Found { end: at, rule: Rule::Number, path, ordinal: 0, state });
                }
                _ => {}
            }
            at += 1;
        }
        Some(Found::last(end))
    }

    /// Returns the place of the colon, if the string that closes at `close` is a key.
    fn colon_behind_key(&self, context: u32, bytes: &[u8], close: usize, end: usize) -> Option<usize> {
        if !self.contexts[context as usize].is_object {
            return None;
        }
        let behind = bytes.get(close + 1..end)?;
        let blanks = behind.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        (behind.get(blanks) == Some(&b':')).then_some(close + 1 + blanks)
    }

    fn open(&mut self, parent: u32, path: u32, is_object: bool) -> Option<u32> {
        let path = if is_object { path } else { self.paths.number(path, b"[]") };
        let depth = self.contexts[parent as usize].depth + 1;
        if depth > DEPTH_MAX {
            return None;
        }
        let context = Context { parent, path, is_object, depth };
        Some(*self.numbers.entry(context).or_insert_with(|| {
            self.contexts.push(context);
            self.contexts.len() as u32 - 1
        }))
    }
}

/// The next digits within a string that is split.
fn next_digits(state: State, bytes: &[u8], at: usize, close: usize) -> Option<Found> {
    let end = at + bytes.get(at..close)?.iter().position(u8::is_ascii_digit)?;
    let next = State { ordinal: state.ordinal.saturating_add(1), ..state };
    Some(Found { end, rule: Rule::Digits, path: state.path, ordinal: state.ordinal, state: next })
}
