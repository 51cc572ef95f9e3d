//! The configuration file of a receiver: its sections ([`SECTIONS`]), and what follows from them.

pub mod derived;
mod fields;
pub(crate) mod principals;

use std::collections::HashSet;
use std::fmt;

use service::config::document::collected;
use service::config::value::{choice, text};
use service::config::{
    Address, AdoptLive, Configuration, DeValue, Document, ProcessSettings, Properties, ReadSection, Rejection,
    Reported, Section, Setting,
};
use service::tls::End;
use wire::units::Size;

use crate::link::following::rule::FollowConfigs;

pub use fields::{Config, EXAMPLE, LinkConfig, SECTIONS, TargetConfig};
pub use principals::FollowAcls;

/// The rule that makes a topic's name in the target from its name in the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rename {
    before: String,
    after: String,
}

/// The rule that makes a consumer group's name in the target from its name in the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupRename(Rename);

impl Configuration for Config {
    const SECTIONS: &'static [Section] = SECTIONS;
    const END: End = End::Server;

    fn process(&self) -> &ProcessSettings {
        &self.process
    }
    fn brokers(&self) -> &[Address] {
        &self.target.bootstrap_servers
    }
    fn client(&self) -> &Properties {
        &self.target.client
    }
}

/// The least memory of a link, in bytes.
const LINK_MEMORY_MIN: u64 = 1 << 20;

/// Makes `links` those of `new`. A link that is served already keeps its names in the target.
fn adopt_links(links: &mut Vec<LinkConfig>, new: Vec<LinkConfig>) {
    let running = std::mem::replace(links, new);
    for link in links {
        if let Some(known) = running.iter().find(|known| known.name == link.name) {
            let new = std::mem::replace(link, known.clone());
            link.adopt_live(new);
        }
    }
}

fn read_links(document: &Document<'_>) -> Result<Vec<LinkConfig>, Reported> {
    let tables = document.tables(LinkConfig::SECTION.path);
    if tables.is_empty() {
        return Err(document.refuse("no [[links]]: a receiver serves at least one link"));
    }
    let mut seen = HashSet::new();
    let links = collected(tables.iter().map(|table| {
        let link = LinkConfig::read_section(table)?;
        if seen.insert(link.name.clone()) {
            return Ok(link);
        }
        let message = format!("`links.name`: \"{}\" is named twice; put all it may do into one [[links]]", link.name);
        Err(table.refuse("name", message))
    }))?;
    let stated: u64 = links.iter().filter_map(|link: &LinkConfig| link.memory).map(Size::bytes).sum();
    if stated == 0 {
        return Ok(links);
    }
    let memory = document.table("").read::<Size>("memory")?.bytes();
    let others = links.iter().filter(|link| link.memory.is_none()).count() as u64;
    if stated + others * LINK_MEMORY_MIN > memory {
        let message = format!(
            "the `memory` of links is {stated} bytes in sum, and each of the other {others} needs {LINK_MEMORY_MIN}: more than the receiver's `memory` of {memory}"
        );
        return Err(document.refuse(message));
    }
    Ok(links)
}

impl Rename {
    /// The target's name for the source's `topic`.
    pub fn apply(&self, topic: &str) -> String {
        format!("{}{topic}{}", self.before, self.after)
    }
}

#[cfg(test)]
impl Rename {
    pub(crate) fn prefix(before: &str) -> Self {
        Self { before: before.to_owned(), after: String::new() }
    }
}

impl Rename {
    /// Reads the rule for the names of what `word` says, in whose place the source's name goes: once, so that two names
    /// never become one.
    fn read(value: &DeValue<'_>, word: &str) -> Result<Self, Rejection> {
        let written = text(value)?;
        let reject = |reason: &str| Err(Rejection::because(format!("\"{written}\" {reason}")));
        let Some((before, after)) = written.split_once(&format!("{{{word}}}")) else {
            return reject(&format!(
                "has no `{{{word}}}`: every source {word} would become the same one; write it like \"fra.{{{word}}}\""
            ));
        };
        let name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !before.bytes().chain(after.bytes()).all(name_byte) {
            return reject(&format!("may have only `A-Z a-z 0-9 . _ -` around one `{{{word}}}`"));
        }
        if before.starts_with("__") {
            return reject(&format!("would make {word}s that begin with `__`, which are internal to their cluster"));
        }
        Ok(Self { before: before.to_owned(), after: after.to_owned() })
    }
}

impl Setting for FollowConfigs {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        choice(value, &[("off", Self::Off), ("safe", Self::Safe), ("all", Self::All)])
    }
}

impl Setting for Rename {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        Self::read(value, "topic")
    }
}

impl Setting for GroupRename {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        Rename::read(value, "group").map(Self)
    }
}

impl fmt::Display for GroupRename {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.apply("{group}"))
    }
}

impl GroupRename {
    /// The target's name for the source's `group`.
    pub fn apply(&self, group: &str) -> String {
        self.0.apply(group)
    }
}

#[cfg(test)]
mod tests;
