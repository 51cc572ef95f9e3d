//! The tables as a page: `docs/configuration.md` is printed from what the loader reads by.

use std::fmt::Write;

use super::field::{Absent, Field, Section};

/// Every setting of `sections` in Markdown, one heading per section.
pub fn reference(sections: &[Section]) -> String {
    let mut page = String::new();
    for section in sections {
        let heading = match section.path {
            "" => "Top level".to_owned(),
            _ => format!("`{}`", section.title()),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(page, "### {heading}\n\n{}\n", section.doc);
        for field in section.fields {
            page.push_str(&entry(field));
        }
        if !section.fields.is_empty() {
            page.push('\n');
        }
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn entry(field: &Field) -> String {
    let absent = match field.absent {
        Absent::Required => "Required.".to_owned(),
        Absent::Default(toml) => format!("Default `{toml}`."),
        Absent::Otherwise(words) => format!("Default: {words}."),
    };
    let bounds = field.bounds.map_or_else(String::new, |(min, max)| {
        format!(" From `{min}` to `{max}`.")
    });
    format!(
        "- **`{}`**: {}. {absent}{bounds}\n  {}\n",
        field.name, field.kind, field.doc
    )
}
