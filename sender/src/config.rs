//! A sender's config file: what may be written ([`SECTIONS`]), and what it means.

mod fields;
mod schedule;

use std::path::Path;
use std::time::Duration;

use link::admin::AdminSettings;
use link::config::value::{self, choice};
use link::config::{
    self, Address, Change, DeValue, Document, Problems, Properties, Rejection, Reported, Setting, Settings, Table,
};
use link::logging::LogSettings;
use link::names::{InstanceName, LinkName, PeerName};
use link::tls::TlsFiles;
use link::topics::TopicFilter;
use wire::compress::Codec;
use wire::limits::LANES_MAX;
use wire::units::{Rate, Size};

use crate::classes::{self, Ceiling, Class, ClassTerms, Classes, Share};
use crate::policy::{Policies, Policy, Rule};
use crate::schedule::Schedule;

pub use fields::{EXAMPLE, MEMORY_PER_LANE, SECTIONS};

/// Says why a librdkafka property may not be passed through, if it may not.
pub type Forbidden = fn(&str) -> Option<&'static str>;

/// Everything a sender is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The link it serves.
    pub link: LinkName,
    /// Its name across restarts.
    pub instance: InstanceName,
    /// What it may hold.
    pub memory: Size,
    /// Where records come from.
    pub source: SourceConfig,
    /// Where frames go.
    pub wan: WanConfig,
    /// What is done about halts.
    pub policies: Policies,
    /// How many lanes the default class has.
    pub lanes: u16,
    /// The other classes.
    pub classes: Classes,
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
        self.source.filter = new.source.filter;
        self.classes.adopt(new.classes);
        self.wan.rate = new.wan.rate;
        self.wan.schedule = new.wan.schedule;
        self.tls = new.tls;
        self.log.level = new.log.level;
        self.admin.token = new.admin.token;
        changes
    }
}

/// `[source]`.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Brokers to ask first.
    pub bootstrap_servers: Vec<Address>,
    /// Which topics to carry.
    pub filter: TopicFilter,
    /// Where the link begins.
    pub start: Start,
    /// librdkafka properties.
    pub client: Properties,
}

/// `[wan]`.
#[derive(Debug, Clone)]
pub struct WanConfig {
    /// The receiver's addresses, in the order to be tried.
    pub receiver: Vec<Address>,
    /// The name its certificate must bear; `None` for the host dialled.
    pub server_name: Option<PeerName>,
    /// The link's bandwidth, where it is stated.
    pub rate: Option<Rate>,
    /// When it is another.
    pub schedule: Schedule,
    /// How frames are compressed.
    pub codec: Codec,
    /// How long a record may wait for others while the link is idle.
    pub linger: Duration,
}

impl WanConfig {
    /// The highest rate that may hold by the file; `None` where at some time there is no limit, or may be none.
    pub fn highest_rate(&self) -> Option<Rate> {
        self.rate.map(|rate| self.schedule.highest().map_or(rate, |highest| rate.max(highest)))
    }
}

/// Where a link begins in a partition it has never carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that still exists.
    Earliest,
    /// After the newest record, taken once.
    Latest,
    /// At the first record stamped at or after this, in ms since the Unix epoch.
    Timestamp(i64),
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
    config::reference(SECTIONS)
}

fn read(document: &Document<'_>, forbidden: Forbidden) -> Result<Config, Reported> {
    let top = document.table("");
    let (link, instance, memory) = (top.read("link"), top.read_optional("instance"), top.read("memory"));
    let lanes = document.table("lanes").read("count").map(|count: u32| {
        // The field's bounds end at 64.
        u16::try_from(count).unwrap_or(u16::MAX)
    });
    let (source, wan, policies) = (read_source(document, forbidden), read_wan(document), read_policies(document));
    let classes = read_classes(document, wan.as_ref().ok().and_then(|wan| wan.rate));
    if let (Ok(memory), Ok(lanes), Ok(classes)) = (&memory, &lanes, &classes) {
        fitting(document, *memory, u32::from(*lanes) + classes.lanes());
    }
    let (tls, admin, log) = (TlsFiles::read(document), AdminSettings::read(document), LogSettings::read(document));
    Ok(Config {
        link: link?,
        instance: instance?.unwrap_or_else(InstanceName::of_host),
        memory: memory?,
        source: source?,
        wan: wan?,
        policies: policies?,
        lanes: lanes?,
        classes: classes?,
        tls: tls?,
        admin: admin?,
        log: log?,
        settings: document.settings(),
    })
}

/// Refuses more lanes than a link may have, and memory that they cannot share.
fn fitting(document: &Document<'_>, memory: Size, lanes: u32) {
    if lanes > u32::from(LANES_MAX) {
        let message = format!(
            "the lanes of all classes are {lanes}, above the limit of {LANES_MAX}; lower `lanes` of some classes"
        );
        document.table("lanes").refuse("count", message);
    }
    let needed = Size::from_bytes(MEMORY_PER_LANE.bytes() * u64::from(lanes));
    if memory < needed {
        let message = format!(
            "`memory` is {memory}, too little for {lanes} lanes of {MEMORY_PER_LANE} each; raise it to {needed} or lower `lanes.count`"
        );
        document.table("").refuse("memory", message);
    }
}

fn read_classes(document: &Document<'_>, rate: Option<Rate>) -> Result<Classes, Reported> {
    let tables = document.tables("classes");
    let classes: Vec<_> = tables.iter().map(|table| read_class(table, rate)).collect();
    let classes = classes.into_iter().collect::<Result<Vec<_>, _>>()?;
    for (index, class) in classes.iter().enumerate() {
        if classes[..index].iter().any(|other| other.name == class.name) {
            return Err(tables[index].refuse("name", format!("two classes are called \"{}\"; rename one", class.name)));
        }
    }
    let shares: u32 =
        classes.iter().filter_map(|class| class.terms.share).map(|share| u32::from(share.percent())).sum();
    if shares > 100 {
        let last = classes.iter().rposition(|class| class.terms.share.is_some()).unwrap_or(0);
        let message = format!("the shares of all classes are {shares} %, above 100 %; lower some");
        return Err(tables[last].refuse("share", message));
    }
    Ok(Classes(classes))
}

fn read_class(table: &Table<'_>, rate: Option<Rate>) -> Result<Class, Reported> {
    let (name, topics, lanes) = (table.read::<String>("name"), table.read_list("topics"), table.read::<u32>("lanes"));
    let (share, ceiling) = (table.read_optional("share"), table.read_optional("ceiling"));
    let priority = table.read::<Priority>("priority");
    let name = name?;
    classes::check_name(&name).map_err(|why| table.refuse("name", why))?;
    let strict = priority? == Priority::Strict;
    let (share, ceiling) = (share?, ceiling?);
    if strict && share.is_some() {
        let message = format!("class \"{name}\" is strict: it goes before all others and needs no share; remove one");
        return Err(table.refuse("share", message));
    }
    match ceiling {
        Some(Ceiling::Share(part)) if rate.is_none() => {
            let message = format!("{part} of no rate; state `wan.rate`, or the ceiling as a rate");
            Err(table.refuse("ceiling", message))
        }
        Some(Ceiling::Share(part)) if share.is_some_and(|share| share > part) => {
            let message =
                format!("the ceiling of {part} is below the share that is guaranteed; raise it or lower `share`");
            Err(table.refuse("ceiling", message))
        }
        _ => {
            let topics = TopicFilter::new(topics?, Vec::new());
            // The field's bounds end at 63.
            let lanes = u16::try_from(lanes?).unwrap_or(u16::MAX);
            Ok(Class { name, topics, lanes, terms: ClassTerms { strict, share, ceiling } })
        }
    }
}

fn read_source(document: &Document<'_>, forbidden: Forbidden) -> Result<SourceConfig, Reported> {
    let table = document.table("source");
    let (bootstrap_servers, start) = (table.read_list("bootstrap_servers"), table.read("start"));
    let (topics, exclude) = (table.read_list("topics"), table.read_list("exclude"));
    let forward = table.read_list("forward");
    let client = document.table("source.client").read_properties(forbidden);
    let filter = TopicFilter::new(topics?, exclude?).forwarding(forward?);
    if let Some(both) = filter.topics().iter().find(|topic| filter.exclude().contains(topic)) {
        let message = format!("`source.exclude` takes back \"{}\" from `source.topics`; remove one", both.as_str());
        return Err(table.refuse("exclude", message));
    }
    Ok(SourceConfig { bootstrap_servers: bootstrap_servers?, filter, start: start?, client: client? })
}

fn read_policies(document: &Document<'_>) -> Result<Policies, Reported> {
    let tables = document.tables("policies");
    let rules = tables.iter().map(|table| {
        let (topics, policy) = (table.read_list("topics"), table.read_list("policy"));
        Ok(Rule { topics: TopicFilter::new(topics?, Vec::new()), policy: policy? })
    });
    // Two steps, so that one bad entry does not hide the next.
    rules.collect::<Vec<_>>().into_iter().collect::<Result<_, _>>().map(Policies)
}

fn read_wan(document: &Document<'_>) -> Result<WanConfig, Reported> {
    let table = document.table("wan");
    let (receiver, server_name) = (table.read_list("receiver"), table.read_optional("server_name"));
    let (rate, linger) = (table.read_optional("rate"), table.read("linger"));
    let compression = table.read::<Compression>("compression");
    let schedule = schedule::read_schedule(document);
    Ok(WanConfig {
        receiver: receiver?,
        server_name: server_name?,
        rate: rate?,
        schedule: schedule?,
        codec: compression?.0,
        linger: linger?,
    })
}

impl Setting for Start {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let written = match value {
            DeValue::Datetime(datetime) => datetime.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => return Err(Rejection::Kind),
        };
        match written.as_str() {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        let timestamp = written.parse::<jiff::Timestamp>().map_err(|_| {
            let hint = "write \"earliest\", \"latest\" or a time with its offset, such as \"2026-01-31T06:00:00Z\"";
            Rejection::because(format!("\"{written}\" is no start; {hint}"))
        })?;
        Ok(Self::Timestamp(timestamp.as_millisecond()))
    }
}

impl Setting for Policy {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let words = [("stop", Self::Stop), ("skip", Self::Skip), ("new-incarnation", Self::NewIncarnation)];
        choice(value, &words)
    }
}

/// How a class stands to the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Priority {
    Strict,
    Shared,
}

impl Setting for Priority {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        choice(value, &[("strict", Self::Strict), ("shared", Self::Shared)])
    }
}

impl Setting for Share {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        Self::parse(value::text(value)?).map_err(Rejection::because)
    }
}

impl Setting for Ceiling {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        match value.as_str() {
            Some(text) if text.ends_with('%') => Share::from_toml(value).map(Self::Share),
            _ => Rate::from_toml(value).map(Self::Rate),
        }
    }
}

/// A codec as it is written: a word, and for zstd a level.
struct Compression(Codec);

/// zstd's own range without its negative levels, which lz4 beats, and its "ultra" levels, whose
/// memory is not bounded by ours.
const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = 1..=19;

impl Setting for Compression {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let level = value.as_str().and_then(|text| text.strip_prefix("zstd:"));
        let Some(level) = level else {
            return choice(value, &[("none", Codec::None), ("lz4", Codec::Lz4), ("zstd", Codec::Zstd(1))]).map(Self);
        };
        match level.parse() {
            Ok(level) if ZSTD_LEVELS.contains(&level) => Ok(Self(Codec::Zstd(level))),
            _ => {
                let (min, max) = (ZSTD_LEVELS.start(), ZSTD_LEVELS.end());
                Err(Rejection::because(format!("\"{level}\" is no zstd level; write \"zstd:{min}\" to \"zstd:{max}\"")))
            }
        }
    }
}

#[cfg(test)]
mod tests;
