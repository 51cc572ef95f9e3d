//! The configuration file of a sender: its sections ([`SECTIONS`]), and what follows from them.

mod classes;
mod cost;
pub mod derived;
mod fields;
mod schedule;

use service::config::value::choice;
use service::config::{
    Address, Configuration, DeValue, Document, ProcessSettings, Properties, Rejection, Reported, Section, Setting,
};
use service::tls::End;
use wire::limits::LANES_MAX;
use wire::units::Size;

use crate::partitions::policy::{Policies, Policy, Rule};

pub use classes::{ClassEntry, Priority};
pub use cost::{CostConfig, Currency};
pub use fields::{
    AclsConfig, Config, EXAMPLE, GroupsConfig, Lanes, MEMORY_PER_CHANNEL, MEMORY_PER_LANE, PolicyEntry, SECTIONS,
    SourceConfig, WanConfig,
};
pub use schedule::ScheduleEntry;

/// The position at which a link begins in a partition that it has never carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The oldest record that still exists.
    Earliest,
    /// The end of the log at the first start.
    Latest,
    /// The first record stamped at or after this time, in ms since the Unix epoch.
    Timestamp(i64),
    /// After the last record that the promoted link brought; the oldest record in other partitions.
    Promotion,
}

impl Configuration for Config {
    const SECTIONS: &'static [Section] = SECTIONS;
    const END: End = End::Client;

    fn read(document: &Document<'_>) -> Result<Self, Reported> {
        let config = document.read();
        // On their own, so that they are reported even if something else is wrong too.
        check_memory(document);
        check_topics(document);
        check_promotion(document);
        config
    }

    fn process(&self) -> &ProcessSettings {
        &self.process
    }
    fn brokers(&self) -> &[Address] {
        &self.source.bootstrap_servers
    }
    fn client(&self) -> &Properties {
        &self.source.client
    }
}

/// Refuses more lanes than a link may have, and memory that lanes or channels cannot share.
fn check_memory(document: &Document<'_>) {
    let top = document.table("");
    let Ok(memory) = top.read::<Size>("memory") else { return };
    if let (Ok(default), Ok(classes)) = (document.read::<Lanes>(), classes::read_classes(document)) {
        let lanes = u32::from(default.count) + classes.lanes();
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
            top.refuse("memory", message);
        }
    }
    let wan = document.table("wan");
    if let Ok(Some(channels)) = wan.read::<Option<u16>>("channels") {
        let needed = Size::from_bytes(MEMORY_PER_CHANNEL.bytes() * u64::from(channels));
        if memory < needed {
            let message = format!(
                "{channels} channels need {MEMORY_PER_CHANNEL} of `memory` each, which is {memory}; raise it to {needed} or lower `wan.channels`"
            );
            wan.refuse("channels", message);
        }
    }
}

/// Refuses a promoted link without its start, and the other way around.
fn check_promotion(document: &Document<'_>) {
    let Ok(source) = document.read::<SourceConfig>() else { return };
    let message = match (source.start == Start::Promotion, &source.promoted_link) {
        (true, None) => "`source.start` is \"promotion\": name the promoted link in `source.promoted_link`",
        (false, Some(_)) => "with `source.promoted_link`, `source.start` must be \"promotion\"",
        _ => return,
    };
    document.table("source").refuse("promoted_link", message.to_owned());
}

/// Refuses a topic that one list names and the other takes back.
fn check_topics(document: &Document<'_>) {
    let Ok(source) = document.read::<SourceConfig>() else { return };
    if let Some(both) = source.topics.iter().find(|topic| source.exclude.contains(topic)) {
        let message = format!("`source.exclude` takes back \"{}\" from `source.topics`; remove one", both.as_str());
        document.table("source").refuse("exclude", message);
    }
}

fn read_policies(document: &Document<'_>) -> Result<Policies, Reported> {
    let rule =
        |entry: PolicyEntry| Rule { topics: entry.topics, policy: entry.policy, forget_after: entry.forget_after };
    Ok(Policies(document.read_all()?.into_iter().map(rule).collect()))
}

impl Setting for Start {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let written = match value {
            DeValue::Datetime(datetime) => datetime.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => return Err(Rejection::Kind),
        };
        match written.as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            "promotion" => Ok(Self::Promotion),
            time => time.parse::<jiff::Timestamp>().map(|time| Self::Timestamp(time.as_millisecond())).map_err(|_| {
                let hint = "write \"earliest\", \"latest\", \"promotion\" or a time with its offset, such as \"2026-01-31T06:00:00Z\"";
                Rejection::because(format!("\"{written}\" is no start; {hint}"))
            }),
        }
    }
}

impl Setting for Policy {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Rejection> {
        let words = [("stop", Self::Stop), ("skip", Self::Skip), ("new-incarnation", Self::NewIncarnation)];
        choice(value, &words)
    }
}

#[cfg(test)]
mod tests;
