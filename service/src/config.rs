//! The config engine: one table of fields per section says what may be written, and the same table is
//! what the loader reads by, what messages quote and what `docs/reference/configuration.md` is printed from.
//!
//! - [`field`]: the tables: names, kinds, defaults, bounds, docs
//! - [`value`]: how one value is read: quantities with units, addresses, choices
//! - [`document`]: a file as written, section by section; collects every problem
//! - [`properties`]: librdkafka properties passed through, secrets by file
//! - [`problem`]: everything that is wrong with a file, with line and column
//! - [`effective`](mod@effective): what holds, written or not
//! - [`settings`]: the same by name, and what another file changes about it
//! - [`reference`](mod@reference): the tables as a page
//! - [`template`](mod@template): a file to start from

pub mod document;
pub mod effective;
pub mod field;
pub mod problem;
pub mod properties;
pub mod reference;
pub mod settings;
pub mod template;
pub mod value;

use std::path::Path;

pub use document::{Document, Reported, Table};
pub use effective::{Effective, effective, top_keys};
pub use field::{Absent, Field, Section, Shape};
pub use problem::Problems;
pub use properties::{Properties, Property, Secret};
pub use reference::{reference, spliced};
pub use settings::{Change, Settings};
pub use template::template;
pub use toml::de::DeValue;
pub use value::{Address, Rejection, Setting};

/// Reads the file at `path` by `sections` and converts it with `read`.
///
/// Files that the config names must exist and be readable; relative paths start at the config's own
/// directory. Every problem found is reported at once.
pub fn load<T>(
    path: &Path,
    sections: &'static [Section],
    read: impl FnOnce(&Document<'_>) -> Result<T, Reported>,
) -> Result<T, Problems> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| Problems::unreadable(&name, &error))?;
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let document = Document::parse(&name, &text, sections).with_files(base);
    let value = read(&document);
    document.finish(value)
}

/// Reads `text` as [`load`] would, but looks at no file that it names. `name` stands for the file in
/// messages.
pub fn parse<T>(
    text: &str,
    name: &str,
    sections: &'static [Section],
    read: impl FnOnce(&Document<'_>) -> Result<T, Reported>,
) -> Result<T, Problems> {
    let document = Document::parse(name, text, sections);
    let value = read(&document);
    document.finish(value)
}

#[cfg(test)]
mod tests;
