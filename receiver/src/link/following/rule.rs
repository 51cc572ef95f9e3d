//! The changes that a target topic needs to have the settings of its source topic.

use std::collections::BTreeMap;

use kafka::catalog::ConfigEntry;
use kafka::topic_settings::COPIED;

/// Smallest segment, in bytes, that surely has room for each batch of the link: the broker refuses one that is larger.
const SEGMENT_MIN: f64 = (1 << 20) as f64;

/// Changes of settings that the target topics of a link follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FollowConfigs {
    /// None.
    #[default]
    Off,
    /// All but those that delete records in the target, or make it refuse records.
    Safe,
    /// All.
    All,
}

/// Settings that are set on a source topic itself, by their names in [`COPIED`].
pub(crate) type Own = BTreeMap<&'static str, String>;

/// Change of one setting of a target topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) name: &'static str,
    /// Present value in the target.
    pub(crate) from: String,
    /// New value; `None` removes the topic's own, so that it inherits one.
    pub(crate) to: Option<String>,
}

/// Changes of one topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Changes to make.
    pub(crate) changes: Vec<Change>,
    /// Changes that `safe` withholds.
    pub(crate) withheld: Vec<Change>,
}

impl Plan {
    /// Plans the changes of a topic with these `target` entries. `brought` has the values that came from the source.
    pub(crate) fn new(source: &Own, brought: &Own, target: &[ConfigEntry], follow: FollowConfigs) -> Self {
        let mut plan = Self::default();
        for name in COPIED {
            // An older target may not know the setting.
            let Some(entry) = target.iter().find(|entry| entry.name == **name) else { continue };
            let from = entry.value.clone();
            let (to, new) = match (source.get(name), brought.get(name)) {
                (Some(value), _) if !is_same(name, value, &from) => (Some(value.clone()), Some(value.as_str())),
                // A value that an operator has set since is the operator's.
                (None, Some(brought)) if entry.set_on_topic && is_same(name, brought, &from) => {
                    (None, entry.inherited.as_deref())
                }
                _ => continue,
            };
            // Without the value that the topic would inherit, the effect is unknown.
            let is_safe = new.is_some_and(|new| !removes_or_refuses(name, &from, new));
            let change = Change { name, from, to };
            match follow {
                FollowConfigs::Off => {}
                FollowConfigs::Safe if !is_safe => plan.withheld.push(change),
                FollowConfigs::Safe | FollowConfigs::All => plan.changes.push(change),
            }
        }
        plan
    }
}

/// Returns whether both values mean the same: a list of policies has no order.
fn is_same(name: &str, one: &str, other: &str) -> bool {
    if name != "cleanup.policy" {
        return one == other;
    }
    let sorted = |value: &str| {
        let mut words: Vec<_> = policies(value).map(str::to_owned).collect();
        words.sort_unstable();
        words
    };
    sorted(one) == sorted(other)
}

fn policies(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// Returns whether the change lets the target delete records that it would keep otherwise, or delete them earlier, or
/// refuse records that it accepts now. Segments that are smaller only let the target delete what its retention permits
/// already, as long as a batch fits into one.
fn removes_or_refuses(name: &str, from: &str, to: &str) -> bool {
    match name {
        "cleanup.policy" => policies(to).any(|policy| !policies(from).any(|known| known == policy)),
        "compression.type" => to == "uncompressed",
        "segment.bytes" => limit(to) < limit(from).min(SEGMENT_MIN),
        "segment.ms" => false,
        _ => limit(to) < limit(from),
    }
}

/// Returns the number of a setting; a negative one means no limit. A value that is no number is as good as none.
fn limit(value: &str) -> f64 {
    value.parse().ok().filter(|number| *number >= 0.0).unwrap_or(f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(settings: &[(&'static str, &str)]) -> Own {
        settings.iter().map(|&(name, value)| (name, value.to_owned())).collect()
    }

    /// Entry of the target with its own value, or an inherited one.
    fn entry(name: &str, value: &str, inherited: &str) -> ConfigEntry {
        let set_on_topic = value != inherited;
        ConfigEntry { name: name.into(), value: value.into(), set_on_topic, inherited: Some(inherited.into()) }
    }

    /// Plans the change of one setting. Returns the new value, or `-` if it is removed, and whether it is withheld.
    fn one(name: &'static str, target: [&str; 2], source: &str, follow: FollowConfigs) -> Option<(String, bool)> {
        let plan = Plan::new(&own(&[(name, source)]), &Own::new(), &[entry(name, target[0], target[1])], follow);
        only(plan)
    }

    fn only(plan: Plan) -> Option<(String, bool)> {
        let withheld = plan.withheld.into_iter().map(|change| (change, true));
        let all: Vec<_> = plan.changes.into_iter().map(|change| (change, false)).chain(withheld).collect();
        assert!(all.len() <= 1);
        all.into_iter().next().map(|(change, withheld)| (change.to.unwrap_or_else(|| "-".to_owned()), withheld))
    }

    fn made(value: &str) -> Option<(String, bool)> {
        Some((value.to_owned(), false))
    }

    fn withheld(value: &str) -> Option<(String, bool)> {
        Some((value.to_owned(), true))
    }

    #[test]
    fn safe_withholds_what_deletes_or_refuses() {
        let safe = |name, target: &str, source| one(name, [target, "77"], source, FollowConfigs::Safe);
        for name in ["retention.ms", "retention.bytes", "max.message.bytes", "delete.retention.ms"] {
            assert_eq!(safe(name, "1000", "2000"), made("2000"), "{name}");
            assert_eq!(safe(name, "2000", "1000"), withheld("1000"), "{name}");
            assert_eq!(one(name, ["2000", "77"], "1000", FollowConfigs::All), made("1000"), "{name}");
            assert_eq!(one(name, ["2000", "77"], "1000", FollowConfigs::Off), None, "{name}");
            assert_eq!(safe(name, "1000", "1000"), None);
        }
        assert_eq!(safe("retention.ms", "-1", "9000"), withheld("9000"), "-1 keeps for ever");
        assert_eq!(safe("retention.ms", "9000", "-1"), made("-1"));
        assert_eq!(safe("min.cleanable.dirty.ratio", "0.5", "0.25"), withheld("0.25"));
        assert_eq!(safe("segment.bytes", "1073741824", "1048576"), made("1048576"));
        assert_eq!(safe("segment.bytes", "1048576", "262144"), withheld("262144"), "a batch may be larger");
        assert_eq!(safe("compression.type", "lz4", "uncompressed"), withheld("uncompressed"));
        assert_eq!(safe("compression.type", "lz4", "zstd"), made("zstd"));
    }

    #[test]
    fn safe_withholds_a_policy_that_removes_more() {
        let policy = |target: &str, source| one("cleanup.policy", [target, "x"], source, FollowConfigs::Safe);
        assert_eq!(policy("delete", "compact"), withheld("compact"));
        assert_eq!(policy("compact", "compact,delete"), withheld("compact,delete"));
        assert_eq!(policy("compact, delete", "compact"), made("compact"));
        assert_eq!(policy("delete,compact", "compact,delete"), None, "they are the same");
    }

    #[test]
    fn a_setting_that_was_removed_at_the_source_is_inherited_again() {
        let remove = |brought: &str, target: ConfigEntry, follow| {
            only(Plan::new(&Own::new(), &own(&[("retention.ms", brought)]), &[target], follow))
        };
        let longer = || entry("retention.ms", "1000", "2000");
        assert_eq!(remove("1000", longer(), FollowConfigs::Safe), made("-"));
        assert_eq!(remove("1000", entry("retention.ms", "1000", "500"), FollowConfigs::Safe), withheld("-"));
        assert_eq!(remove("1000", entry("retention.ms", "1000", "500"), FollowConfigs::All), made("-"));
        assert_eq!(remove("999", longer(), FollowConfigs::All), None, "an operator has set it since");
        let inherits = ConfigEntry { set_on_topic: false, ..longer() };
        assert_eq!(remove("1000", inherits, FollowConfigs::All), None);
        let unknown = ConfigEntry { inherited: None, ..longer() };
        assert_eq!(remove("1000", unknown, FollowConfigs::Safe), withheld("-"));
    }

    #[test]
    fn only_settings_that_both_clusters_can_have_are_changed() {
        let source = own(&[("min.insync.replicas", "2"), ("retention.ms", "5"), ("segment.ms", "7")]);
        let target = [entry("min.insync.replicas", "1", "1"), entry("retention.ms", "5", "9")];
        assert_eq!(Plan::new(&source, &Own::new(), &target, FollowConfigs::All), Plan::default());
    }
}
