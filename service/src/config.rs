//! Configuration files: tables of settings, read with all their problems reported together.
//!
//! Each section is declared once, with [`settings!`](crate::settings). The loader, its messages, `causeway check` and
//! `docs/reference/configuration.md` all come from that declaration.
//!
//! - [`section`]: the declaration of a section
//! - [`field`]: the table of fields that a declaration makes: names, kinds, defaults, bounds, docs
//! - [`value`]: the types of values: quantities with units, addresses, choices
//! - [`document`]: a file as written, section by section, and the problems found in it
//! - [`process`]: the settings that every process has, sender or receiver
//! - [`properties`]: librdkafka properties passed through, with secrets in files
//! - [`problem`]: the problems of a file, with line and column
//! - [`effective`](mod@effective): the settings in effect, written or default
//! - [`settings`]: the same by name, and the changes that another file makes
//! - [`reference`](mod@reference): the tables as a page
//! - [`template`](mod@template): a file to start from

pub mod document;
pub mod effective;
pub mod field;
pub mod problem;
pub mod process;
pub mod properties;
pub mod reference;
pub mod section;
pub mod settings;
pub mod template;
pub mod value;

use std::path::Path;

use crate::tls::End;

pub use document::{Document, ReadField, ReadSection, Reported, Table};
pub use effective::{Effective, effective, top_keys};
pub use field::{Absent, Field, Section, Shape};
pub use problem::Problems;
pub use process::ProcessSettings;
pub use properties::{Properties, Property, Secret};
pub use reference::reference;
pub use settings::{AdoptLive, Change, Settings};
pub use template::template;
pub use toml::de::DeValue;
pub use value::{Address, Rejection, Setting, list_of};

/// Returns the reason why a librdkafka property may not be passed through, if it may not.
pub type Forbidden = fn(&str) -> Option<&'static str>;

/// The configuration of a process, sender or receiver.
pub trait Configuration: ReadSection + AdoptLive + Clone + Send + Sync + 'static {
    /// Every section of the file, in the order of the reference.
    const SECTIONS: &'static [Section];
    /// The end of a QUIC connection that the certificate is for.
    const END: End;

    fn read(document: &Document<'_>) -> Result<Self, Reported> {
        document.read()
    }

    fn process(&self) -> &ProcessSettings;
    /// The brokers of the Kafka cluster to ask first.
    fn brokers(&self) -> &[Address];
    fn client(&self) -> &Properties;

    /// Adopts from `new` the settings that change in a running process; returns everything that `new` changes.
    fn reload(&mut self, new: Self) -> Vec<Change> {
        let changes = self.process().settings.changes(&new.process().settings);
        self.adopt_live(new);
        changes
    }
}

/// Reads the text of the file at `path`. Every command reads its file here, so that all report it in the same words.
pub fn read_text(path: &Path) -> Result<String, Problems> {
    std::fs::read_to_string(path).map_err(|error| Problems::unreadable(&path.display().to_string(), &error))
}

/// Reads the file at `path`.
///
/// Files that the configuration names must exist and be readable; relative paths start at the directory of `path`.
/// All problems are reported together.
pub fn load<C: Configuration>(path: &Path, forbidden: Forbidden) -> Result<C, Problems> {
    load_with(path, C::SECTIONS, forbidden, C::read)
}

/// Reads `text` like [`load`], without opening the files it names. `name` is the file's name in messages.
pub fn parse<C: Configuration>(text: &str, name: &str, forbidden: Forbidden) -> Result<C, Problems> {
    parse_with(text, name, C::SECTIONS, forbidden, C::read)
}

/// Reads the file at `path` by `sections` and converts it with `read`, like [`load`].
pub fn load_with<T>(
    path: &Path,
    sections: &'static [Section],
    forbidden: Forbidden,
    read: impl FnOnce(&Document<'_>) -> Result<T, Reported>,
) -> Result<T, Problems> {
    let name = path.display().to_string();
    let text = read_text(path)?;
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let document = Document::parse(&name, &text, sections).forbidding(forbidden).with_files(base);
    let value = read(&document);
    document.finish(value)
}

/// Reads `text` by `sections` and converts it with `read`, like [`parse`].
pub fn parse_with<T>(
    text: &str,
    name: &str,
    sections: &'static [Section],
    forbidden: Forbidden,
    read: impl FnOnce(&Document<'_>) -> Result<T, Reported>,
) -> Result<T, Problems> {
    let document = Document::parse(name, text, sections).forbidding(forbidden);
    let value = read(&document);
    document.finish(value)
}

#[cfg(test)]
mod tests;
