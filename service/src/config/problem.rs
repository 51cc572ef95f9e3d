//! The problems of a configuration file. All are reported at the same time, so that one run is enough to fix them.

use std::fmt;
use std::io;

/// The problems of one configuration file. The list is never empty when it is returned as an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Place in the file; `None` if the file itself is the problem.
    pub at: Option<Place>,
    /// Value that was found, and the values that are accepted.
    pub message: String,
}

/// A place in a text, both numbers counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Problems {
    pub(crate) fn none(file: &str) -> Self {
        Self { file: file.to_owned(), list: Vec::new() }
    }

    pub(crate) fn unreadable(file: &str, error: &io::Error) -> Self {
        let message = format!("cannot be read: {error}");
        Self { file: file.to_owned(), list: vec![Problem { at: None, message }] }
    }

    pub(crate) fn push(&mut self, at: Place, message: String) {
        let problem = Problem { at: Some(at), message };
        if let Err(index) = self.list.binary_search(&problem) {
            self.list.insert(index, problem);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl std::error::Error for Problems {}

/// Prints one line per problem: `file.toml:12:8: message`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{}", self.file)?;
            if let Some(at) = problem.at {
                write!(f, ":{}:{}", at.line, at.column)?;
            }
            write!(f, ": {}", problem.message)?;
        }
        Ok(())
    }
}

impl Place {
    /// The place of byte `offset` in `text`, or the end of the text.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}
