//! The table that the tidy step prints: the tree in numbers.

use std::fmt::Write as _;

use super::binaries::binaries;
use super::crates::{crates, rooms};
use super::limits::{LIMITS, Measured};
use super::size::{Lines, product_lines};
use super::tree::File;
use super::{circles, comments, dialect, words};

/// Writes all numbers of the tree; `measured` are those with a limit, in the order of [`LIMITS`].
pub(super) fn table(files: &[File], measured: &[Measured]) -> String {
    let mut text = String::new();
    write_limits(&mut text, measured);
    write_crates(&mut text, files);
    write_circles(&mut text, files);
    write_words(&mut text, files);
    write_documents(&mut text, files);
    let _ = writeln!(text, "\n{:<42} {:>8}", "doc comments", comments::number(files));
    let _ = writeln!(text, "{:<42} {:>8}", "test binaries", binaries(files).len());
    text
}

fn write_limits(text: &mut String, measured: &[Measured]) {
    let _ = writeln!(text, "{:<42} {:>8} {:>8}", "limits", "is", "limit");
    for (limit, measured) in LIMITS.iter().zip(measured) {
        let [is, most] = [measured.value, limit.limit].map(|value| limit.show(value));
        let _ = writeln!(text, "{:<42} {is:>8} {most:>8}", limit.name);
    }
}

fn write_crates(text: &mut String, files: &[File]) {
    let head = ["files", "lines", "code", "modules"];
    let _ = writeln!(text, "\n{:<42} {:>8} {:>8} {:>8} {:>8}", "product lines", head[0], head[1], head[2], head[3]);
    let mut all = Lines::default();
    let mut without_xtask = Lines::default();
    for name in crates(files) {
        let lines = product_lines(name, files);
        all = all.plus(lines);
        if name != "xtask" {
            without_xtask = without_xtask.plus(lines);
        }
        write_lines(text, name, lines, &rooms(name, files).to_string());
    }
    write_lines(text, "all but xtask", without_xtask, "");
    write_lines(text, "all", all, "");
}

fn write_lines(text: &mut String, name: &str, lines: Lines, rooms: &str) {
    let _ = writeln!(text, "{name:<42} {:>8} {:>8} {:>8} {rooms:>8}", lines.files, lines.total, lines.code);
}

fn write_circles(text: &mut String, files: &[File]) {
    let circles = circles::circles(files);
    let _ = writeln!(text, "\n{:<42} {:>8}", "circles between files", circles.len());
    for circle in circles {
        let names: Vec<&str> = circle.iter().map(|file| files[*file].path.as_str()).collect();
        let _ = writeln!(text, "  {}", names.join(" "));
    }
}

fn write_words(text: &mut String, files: &[File]) {
    let prepared = dialect::prepared(files);
    let _ = writeln!(text, "\n{:<42} {:>8}", "dialect words, in code and documents", "uses");
    for word in dialect::WORDS {
        let note = if word.is_limited() { "" } else { "  (no limit)" };
        let _ = writeln!(text, "{:<42} {:>8}{note}", word.name(), word.uses(&prepared).len());
    }
}

fn write_documents(text: &mut String, files: &[File]) {
    let _ = writeln!(text, "\n{:<42} {:>8} {:>8}", "documents", "number", "words");
    for (folder, documents) in words::by_folder(files) {
        let _ = writeln!(text, "{folder:<42} {:>8} {:>8}", documents.documents, documents.words);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn every_part_is_there() {
        let word = dialect::WORDS[0].name();
        let files = tree(&[("wire/Cargo.toml", ""), ("wire/src/lib.rs", "//! A.\nmod a;\n"), ("docs/a.md", word)]);
        let measured: Vec<_> = LIMITS.iter().map(|limit| limit.measure(&files)).collect();
        let table = table(&files, &measured);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        for row in [&["wire", "1", "2", "1", "1"][..], &["all", "1", "2", "1"], &[word, "1"], &["docs", "1", "1"]] {
            assert!(rows.iter().any(|other| other == row), "{row:?} in {table}");
        }
        assert!(LIMITS.iter().all(|limit| table.contains(limit.name)));
    }
}
