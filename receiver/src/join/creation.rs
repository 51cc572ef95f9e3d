//! Creation of target topics: their settings, and the settings that the target refuses.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use kafka::catalog::{Catalog, NewTopic, only};
use kafka::{KafkaError, KafkaFault};
use wire::halt::HaltReason;

use crate::link::left_out::LeftOut;
use crate::link::{LinkSettings, ServedLink};
use crate::target::refused_setting::{nearest, words};
use crate::target::state::{self, HaltRecord};

/// Configuration entries of created topics, so that source timestamps arrive unchanged: by default Kafka 4 refuses
/// records whose timestamp is more than an hour ahead (KIP-1030).
const TIMESTAMPS: &[(&str, &str)] = &[
    (TIMESTAMP_TYPE, "CreateTime"),
    ("message.timestamp.before.max.ms", "9223372036854775807"),
    ("message.timestamp.after.max.ms", "9223372036854775807"),
];
/// Entry that is never left out: with another value the target would silently replace timestamps.
const TIMESTAMP_TYPE: &str = "message.timestamp.type";

/// Reason why a target topic or partition cannot be used.
#[derive(Debug, Clone)]
pub(super) enum NotUsable {
    /// Its partitions halt.
    Halt(HaltRecord),
    /// The cluster cannot answer for it, or create it, now.
    Wait(KafkaError),
}

/// Returns whether the cluster refuses the name that was asked for: asking again will not help.
pub(super) fn is_refused_name(error: &KafkaError) -> bool {
    error.fault == KafkaFault::Misused
}

impl NotUsable {
    /// Decides about a topic that the cluster does not describe.
    pub(super) fn not_described(error: KafkaError) -> Self {
        if is_refused_name(&error) {
            return Self::Halt(HaltRecord::new(HaltReason::TargetRefused, error.to_string()));
        }
        Self::Wait(error)
    }
}

/// Creator of the target topics of one link.
#[derive(Clone)]
pub(super) struct TopicCreator {
    pub(super) catalog: Arc<dyn Catalog>,
    /// True if created topics have the timestamp settings even where the target's defaults are the same.
    pub(super) sets_defaults: bool,
    /// Topic of this link whose inherited settings are the target's defaults.
    pub(super) state_topic: String,
    pub(super) left_out: Arc<LeftOut>,
}

impl TopicCreator {
    pub(super) fn new(link: &ServedLink, settings: &LinkSettings) -> Self {
        Self {
            catalog: Arc::clone(&link.catalog),
            sets_defaults: settings.copy_configs,
            state_topic: state::topic(&settings.name),
            left_out: Arc::clone(&link.left_out),
        }
    }

    /// Creates topics in one request, without settings that the target refuses. A topic that it refuses nevertheless
    /// halts, and one that it cannot create now waits.
    pub(super) fn create(&self, topics: &mut [NewTopic]) -> Result<Vec<Result<(), NotUsable>>, KafkaError> {
        let Some(first) = topics.first() else { return Ok(Vec::new()) };
        tracing::info!(topics = topics.len(), first = first.name, "creating target topics");
        // Asked for only where they decide: topics with copied settings need them only after a refusal.
        let known = OnceCell::new();
        let defaults = || known.get_or_init(|| self.defaults());
        let is_default = |name: &str, value: &str| defaults().get(name).is_some_and(|default| default == value);
        let timestamps = TIMESTAMPS.iter().filter(|(name, value)| self.sets_defaults || !is_default(name, value));
        let timestamps: Vec<_> = timestamps.map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        topics.iter_mut().for_each(|topic| topic.configs.extend(timestamps.iter().cloned()));
        let may_lack = |name: &str, value: &str| name != TIMESTAMP_TYPE || is_default(name, value);
        let answers = match self.catalog.create(topics) {
            Err(error) if Change::Creation.is_refused(&error) => vec![Err(error); topics.len()],
            answers => answers?,
        };
        let created = topics.iter().zip(answers).map(|(topic, answer)| match answer {
            Ok(()) => Ok(()),
            Err(error) if Change::Creation.is_refused(&error) => self.create_without_refused(topic, error, may_lack),
            Err(error) => Err(NotUsable::Wait(error)),
        });
        Ok(created.collect())
    }

    /// Returns the target's defaults as far as they are known.
    fn defaults(&self) -> HashMap<String, String> {
        match only(self.catalog.configs(std::slice::from_ref(&self.state_topic))) {
            Ok(entries) => {
                let inherited = entries.into_iter().filter(|entry| !entry.set_on_topic);
                inherited.map(|entry| (entry.name, entry.value)).collect()
            }
            Err(error) => {
                tracing::debug!(%error, "the target's defaults are unknown");
                HashMap::new()
            }
        }
    }

    /// Creates a topic with the nearest values that the target accepts in place of those that its refusal names. Settings
    /// without such a value are left out; if the refusal names none, all that the topic `may_lack`.
    fn create_without_refused(
        &self,
        topic: &NewTopic,
        first: KafkaError,
        may_lack: impl Fn(&str, &str) -> bool,
    ) -> Result<(), NotUsable> {
        let mut topic = topic.clone();
        let mut refused = first.clone();
        let mut replaced = HashMap::new();
        let mut left_out = Vec::new();
        // Each round replaces a value that was not replaced before, or leaves out at least one setting.
        loop {
            let words = words(&refused.reason);
            let names_any = topic.configs.iter().any(|(name, _)| words.contains(&name.as_str()));
            let is_replaced = replace_refused(&mut topic, &refused.reason, &mut replaced);
            let is_refused = |(name, value): &(String, String)| {
                !is_replaced && may_lack(name, value) && (!names_any || words.contains(&name.as_str()))
            };
            let (out, kept): (Vec<_>, Vec<_>) = topic.configs.into_iter().partition(is_refused);
            if out.is_empty() && !is_replaced {
                return Err(NotUsable::Halt(HaltRecord::new(HaltReason::TargetRefused, first.to_string())));
            }
            topic.configs = kept;
            left_out.extend(out.into_iter().map(|(name, value)| {
                let value = replaced.remove(&name).unwrap_or(value);
                format!("{name}={value}")
            }));
            match only(self.catalog.create(std::slice::from_ref(&topic))) {
                Ok(()) => break,
                Err(error) if Change::Creation.is_refused(&error) => refused = error,
                Err(error) => return Err(NotUsable::Wait(error)),
            }
        }
        let values = topic.configs.iter().filter_map(|(name, value)| Some((name, value, replaced.get(name)?)));
        left_out.extend(values.map(|(name, value, source)| format!("{name} is {value}, at the source {source}")));
        let settings = left_out.join(", ");
        let reason = &first.reason;
        tracing::warn!(
            topic = topic.name,
            settings,
            reason,
            "the target refuses settings of a topic; it was created without them, or with the nearest values"
        );
        self.left_out.record(&topic.name, left_out);
        Ok(())
    }
}

/// Replaces the values of a topic that a refusal names by the nearest that the cluster accepts, and notes the first ones in
/// `replaced`. Returns whether any was replaced: each is at most once.
fn replace_refused(topic: &mut NewTopic, refusal: &str, replaced: &mut HashMap<String, String>) -> bool {
    let mut any = false;
    for (name, value) in &mut topic.configs {
        if let Some(nearest) = nearest(refusal, name, value).filter(|_| !replaced.contains_key(name)) {
            replaced.insert(name.clone(), std::mem::replace(value, nearest));
            any = true;
        }
    }
    any
}

/// Change of the target's topics that this link requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Creation,
    Growth,
}

impl Change {
    /// Returns whether the error is a refusal that stays until an operator acts. A missing broker, a busy controller and a
    /// quota pass: the change is tried again. A missing right to create passes too, because without the topic there is
    /// nothing to carry. A missing right to grow is a refusal: the partitions that exist are carried meanwhile, and the
    /// others halt with both numbers of partitions.
    pub(super) fn is_refused(self, error: &KafkaError) -> bool {
        match error.fault {
            KafkaFault::Misused | KafkaFault::RecordRejected => true,
            KafkaFault::Unauthorized => self == Self::Growth,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use kafka::catalog::{Answers, ConfigEntry};
    use service::lock::Lock;

    use super::*;

    /// Cluster that refuses settings with these names, with a sentence about the first of them, and accepts those from
    /// `least` on.
    struct Strict {
        refuses: Vec<&'static str>,
        least: Option<i64>,
        names_them: bool,
        default_type: &'static str,
        created: Lock<Vec<NewTopic>>,
        /// Requests for the defaults.
        asked: AtomicU32,
    }

    impl Catalog for Strict {
        fn configs(&self, _: &[String]) -> Answers<Vec<ConfigEntry>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let entry = |name: &str, value: &str, set_on_topic| ConfigEntry {
                name: name.to_owned(),
                value: value.to_owned(),
                set_on_topic,
                inherited: None,
            };
            let longest = TIMESTAMPS[1].1;
            Ok(vec![Ok(vec![
                entry(TIMESTAMP_TYPE, self.default_type, false),
                entry("message.timestamp.before.max.ms", longest, false),
                entry("message.timestamp.after.max.ms", longest, true),
            ])])
        }

        fn create(&self, topics: &[NewTopic]) -> Answers<()> {
            let create = |topic: &NewTopic| {
                let is_enough = |value: &str| self.least.is_some_and(|least| value.parse::<i64>().unwrap() >= least);
                let is_refused =
                    |(name, value): &&(String, String)| self.refuses.contains(&name.as_str()) && !is_enough(value);
                let found = topic.configs.iter().find(is_refused);
                let Some((name, value)) = found else {
                    self.created.lock().push(topic.clone());
                    return Ok(());
                };
                let reason = if self.names_them {
                    let why =
                        self.least.map_or_else(|| "too small.".to_owned(), |n| format!("Value must be at least {n}"));
                    format!("Invalid value {value} for configuration {name}: {why}")
                } else {
                    "the policy refuses it".to_owned()
                };
                Err(KafkaError { doing: "creation".to_owned(), reason, fault: KafkaFault::Misused })
            };
            Ok(topics.iter().map(create).collect())
        }
    }

    /// Creates a topic with these settings. Returns the names of those that it got, the sentences, and the halts.
    fn create(cluster: Strict, settings: &[&str], sets_defaults: bool) -> (Vec<String>, Vec<String>, Vec<String>) {
        let cluster = Arc::new(cluster);
        let creator = TopicCreator {
            catalog: Arc::<Strict>::clone(&cluster),
            sets_defaults,
            state_topic: "state".to_owned(),
            left_out: Arc::default(),
        };
        let configs = settings.iter().map(|&name| (name.to_owned(), "7".to_owned())).collect();
        let topic = NewTopic { name: "orders".to_owned(), partitions: 1, replication: None, configs };
        let refused = creator.create(&mut [topic]).unwrap().into_iter().filter_map(Result::err);
        let halts = refused.map(|refused| match refused {
            NotUsable::Halt(halt) => halt.reason,
            NotUsable::Wait(error) => panic!("{error}"),
        });
        let halts: Vec<_> = halts.collect();
        let created = cluster.created.lock().pop();
        let names = created.into_iter().flat_map(|topic| topic.configs).map(|(name, _)| name).collect();
        (names, creator.left_out.sentences(), halts)
    }

    fn strict(refuses: &[&'static str]) -> Strict {
        Strict {
            refuses: refuses.to_vec(),
            least: None,
            names_them: true,
            default_type: "CreateTime",
            created: Lock::default(),
            asked: AtomicU32::new(0),
        }
    }

    #[test]
    fn defaults_are_asked_for_only_where_they_decide() {
        for (refuses, sets_defaults, times) in [(vec![], true, 0), (vec![], false, 1), (vec![TIMESTAMP_TYPE], true, 1)]
        {
            let cluster = Arc::new(strict(&refuses));
            let catalog: Arc<dyn Catalog> = Arc::<Strict>::clone(&cluster);
            let state_topic = "state".to_owned();
            let creator = TopicCreator { catalog, sets_defaults, state_topic, left_out: Arc::default() };
            let new = |name: &str| NewTopic { name: name.into(), partitions: 1, replication: None, configs: vec![] };
            creator.create(&mut [new("a"), new("b")]).unwrap();
            assert_eq!(cluster.asked.load(Ordering::Relaxed), times, "{refuses:?} {sets_defaults}");
        }
    }

    #[test]
    fn only_named_settings_are_left_out() {
        let settings = ["retention.ms", "delete.retention.ms", "segment.bytes"];
        let (names, left_out, halts) = create(strict(&["delete.retention.ms", "segment.bytes"]), &settings, true);
        assert_eq!(names[0], "retention.ms", "its name is part of another one's");
        assert_eq!(names[1..], TIMESTAMPS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        assert_eq!(left_out, ["orders: delete.retention.ms=7, segment.bytes=7"]);
        assert!(halts.is_empty());
    }

    #[test]
    fn the_nearest_accepted_values_replace_refused_ones() {
        let settings = ["retention.ms", "segment.bytes", "segment.ms"];
        let cluster = Strict { least: Some(1024), ..strict(&["segment.bytes", "segment.ms"]) };
        let (names, left_out, halts) = create(cluster, &settings, true);
        assert_eq!(names[..3], settings);
        assert_eq!(left_out, ["orders: segment.bytes is 1024, at the source 7, segment.ms is 1024, at the source 7"]);
        assert!(halts.is_empty());
    }

    #[test]
    fn all_settings_are_left_out_where_none_is_named() {
        let cluster = Strict { names_them: false, ..strict(&["segment.bytes"]) };
        let (names, left_out, halts) = create(cluster, &["segment.bytes", "retention.ms"], false);
        assert!(names.is_empty() && halts.is_empty(), "{names:?} {halts:?}");
        assert!(left_out[0].contains("segment.bytes=7, retention.ms=7"), "{left_out:?}");
    }

    #[test]
    fn without_copied_settings_only_needed_ones_are_set() {
        let (names, left_out, halts) = create(strict(&["message.timestamp.before.max.ms"]), &[], false);
        assert_eq!(names, ["message.timestamp.after.max.ms"], "the target's default of this one is unknown");
        assert!(left_out.is_empty() && halts.is_empty());
    }

    #[test]
    fn a_target_that_would_replace_timestamps_is_not_used() {
        let cluster = Strict { default_type: "LogAppendTime", ..strict(&[TIMESTAMP_TYPE]) };
        let (names, _, halts) = create(cluster, &[], false);
        assert!(names.is_empty());
        assert_eq!(halts, ["target-refused"]);
        let (names, left_out, halts) = create(strict(&[TIMESTAMP_TYPE]), &[], true);
        assert!(halts.is_empty() && !names.contains(&TIMESTAMP_TYPE.to_owned()) && left_out.len() == 1);
    }
}
