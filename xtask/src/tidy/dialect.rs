//! Words of our own dialect, for which every engineer knows a plainer one.

use super::tree::{Fault, File, RunningText, words_at};

/// Each word may occur so often in code and documents together.
const USES_MAX: usize = 3;

/// This file contains the words themselves.
const OWN: &str = "xtask/src/tidy/dialect.rs";

/// A word in all its forms. A space matches `_` too, so that the names of functions count.
pub(super) struct Word {
    forms: &'static [&'static str],
    /// Phrases that contain the word and are plain English.
    fine: &'static [&'static str],
    pub(super) instead: &'static str,
    /// True for a word that also has a plain meaning, which no program can tell apart: it has no limit.
    only_counted: bool,
}

impl Word {
    const fn new(forms: &'static [&'static str], instead: &'static str) -> Self {
        Self { forms, fine: &[], instead, only_counted: false }
    }

    const fn except(mut self, fine: &'static [&'static str]) -> Self {
        self.fine = fine;
        self
    }

    const fn only_counted(mut self) -> Self {
        self.only_counted = true;
        self
    }

    pub(super) fn name(&self) -> &'static str {
        self.forms[0]
    }

    pub(super) fn is_limited(&self) -> bool {
        !self.only_counted
    }

    /// Every use of the word in the tree.
    pub(super) fn uses(&self, files: &[Prepared<'_>]) -> Vec<Fault> {
        let mut uses = Vec::new();
        for Prepared { file, running } in files {
            let fine: Vec<usize> = self.fine.iter().flat_map(|phrase| words_at(&running.text, phrase)).collect();
            for form in self.forms {
                let found = words_at(&running.text, form).filter(|at| !fine.contains(at));
                uses.extend(
                    found
                        .map(|at| Fault::new(file, running.line_at(at), format!("\"{form}\": write {}", self.instead))),
                );
            }
        }
        uses
    }
}

/// The words. Each phrase that is fine begins with a form of its word.
pub(super) const WORDS: &[Word] = &[
    Word::new(&["whoever"], "the actor's name"),
    Word::new(&["somebody"], "the actor's name"),
    Word::new(&["nobody"], "no one, or the actor's name"),
    Word::new(&["anybody"], "anyone, or the actor's name"),
    Word::new(&["anew"], "again"),
    Word::new(&["under way"], "in flight, in progress"),
    Word::new(&["stands", "stand", "standing", "stood"], "is open, exists, is stored").except(&[
        "stands by",
        "stand by",
        "standing by",
        "stood by",
        "stands for",
        "stand for",
    ]),
    Word::new(&["wish", "wishes", "wished"], "request"),
    Word::new(&["of late"], "recently"),
    Word::new(&["for ever"], "permanently"),
    Word::new(&["save that"], "except that"),
    Word::new(&["aside", "asides"], "except, deferred"),
    Word::new(&["beside"], "next to, compared with"),
    Word::new(&["is told", "are told", "was told", "were told", "be told", "been told"], "is notified, receives"),
    Word::new(&["gives up", "give up", "giving up", "gave up", "given up"], "stops retrying, abandons"),
    Word::new(&["dark"], "unreachable"),
    // `ring` itself is the name of a crate.
    Word::new(&["rings", "rang", "rung"], "wakes, woken"),
    Word::new(&["settle", "settles", "settled", "settling"], "apply, complete"),
    Word::new(&["lately"], "recently"),
    Word::new(&["goes on", "go on", "going on", "went on"], "continues"),
    Word::new(&["comes to nothing", "come to nothing", "came to nothing"], "fails"),
    Word::new(&["lets it be", "let it be", "lets them be", "let them be"], "does not change it"),
    Word::new(&["errand", "errands"], "message"),
    Word::new(&["mend", "mends", "mended", "mending"], "fix"),
    Word::new(&["as it is", "as it was"], "unchanged"),
    Word::new(&["no more"], "no longer").except(&["no more than"]),
    Word::new(&["whatever"], "any"),
    Word::new(&["so it is"], "a whole sentence"),
    Word::new(&["at once"], "immediately"),
    Word::new(&["one another"], "each other"),
    Word::new(&["thereby"], "this way"),
    Word::new(&["wants"], "requires"),
    Word::new(&["holds"], "is in effect").only_counted(),
];

/// A file's text, ready to be searched.
pub(super) struct Prepared<'a> {
    file: &'a File,
    running: RunningText,
}

/// The files that people read: code, documents and settings.
pub(super) fn prepared(files: &[File]) -> Vec<Prepared<'_>> {
    let read = files.iter().filter(|file| file.is_rust() || file.is_markdown() || file.path.ends_with(".toml"));
    read.filter(|file| file.path != OWN).map(|file| Prepared { file, running: searched(file) }).collect()
}

/// The text in lower case, with words of a name apart and without the marks that begin comment lines.
fn searched(file: &File) -> RunningText {
    let plain: Vec<(usize, String)> = file
        .lines()
        .map(|(number, line)| {
            let line = line.trim_start().trim_start_matches(['/', '!', '#', '>', '*']);
            (number, line.to_ascii_lowercase().replace('_', " "))
        })
        .collect();
    RunningText::new(plain.iter().map(|(number, line)| (*number, line.as_str())))
}

/// Uses of each word beyond those that are allowed.
pub(super) fn too_many(files: &[File]) -> Vec<Fault> {
    let files = prepared(files);
    WORDS
        .iter()
        .filter(|word| word.is_limited())
        .flat_map(|word| word.uses(&files).into_iter().skip(USES_MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    fn lines_of(name: &str, path: &str, text: &str) -> Vec<usize> {
        let files = tree(&[(path, text)]);
        let word = WORDS.iter().find(|word| word.name() == name).unwrap();
        word.uses(&prepared(&files)).into_iter().map(|fault| fault.line).collect()
    }

    #[test]
    fn words_are_found_in_names_and_over_line_ends() {
        assert_eq!(lines_of("under way", "a.rs", "// It is\n// under\n// way.\nfn under_way() {}\n"), [2, 4]);
        assert_eq!(lines_of("mend", "a.md", "Mend it. We recommend mending.\n"), [1, 1]);
    }

    #[test]
    fn plain_phrases_are_left_alone() {
        assert_eq!(lines_of("stands", "a.md", "It stands by.\nIt stands open.\n"), [2]);
        assert_eq!(lines_of("no more", "a.md", "No more than 3.\nNo more.\n"), [2]);
    }

    #[test]
    fn a_word_that_is_used_too_often_is_found() {
        assert_eq!(too_many(&tree(&[("a.md", "anew anew"), ("b.rs", "// anew")])).len(), 0);
        assert_eq!(too_many(&tree(&[("a.md", "anew anew"), ("b.rs", "// anew anew")])).len(), 1);
        assert_eq!(too_many(&tree(&[("a.md", "holds holds holds holds")])).len(), 0, "only counted");
    }

    #[test]
    fn fine_phrases_begin_with_their_word() {
        for word in WORDS {
            let begins = |phrase: &&str| word.forms.iter().any(|form| phrase.starts_with(form));
            assert!(word.fine.iter().all(begins), "{}", word.name());
        }
    }
}
