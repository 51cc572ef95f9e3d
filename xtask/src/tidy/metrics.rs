//! Metrics that documents name exist in the code.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};

use super::crates::crates;
use super::modules::test_files;
use super::tree::{Fault, File};

const PREFIX: &str = "causeway_";

/// Endings that a scrape appends to the name in the code.
const SCRAPED_ENDINGS: [&str; 5] = ["_total", "_bucket", "_sum", "_count", "_info"];

/// Every `causeway_*` name in a document is a metric of the code, with or without the ending that a scrape shows.
pub(super) fn named_metrics(files: &[File]) -> Vec<Fault> {
    let names = names_in_code(files);
    if names.is_empty() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_markdown() && file.path != "CHANGELOG.md") {
        for (number, line) in file.lines() {
            let unknown = words(line).filter(|name| !is_known(name, &names));
            faults.extend(unknown.map(|name| Fault::new(file, number, format!("no metric is called {name}"))));
        }
    }
    faults
}

fn is_known(name: &str, names: &BTreeSet<String>) -> bool {
    let without_ending = SCRAPED_ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
    let begins_one = || names.iter().any(|other| other.starts_with(name));
    names.contains(name)
        || without_ending.is_some_and(|name| names.contains(name))
        || name.ends_with('_') && begins_one()
}

/// Words of a line that begin like a metric; one that is cut off by a wildcard ends with `_`.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(PREFIX) && *word != PREFIX)
}

/// Names in strings and identifiers of product code, and the names of the crates themselves.
fn names_in_code(files: &[File]) -> BTreeSet<String> {
    let tests = test_files(files);
    let mut names: BTreeSet<String> = BTreeSet::new();
    for file in files.iter().filter(|file| file.path.contains("/src/") && !tests.contains(&file.path)) {
        if let Some(rust) = file.rust.as_ref().filter(|_| !file.is_under("xtask/")) {
            add_names(rust.tokens.clone(), &mut names);
        }
    }
    if !names.is_empty() {
        names.extend(crates(files).into_iter().map(|name| format!("{PREFIX}{name}")));
    }
    names
}

fn add_names(tokens: TokenStream, names: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => add_names(group.stream(), names),
            TokenTree::Ident(ident) => names.extend(words(&ident.to_string()).map(str::to_owned)),
            // Comments of items are strings here too: only a string that is one name counts.
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let inner = text.trim_matches('"');
                names.extend(words(inner).filter(|word| *word == inner).map(str::to_owned));
            }
            TokenTree::Punct(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    #[test]
    fn a_metric_that_does_not_exist_is_found() {
        let code = "/// Not causeway_in_a_comment.\nconst A: &[M] = &[M { name: \"causeway_sender_frames\" }];\n";
        for (name, faults) in [
            ("causeway_sender_frames", 0),
            ("causeway_sender_frames_total", 0),
            ("causeway_sender_*", 0),
            ("causeway_sender=debug", 0),
            ("causeway_sender_records_total", 1),
            ("causeway_receiver_*", 1),
            ("causeway_in_a_comment", 1),
        ] {
            let text = format!("Watch `{name}`.\n");
            let files = [("sender/Cargo.toml", ""), ("sender/src/metrics.rs", code), ("docs/a.md", text.as_str())];
            assert_eq!(named_metrics(&tree(&files)).len(), faults, "{name}");
        }
    }
}
