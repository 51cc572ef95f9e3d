//! Settings of the carried topics: reads them regularly, tells the receiver, and notes how long deletions are kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kafka::catalog::{Answers, Catalog, ConfigEntry, settings_of};
use kafka::topic_settings::{COPIED, NAMES, TopicSettings};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wire::control::{Control, TopicConfig, TopicSettings as Announced};
use wire::hello::{FEATURE_FOLLOW_SETTINGS, FEATURE_SETTINGS};
use wire::limits::{SETTING_BYTES_MAX, SETTINGS_TOPICS_MAX};

use crate::partitions::deletions::Deletions;
use crate::source::discovery::Discovered;

/// Pace at which known settings are read again, in turn: a broker needs about 0.1 ms for each topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// Interval between two readings.
    interval: Duration,
    /// Topics of one reading.
    topics: usize,
}

/// Pace for the comparison of both ends, which is about a minute old at most.
const COMPARED: Pace = Pace { interval: Duration::from_secs(60), topics: 1_000 };
/// Pace where the target follows within 10 s: 200 topics per second, so that all of 1,000 topics are read within 6 s.
const FOLLOWED: Pace = Pace { interval: Duration::from_millis(2_500), topics: 500 };
/// Pause before the settings of new topics are read: their offers go first.
const PAUSE: Duration = Duration::from_secs(1);

/// Settings of the topics that one session carries.
pub(super) struct SettingsWatch {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) deletions: Arc<Deletions>,
    /// Target cluster, which no topic returns to.
    pub(super) target: String,
    /// Control stream to the receiver; `None` if it does not know the message.
    control: Option<mpsc::Sender<Control>>,
    /// True if the receiver's topics follow the settings of the source's.
    follows: bool,
    /// Settings of each topic as last read.
    known: HashMap<Arc<str>, Known>,
    /// Topic that was renewed last.
    renewed: Arc<str>,
}

/// Settings of one topic.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    effective: TopicSettings,
    /// Settings that are set on the topic itself; empty where nothing follows them.
    own: Vec<TopicConfig>,
}

/// Settings to announce.
#[derive(Default)]
struct Changed {
    effective: Vec<Announced>,
    own: Vec<Announced>,
}

impl Changed {
    /// Returns the messages, each within its limits.
    fn messages(self) -> Vec<Control> {
        let effective =
            self.effective.chunks(SETTINGS_TOPICS_MAX).map(|topics| Control::Settings { topics: topics.to_vec() });
        let own = self.own.chunks(SETTINGS_TOPICS_MAX).map(|topics| Control::OwnSettings { topics: topics.to_vec() });
        effective.chain(own).collect()
    }
}

impl SettingsWatch {
    /// Makes the watch of a session with these `features`.
    pub(super) fn new(
        catalog: &Arc<dyn Catalog>,
        deletions: &Arc<Deletions>,
        target: &str,
        features: u64,
        control: &mpsc::Sender<Control>,
    ) -> Self {
        Self {
            catalog: Arc::clone(catalog),
            deletions: Arc::clone(deletions),
            target: target.to_owned(),
            control: (features & FEATURE_SETTINGS != 0).then(|| control.clone()),
            follows: features & FEATURE_FOLLOW_SETTINGS != 0,
            known: HashMap::new(),
            renewed: Arc::default(),
        }
    }

    fn pace(&self) -> Pace {
        if self.follows { FOLLOWED } else { COMPARED }
    }

    /// Names of the settings to read.
    fn names(&self) -> Vec<&'static str> {
        let own = COPIED.iter().filter(|name| self.follows && !NAMES.contains(name));
        NAMES.iter().chain(own).copied().collect()
    }

    /// Reads the settings of new topics soon, and those of others regularly, until the session ends.
    pub(super) async fn run(mut self, mut topics: watch::Receiver<Discovered>) {
        let mut all_due = Instant::now();
        loop {
            tokio::time::sleep(PAUSE).await;
            let carried = self.carried(&topics.borrow_and_update());
            let is_due = Instant::now() >= all_due;
            if is_due {
                all_due = Instant::now() + self.pace().interval;
            }
            let asked = self.due(&carried, is_due);
            let catalog = Arc::clone(&self.catalog);
            let names: Vec<_> = asked.iter().map(ToString::to_string).collect();
            let settings = self.names();
            let answers = tokio::task::spawn_blocking(move || catalog.some_configs(&names, &settings)).await;
            let Ok(answers) = answers else { return };
            for message in self.handle_answers(&carried, asked, answers) {
                let Some(control) = &self.control else { break };
                if control.send(message).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = tokio::time::sleep_until(all_due) => {}
                changed = topics.changed() => if changed.is_err() { return },
            }
        }
    }

    fn carried(&self, topics: &Discovered) -> Vec<Arc<str>> {
        let carried =
            topics.topics.iter().filter(|topic| topic.origin.not_carried_reason(Some(&self.target)).is_none());
        carried.map(|topic| Arc::clone(&topic.name)).collect()
    }

    /// Returns the topics to ask for: those whose settings are not known, and the next of the others if they are to be
    /// renewed. `carried` is in order of names.
    fn due(&mut self, carried: &[Arc<str>], renews: bool) -> Vec<Arc<str>> {
        let is_known = |topic: &Arc<str>| self.known.contains_key(topic);
        let (mut known, mut due): (Vec<_>, Vec<_>) = carried.iter().cloned().partition(is_known);
        if renews {
            let next = known.partition_point(|topic| *topic <= self.renewed);
            known.rotate_left(next);
            known.truncate(self.pace().topics);
            if let Some(last) = known.last() {
                self.renewed = Arc::clone(last);
            }
            due.append(&mut known);
        }
        due
    }

    /// Takes the settings of the topics that were asked for. Returns the messages about those that changed.
    fn handle_answers(
        &mut self,
        carried: &[Arc<str>],
        asked: Vec<Arc<str>>,
        answers: Answers<Vec<ConfigEntry>>,
    ) -> Vec<Control> {
        let carried: HashSet<_> = carried.iter().collect();
        let gone = self.known.extract_if(|topic, _| !carried.contains(topic));
        let forgotten = gone.map(|(topic, _)| Announced { topic: topic.to_string(), settings: Vec::new() });
        let mut changed = Changed { effective: forgotten.collect(), own: Vec::new() };
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(%error, "the settings of the source's topics cannot be read now");
                Vec::new()
            }
        };
        for (topic, answer) in asked.into_iter().zip(answers) {
            // The right to read a topic's configuration may be missing; the announcement of the topic has logged that.
            let Ok(entries) = answer else { continue };
            let own = if self.follows { own_settings(&entries) } else { Vec::new() };
            self.handle_settings(topic, Known { effective: settings_of(&entries), own }, &mut changed);
        }
        changed.messages()
    }

    fn handle_settings(&mut self, topic: Arc<str>, found: Known, changed: &mut Changed) {
        let known = self.known.get(&topic);
        let announced = |settings| Announced { topic: topic.to_string(), settings };
        if known.is_none_or(|known| known.effective != found.effective) {
            self.deletions.handle_settings(&topic, &found.effective);
            changed.effective.push(announced(on_the_wire(&found.effective)));
        }
        if self.follows && known.is_none_or(|known| known.own != found.own) {
            changed.own.push(announced(found.own.clone()));
        }
        self.known.insert(topic, found);
    }
}

/// Returns the settings among these entries that are set on the topic itself, and that another cluster can have, too.
fn own_settings(entries: &[ConfigEntry]) -> Vec<TopicConfig> {
    let is_own = |entry: &&ConfigEntry| entry.set_on_topic && COPIED.contains(&entry.name.as_str());
    let short = entries.iter().filter(is_own).filter(|entry| entry.value.len() <= SETTING_BYTES_MAX);
    short.map(|entry| TopicConfig { name: entry.name.clone(), value: entry.value.clone() }).collect()
}

fn on_the_wire(settings: &TopicSettings) -> Vec<TopicConfig> {
    let short = settings.iter().filter(|(_, value)| value.len() <= SETTING_BYTES_MAX);
    short.map(|(name, value)| TopicConfig { name: name.to_owned(), value: value.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use kafka::KafkaError;
    use testkit::MemoryCatalog;

    use super::*;

    fn settings(retention: &str) -> Vec<ConfigEntry> {
        let entry = |name: &str, set_on_topic| ConfigEntry {
            name: name.to_owned(),
            value: retention.to_owned(),
            set_on_topic,
            inherited: None,
        };
        vec![entry("retention.ms", true), entry("retention.bytes", false), entry("min.insync.replicas", true)]
    }

    fn watch(features: u64) -> SettingsWatch {
        let catalog: Arc<dyn Catalog> = Arc::new(MemoryCatalog::new("source"));
        SettingsWatch::new(&catalog, &Arc::default(), "target", features, &mpsc::channel(1).0)
    }

    fn names(count: usize) -> Vec<Arc<str>> {
        (0..count).map(|n| Arc::from(format!("t{n:03}"))).collect()
    }

    /// Topics and the number of their settings.
    type Sizes = Vec<(String, usize)>;

    /// Names of the topics in each message, with the number of their settings.
    fn announced(messages: Vec<Control>) -> (Vec<Sizes>, Vec<Sizes>) {
        let mut effective = Vec::new();
        let mut own = Vec::new();
        for message in messages {
            let (kind, topics) = match message {
                Control::Settings { topics } => (&mut effective, topics),
                Control::OwnSettings { topics } => (&mut own, topics),
                other => panic!("{other:?}"),
            };
            kind.push(topics.into_iter().map(|one| (one.topic, one.settings.len())).collect());
        }
        (effective, own)
    }

    #[test]
    fn the_settings_of_thousands_of_topics_are_renewed_in_turn() {
        let mut watch = watch(FEATURE_SETTINGS);
        let renewed = COMPARED.topics;
        let all: Vec<Arc<str>> = (0..2 * renewed + 1).map(|n| Arc::from(format!("{n:04}"))).collect();
        assert_eq!(watch.due(&all, true), all, "none is known");
        watch.known.extend(all.iter().skip(1).map(|topic| (Arc::clone(topic), Known::default())));
        assert_eq!(watch.due(&all, false), all[..1]);
        let mut turns: Vec<_> = (0..2).flat_map(|_| watch.due(&all, true)).collect();
        assert_eq!(turns.len(), 2 * (renewed + 1));
        turns.sort();
        turns.dedup();
        assert_eq!(turns, all, "each in two turns");
        assert_eq!(watch.due(&all, true)[1], all[1], "from the beginning again");
    }

    #[test]
    fn only_changed_settings_are_announced_in_bounded_messages() {
        let mut watch = watch(FEATURE_SETTINGS);
        let topics = names(100);
        let mut take = |carried: &[Arc<str>], retention: &str| {
            let asked = carried.to_vec();
            let mut answers = vec![Ok(settings(retention)); asked.len()];
            answers[0] = Err(KafkaError::unknown_topic("configuration"));
            let (effective, own) = announced(watch.handle_answers(carried, asked, Ok(answers)));
            assert!(own.is_empty(), "nothing follows them");
            effective
        };
        let first = take(&topics, "1");
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [SETTINGS_TOPICS_MAX, 99 - SETTINGS_TOPICS_MAX]);
        assert!(take(&topics, "1").is_empty());
        assert_eq!(take(&topics, "2").concat().len(), 99);
        assert_eq!(take(&topics[..99], "2").concat(), [("t099".to_owned(), 0)], "it is not carried any more");
    }

    #[test]
    fn settings_that_are_followed_are_read_often_and_told_apart() {
        let mut watch = watch(FEATURE_SETTINGS | FEATURE_FOLLOW_SETTINGS);
        assert!(watch.pace().interval <= Duration::from_secs(3));
        assert!(watch.names().contains(&"segment.bytes"));
        let topics = names(1);
        let mut take =
            |entries: Vec<ConfigEntry>| announced(watch.handle_answers(&topics, topics.clone(), Ok(vec![Ok(entries)])));
        let (effective, own) = take(settings("7"));
        assert_eq!(effective, [[("t000".to_owned(), 3)]]);
        assert_eq!(own, [[("t000".to_owned(), 1)]], "one is inherited, and durability is the target's own");
        // The topic's own value is removed, and the inherited one is the same.
        let mut removed = settings("7");
        removed[0].set_on_topic = false;
        let (effective, own) = take(removed);
        assert!(effective.is_empty());
        assert_eq!(own, [[("t000".to_owned(), 0)]]);
    }
}
