//! What a link knows of the settings of its topics at both ends, and when it looks at each again. Sans-IO.
//!
//! It outlives sessions, so that a setting that was removed at the source meanwhile is removed at the target, too. It does
//! not outlive the process: a value that was removed while the receiver was down stays in the target.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::KafkaError;
use kafka::catalog::ConfigEntry;
use kafka::topic_settings::COPIED;
use service::lock::Lock;
use tokio::time::Instant;
use wire::control::TopicSettings as Announced;

use super::change::Outcome;
use super::rule::{Change, FollowConfigs, Own, Plan};
use crate::link::announced::Room;

/// Time after an announcement in which those of other topics arrive.
const QUIET: Duration = Duration::from_millis(100);
/// Interval between two looks at a topic of the target, whose settings an operator may have changed.
const INTERVAL: Duration = Duration::from_secs(60);
/// First wait before a topic is looked at again that is not open yet, or whose changes the target refuses or cannot make.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest wait after a failure, and after a refusal: an operator must act.
const WAIT_MAX: Duration = Duration::from_secs(60);
const REFUSED_WAIT_MAX: Duration = Duration::from_secs(600);
/// Most topics that are looked at together.
const TOPICS_MAX: usize = 500;
/// Most settings that status names.
const NAMED_MAX: usize = 100;

/// Following of one link.
#[derive(Debug, Default)]
pub(crate) struct Following(pub(crate) Lock<Follower>);

#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// Topics by their source names.
    topics: BTreeMap<String, Topic>,
    /// Number of the present session.
    session: u64,
    /// Number of the last announcement.
    revision: u64,
    /// Settings that were changed since the process started.
    changed: u64,
}

/// Topic to look at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) source: String,
    pub(crate) target: String,
    /// Number of the announcement that the look is about.
    revision: u64,
}

/// Topic with the settings that its source topic has.
#[derive(Debug)]
struct Topic {
    target: String,
    source: Own,
    /// Values that the target topic has from the source, as last seen.
    brought: Own,
    /// Values that the target accepts in place of the source's.
    nearest: Own,
    /// Changes that `safe` withholds, each with a sentence.
    withheld: BTreeMap<&'static str, String>,
    /// Settings that the target refuses, each with a sentence.
    refused: BTreeMap<&'static str, String>,
    /// Reason why none of its changes can be made now.
    failed: Option<String>,
    /// Time at which it is looked at next; `None` if it has no setting to follow.
    due: Option<Instant>,
    wait: Duration,
    session: u64,
    /// Number of its announcement.
    revision: u64,
    _room: Room,
}

/// Settings of source topics that are announced, and the name of the target topic.
pub(crate) struct Announcement {
    pub(crate) target: String,
    pub(crate) announced: Announced,
    pub(crate) room: Room,
}

impl Follower {
    pub(crate) fn begin_session(&mut self) {
        self.session += 1;
    }

    /// Forgets the topics that the ended session did not announce.
    pub(crate) fn end_session(&mut self) {
        let session = self.session;
        self.topics.retain(|_, topic| topic.session == session);
    }

    pub(crate) fn handle_announced(&mut self, announcement: Announcement, now: Instant) {
        let Announcement { target, announced: Announced { topic, settings }, room } = announcement;
        let known = |name: &str| COPIED.iter().find(|known| **known == name);
        let source: Own = settings.into_iter().filter_map(|one| Some((*known(&one.name)?, one.value))).collect();
        let before = self.topics.remove(&topic);
        let (brought, nearest) = before.map(|before| before.kept(&source)).unwrap_or_default();
        self.revision += 1;
        let is_bare = source.is_empty() && brought.is_empty();
        let entry = Topic {
            target,
            source,
            brought,
            nearest,
            withheld: BTreeMap::new(),
            refused: BTreeMap::new(),
            failed: None,
            due: (!is_bare).then(|| now + QUIET),
            wait: WAIT_MIN,
            session: self.session,
            revision: self.revision,
            _room: room,
        };
        self.topics.insert(topic, entry);
    }

    /// Forgets a topic that is not carried any more.
    pub(crate) fn handle_gone(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.topics.values().filter_map(|topic| topic.due).min()
    }

    /// Returns the topics to look at now. One that is not `open` waits: its target may be another one's.
    pub(crate) fn poll_topics(&mut self, now: Instant, open: impl Fn(&str) -> bool) -> Vec<Due> {
        let due = self.topics.iter_mut().filter(|(_, topic)| topic.due.is_some_and(|due| due <= now));
        let mut polled = Vec::new();
        for (name, topic) in due {
            if open(name) && polled.len() < TOPICS_MAX {
                topic.due = Some(now + INTERVAL);
                let Topic { target, revision, .. } = &*topic;
                polled.push(Due { source: name.clone(), target: target.clone(), revision: *revision });
            } else if !open(name) {
                topic.wait_again(now, WAIT_MAX);
            }
        }
        polled
    }

    /// Plans the changes of a topic whose target has these entries.
    pub(crate) fn plan(
        &mut self,
        due: &Due,
        target: Result<Vec<ConfigEntry>, KafkaError>,
        follow: FollowConfigs,
        now: Instant,
    ) -> Vec<Change> {
        let Some(topic) = self.topics.get_mut(&due.source) else { return Vec::new() };
        match target {
            Ok(entries) => {
                let Plan { changes, withheld } = Plan::new(&topic.wanted(), &topic.brought, &entries, follow);
                topic.note_brought(&entries);
                topic.withheld = withheld.iter().map(|change| topic.withheld_sentence(change)).collect();
                if changes.is_empty() {
                    topic.refused.clear();
                    topic.failed = None;
                }
                changes
            }
            Err(error) => {
                // A topic that is being created has no settings yet.
                topic.note_failure((!error.is_unknown_topic()).then_some(error.reason));
                topic.wait_again(now, WAIT_MAX);
                Vec::new()
            }
        }
    }

    /// Takes what became of a topic's changes.
    pub(crate) fn handle_outcome(&mut self, due: &Due, outcome: Outcome, now: Instant) {
        self.changed += outcome.made.len() as u64;
        let Some(topic) = self.topics.get_mut(&due.source) else { return };
        outcome.made.iter().for_each(|change| topic.note_made(change));
        if topic.revision != due.revision {
            // The source's settings have changed meanwhile: what the target said is not about the new ones.
            return;
        }
        topic.nearest.extend(outcome.nearest);
        let refused = outcome.refused.iter().map(|(name, reason)| topic.refused_sentence(name, reason));
        let refused: BTreeMap<_, _> = refused.collect();
        for sentence in refused.iter().filter(|(name, now)| topic.refused.get(*name) != Some(*now)).map(|(_, now)| now)
        {
            tracing::warn!(topic = topic.target, "the target refuses a setting of the source: {sentence}");
        }
        topic.refused = refused;
        match &outcome.failed {
            Some(error) if error.is_unanswered() => topic.wait_again(now, WAIT_MAX),
            Some(_) => topic.wait_again(now, REFUSED_WAIT_MAX),
            None if !topic.refused.is_empty() => topic.wait_again(now, REFUSED_WAIT_MAX),
            None => topic.wait = WAIT_MIN,
        }
        topic.note_failure(outcome.failed.map(|error| error.reason));
    }
}

impl Topic {
    /// The settings that the target should have: the source's, or the nearest that it accepts.
    fn wanted(&self) -> Own {
        self.source.iter().map(|(name, value)| (*name, self.nearest.get(name).unwrap_or(value).clone())).collect()
    }

    /// Returns what stays known once the source has these settings: the values in the target that came from the source, and
    /// replaced values of settings that are the same.
    fn kept(self, source: &Own) -> (Own, Own) {
        let Self { source: before, brought, mut nearest, .. } = self;
        nearest.retain(|name, _| source.get(name) == before.get(name));
        (brought, nearest)
    }

    /// Notes which values of the target are those of the source.
    fn note_brought(&mut self, target: &[ConfigEntry]) {
        let wanted = self.wanted();
        for entry in target.iter().filter(|entry| entry.set_on_topic) {
            if let Some((name, value)) = wanted.get_key_value(entry.name.as_str())
                && *value == entry.value
            {
                self.brought.insert(name, value.clone());
            }
        }
    }

    fn note_made(&mut self, change: &Change) {
        let Change { name, from, to } = change;
        let shown = to.as_deref().unwrap_or("inherited");
        tracing::info!(topic = self.target, setting = name, from, to = shown, "setting changed as at the source");
        match to {
            Some(value) => drop(self.brought.insert(name, value.clone())),
            None => drop(self.brought.remove(name)),
        }
    }

    /// Returns a sentence for each setting that is not as at the source.
    fn unlike(&self) -> impl Iterator<Item = String> {
        let nearest = self.nearest.iter().map(|(name, value)| self.nearest_sentence(name, value));
        let others = self.withheld.values().chain(self.refused.values()).cloned();
        nearest.chain(others).map(|sentence| format!("{}: {sentence}", self.target))
    }

    fn wait_again(&mut self, now: Instant, most: Duration) {
        self.due = Some(now + self.wait);
        self.wait = (self.wait * 2).min(most);
    }

    /// Takes the reason why no setting can be changed now, and logs one that is new.
    fn note_failure(&mut self, reason: Option<String>) {
        if reason.is_some() && reason != self.failed {
            let reason = reason.as_deref().unwrap_or_default();
            tracing::warn!(topic = self.target, reason, "settings do not follow the source's");
        }
        self.failed = reason;
    }

    fn at_source(&self, name: &str) -> &str {
        self.source.get(name).map_or("not set", String::as_str)
    }

    fn nearest_sentence(&self, name: &str, value: &str) -> String {
        format!("{name} is {value}, at the source {}: the nearest that the target accepts", self.at_source(name))
    }

    fn withheld_sentence(&self, change: &Change) -> (&'static str, String) {
        let Change { name, from, .. } = change;
        let source = self.at_source(name);
        (name, format!("{name} stays {from}, at the source {source}: `safe` does not follow it"))
    }

    fn refused_sentence(&self, name: &'static str, reason: &str) -> (&'static str, String) {
        let source = self.at_source(name);
        (name, format!("{name} is {source} at the source, and the target refuses that: {reason}"))
    }
}

impl Following {
    /// Returns a sentence for each setting that is not as at the source, at most a hundred.
    pub(crate) fn unlike(&self) -> Vec<String> {
        let follower = self.0.lock();
        follower.topics.values().flat_map(Topic::unlike).take(NAMED_MAX).collect()
    }

    /// Returns the number of settings that were changed since the process started.
    pub(crate) fn changed(&self) -> u64 {
        self.0.lock().changed
    }

    /// Returns the number of topics whose settings cannot be changed.
    pub(crate) fn failing(&self) -> usize {
        self.0.lock().topics.values().filter(|topic| topic.failed.is_some()).count()
    }

    /// Returns what an operator must know.
    pub(crate) fn trouble(&self) -> Option<String> {
        let follower = self.0.lock();
        let mut failing = follower.topics.values().filter_map(|topic| Some((topic, topic.failed.as_ref()?)));
        let (first, reason) = failing.next()?;
        let others = failing.count();
        let target = &first.target;
        Some(format!("settings do not follow the source's: {target} and {others} other topics: {reason}"))
    }

    /// Forgets everything: the link does not follow any more.
    pub(crate) fn clear(&self) {
        self.0.lock().topics.clear();
    }
}

#[cfg(test)]
mod tests {
    use kafka::KafkaFault;
    use wire::control::TopicConfig;

    use super::*;

    fn announcement(settings: &[(&str, &str)]) -> Announcement {
        let one = |&(name, value): &(&str, &str)| TopicConfig { name: name.into(), value: value.into() };
        let settings = settings.iter().map(one).collect();
        Announcement {
            target: "fra.orders".to_owned(),
            announced: Announced { topic: "orders".to_owned(), settings },
            room: crate::link::announced::Announced::new(1).take(1).unwrap(),
        }
    }

    fn entry(name: &str, value: &str) -> ConfigEntry {
        let inherited = Some("1".to_owned());
        ConfigEntry { name: name.into(), value: value.into(), set_on_topic: true, inherited }
    }

    /// Looks at the topic once it is due, with these entries in the target. Returns the time, and the changes.
    fn look(follower: &mut Follower, entries: &[ConfigEntry], follow: FollowConfigs) -> (Instant, Vec<Change>) {
        let now = follower.next_timeout().unwrap();
        let due = follower.poll_topics(now, |_| true).pop().unwrap();
        assert_eq!((due.source.as_str(), due.target.as_str()), ("orders", "fra.orders"));
        (now, follower.plan(&due, Ok(entries.to_vec()), follow, now))
    }

    /// Takes what became of the topic's changes.
    fn take(follower: &mut Follower, outcome: Outcome, now: Instant) {
        let due = Due { source: "orders".to_owned(), target: "fra.orders".to_owned(), revision: follower.revision };
        follower.handle_outcome(&due, outcome, now);
    }

    fn all(follower: &mut Follower, entries: &[ConfigEntry]) -> (Instant, Vec<Change>) {
        look(follower, entries, FollowConfigs::All)
    }

    fn failure(fault: KafkaFault) -> Outcome {
        let failed = Some(KafkaError { doing: "change".into(), reason: "denied".into(), fault });
        Outcome { failed, ..Outcome::default() }
    }

    #[test]
    fn a_removed_setting_is_removed_after_a_reconnect_too() {
        let mut follower = Follower::default();
        follower.begin_session();
        let start = Instant::now();
        follower.handle_announced(announcement(&[("retention.ms", "7")]), start);
        assert!(all(&mut follower, &[entry("retention.ms", "7")]).1.is_empty(), "it was copied at creation");
        // The source's value has changed, and `safe` does not follow.
        follower.handle_announced(announcement(&[("retention.ms", "5")]), start);
        assert!(look(&mut follower, &[entry("retention.ms", "7")], FollowConfigs::Safe).1.is_empty());
        follower.end_session();
        follower.begin_session();
        follower.handle_announced(announcement(&[]), start);
        let (now, changes) = all(&mut follower, &[entry("retention.ms", "7")]);
        assert_eq!(changes, [Change { name: "retention.ms", from: "7".into(), to: None }]);
        take(&mut follower, Outcome { made: changes, ..Outcome::default() }, now);
        let own = [entry("retention.ms", "7")];
        assert!(all(&mut follower, &own).1.is_empty(), "an operator has set it since");
        follower.end_session();
        follower.begin_session();
        follower.end_session();
        assert!(follower.topics.is_empty(), "this session has not announced it");
    }

    #[test]
    fn a_topic_without_settings_of_its_own_is_never_asked_for() {
        let mut follower = Follower::default();
        follower.handle_announced(announcement(&[]), Instant::now());
        assert_eq!(follower.next_timeout(), None);
        follower.handle_announced(announcement(&[("min.insync.replicas", "2")]), Instant::now());
        assert_eq!(follower.next_timeout(), None, "each cluster has its own");
    }

    #[test]
    fn a_topic_that_is_not_open_is_left_alone() {
        let mut follower = Follower::default();
        let now = Instant::now();
        follower.handle_announced(announcement(&[("retention.ms", "7")]), now);
        assert!(follower.poll_topics(now + QUIET, |_| false).is_empty());
        assert_eq!(follower.next_timeout(), Some(now + QUIET + WAIT_MIN));
        follower.handle_gone("orders");
        assert_eq!(follower.next_timeout(), None);
    }

    #[test]
    fn refusals_are_named_and_tried_again_less_and_less_often() {
        let following = Following::default();
        let mut waits = Vec::new();
        let start = Instant::now();
        following.0.lock().handle_announced(announcement(&[("retention.ms", "7")]), start);
        for _ in 0..14 {
            let mut follower = following.0.lock();
            let (now, changes) = all(&mut follower, &[entry("retention.ms", "9")]);
            assert_eq!(changes.len(), 1);
            take(&mut follower, failure(KafkaFault::Unauthorized), now);
            waits.push(follower.next_timeout().unwrap() - now);
        }
        assert!(waits[0] == WAIT_MIN && waits[13] == REFUSED_WAIT_MAX, "{waits:?}");
        let trouble = following.trouble().unwrap();
        assert_eq!(trouble, "settings do not follow the source's: fra.orders and 0 other topics: denied");
        // A new value is tried immediately.
        let mut follower = following.0.lock();
        follower.handle_announced(announcement(&[("retention.ms", "8")]), start);
        assert_eq!(follower.next_timeout(), Some(start + QUIET));
        let (now, _) = all(&mut follower, &[entry("retention.ms", "9")]);
        take(&mut follower, failure(KafkaFault::Unavailable), now);
        assert_eq!(follower.next_timeout(), Some(now + WAIT_MIN));
        let (now, _) = all(&mut follower, &[entry("retention.ms", "9")]);
        let reason = "Invalid value".to_owned();
        let refused = [("retention.ms", reason)].into();
        take(&mut follower, Outcome { refused, ..Outcome::default() }, now);
        drop(follower);
        assert_eq!(following.trouble(), None);
        let expected = "fra.orders: retention.ms is 8 at the source, and the target refuses that: Invalid value";
        assert_eq!(following.unlike(), [expected]);
    }

    #[test]
    fn a_value_that_the_target_replaced_is_not_asked_for_again() {
        let following = Following::default();
        let start = Instant::now();
        following.0.lock().handle_announced(announcement(&[("segment.bytes", "7")]), start);
        let (now, changes) = all(&mut following.0.lock(), &[entry("segment.bytes", "2000")]);
        let nearest = [("segment.bytes", "1000".to_owned())].into();
        let made = vec![Change { to: Some("1000".to_owned()), ..changes[0].clone() }];
        take(&mut following.0.lock(), Outcome { made, nearest, ..Outcome::default() }, now);
        let expected = "fra.orders: segment.bytes is 1000, at the source 7: the nearest that the target accepts";
        assert_eq!(following.unlike(), [expected]);
        assert_eq!(following.changed(), 1);
        assert!(all(&mut following.0.lock(), &[entry("segment.bytes", "1000")]).1.is_empty());
        assert_eq!(following.unlike(), [expected]);
        // Removed at the source: what the link has set is removed.
        following.0.lock().handle_announced(announcement(&[]), start);
        let (_, changes) = all(&mut following.0.lock(), &[entry("segment.bytes", "1000")]);
        assert_eq!(changes[0].to, None);
        assert!(following.unlike().is_empty());
    }

    #[test]
    fn an_answer_about_earlier_settings_is_not_about_later_ones() {
        let mut follower = Follower::default();
        let now = Instant::now();
        follower.handle_announced(announcement(&[("segment.bytes", "7")]), now);
        let due = follower.poll_topics(now + QUIET, |_| true).pop().unwrap();
        follower.handle_announced(announcement(&[("segment.bytes", "5000")]), now);
        let nearest = [("segment.bytes", "1000".to_owned())].into();
        follower.handle_outcome(&due, Outcome { nearest, ..Outcome::default() }, now);
        let (_, changes) = all(&mut follower, &[entry("segment.bytes", "1000")]);
        assert_eq!(changes[0].to.as_deref(), Some("5000"));
    }

    #[test]
    fn what_safe_withholds_is_named() {
        let following = Following::default();
        following.0.lock().handle_announced(announcement(&[("retention.ms", "7")]), Instant::now());
        let (_, changes) = look(&mut following.0.lock(), &[entry("retention.ms", "9")], FollowConfigs::Safe);
        assert!(changes.is_empty());
        let expected = "fra.orders: retention.ms stays 9, at the source 7: `safe` does not follow it";
        assert_eq!(following.unlike(), [expected]);
    }
}
