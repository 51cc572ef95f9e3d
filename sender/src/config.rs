//! A sender's config file: what may be written ([`SECTIONS`]), and what it means.

mod classes;
pub mod derived;
mod fields;
mod schedule;

use std::path::Path;
use std::time::Duration;

use service::admin::AdminSettings;
use service::config::value::choice;
use service::config::{
    self, Address, Change, DeValue, Document, Problems, Properties, Rejection, Reported, Setting, Settings,
};
use service::logging::LogSettings;
use service::names::{InstanceName, LinkName, PeerName};
use service::tls::TlsFiles;
use service::topics::TopicFilter;
use transport::congestion::Policy as FlowPolicy;
use transport::io_threads::IoThreads;
use wire::compress::Codec;
use wire::limits::{CHANNELS_MAX, LANES_MAX};
use wire::share::Share;
use wire::units::{Rate, Size};

use crate::dispatch::classes::Classes;
use crate::partitions::policy::{Policies, Policy, Rule};
use crate::rate::schedule::Schedule;

pub use fields::{EXAMPLE, MEMORY_PER_CHANNEL, MEMORY_PER_LANE, SECTIONS};

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
    /// Threads that carry packets.
    pub io_threads: IoThreads,
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
    /// How the link behaves towards others on its path.
    pub policy: FlowPolicy,
    /// The part of the rate that it takes whoever else is there.
    pub floor: Share,
    /// Losses up to this are no sign of congestion.
    pub loss_tolerance: Share,
    /// The queue at which it backs off; `None` follows the path's length.
    pub queue_target: Option<Duration>,
    /// The longest IP packet that passes, in bytes; `None` to find out.
    pub path_mtu: Option<u16>,
    /// Whether the kernel is handed many packets at once.
    pub segmentation_offload: bool,
    /// Channels of a session, where they are stated.
    pub channels: Option<u16>,
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
    let io_threads = IoThreads::read(&top);
    let lanes = document.table("lanes").read("count").map(|count: u32| {
        // The field's bounds end at 64.
        u16::try_from(count).unwrap_or(u16::MAX)
    });
    let (source, wan, policies) = (read_source(document, forbidden), read_wan(document), read_policies(document));
    let classes = classes::read_classes(document, wan.as_ref().ok().and_then(|wan| wan.rate));
    if let (Ok(memory), Ok(lanes), Ok(classes)) = (&memory, &lanes, &classes) {
        fitting(document, *memory, u32::from(*lanes) + classes.lanes());
    }
    if let (Ok(memory), Ok(Some(channels))) = (&memory, wan.as_ref().map(|wan| wan.channels)) {
        holding(document, *memory, channels);
    }
    let (tls, admin, log) = (TlsFiles::read(document), AdminSettings::read(document), LogSettings::read(document));
    Ok(Config {
        link: link?,
        instance: instance?.unwrap_or_else(InstanceName::of_host),
        memory: memory?,
        io_threads: io_threads?,
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

/// Refuses channels whose windows the memory cannot hold.
fn holding(document: &Document<'_>, memory: Size, channels: u16) {
    let needed = Size::from_bytes(MEMORY_PER_CHANNEL.bytes() * u64::from(channels));
    if memory < needed {
        let message = format!(
            "{channels} channels need {MEMORY_PER_CHANNEL} of `memory` each, which is {memory}; raise it to {needed} or lower `wan.channels`"
        );
        document.table("wan").refuse("channels", message);
    }
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
    let (policy, floor) = (table.read::<Towards>("policy"), table.read("floor"));
    let (loss_tolerance, queue_target) = (table.read("loss_tolerance"), table.read_optional("queue_target"));
    let (path_mtu, segmentation_offload) =
        (table.read_optional::<Size>("path_mtu"), table.read("segmentation_offload"));
    let channels = table.read_optional("channels");
    let schedule = schedule::read_schedule(document);
    Ok(WanConfig {
        receiver: receiver?,
        server_name: server_name?,
        rate: rate?,
        policy: policy?.0,
        floor: floor?,
        loss_tolerance: loss_tolerance?,
        queue_target: queue_target?,
        // The field's bounds end at 1500.
        path_mtu: path_mtu?.map(|mtu| u16::try_from(mtu.bytes()).unwrap_or(u16::MAX)),
        segmentation_offload: segmentation_offload?,
        channels: channels?.map(|count: u32| u16::try_from(count).unwrap_or(CHANNELS_MAX)),
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

/// A policy towards others on the path, as it is written.
struct Towards(FlowPolicy);

impl Setting for Towards {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let words = [
            ("adaptive", FlowPolicy::Adaptive),
            ("scavenger", FlowPolicy::Scavenger),
            ("reserved", FlowPolicy::Reserved),
        ];
        choice(value, &words).map(Self)
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
