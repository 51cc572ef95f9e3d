//! Settings of MirrorMaker 2 that a link does not have, each with what takes its place.

use std::collections::BTreeSet;

use super::mirror::Flow;
use super::properties::Settings;

/// Settings that are translated, or say how a cluster is reached: names, or beginnings of names that end with a dot.
const TRANSLATED: &[&str] = &[
    "enabled",
    "topics",
    "topics.exclude",
    "topics.blacklist",
    "groups",
    "groups.exclude",
    "groups.blacklist",
    "replication.factor",
    "replication.policy.class",
    "replication.policy.separator",
    "sync.topic.configs.enabled",
    "sync.topic.acls.enabled",
    "sync.group.offsets.enabled",
    "offset.storage.topic",
    "bootstrap.servers",
    "security.",
    "sasl.",
    "ssl.",
];

/// Names of settings, or beginnings of them, and what a link has instead. The first that fits counts.
const INSTEAD: &[(&str, &str)] = &[
    ("exactly.once.source.support", "every link carries each record exactly once"),
    ("tasks.max", "the lanes of a link work side by side: `lanes.count`"),
    ("transforms", "BY HAND: a link changes no record; carry the topic by other means"),
    ("predicates", "BY HAND: a link changes no record"),
    ("key.converter", "a link copies bytes"),
    ("value.converter", "a link copies bytes"),
    ("header.converter", "a link copies bytes"),
    ("topic.filter.class", "BY HAND: write what it matches into `source.topics`"),
    ("group.filter.class", "BY HAND: write what it matches into `groups.include`"),
    ("config.properties.exclude", "`follow_configs` leaves out what is of one cluster"),
    ("config.property.filter.class", "`follow_configs` leaves out what is of one cluster"),
    ("emit.heartbeats", "`causeway status` and the metrics say whether a link works"),
    ("heartbeats.", "`causeway status` and the metrics say whether a link works"),
    ("emit.checkpoints", "offsets of groups are translated exactly, and committed in the target"),
    ("checkpoints.", "offsets of groups are translated exactly, and committed in the target"),
    ("sync.group.offsets", "`groups.interval`, 5 s by default"),
    ("refresh.groups", "`groups.interval`, 5 s by default"),
    ("refresh.topics", "topics are listed every 2.5 s"),
    ("sync.topic.configs", "settings follow within 10 s"),
    ("sync.topic.acls", "`acls.interval`, 30 s by default"),
    ("offset-syncs.", "the target has an exact map of offsets: `causeway translate`"),
    ("emit.offset-syncs", "the target has an exact map of offsets: `causeway translate`"),
    ("offset.lag.max", "the target has an exact map of offsets: `causeway translate`"),
    ("offset.", "positions are in the target, in the transactions of their records"),
    ("status.storage.", "a link keeps no status"),
    ("config.storage.", "a link has a file on each side"),
    ("consumer.", "windows and sizes follow from `wan.rate`, `memory` and the path"),
    ("producer.", "windows and sizes follow from `wan.rate`, `memory` and the path"),
    ("admin.", "windows and sizes follow from `wan.rate`, `memory` and the path"),
    ("dedicated.mode.", "two processes, which find each other by `wan.receiver`"),
    ("listeners", "`admin.listen` is the port for people and monitoring"),
];

/// Comments on the settings of a flow and a cluster that are not translated. They name no value: it could be a secret.
pub(super) fn without_counterpart(flow: &Flow, client: &Settings) -> String {
    let names: BTreeSet<&str> = flow.settings.keys().chain(client.keys()).map(String::as_str).collect();
    let lines = names.into_iter().filter(|name| !is_translated(name)).map(|name| {
        let instead = INSTEAD.iter().find(|(begin, _)| name.starts_with(begin)).map(|(_, instead)| *instead);
        let instead = instead.unwrap_or("not known to this command: is it needed?");
        format!("# {}: {instead}\n", name.replace(char::is_control, " "))
    });
    let lines: String = lines.collect();
    if lines.is_empty() { lines } else { format!("\n# Settings of MirrorMaker 2 without a counterpart:\n{lines}") }
}

fn is_translated(name: &str) -> bool {
    // Of one client, such as `consumer.sasl.mechanism`.
    let own = ["consumer.", "producer.", "admin."].iter().find_map(|client| name.strip_prefix(client)).unwrap_or(name);
    TRANSLATED.iter().any(|known| if known.ends_with('.') { own.starts_with(known) } else { name == *known })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_translated_is_named_without_its_value() {
        let settings = ["topics", "tasks.max", "emit.heartbeats.interval.seconds", "consumer.sasl.jaas.config", "mine"];
        let settings = settings.map(|name| (name.to_owned(), "hunter2".to_owned())).into();
        let flow = Flow { source: "a".into(), target: "b".into(), settings };
        let client = [("consumer.fetch.max.bytes".to_owned(), "7".to_owned())].into();
        let text = without_counterpart(&flow, &client);
        let lines: Vec<_> = text.lines().skip(2).collect();
        let starts = [
            "# consumer.fetch.max.bytes: windows",
            "# emit.heartbeats.interval.seconds: `causeway",
            "# mine: not known",
            "# tasks.max: the lanes",
        ];
        assert_eq!(lines.len(), starts.len(), "{text}");
        assert!(lines.iter().zip(starts).all(|(line, start)| line.starts_with(start)), "{text}");
        assert!(!text.contains("hunter2"));
    }
}
