//! Measures of documents: how many words they have, and how wide their tables are.

use std::collections::BTreeMap;

use super::tree::{Fault, File};

/// A cell of a table is not longer than a terminal line is wide.
const CELL_CHARACTERS_MAX: usize = 120;

/// Words of a document, as `wc -w` counts them.
fn count(file: &File) -> usize {
    file.text.split_whitespace().count()
}

/// Words of all documents.
pub(super) fn in_documents(files: &[File]) -> usize {
    files.iter().filter(|file| file.is_markdown()).map(count).sum()
}

/// Words of the README at the root.
pub(super) fn in_readme(files: &[File]) -> usize {
    files.iter().filter(|file| file.path == "README.md").map(count).sum()
}

/// Documents of one folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) documents: usize,
    pub(super) words: usize,
}

/// Words of documents by folder; the root is `.`.
pub(super) fn by_folder(files: &[File]) -> BTreeMap<&str, Folder> {
    let mut folders: BTreeMap<&str, Folder> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_markdown()) {
        let folder = folders.entry(file.path.rsplit_once('/').map_or(".", |(folder, _)| folder)).or_default();
        folder.documents += 1;
        folder.words += count(file);
    }
    folders
}

/// Cells of tables that are too long to be read in a terminal.
pub(super) fn long_cells(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_markdown()) {
        for (number, line) in file.prose().filter(|(_, line)| line.trim_start().starts_with('|')) {
            let cells = line.replace("\\|", " ");
            let lengths = cells.split('|').map(|cell| cell.trim().chars().count());
            for length in lengths.filter(|length| *length > CELL_CHARACTERS_MAX) {
                faults.push(Fault::new(file, number, format!("the table has a cell of {length} characters")));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn words_are_counted_by_folder() {
        let files = tree(&[("README.md", "Two words\n"), ("docs/a.md", "one\n\n`two`\n"), ("a.rs", "x")]);
        assert_eq!(in_documents(&files), 4);
        assert_eq!(in_readme(&files), 2);
        let folders = by_folder(&files);
        assert_eq!(folders["."], Folder { documents: 1, words: 2 });
        assert_eq!(folders["docs"], Folder { documents: 1, words: 2 });
    }

    #[test]
    fn a_long_cell_is_found() {
        let row = |length: usize| format!("| a | {} |\n", "x".repeat(length));
        assert_eq!(long_cells(&tree(&[("a.md", &row(121))])).len(), 1);
        assert_eq!(long_cells(&tree(&[("a.md", &row(120))])).len(), 0);
        assert_eq!(long_cells(&tree(&[("a.md", &format!("```\n{}```\n", row(121)))])).len(), 0);
    }
}
