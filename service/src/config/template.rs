//! A configuration file to start from: the settings of an example, and every other one as a comment.

use std::fmt::Write;

use super::effective::{Effective, effective};
use super::field::{Section, Shape};
use super::reference::wrapped;

/// Prints `example` with every setting of `sections` explained. Settings that it does not state are comments.
pub fn template(example: &str, sections: &[Section]) -> String {
    let settings = effective(example, sections);
    let mut page = String::new();
    for section in sections {
        // Writing into a String cannot fail.
        let written = settings.iter().any(|setting| setting.section == section.title() && setting.written);
        let _ = match (section.path, section.shape) {
            ("", _) => Ok(()),
            // A missing table does not mean the same as an empty one.
            (_, Shape::Repeated) if !written => writeln!(page, "{}# {}", commented(section.doc), section.title()),
            (_, Shape::Properties) => writeln!(page, "{}# {}", commented(section.doc), section.title()),
            _ => writeln!(page, "{}{}", commented(section.doc), section.title()),
        };
        let head = if section.path.is_empty() { String::new() } else { section.title() };
        for field in section.fields {
            let Some(setting) = settings.iter().find(|s| s.section == head && s.key == field.name) else {
                if section.shape == Shape::Repeated {
                    let _ = write!(page, "\n{}# {}: {}\n", commented(field.doc), field.name, field.kind);
                }
                continue;
            };
            let _ = write!(page, "\n{}{}", commented(field.doc), line(setting));
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn line(setting: &Effective) -> String {
    let Effective { key, value, written, .. } = setting;
    match (written, value.starts_with('(')) {
        (true, _) => format!("{key} = {value}\n"),
        (false, true) => format!("# {key}: {value}\n"),
        (false, false) => format!("# {key} = {value}\n"),
    }
}

/// Wraps `text` to comment lines of at most 100 characters.
fn commented(text: &str) -> String {
    format!("# {}\n", wrapped(text, "# ", 100))
}
