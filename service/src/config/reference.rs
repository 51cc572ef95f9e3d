//! The reference page: `docs/reference/configuration.md` is printed from the tables that the loader uses.

use std::fmt::Write;

use super::field::{Absent, Field, Section};

/// Prints every setting of `sections` in Markdown, one heading per section.
pub fn reference(sections: &[Section]) -> String {
    let mut page = String::new();
    for section in sections {
        let heading = match section.path {
            "" => "Top level".to_owned(),
            _ => format!("`{}`", section.title()),
        };
        // Writing into a String cannot fail.
        let _ = writeln!(page, "### {heading}\n\n{}\n", wrapped(section.doc, "", PAGE_WIDTH));
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
    let bounds = field.bounds.map_or_else(String::new, |(min, max)| format!(" From `{min}` to `{max}`."));
    let doc = wrapped(field.doc, "  ", PAGE_WIDTH);
    let live = if field.live { " *Live.*" } else { "" };
    format!("- **`{}`**: {}. {absent}{bounds}{live}\n  {doc}\n", field.name, field.kind)
}

/// Longest line of a printed page, in characters.
pub(crate) const PAGE_WIDTH: usize = 110;

/// Wraps `text` to lines of at most `line_max` characters, all but the first indented.
pub(crate) fn wrapped(text: &str, indent: &str, line_max: usize) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length + indent.len() > line_max {
            lines = lines + "\n" + indent;
            width = 0;
        } else if width > 0 {
            lines.push(' ');
            width += 1;
        }
        lines.push_str(word);
        width += length;
    }
    lines
}

/// Puts `body` into `page`, between `<!-- side -->` and `<!-- /side -->`; `None` if those marks are missing.
pub(crate) fn spliced(page: &str, side: &str, body: &str) -> Option<String> {
    let begin = format!("<!-- {side} -->\n");
    let end = format!("<!-- /{side} -->\n");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{body}{end}{after}"))
}
