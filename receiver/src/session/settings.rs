//! Comparison of the settings of topics at both ends: the sender announces those of the source, the target is asked
//! soon after each announcement and once a minute. [`Comparison`] decides what to ask and is sans-IO.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka::KafkaError;
use kafka::catalog::{Answers, Catalog};
use kafka::topic_settings::{self, TopicSettings, WeakerSetting};
use service::topics::{TopicFilter, check_kafka_name};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::close::Close;
use wire::control::{TopicConfig, TopicSettings as Announced};

use crate::config::Rename;
use crate::link::announced::{Room, text_bytes};
use crate::link::weaker::Compared;
use crate::link::{LinkSettings, ServedLink};

/// Interval between two comparisons of all topics.
const INTERVAL: Duration = Duration::from_secs(60);
/// Time after an announcement in which its target topics appear, mostly. Later ones are asked for less and less often.
const SOON: Duration = Duration::from_secs(2);
/// Memory of a topic's settings besides their texts: entries in up to four maps. Each setting is in one more.
const ENTRY_BYTES: usize = 512;

/// Comparison of one session; dropping it ends it, and the link shows nothing of it any more.
pub(super) struct SettingsCheck {
    /// The link's allowance for announcements bounds it.
    queue: mpsc::UnboundedSender<Vec<(Announced, Room)>>,
    link: Arc<ServedLink>,
    _task: JoinSet<()>,
}

impl Drop for SettingsCheck {
    fn drop(&mut self) {
        self.link.weaker.clear();
    }
}

impl SettingsCheck {
    pub(super) fn start(link: &Arc<ServedLink>, settings: &LinkSettings) -> Self {
        let (queue, queued) = mpsc::unbounded_channel();
        let comparison = Comparison::new(settings, Instant::now());
        let mut task = JoinSet::new();
        task.spawn(run(comparison, Arc::clone(link), queued));
        Self { queue, link: Arc::clone(link), _task: task }
    }

    pub(super) fn handle(&self, topics: Vec<Announced>) -> Result<(), Close> {
        let charged = topics.into_iter().map(|mut one| {
            one.settings.retain(|setting| topic_settings::NAMES.contains(&setting.name.as_str()));
            one.settings.shrink_to_fit();
            let bytes = |one: &TopicConfig| ENTRY_BYTES / 4 + text_bytes(&one.name) + text_bytes(&one.value);
            let settings = one.settings.iter().map(bytes).sum::<usize>();
            let room = self.link.announced.take(ENTRY_BYTES + text_bytes(&one.topic) + settings)?;
            Ok((one, room))
        });
        let _ = self.queue.send(charged.collect::<Result<_, Close>>()?);
        Ok(())
    }
}

async fn run(
    mut comparison: Comparison,
    link: Arc<ServedLink>,
    mut queue: mpsc::UnboundedReceiver<Vec<(Announced, Room)>>,
) {
    loop {
        tokio::select! {
            topics = queue.recv() => match topics {
                Some(topics) => comparison.handle_announced(topics, Instant::now()),
                None => return,
            },
            () = tokio::time::sleep_until(comparison.next_timeout()) => {
                let topics = comparison.poll_topics(Instant::now());
                if topics.is_empty() {
                    continue;
                }
                let catalog: Arc<dyn Catalog> = Arc::clone(&link.catalog);
                let names: Vec<_> = topics.iter().map(|topic| comparison.target(topic)).collect();
                let answers = link.blocking.run(move || catalog.settings(&names)).await;
                let Some(answers) = answers else { return };
                comparison.handle_answers(topics, answers, Instant::now());
                link.weaker.set(comparison.compared());
            }
        }
    }
}

/// Announced settings, and those of their target topics that are weaker.
struct Comparison {
    allowed: TopicFilter,
    rename: Rename,
    /// Settings by source topic, and their memory.
    source: BTreeMap<String, (TopicSettings, Room)>,
    /// Source topics that were not compared since they were announced.
    pending: BTreeSet<String>,
    weaker: BTreeMap<String, Vec<WeakerSetting>>,
    /// Source topics whose target's settings could not be read, with the reason.
    unread: BTreeMap<String, String>,
    /// Wait before pending topics are compared again.
    wait: Duration,
    pending_due: Instant,
    all_due: Instant,
}

impl Comparison {
    fn new(settings: &LinkSettings, now: Instant) -> Self {
        Self {
            allowed: settings.topics.clone(),
            rename: settings.rename.clone(),
            source: BTreeMap::new(),
            pending: BTreeSet::new(),
            weaker: BTreeMap::new(),
            unread: BTreeMap::new(),
            wait: SOON,
            pending_due: now,
            all_due: now + INTERVAL,
        }
    }

    fn target(&self, topic: &str) -> String {
        self.rename.apply(topic)
    }

    /// Takes the settings of source topics. Those without any are not carried any more.
    fn handle_announced(&mut self, topics: Vec<(Announced, Room)>, now: Instant) {
        for (Announced { topic, settings }, room) in topics {
            // A name that Kafka refuses would spoil the answers about all others.
            let may_exist = check_kafka_name(&self.target(&topic)).is_ok();
            if settings.is_empty() || !self.allowed.matches(&topic) || !may_exist {
                self.source.remove(&topic);
                self.pending.remove(&topic);
                self.weaker.remove(&topic);
                self.unread.remove(&topic);
                continue;
            }
            if self.pending.is_empty() {
                self.wait = SOON;
                self.pending_due = now + SOON;
            }
            let settings = settings.into_iter().map(|one| (one.name, one.value)).collect();
            self.source.insert(topic.clone(), (settings, room));
            self.pending.insert(topic);
        }
    }

    fn next_timeout(&self) -> Instant {
        if self.pending.is_empty() { self.all_due } else { self.all_due.min(self.pending_due) }
    }

    /// Returns the source topics to compare now.
    fn poll_topics(&mut self, now: Instant) -> Vec<String> {
        if now >= self.all_due {
            self.all_due = now + INTERVAL;
            return self.source.keys().cloned().collect();
        }
        if now < self.pending_due {
            return Vec::new();
        }
        self.pending.iter().cloned().collect()
    }

    /// Takes the settings of the targets of these source topics. A target topic that does not exist yet is compared later.
    fn handle_answers(&mut self, topics: Vec<String>, answers: Answers<TopicSettings>, now: Instant) {
        self.pending_due = now + self.wait;
        self.wait = (self.wait * 2).min(INTERVAL);
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); topics.len()],
        };
        for (topic, answer) in topics.into_iter().zip(answers) {
            let Some((source, _)) = self.source.get(&topic) else { continue };
            self.unread.remove(&topic);
            match answer {
                Ok(target) => {
                    self.pending.remove(&topic);
                    match target.weaker_than(source) {
                        none if none.is_empty() => drop(self.weaker.remove(&topic)),
                        weaker => drop(self.weaker.insert(topic, weaker)),
                    }
                }
                Err(error) if error.is_unknown_topic() => drop(self.weaker.remove(&topic)),
                Err(KafkaError { reason, .. }) => drop(self.unread.insert(topic, reason)),
            }
        }
    }

    fn compared(&self) -> Compared {
        let weaker = self.weaker.iter().map(|(topic, weaker)| (self.target(topic), weaker.clone())).collect();
        let unread = self.unread.values().next().map(|first| (self.unread.len(), first.clone()));
        Compared { weaker, unread }
    }
}

#[cfg(test)]
mod tests {
    use kafka::KafkaFault;
    use service::topics::TopicPattern;

    use super::*;

    fn comparison(now: Instant) -> Comparison {
        let settings = LinkSettings {
            topics: TopicFilter::new(vec![TopicPattern::parse("a.*").unwrap()], vec![]),
            rename: Rename::prefix("fra."),
            ..LinkSettings::default()
        };
        Comparison::new(&settings, now)
    }

    fn announced(topic: &str, retention: Option<&str>) -> (Announced, Room) {
        let settings = retention.map(|value| TopicConfig { name: "retention.ms".into(), value: value.into() });
        let room = crate::link::announced::Announced::new(1).take(1).unwrap();
        (Announced { topic: topic.into(), settings: settings.into_iter().collect() }, room)
    }

    fn answer(retention: &str) -> Result<TopicSettings, KafkaError> {
        Ok([("retention.ms".to_owned(), retention.to_owned())].into_iter().collect())
    }

    #[test]
    fn changes_at_either_end_are_seen_within_a_minute() {
        let start = Instant::now();
        let mut comparison = comparison(start);
        comparison.handle_announced(vec![announced("a", Some("-1")), announced("other", Some("-1"))], start);
        assert_eq!(comparison.next_timeout(), start + SOON);
        let topics = comparison.poll_topics(start + SOON);
        assert_eq!(topics, ["a"], "the link may not carry the other one");
        comparison.handle_answers(topics, Ok(vec![answer("60000")]), start + SOON);
        let weaker = comparison.compared().weaker;
        assert_eq!(weaker["fra.a"][0].to_string(), "retention.ms is 60000, at the source -1");
        // Changed at the target: the next comparison of all topics.
        assert_eq!(comparison.next_timeout(), start + INTERVAL);
        let topics = comparison.poll_topics(start + INTERVAL);
        comparison.handle_answers(topics, Ok(vec![answer("-1")]), start + INTERVAL);
        assert!(comparison.compared().weaker.is_empty());
        // Changed at the source: the sender announces it.
        let later = start + INTERVAL + SOON;
        comparison.handle_announced(vec![announced("a", Some("1"))], later);
        assert_eq!(comparison.next_timeout(), later + SOON);
        let topics = comparison.poll_topics(later + SOON);
        comparison.handle_answers(topics, Ok(vec![answer("0")]), later + SOON);
        assert_eq!(comparison.compared().weaker.len(), 1);
        comparison.handle_announced(vec![announced("a", None)], later + SOON);
        assert_eq!(comparison.compared(), Compared::default(), "it is not carried any more");
    }

    #[test]
    fn topics_that_do_not_exist_yet_are_asked_for_less_often() {
        let mut now = Instant::now();
        let mut comparison = comparison(now);
        comparison.handle_announced(vec![announced("a", Some("-1")), announced("ab", Some("-1"))], now);
        let mut waits = Vec::new();
        for _ in 0..6 {
            let due = comparison.next_timeout();
            waits.push(due - now);
            now = due;
            let topics = comparison.poll_topics(now);
            let denied = KafkaError { doing: "ask".into(), reason: "denied".into(), fault: KafkaFault::Unauthorized };
            comparison.handle_answers(topics, Ok(vec![Err(KafkaError::unknown_topic("a")), Err(denied)]), now);
        }
        assert!(waits[0] == SOON && waits.iter().all(|wait| *wait <= INTERVAL), "{waits:?}");
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]) || waits.iter().sum::<Duration>() >= INTERVAL);
        assert_eq!(comparison.compared().unread, Some((1, "denied".to_owned())), "a missing topic is not unread");
    }
}
