//! Reference lists in the documents, printed from the code that they describe. Tests compare the two.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::fields;
use crate::config::reference::{PAGE_WIDTH, spliced, wrapped};

/// A field of a struct as its source text declares it.
struct Field<'s> {
    name: &'s str,
    kind: &'s str,
    doc: String,
}

/// Entries of a Markdown list for the fields of the JSON `shown`, in the order of declaration. Each has the text of the
/// doc comment of the field. Keys of a map share an entry; a struct that is listed already is one entry, which names the
/// place. `sources` is the Rust text that declares the struct `root` and those in it.
///
/// # Panics
/// Where a field of `shown` has no doc comment.
pub fn json_reference(sources: &[&str], root: &str, shown: &Value) -> String {
    let structs: BTreeMap<_, _> = sources.iter().flat_map(|source| structs_of(source)).collect();
    let mut rows = Vec::new();
    describe(&structs, root, "", &mut BTreeMap::new(), &mut rows);
    let mut undocumented = fields(shown);
    let mut list = String::new();
    for Row { path, doc, like } in rows {
        let is_of = |name: &&String| {
            name.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let names: Vec<_> = undocumented.iter().filter(is_of).cloned().collect();
        let Some((first, rest)) = names.split_first() else { continue };
        let doc = doc.trim_end_matches('.');
        let entry = match like {
            Some(place) => format!("- `{path}`: {doc}; the fields of `{place}`"),
            None => {
                let more: String = rest.iter().map(|name| format!(", `{}`", &name[path.len()..])).collect();
                format!("- `{first}`{more}: {doc}")
            }
        };
        list += &wrapped(&entry, "  ", PAGE_WIDTH);
        list.push('\n');
        undocumented.retain(|name| !names.contains(name));
    }
    assert!(undocumented.is_empty(), "fields without a doc comment: {undocumented:?}");
    list
}

/// An entry of a list: a path in the JSON, its text, and the place that lists the same fields.
struct Row<'s> {
    path: String,
    doc: &'s str,
    like: Option<String>,
}

/// Adds the fields of the struct `of` to `rows`. `listed` has the place of each struct whose fields are listed already.
fn describe<'s>(
    structs: &'s BTreeMap<&'s str, Vec<Field<'s>>>,
    of: &str,
    within: &str,
    listed: &mut BTreeMap<&'s str, String>,
    rows: &mut Vec<Row<'s>>,
) {
    for field in structs.get(of).into_iter().flatten() {
        let list = if field.kind.contains("Vec<") { "[]" } else { "" };
        let mut words = field.kind.split(|letter: char| !letter.is_alphanumeric());
        let inner = words.find(|word| structs.contains_key(word));
        let path = format!("{within}{}{}", field.name, if inner.is_some() { list } else { "" });
        match inner {
            Some(inner) if !listed.contains_key(inner) => {
                describe(structs, inner, &format!("{path}."), listed, rows);
                listed.insert(inner, path);
            }
            _ => rows.push(Row { path, doc: &field.doc, like: inner.and_then(|inner| listed.get(inner).cloned()) }),
        }
    }
}

fn structs_of(source: &str) -> Vec<(&str, Vec<Field<'_>>)> {
    let mut structs: Vec<(&str, Vec<Field<'_>>)> = Vec::new();
    let mut is_inside = false;
    let mut doc = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub struct ").and_then(|line| line.strip_suffix(" {")) {
            structs.push((name, Vec::new()));
            is_inside = true;
        } else if let Some(text) = line.strip_prefix("/// ") {
            doc.push(text);
            continue;
        } else if line.starts_with('}') {
            is_inside = false;
        } else if let Some((name, kind)) =
            line.strip_prefix("pub ").filter(|_| is_inside).and_then(|line| line.split_once(": "))
        {
            if let Some((_, fields)) = structs.last_mut() {
                fields.push(Field { name, kind, doc: doc.join(" ") });
            }
        } else if line.starts_with("#[") {
            continue;
        }
        doc.clear();
    }
    structs
}

/// A printed list, and the name of the marks around it in a document.
pub type Marked<'a> = (&'a str, String);

/// Compares the document at `path` with `lists`: it must have each list between the marks `<!-- name -->` and
/// `<!-- /name -->`. Rewrites it if the environment has `CAUSEWAY_WRITE_DOCS`.
///
/// # Panics
/// Where the document differs or lacks the marks of a list.
pub fn check_page(path: &Path, lists: &[Marked<'_>]) {
    let shown = path.display();
    let page = std::fs::read_to_string(path).expect("documents are readable");
    let mut printed = page.clone();
    for (mark, body) in lists {
        let spliced = spliced(&printed, mark, &format!("\n{body}\n"));
        printed = spliced.unwrap_or_else(|| panic!("{shown} lacks the marks of {mark}"));
    }
    if std::env::var_os("CAUSEWAY_WRITE_DOCS").is_some() && printed != page {
        std::fs::write(path, printed).expect("documents are writable");
    } else {
        assert!(page == printed, "run the tests once with CAUSEWAY_WRITE_DOCS=1 and commit {shown}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
        /// A status.
        pub struct Status {
            /// Name of the link.
            pub link: String,
            #[serde(skip)]
            pub hidden: u64,
            /// Lanes of the link.
            pub lanes: Vec<Lane>,
            /// Spare lane.
            pub spare: Lane,
            /// Closes, by code.
            pub closes: BTreeMap<String, u64>,
            /// Reasons.
            pub reasons: BTreeMap<String, u64>,
        }

        pub struct Lane {
            /// Number of the lane,
            /// from 0.
            pub lane: usize,
        }
    ";

    #[test]
    fn every_json_field_has_the_words_of_its_doc_comment() {
        let shown = serde_json::json!({ "link": "a", "lanes": [{ "lane": 0 }], "spare": { "lane": 1 },
            "closes": { "LOST": 1 }, "reasons": { "a": 1, "b": 2 } });
        let list = json_reference(&[SOURCE], "Status", &shown);
        let expected = "- `link`: Name of the link\n- `lanes[].lane`: Number of the lane, from 0\n\
                        - `spare`: Spare lane; the fields of `lanes[]`\n\
                        - `closes.<code>`: Closes, by code\n- `reasons.a`, `.b`: Reasons\n";
        assert_eq!(list, expected);
    }

    #[test]
    fn a_json_field_without_a_doc_comment_is_refused() {
        let shown = serde_json::json!({ "unknown": 1 });
        let panic = std::panic::catch_unwind(|| json_reference(&[SOURCE], "Status", &shown)).unwrap_err();
        let message = panic.downcast::<String>().unwrap();
        assert_eq!(*message, "fields without a doc comment: {\"unknown\"}");
    }
}
