//! Rules for what is written, in documents and in comments.

use super::{Fault, File, has_word};

/// The wire format's specification, which the code cites by its anchors.
const SPECIFICATION: &str = "wire-format.md";

/// Words that promise to finish something later. In two halves, or this file would be found by itself.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
];

/// Paths that exist on one machine only.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("sha", "red/research")];

pub(super) fn unfinished(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files {
        for (number, line) in file.lines() {
            for word in
                UNFINISHED.iter().filter(|word| has_word(line, word.trim_end_matches('!')) && line.contains(**word))
            {
                faults.push(Fault::new(file, number, format!("{word}: finish it, or open an issue and say nothing")));
            }
        }
    }
    faults
}

pub(super) fn machine_paths(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files {
        for (number, line) in file.lines() {
            for path in MACHINE_PATHS {
                // Behind a letter it is part of a longer path or of a URL.
                let mut found = line.match_indices(path).map(|(at, _)| &line[..at]);
                if found.any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || ".-_~".contains(c))) {
                    faults.push(Fault::new(file, number, format!("{path} exists on one machine only")));
                }
            }
        }
    }
    faults
}

/// Relative links lead to files of the tree, and to headings that are in them.
pub(super) fn links(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_markdown()) {
        for (number, line) in prose(file) {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = target.split(' ').next().unwrap_or_default();
                if !target.contains("://") && !target.starts_with("mailto:") && !leads(file, target, files) {
                    faults.push(Fault::new(file, number, format!("the link to {target} leads nowhere")));
                }
            }
        }
    }
    faults
}

/// What the code cites of the wire format is in its specification.
pub(super) fn cited_anchors(files: &[File]) -> Vec<Fault> {
    let specification = files.iter().find(|file| file.path.ends_with(&format!("docs/{SPECIFICATION}")));
    let anchors = specification.map(anchors).unwrap_or_default();
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && !file.is_under("xtask/")) {
        for (number, line) in file.lines() {
            for rest in line.split(&format!("{SPECIFICATION}#")).skip(1) {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_')).unwrap_or(rest.len());
                if !anchors.iter().any(|anchor| anchor == &rest[..end]) {
                    let what = format!("cites {SPECIFICATION}#{}, which does not exist", &rest[..end]);
                    faults.push(Fault::new(file, number, what));
                }
            }
        }
    }
    faults
}

/// Documents that name the oldest Rust name the manifest's.
pub(super) fn rust_version(files: &[File]) -> Vec<Fault> {
    let manifest = files.iter().find(|file| file.path == "Cargo.toml");
    let key = |line: &str| Some(line.strip_prefix("rust-version = \"")?.trim_end_matches('"').to_owned());
    let Some(version) = manifest.and_then(|file| file.text.lines().find_map(key)) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    // The changelog tells of versions past.
    for file in files.iter().filter(|file| file.is_markdown() && file.path != "CHANGELOG.md") {
        for (number, line) in file.lines() {
            let named = line.split("Rust ").skip(1).filter(|rest| rest.starts_with("1."));
            for other in named.map(number_of).filter(|other| *other != version) {
                faults.push(Fault::new(file, number, format!("names Rust {other}; the manifest says {version}")));
            }
        }
    }
    faults
}

fn number_of(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

/// Lines outside fenced blocks.
fn prose(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    file.lines().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn leads(from: &File, target: &str, files: &[File]) -> bool {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = if path.is_empty() { Some(from.path.clone()) } else { resolve(&from.path, path) };
    let Some(path) = path else { return false };
    let found = files.iter().find(|file| file.path == path);
    match anchor {
        None => {
            found.is_some() || path.is_empty() || files.iter().any(|file| file.path.starts_with(&format!("{path}/")))
        }
        Some(anchor) => {
            found.is_some_and(|file| !file.is_markdown() || anchors(file).iter().any(|other| other == anchor))
        }
    }
}

/// `link`, relative to the directory of `from`; `None` where it leaves the tree.
fn resolve(from: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The anchors of a document: explicit ones, and those that its headings get.
fn anchors(file: &File) -> Vec<String> {
    let mut anchors = Vec::new();
    for (_, line) in prose(file) {
        anchors.extend(line.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        if line.starts_with('#') {
            anchors.push(slug(line.trim_start_matches('#').trim()));
        }
    }
    anchors
}

fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    #[test]
    fn unfinished_work_is_found() {
        for word in UNFINISHED {
            let text = format!("// {word}: later, ({word})\n");
            assert_eq!(unfinished(&tree(&[("a.rs", &text)])).len(), 1, "{word}");
        }
        assert!(unfinished(&tree(&[("a.rs", "let todos = \"0xXXXX\";\n")])).is_empty());
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for path in MACHINE_PATHS {
            assert_eq!(machine_paths(&tree(&[("a.toml", &format!("dir = \"{path}x\""))])).len(), 1, "{path}");
        }
        let fine = format!("https://example.com{} ~{}", MACHINE_PATHS[0], MACHINE_PATHS[2]);
        assert!(machine_paths(&tree(&[("a.md", &fine)])).is_empty());
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let document =
            "# A title, of *sorts*\n[a](../README.md) [b](#a-title-of-sorts) [c](../src) [d](https://x.example/y)\n";
        let good = tree(&[("docs/a.md", document), ("README.md", "# R"), ("src/lib.rs", "")]);
        assert_eq!(links(&good), []);
        for bad in ["[a](b.md)", "[a](../../x.md)", "[a](#nothing)", "[a](../README.md#s)"] {
            let files = tree(&[("docs/a.md", bad), ("README.md", "# R")]);
            assert_eq!(links(&files).len(), 1, "{bad}");
        }
        assert_eq!(links(&tree(&[("a.md", "```\n[a](b.md)\n```\n")])), []);
    }

    #[test]
    fn a_citation_of_nothing_is_found() {
        let specification = ("docs/wire-format.md", "## Frame header\n<a id=\"run\"></a>\n");
        let cite = |anchor: &str| format!("// See docs/wire-format.md#{anchor}.\n");
        for (anchor, faults) in [("frame-header", 0), ("run", 0), ("frame", 1)] {
            assert_eq!(
                cited_anchors(&tree(&[specification, ("wire/src/a.rs", &cite(anchor))])).len(),
                faults,
                "{anchor}"
            );
        }
    }

    #[test]
    fn a_stale_rust_version_is_found() {
        let manifest = ("Cargo.toml", "[workspace.package]\nrust-version = \"1.88\"\n");
        assert_eq!(rust_version(&tree(&[manifest, ("README.md", "Needs Rust 1.85 or newer.")])).len(), 1);
        assert_eq!(rust_version(&tree(&[manifest, ("README.md", "Needs Rust 1.88. In Rust 1.88.")])), []);
    }
}
