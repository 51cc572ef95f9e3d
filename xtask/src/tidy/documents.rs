//! Rules for text: unfinished work, paths of one machine, links, cited documents, the Rust version.

use super::tree::{Fault, File, has_word};

/// Words that promise to finish something later. Each is in two halves, or this file would break its own rule.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
];

/// Folders at a machine's root in which people keep their own files.
const PERSONAL_FOLDERS: [&str; 5] = ["home", "root", "tmp", "work", "Users"];

/// Nothing in the tree promises to be finished later.
pub(super) fn unfinished(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files {
        for (number, line) in file.lines() {
            let promises =
                UNFINISHED.iter().filter(|word| has_word(line, word.trim_end_matches('!')) && line.contains(**word));
            faults
                .extend(promises.map(|word| Fault::new(file, number, format!("{word}: finish it, or open an issue"))));
        }
    }
    faults
}

/// No file contains an absolute path of a home, work or temporary folder: other machines do not have it.
pub(super) fn personal_paths(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files {
        for (number, line) in file.lines() {
            for folder in PERSONAL_FOLDERS {
                let path = format!("/{folder}/");
                // Behind a letter it is part of a longer path or of a URL.
                let mut found = line.match_indices(&path).map(|(at, _)| &line[..at]);
                if found.any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || ".-_~".contains(c))) {
                    let what = format!("{path} is an absolute path that other machines do not have");
                    faults.push(Fault::new(file, number, what));
                }
            }
        }
    }
    faults
}

/// Relative links lead to files of the tree, and to headings that exist in them.
pub(super) fn links(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_markdown()) {
        for (number, line) in file.prose() {
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

/// Documents that code, comments and prose name by `folder/name.md` or `name.md#anchor` exist, and so do the anchors.
/// A citation is found by the end of the document's path, so that a document may move to another folder.
pub(super) fn cited_documents(files: &[File]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| !file.is_under("xtask/")) {
        for (number, line) in file.lines() {
            for citation in citations(line) {
                let named: Vec<&File> = files.iter().filter(|other| citation.is_of(&other.path)).collect();
                let has = |anchor: &str| named.iter().any(|other| anchors(other).iter().any(|known| known == anchor));
                let what = match citation.anchor {
                    _ if named.is_empty() => format!("names the document {}, which does not exist", citation.path),
                    Some(anchor) if !has(anchor) => {
                        format!("names {}#{anchor}, and the document has no such heading", citation.path)
                    }
                    _ => continue,
                };
                faults.push(Fault::new(file, number, what));
            }
        }
    }
    faults
}

/// A document that a line names, outside a link.
struct Citation<'a> {
    path: &'a str,
    anchor: Option<&'a str>,
}

impl Citation<'_> {
    fn is_of(&self, path: &str) -> bool {
        path.strip_suffix(self.path).is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
    }
}

fn citations(line: &str) -> Vec<Citation<'_>> {
    let mut citations = Vec::new();
    for (at, suffix) in line.match_indices(".md") {
        let end = at + suffix.len();
        let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let start = line[..at]
            .rfind(|c| !is_path(c))
            .map_or(0, |before| before + line[before..].chars().next().map_or(1, char::len_utf8));
        let before = &line[..start];
        // A link is another rule's; a URL leads out of the tree.
        let elsewhere = before.ends_with("](") || before.ends_with(':') || line[start..].starts_with("//");
        let ends_here = !line[end..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let path = line[start..end].trim_start_matches(['.', '/']);
        let anchor = line[end..].strip_prefix('#').map(|rest| {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_')).unwrap_or(rest.len());
            &rest[..end]
        });
        // A bare name without an anchor may be of a file that a program writes.
        if !elsewhere
            && ends_here
            && path != ".md"
            && (path.contains('/') || anchor.is_some_and(|anchor| !anchor.is_empty()))
        {
            citations.push(Citation { path, anchor: anchor.filter(|anchor| !anchor.is_empty()) });
        }
    }
    citations
}

/// Documents name the same oldest Rust version as the manifest.
pub(super) fn rust_version(files: &[File]) -> Vec<Fault> {
    let manifest = files.iter().find(|file| file.path == "Cargo.toml");
    let key = |line: &str| Some(line.strip_prefix("rust-version = \"")?.trim_end_matches('"').to_owned());
    let Some(version) = manifest.and_then(|file| file.text.lines().find_map(key)) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    // The changelog also names older versions.
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

/// `link`, relative to the folder of `from`; `None` where it leaves the tree.
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

/// Anchors of a document: explicit ones, and those of its headings.
fn anchors(file: &File) -> Vec<String> {
    let mut anchors = Vec::new();
    for (_, line) in file.prose() {
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
    use super::super::tree::tree;
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
        for folder in PERSONAL_FOLDERS {
            let text = format!("dir = \"/{folder}/x\"");
            assert_eq!(personal_paths(&tree(&[("a.toml", &text)])).len(), 1, "{folder}");
            let fine = format!("https://example.com/{folder}/ ~/{folder}/ /var/lib/{folder}");
            assert!(personal_paths(&tree(&[("a.md", &fine)])).is_empty());
        }
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
        let document = ("docs/design/wire-format.md", "## Frame header\n<a id=\"run\"></a>\n");
        for (cited, faults) in [
            ("wire-format.md#frame-header", 0),
            ("(wire-format.md#run)", 0),
            ("`docs/design/wire-format.md`", 0),
            ("\"/../docs/design/wire-format.md\"", 0),
            ("https://example.com/docs/other.md#frame", 0),
            ("table.md", 0),
            ("wire-format.md#frame", 1),
            ("other.md#run", 1),
            ("docs/wire-format.md", 1),
            ("docs/wire-format.md#run", 1),
        ] {
            for path in ["wire/src/a.rs", "docs/b.md"] {
                let text = format!("// See {cited}.\n");
                assert_eq!(cited_documents(&tree(&[document, (path, &text)])).len(), faults, "{path} {cited}");
            }
        }
    }

    #[test]
    fn a_stale_rust_version_is_found() {
        let manifest = ("Cargo.toml", "[workspace.package]\nrust-version = \"1.88\"\n");
        assert_eq!(rust_version(&tree(&[manifest, ("README.md", "Needs Rust 1.85 or newer.")])).len(), 1);
        assert_eq!(rust_version(&tree(&[manifest, ("README.md", "Needs Rust 1.88. In Rust 1.88.")])), []);
    }
}
