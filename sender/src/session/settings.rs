//! Settings of the carried topics: reads them regularly, tells the receiver, and notes how long deletions are kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kafka::catalog::{Answers, Catalog};
use kafka::topic_settings::TopicSettings;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wire::control::{Control, TopicConfig, TopicSettings as Announced};
use wire::limits::{SETTING_BYTES_MAX, SETTINGS_TOPICS_MAX};

use crate::partitions::deletions::Deletions;
use crate::source::discovery::Discovered;

/// Interval between two readings of settings.
const INTERVAL: Duration = Duration::from_secs(60);
/// Topics of which one reading renews the known settings, in turn: a broker needs about 0.1 ms for each.
const RENEWED: usize = 1_000;
/// Pause before the settings of new topics are read: their offers go first.
const PAUSE: Duration = Duration::from_secs(1);

/// Settings of the topics that one session carries.
pub(super) struct SettingsWatch {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) deletions: Arc<Deletions>,
    /// Target cluster, which no topic returns to.
    pub(super) target: String,
    /// Control stream to the receiver; `None` if it does not know the message.
    pub(super) control: Option<mpsc::Sender<Control>>,
    /// Settings of each topic as last read.
    pub(super) known: HashMap<Arc<str>, TopicSettings>,
    /// Topic that was renewed last.
    pub(super) renewed: Arc<str>,
}

impl SettingsWatch {
    /// Reads the settings of new topics soon, and those of others regularly, until the session ends.
    pub(super) async fn run(mut self, mut topics: watch::Receiver<Discovered>) {
        let mut all_due = Instant::now();
        loop {
            tokio::time::sleep(PAUSE).await;
            let carried = self.carried(&topics.borrow_and_update());
            let is_due = Instant::now() >= all_due;
            if is_due {
                all_due = Instant::now() + INTERVAL;
            }
            let asked = self.due(&carried, is_due);
            let catalog = Arc::clone(&self.catalog);
            let names: Vec<_> = asked.iter().map(ToString::to_string).collect();
            let answers = tokio::task::spawn_blocking(move || catalog.settings(&names)).await;
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
            known.truncate(RENEWED);
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
        answers: Answers<TopicSettings>,
    ) -> Vec<Control> {
        let carried: HashSet<_> = carried.iter().collect();
        let gone: Vec<_> = self.known.keys().filter(|topic| !carried.contains(topic)).cloned().collect();
        let mut changed: Vec<_> = gone
            .into_iter()
            .map(|topic| {
                self.known.remove(&topic);
                Announced { topic: topic.to_string(), settings: Vec::new() }
            })
            .collect();
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(%error, "the settings of the source's topics cannot be read now");
                Vec::new()
            }
        };
        for (topic, answer) in asked.into_iter().zip(answers) {
            // The right to read a topic's configuration may be missing; the announcement of the topic has logged that.
            let Ok(settings) = answer else { continue };
            if self.known.get(&topic) == Some(&settings) {
                continue;
            }
            self.deletions.handle_settings(&topic, &settings);
            changed.push(Announced { topic: topic.to_string(), settings: on_the_wire(&settings) });
            self.known.insert(topic, settings);
        }
        changed.chunks(SETTINGS_TOPICS_MAX).map(|topics| Control::Settings { topics: topics.to_vec() }).collect()
    }
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

    fn settings(retention: &str) -> TopicSettings {
        [("retention.ms".to_owned(), retention.to_owned())].into_iter().collect()
    }

    fn watch() -> SettingsWatch {
        SettingsWatch {
            catalog: Arc::new(MemoryCatalog::new("source")),
            deletions: Arc::default(),
            target: "target".to_owned(),
            control: None,
            known: HashMap::new(),
            renewed: Arc::default(),
        }
    }

    fn names(count: usize) -> Vec<Arc<str>> {
        (0..count).map(|n| Arc::from(format!("t{n:03}"))).collect()
    }

    #[test]
    fn the_settings_of_thousands_of_topics_are_renewed_in_turn() {
        let mut watch = watch();
        let all: Vec<Arc<str>> = (0..2 * RENEWED + 1).map(|n| Arc::from(format!("{n:04}"))).collect();
        assert_eq!(watch.due(&all, true), all, "none is known");
        watch.known.extend(all.iter().skip(1).map(|topic| (Arc::clone(topic), settings("1"))));
        assert_eq!(watch.due(&all, false), all[..1]);
        let mut renewed: Vec<_> = (0..2).flat_map(|_| watch.due(&all, true)).collect();
        assert_eq!(renewed.len(), 2 * (RENEWED + 1));
        renewed.sort();
        renewed.dedup();
        assert_eq!(renewed, all, "each in two turns");
        assert_eq!(watch.due(&all, true)[1], all[1], "from the beginning again");
    }

    #[test]
    fn only_changed_settings_are_announced_in_bounded_messages() {
        let mut watch = watch();
        let topics = names(100);
        let mut take = |carried: &[Arc<str>], retention: &str| {
            let asked = carried.to_vec();
            let mut answers = vec![Ok(settings(retention)); asked.len()];
            answers[0] = Err(KafkaError::unknown_topic("configuration"));
            let messages = watch.handle_answers(carried, asked, Ok(answers));
            let announced = messages.into_iter().map(|message| match message {
                Control::Settings { topics } => topics,
                other => panic!("{other:?}"),
            });
            announced.collect::<Vec<_>>()
        };
        let first = take(&topics, "1");
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [SETTINGS_TOPICS_MAX, 99 - SETTINGS_TOPICS_MAX]);
        assert!(take(&topics, "1").is_empty());
        assert_eq!(take(&topics, "2").concat().len(), 99);
        let gone = take(&topics[..99], "2").concat();
        assert_eq!((gone.len(), gone[0].topic.as_str(), gone[0].settings.len()), (1, "t099", 0));
    }
}
