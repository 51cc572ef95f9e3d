//! Settings of a topic that decide what it keeps and which records it accepts, and the comparison of two topics.

use std::collections::BTreeMap;
use std::fmt;

/// Kafka's names of these settings. All are numbers except the first two.
pub const NAMES: &[&str] = &[
    "cleanup.policy",
    "message.timestamp.type",
    "delete.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "retention.bytes",
    "retention.ms",
];

/// Settings that make sense in another cluster: retention, compaction and record size. Durability, placement and throttles
/// are each cluster's own, and timestamps must not be replaced.
pub const COPIED: &[&str] = &[
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
];

/// Effective settings of a topic, inherited values included, by their names in [`NAMES`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicSettings(BTreeMap<&'static str, String>);

/// Setting with which a target topic deletes earlier, accepts less, or acknowledges on fewer replicas, than its source topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeakerSetting {
    pub name: &'static str,
    pub target: String,
    pub source: String,
}

impl fmt::Display for WeakerSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, at the source {}", self.name, self.target, self.source)
    }
}

impl FromIterator<(String, String)> for TopicSettings {
    /// Keeps the entries whose names are in [`NAMES`].
    fn from_iter<I: IntoIterator<Item = (String, String)>>(entries: I) -> Self {
        let named = |(name, value): (String, String)| Some((*NAMES.iter().find(|known| **known == name)?, value));
        Self(entries.into_iter().filter_map(named).collect())
    }
}

impl TopicSettings {
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(&name, value)| (name, value.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the most bytes that a batch of records may have after compression, if known.
    pub fn max_message_bytes(&self) -> Option<i64> {
        self.number("max.message.bytes")
    }

    /// Returns the time that the topic keeps records, in ms; `None` if it deletes none for their age, or if unknown.
    pub fn retention_ms(&self) -> Option<i64> {
        self.number("retention.ms").filter(|ms| self.deletes() && *ms >= 0)
    }

    /// Returns the time that a compacted topic keeps deletions of keys, in ms; `None` for other topics, or if unknown.
    pub fn delete_retention_ms(&self) -> Option<i64> {
        self.number("delete.retention.ms").filter(|_| self.compacts())
    }

    /// Returns the settings with which this topic, the target of `source`, deletes earlier, accepts less, or acknowledges
    /// on fewer replicas. A setting that one of them does not have is not compared.
    pub fn weaker_than(&self, source: &Self) -> Vec<WeakerSetting> {
        let both_delete = self.deletes() && source.deletes();
        let both_compact = self.compacts() && source.compacts();
        let is_weaker = |name: &str| match name {
            "cleanup.policy" => {
                let expires = self.retention_ms().is_some() || self.number("retention.bytes").is_some_and(|n| n >= 0);
                (self.deletes() && expires && !source.deletes()) || (self.compacts() && !source.compacts())
            }
            "message.timestamp.type" => self.0[name] == "LogAppendTime" && source.0[name] != "LogAppendTime",
            "retention.ms" | "retention.bytes" => both_delete && self.limit(name) < source.limit(name),
            "delete.retention.ms" | "min.compaction.lag.ms" | "max.compaction.lag.ms" => {
                both_compact && self.limit(name) < source.limit(name)
            }
            _ => self.limit(name) < source.limit(name),
        };
        let both = self.0.iter().filter_map(|(name, target)| Some((*name, target, source.0.get(name)?)));
        both.filter(|(name, ..)| is_weaker(name))
            .map(|(name, target, source)| WeakerSetting { name, target: target.clone(), source: source.clone() })
            .collect()
    }

    fn deletes(&self) -> bool {
        self.has_policy("delete")
    }

    fn compacts(&self) -> bool {
        self.has_policy("compact")
    }

    fn has_policy(&self, wanted: &str) -> bool {
        let policy = self.0.get("cleanup.policy").map_or("delete", String::as_str);
        policy.split(',').any(|word| word.trim() == wanted)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.parse().ok()
    }

    /// Returns the number of a setting; a negative one means no limit.
    fn limit(&self, name: &str) -> i64 {
        self.number(name).filter(|limit| *limit >= 0).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(entries: &[(&str, &str)]) -> TopicSettings {
        entries.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn weaker(target: &[(&str, &str)], source: &[(&str, &str)]) -> Vec<String> {
        settings(target).weaker_than(&settings(source)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn shorter_retention_and_smaller_records_are_weaker() {
        let unlimited = [("retention.ms", "-1"), ("retention.bytes", "-1"), ("max.message.bytes", "8388608")];
        let target = [("retention.ms", "60000"), ("retention.bytes", "-1"), ("max.message.bytes", "1048588")];
        assert_eq!(
            weaker(&target, &unlimited),
            ["max.message.bytes is 1048588, at the source 8388608", "retention.ms is 60000, at the source -1"]
        );
        assert!(weaker(&unlimited, &target).is_empty(), "the target keeps and accepts more");
        assert!(weaker(&target, &target).is_empty());
        assert!(weaker(&target, &[]).is_empty(), "the source's are not known");
    }

    #[test]
    fn a_policy_that_removes_more_is_weaker() {
        let compact = [("cleanup.policy", "compact"), ("retention.ms", "60000")];
        let delete = [("cleanup.policy", "delete"), ("retention.ms", "60000")];
        let both = [("cleanup.policy", "compact,delete"), ("retention.ms", "60000")];
        assert_eq!(weaker(&delete, &compact), ["cleanup.policy is delete, at the source compact"]);
        assert_eq!(weaker(&compact, &delete), ["cleanup.policy is compact, at the source delete"]);
        assert_eq!(weaker(&both, &compact).len(), 1);
        assert!(weaker(&delete, &both).is_empty(), "it keeps superseded records");
        let unlimited = [("cleanup.policy", "delete"), ("retention.ms", "-1")];
        assert!(weaker(&unlimited, &compact).is_empty(), "it deletes nothing");
    }

    #[test]
    fn settings_that_are_not_in_effect_do_not_count() {
        let policy = ("cleanup.policy", "compact");
        assert!(weaker(&[policy, ("retention.ms", "1")], &[policy, ("retention.ms", "-1")]).is_empty());
        let delete = ("cleanup.policy", "delete");
        assert!(weaker(&[delete, ("delete.retention.ms", "1")], &[delete, ("delete.retention.ms", "9")]).is_empty());
        assert_eq!(weaker(&[policy, ("delete.retention.ms", "1")], &[policy, ("delete.retention.ms", "9")]).len(), 1);
        let kind = "message.timestamp.type";
        assert_eq!(weaker(&[(kind, "LogAppendTime")], &[(kind, "CreateTime")]).len(), 1);
        assert!(weaker(&[(kind, "CreateTime")], &[(kind, "LogAppendTime")]).is_empty());
        let durable = "min.insync.replicas";
        assert_eq!(weaker(&[(durable, "1")], &[(durable, "2")]).len(), 1, "fewer replicas acknowledge a record");
        assert!(weaker(&[(durable, "2")], &[(durable, "1")]).is_empty());
        assert_eq!(settings(&[("segment.bytes", "1")]), TopicSettings::default(), "it deletes nothing");
    }
}
