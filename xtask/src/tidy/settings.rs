//! Settings that documents name exist. The printed reference of the configuration says which there are.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Fault, File, backticked};

/// The reference, wherever it is; the product's own tests compare it with the tables that the loader reads by.
const REFERENCE: &str = "configuration.md";

/// Endings that make a dotted word a file and not a setting.
const FILE_ENDINGS: [&str; 10] = ["rs", "md", "toml", "pem", "json", "jsonl", "svg", "yml", "sh", "service"];

/// Keys of each section. A section without keys is passed through to librdkafka, and takes any key.
type Sections = BTreeMap<String, BTreeSet<String>>;

/// Every `section.key` and `[section]` between backticks in a document is in the reference.
pub(super) fn named_settings(files: &[File]) -> Vec<Fault> {
    let Some(reference) = files.iter().find(|file| file.name() == REFERENCE) else { return Vec::new() };
    let sections = sections(reference);
    if sections.is_empty() {
        return vec![Fault::new(reference, 1, "no section `[name]` with keys **`name`** is found on this page")];
    }
    let mut faults = Vec::new();
    for file in files.iter().filter(|file| file.is_markdown() && file.path != "CHANGELOG.md") {
        for paragraph in file.paragraphs() {
            let code = backticked(&paragraph.text);
            let unknown = code.filter_map(|(at, code)| Some((at, unknown_in(code, &sections)?)));
            faults.extend(
                unknown
                    .map(|(at, name)| Fault::new(file, paragraph.line_at(at), format!("no setting is called {name}"))),
            );
        }
    }
    faults
}

/// The part of `code` that looks like a setting and is none.
fn unknown_in<'a>(code: &'a str, sections: &Sections) -> Option<&'a str> {
    if let Some(section) = section_of(code) {
        // Sections of other files, such as `[dependencies]`, resemble none of ours.
        let resembles = section.split('.').next().is_some_and(|first| sections.contains_key(first));
        return (resembles && !sections.contains_key(section)).then_some(code);
    }
    let name = code.split([' ', '=']).next()?;
    let (section, key) = name.rsplit_once('.')?;
    let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if !name.split('.').all(is_name) || FILE_ENDINGS.contains(&key) && !sections.get(section)?.contains(key) {
        return None;
    }
    let keys = sections.get(section)?;
    (!keys.is_empty() && !keys.contains(key) && !sections.contains_key(name)).then_some(name)
}

/// The name in `[name]` or `[[name]]`.
fn section_of(code: &str) -> Option<&str> {
    let name = code.strip_prefix('[')?.trim_start_matches('[').strip_suffix(']')?.trim_end_matches(']');
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c));
    is_name.then_some(name)
}

/// Sections by headings with `[name]`, keys by lines that begin with the name in bold or in a table's first cell.
fn sections(reference: &File) -> Sections {
    let mut sections = Sections::new();
    let mut current: Option<String> = None;
    for (_, line) in reference.prose() {
        if line.starts_with('#') {
            current = backticked(line).find_map(|(_, code)| section_of(code)).map(str::to_owned);
            sections.extend(
                current.clone().map(|name| (name, BTreeSet::new())).filter(|(name, _)| !sections.contains_key(name)),
            );
        }
        let begins = ["- **`", "**`", "| `", "- `"].iter().find_map(|mark| line.trim_start().strip_prefix(mark));
        let key = begins.and_then(|rest| rest.split('`').next());
        if let (Some(section), Some(key)) = (&current, key) {
            sections.entry(section.clone()).or_default().insert(key.to_owned());
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::super::tree::tree;
    use super::*;

    const PAGE: &str = "### Top level\n- **`memory`**: a size.\n### `[tls]`\n- **`key`**: a path.\n\
        ### `[wan]`\n- **`rate`**: a rate.\n### `[[wan.schedule]]`\n- **`days`**: days.\n### `[source.client]`\nAny.\n\
        ### `[source]`\n- **`topics`**: names.\n";

    #[test]
    fn a_setting_that_does_not_exist_is_found() {
        for (code, faults) in [
            ("wan.rate", 0),
            ("wan.rate = \"500 Mbit/s\"", 0),
            ("wan.schedule", 0),
            ("wan.schedule.days", 0),
            ("source.client.ssl", 0),
            ("tls.key", 0),
            ("tls.rs", 0),
            ("[wan]", 0),
            ("[[wan.schedule]]", 0),
            ("[dependencies]", 0),
            ("max.message.bytes", 0),
            ("wan.codec", 1),
            ("wan.codec = \"lz4\"", 1),
            ("wan.schedule.when", 1),
            ("[wan.schedules]", 1),
        ] {
            let text = format!("See `{code}`.\n");
            let files = tree(&[("docs/reference/configuration.md", PAGE), ("docs/a.md", &text)]);
            assert_eq!(named_settings(&files).len(), faults, "{code}");
        }
    }

    #[test]
    fn a_reference_that_is_not_understood_is_found() {
        assert_eq!(named_settings(&tree(&[("docs/configuration.md", "# Configuration\n")])).len(), 1);
    }
}
