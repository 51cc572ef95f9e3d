//! The rules of the house that no compiler checks. Each is one function over the tree and has a test in which
//! it fires.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::step::root;

mod cases;
mod documents;
mod rust;

/// A file of the tree, its path relative to the root with `/` between the parts.
#[derive(Debug, Clone)]
struct File {
    path: String,
    /// Empty for what is not text.
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    fn is_under(&self, place: &str) -> bool {
        self.path.starts_with(place)
    }

    /// Lines with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

/// A rule broken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fault {
    path: String,
    line: usize,
    what: String,
}

impl Fault {
    fn new(file: &File, line: usize, what: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

type Rule = fn(&[File]) -> Vec<Fault>;

const RULES: [Rule; 14] = [
    rust::header,
    rust::size,
    rust::unsafe_code,
    rust::dependencies,
    rust::wire_is_pure,
    rust::tests_do_not_doze,
    documents::unfinished,
    documents::machine_paths,
    documents::links,
    documents::cited_anchors,
    documents::rust_version,
    cases::complete,
    cases::sentences,
    cases::proofs,
];

/// Checks the tree; every fault is printed.
pub(crate) fn run() -> Result<()> {
    let mut files = Vec::new();
    collect(&root(), "", &mut files)?;
    let mut faults: Vec<Fault> = RULES.iter().flat_map(|rule| rule(&files)).collect();
    faults.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    for fault in &faults {
        println!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} broken rules of the house", faults.len());
    }
    println!("{} files are tidy", files.len());
    Ok(())
}

/// Reads the tree, without what git does not track.
fn collect(dir: &Path, prefix: &str, files: &mut Vec<File>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            if !["target", ".git", "artifacts", "coverage"].contains(&name.as_str()) {
                collect(&entry.path(), &path, files)?;
            }
        } else if name != ".git" && name != "Cargo.lock" {
            let text = String::from_utf8(fs::read(entry.path())?).unwrap_or_default();
            files.push(File { path, text });
        }
    }
    Ok(())
}

/// Whether `word` stands in `text` by itself, not as part of a longer word.
fn has_word(text: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part_of_word) && !text[at + word.len()..].starts_with(part_of_word))
}

#[cfg(test)]
fn tree(files: &[(&str, &str)]) -> Vec<File> {
    files.iter().map(|(path, text)| File { path: (*path).to_owned(), text: (*text).to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_not_found_in_words() {
        assert!(has_word("a word.", "word"));
        assert!(!has_word("words", "word"));
        assert!(!has_word("my_word", "word"));
    }

    #[test]
    fn a_fault_says_where_it_is() {
        let files = tree(&[("a/b.rs", "")]);
        assert_eq!(Fault::new(&files[0], 3, "wrong").to_string(), "a/b.rs:3: wrong");
    }
}
