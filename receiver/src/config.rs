//! A receiver's config file: what may be written ([`SECTIONS`]), and what it means.

pub mod derived;
mod fields;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use service::admin::AdminSettings;
use service::config::value::text;
use service::config::{
    self, Address, Change, DeValue, Document, Problems, Properties, Rejection, Reported, Setting, Settings, Table,
};
use service::logging::LogSettings;
use service::names::{InstanceName, LinkName, PeerName};
use service::tls::TlsFiles;
use service::topics::TopicFilter;
use transport::io_threads::IoThreads;
use wire::units::{Rate, Size};

pub use fields::{EXAMPLE, SECTIONS};

/// Says why a librdkafka property may not be passed through, if it may not.
pub type Forbidden = fn(&str) -> Option<&'static str>;

/// Everything a receiver is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens, UDP.
    pub listen: SocketAddr,
    /// Its name across restarts.
    pub instance: InstanceName,
    /// What it may hold.
    pub memory: Size,
    /// Threads that carry packets.
    pub io_threads: IoThreads,
    /// What it may send, of all links together; `None` is no limit.
    pub rate: Option<Rate>,
    /// Where records go.
    pub target: TargetConfig,
    /// The links it serves, at least one, no two of the same name.
    pub links: Vec<LinkConfig>,
    /// Who it is and whom it believes.
    pub tls: TlsFiles,
    /// Where it can be asked.
    pub admin: AdminSettings,
    /// How it logs.
    pub log: LogSettings,
    /// All of it by name, as the file states it.
    pub settings: Settings,
}

impl Config {
    /// Takes over from `new` what can change in a running process; says all that `new` changes.
    pub fn adopt(&mut self, new: Self) -> Vec<Change> {
        let changes = self.settings.changes(&new.settings);
        self.settings.adopt(&new.settings);
        let running = std::mem::take(&mut self.links);
        self.links = new.links.into_iter().map(|new| new.adopted_by(&running)).collect();
        self.rate = new.rate;
        self.tls = new.tls;
        self.log.level = new.log.level;
        self.admin.token = new.admin.token;
        changes
    }
}

impl LinkConfig {
    /// As this link can be served from now on: what it is called in the target stays as it is.
    fn adopted_by(self, running: &[Self]) -> Self {
        match running.iter().find(|link| link.name == self.name) {
            Some(running) => Self { senders: self.senders, topics: self.topics, ..running.clone() },
            None => self,
        }
    }
}

/// `[target]`.
#[derive(Debug, Clone)]
pub struct TargetConfig {
    /// Brokers to ask first.
    pub bootstrap_servers: Vec<Address>,
    /// Replication factor of topics that the receiver creates; `None` for the cluster's default.
    pub replication_factor: Option<i32>,
    /// Transactions that all lanes together may commit per second.
    pub transactions_per_second: u32,
    /// Transactions that may follow each other at once after a quiet time.
    pub transaction_burst: u32,
    /// How long the target lets a transaction stay open.
    pub transaction_timeout: Duration,
    /// librdkafka properties.
    pub client: Properties,
}

/// One `[[links]]`.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// Its name.
    pub name: LinkName,
    /// Names that a sender's certificate must bear one of.
    pub senders: Vec<PeerName>,
    /// Source topics that it may write.
    pub topics: TopicFilter,
    /// What a source topic is called here.
    pub rename: Rename,
    /// Whether a created topic gets the source topic's configuration.
    pub copy_configs: bool,
}

/// A topic's name in the target, made from its name in the source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rename {
    before: String,
    after: String,
}

/// Reads the file at `path`; files that it names must exist.
pub fn load(path: &Path, forbidden: Forbidden) -> Result<Config, Problems> {
    config::load(path, SECTIONS, |document| read(document, forbidden))
}

/// Reads `text` as [`load`] would, looking at no other file; `name` stands for it in messages.
pub fn parse(text: &str, name: &str, forbidden: Forbidden) -> Result<Config, Problems> {
    config::parse(text, name, SECTIONS, |document| read(document, forbidden))
}

/// Every setting, in Markdown.
pub fn reference() -> String {
    let own: Vec<_> = SECTIONS.iter().filter(|section| !AS_AT_THE_SENDER.contains(&section.path)).copied().collect();
    config::reference(&own)
        + "\n### `[tls]`, `[admin]` and `[log]`\n\nThe same settings as in a sender's file: [`[tls]`](#tls), [`[admin]`](#admin), \
           [`[log]`](#log). Default of `admin.listen`:\n`\"127.0.0.1:7402\"`.\n"
}

/// Sections that a sender's file has too, and its part of the reference describes.
const AS_AT_THE_SENDER: [&str; 3] = ["tls", "admin", "log"];

fn read(document: &Document<'_>, forbidden: Forbidden) -> Result<Config, Reported> {
    let top = document.table("");
    let (listen, instance, memory) = (top.read("listen"), top.read_optional("instance"), top.read("memory"));
    let (io_threads, rate) = (IoThreads::read(&top), top.read_optional("rate"));
    let (target, links) = (read_target(document, forbidden), read_links(document));
    let (tls, admin, log) = (TlsFiles::read(document), AdminSettings::read(document), LogSettings::read(document));
    Ok(Config {
        listen: listen?,
        instance: instance?.unwrap_or_else(InstanceName::of_host),
        memory: memory?,
        io_threads: io_threads?,
        rate: rate?,
        target: target?,
        links: links?,
        tls: tls?,
        admin: admin?,
        log: log?,
        settings: document.settings(),
    })
}

fn read_target(document: &Document<'_>, forbidden: Forbidden) -> Result<TargetConfig, Reported> {
    let table = document.table("target");
    let bootstrap_servers = table.read_list("bootstrap_servers");
    let replication_factor = table.read_optional::<u32>("replication_factor");
    let (transactions_per_second, transaction_burst) =
        (table.read("transactions_per_second"), table.read("transaction_burst"));
    let transaction_timeout = table.read("transaction_timeout");
    let client = document.table("target.client").read_properties(forbidden);
    Ok(TargetConfig {
        bootstrap_servers: bootstrap_servers?,
        // The field's bounds end at Kafka's largest, 32767.
        replication_factor: replication_factor?.map(|factor| i32::try_from(factor).unwrap_or(i32::MAX)),
        transactions_per_second: transactions_per_second?,
        transaction_burst: transaction_burst?,
        transaction_timeout: transaction_timeout?,
        client: client?,
    })
}

fn read_links(document: &Document<'_>) -> Result<Vec<LinkConfig>, Reported> {
    let tables = document.tables("links");
    if tables.is_empty() {
        return Err(document.refuse("no [[links]]: a receiver serves at least one link"));
    }
    let mut seen = HashSet::new();
    let links = tables.iter().map(|table| {
        let link = read_link(table)?;
        if seen.insert(link.name.clone()) {
            return Ok(link);
        }
        let message = format!("`links.name`: \"{}\" is named twice; put all it may do into one [[links]]", link.name);
        Err(table.refuse("name", message))
    });
    // Two steps, so that one bad link does not hide the next.
    links.collect::<Vec<_>>().into_iter().collect()
}

fn read_link(table: &Table<'_>) -> Result<LinkConfig, Reported> {
    let (name, senders, topics) = (table.read("name"), table.read_list("senders"), table.read_list("topics"));
    let (rename, copy_configs) = (table.read("rename"), table.read("copy_configs"));
    Ok(LinkConfig {
        name: name?,
        senders: senders?,
        topics: TopicFilter::new(topics?, Vec::new()),
        rename: rename?,
        copy_configs: copy_configs?,
    })
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

impl Setting for Rename {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let written = text(value)?;
        let reject = |reason| Err(Rejection::because(format!("\"{written}\" {reason}")));
        let Some((before, after)) = written.split_once("{topic}") else {
            return reject(
                "has no `{topic}`: every source topic would become the same one; write it like \"fra.{topic}\"",
            );
        };
        let name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !before.bytes().chain(after.bytes()).all(name_byte) {
            return reject("may have only `A-Z a-z 0-9 . _ -` around one `{topic}`");
        }
        if before.starts_with("__") {
            return reject("would make topics that begin with `__`, which are internal to their cluster");
        }
        Ok(Self { before: before.to_owned(), after: after.to_owned() })
    }
}

#[cfg(test)]
mod tests;
