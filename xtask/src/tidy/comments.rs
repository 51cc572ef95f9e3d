//! Measures of doc comments: how they begin, and how short they are.

use super::tree::{Fault, File};

/// Words that leave out the noun when a doc comment begins with them.
const PRONOUNS: [&str; 17] = [
    "how", "it", "its", "one", "so", "that", "their", "they", "what", "when", "where", "whether", "which", "who",
    "whom", "whose", "why",
];

/// A doc comment of fewer words than this tells nothing that the name does not.
const WORDS_MIN: usize = 4;

/// A block of `///` or `//!` lines.
struct Comment<'a> {
    file: &'a File,
    line: usize,
    text: String,
}

impl Comment<'_> {
    fn first_word(&self) -> String {
        let word = self.text.split_whitespace().next().unwrap_or_default();
        let word = word.split(['\'', '’']).next().unwrap_or_default();
        word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
    }
}

/// The number of doc comments in the tree.
pub(super) fn number(files: &[File]) -> usize {
    files.iter().map(|file| comments(file).len()).sum()
}

/// Doc comments that begin with a pronoun or a question word.
pub(super) fn pronouns(files: &[File]) -> Vec<Fault> {
    comments_where(files, |comment| PRONOUNS.contains(&comment.first_word().as_str()))
}

/// Doc comments of three words or fewer.
pub(super) fn short(files: &[File]) -> Vec<Fault> {
    comments_where(files, |comment| comment.text.split_whitespace().count() < WORDS_MIN)
}

fn comments_where(files: &[File], matches: impl Fn(&Comment<'_>) -> bool) -> Vec<Fault> {
    let found = files.iter().flat_map(comments).filter(|comment| matches(comment));
    found.map(|comment| Fault::new(comment.file, comment.line, comment.text.trim())).collect()
}

fn comments(file: &File) -> Vec<Comment<'_>> {
    let mut comments: Vec<Comment<'_>> = Vec::new();
    let mut before = None;
    for (number, line) in file.lines().filter(|_| file.is_rust()) {
        let line = line.trim_start();
        let marker = ["///", "//!"].into_iter().find(|marker| line.starts_with(marker));
        if let Some(marker) = marker {
            if marker.len() == 3 && before != Some(marker) {
                comments.push(Comment { file, line: number, text: String::new() });
            }
            if let Some(comment) = comments.last_mut() {
                comment.text.push_str(&line[marker.len()..]);
                comment.text.push(' ');
            }
        }
        before = marker;
    }
    comments
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    fn count(rule: fn(&[File]) -> Vec<Fault>, text: &str) -> usize {
        rule(&tree(&[("a.rs", text)])).len()
    }

    #[test]
    fn a_beginning_without_a_noun_is_found() {
        for line in ["/// What is open.", "//! It's the state.", "    /// *Which* lanes are open."] {
            assert_eq!(count(pronouns, &format!("{line}\nfn f() {{}}\n")), 1, "{line}");
        }
        for line in ["/// Lanes that are open.", "// What is open.", "/// Whole lanes."] {
            assert_eq!(count(pronouns, &format!("{line}\nfn f() {{}}\n")), 0, "{line}");
        }
        assert_eq!(count(pronouns, "/// Lanes.\n/// What is open.\nfn f() {}\n"), 0, "only the first line begins one");
    }

    #[test]
    fn a_short_comment_is_found() {
        assert_eq!(count(short, "/// For people only.\nfn f() {}\n"), 1);
        assert_eq!(count(short, "/// Lanes that are open.\nfn f() {}\n"), 0);
        assert_eq!(count(short, "/// Lanes that\n/// are open.\nfn f() {}\n"), 0);
    }

    #[test]
    fn comments_are_counted_by_block() {
        let files = tree(&[
            ("a.rs", "//! One.\n//! Block.\n\n/// Two.\nfn f() {}\n/// Three.\nfn g() {}\n"),
            ("a.md", "/// x"),
        ]);
        assert_eq!(number(&files), 3);
    }
}
