//! The files of a checkout as the rules see them, and the faults that rules report.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::TokenStream;

/// Folders at the root that git does not track, or that hold what a build made.
const SKIPPED_FOLDERS: [&str; 4] = ["target", ".git", "artifacts", "coverage"];

/// A file of the tree.
pub(super) struct File {
    /// The path relative to the root, with `/` between the parts.
    pub(super) path: String,
    /// The file's content; empty if it is not text.
    pub(super) text: String,
    /// The parsed content of a Rust file; `None` for other files and for Rust that does not parse.
    pub(super) rust: Option<Rust>,
}

/// A parsed Rust file. The tokens also reach what the parser skips: the bodies of macro calls.
pub(super) struct Rust {
    pub(super) tokens: TokenStream,
    pub(super) items: Vec<syn::Item>,
    pub(super) attributes: Vec<syn::Attribute>,
}

impl File {
    pub(super) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let path = path.into();
        let text = text.into();
        let rust = if path.ends_with(".rs") { Rust::parse(&text) } else { None };
        Self { path, text, rust }
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(super) fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }

    pub(super) fn is_under(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// The path's last part.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Lines with their numbers, from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// Lines of a document outside fenced blocks, with their numbers.
    pub(super) fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut fenced = false;
        self.lines().filter(move |(_, line)| {
            let fence = line.trim_start().starts_with("```");
            fenced ^= fence;
            !fenced && !fence
        })
    }

    /// Paragraphs of a document outside fenced blocks, so that code between backticks may go over a line end.
    pub(super) fn paragraphs(&self) -> Vec<RunningText> {
        let lines: Vec<_> = self.prose().collect();
        let paragraphs = lines.split(|(_, line)| line.trim().is_empty());
        paragraphs.map(|lines| RunningText::new(lines.iter().copied())).collect()
    }

    /// Items of a Rust file; none if it does not parse.
    pub(super) fn items(&self) -> &[syn::Item] {
        self.rust.as_ref().map_or(&[], |rust| &rust.items)
    }
}

impl Rust {
    fn parse(text: &str) -> Option<Self> {
        let tokens: TokenStream = text.parse().ok()?;
        let file: syn::File = syn::parse2(tokens.clone()).ok()?;
        Some(Self { tokens, items: file.items, attributes: file.attrs })
    }
}

/// A place in the tree that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) what: String,
}

impl Fault {
    pub(super) fn new(file: &File, line: usize, what: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Reads all files below `dir`, without folders that git does not track.
pub(super) fn read(dir: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    collect(dir, "", &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<File>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            // Crates may have folders of these names.
            if !SKIPPED_FOLDERS.contains(&path.as_str()) {
                collect(&entry.path(), &path, files)?;
            }
        } else if name != ".git" && name != "Cargo.lock" {
            let text = String::from_utf8(fs::read(entry.path())?).unwrap_or_default();
            files.push(File::new(path, text));
        }
    }
    Ok(())
}

/// Several lines as one running text, so that a phrase is found although a line ends within it.
#[derive(Debug, Default)]
pub(super) struct RunningText {
    pub(super) text: String,
    /// The offset at which each line begins, with its number.
    starts: Vec<(usize, usize)>,
}

impl RunningText {
    pub(super) fn new<'a>(lines: impl Iterator<Item = (usize, &'a str)>) -> Self {
        let mut running = Self::default();
        for (number, line) in lines {
            running.starts.push((running.text.len(), number));
            running.text.push_str(line.trim());
            running.text.push(' ');
        }
        running
    }

    /// The number of the line that contains `offset`.
    pub(super) fn line_at(&self, offset: usize) -> usize {
        let after = self.starts.partition_point(|(start, _)| *start <= offset);
        self.starts[..after].last().map_or(1, |(_, number)| *number)
    }
}

/// Offsets at which `word` occurs in `text` by itself, not as part of a longer word.
pub(super) fn words_at<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let end = at + word.len();
        !text[..*at].ends_with(part_of_word) && !text[end..].starts_with(part_of_word)
    })
}

/// Returns whether `word` occurs in `text` by itself.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    words_at(text, word).next().is_some()
}

/// Pieces of `text` between backticks, with their offsets.
pub(super) fn backticked(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split('`').enumerate().filter_map(move |(index, piece)| {
        let start = at;
        at += piece.len() + 1;
        (index % 2 == 1).then_some((start, piece))
    })
}

/// Makes a tree for a test of a rule.
#[cfg(test)]
pub(super) fn tree(files: &[(&str, &str)]) -> Vec<File> {
    files.iter().map(|(path, text)| File::new(*path, *text)).collect()
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

    #[test]
    fn a_running_text_knows_its_lines() {
        let running = RunningText::new([(4, "one two"), (5, "three")].into_iter());
        assert_eq!(running.text, "one two three ");
        let lines: Vec<_> =
            ["one", "two", "three"].map(|word| running.line_at(running.text.find(word).unwrap())).into();
        assert_eq!(lines, [4, 4, 5]);
    }

    #[test]
    fn backticks_are_paired() {
        assert_eq!(backticked("a `b` c `d`").collect::<Vec<_>>(), [(3, "b"), (9, "d")]);
    }

    #[test]
    fn fences_are_not_prose() {
        let file = File::new("a.md", "one\n```\ntwo\n```\nthree\n");
        assert_eq!(file.prose().collect::<Vec<_>>(), [(1, "one"), (5, "three")]);
    }

    #[test]
    fn blank_lines_end_paragraphs() {
        let file = File::new("a.md", "one\ntwo\n\nthree\n");
        let texts: Vec<_> = file.paragraphs().into_iter().map(|paragraph| paragraph.text).collect();
        assert_eq!(texts, ["one two ", "three "]);
    }
}
