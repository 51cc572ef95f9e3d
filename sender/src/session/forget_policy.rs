//! Deleted topics that a policy forgets after a time. The receiver keeps since when each is gone, so that a restart of
//! either end does not begin it again. Sans-IO.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use wire::control::GoneTopic;
use wire::hello::{FEATURE_FORGET, FEATURE_GONE_SINCE};

use crate::partitions::deleted_topic::DeletedTopic;
use crate::partitions::policy::Policies;

/// Time after which a request to forget a topic is made again: the receiver has answered by then.
const AGAIN: Duration = Duration::from_secs(60);

/// Topics that are forgotten together: the queue to the receiver is bounded, and so is its work.
const FORGOTTEN_TOGETHER: usize = 16;

/// Times of one session.
#[derive(Default)]
pub(super) struct ForgetPolicy {
    marks: BTreeMap<String, Mark>,
    /// Last mark that was requested of each topic, since lane 0 was opened: true if it is gone.
    requested: BTreeMap<String, bool>,
    /// Last request to forget each topic.
    tried: BTreeMap<String, Instant>,
}

/// Age of a deletion when the receiver stated it.
struct Mark {
    age: Duration,
    at: Instant,
}

/// Requests to the receiver.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    /// Topics to mark as gone.
    pub(super) gone: Vec<String>,
    /// Topics to mark as not gone.
    pub(super) back: Vec<String>,
    /// Topics to forget.
    pub(super) forget: Vec<String>,
}

impl ForgetPolicy {
    /// Starts a session with these `features`; `None` if the receiver does not keep since when topics are gone.
    pub(super) fn start(features: u64, policies: &Policies) -> Option<Self> {
        let needed = FEATURE_FORGET | FEATURE_GONE_SINCE;
        if features & needed == needed {
            return Some(Self::default());
        }
        if policies.forget_any() {
            tracing::warn!("the receiver is older and does not know `policies.forget_after`; upgrade it");
        }
        None
    }

    /// Takes all marks, at the receiver's time `now_ms`.
    pub(super) fn handle_gone_since(&mut self, topics: Vec<GoneTopic>, now_ms: i64, now: Instant) {
        let mark = |one: GoneTopic| {
            // A receiver's clock that was set back makes a deletion young again.
            let age = u64::try_from(now_ms.saturating_sub(one.since)).unwrap_or(0);
            (one.topic, Mark { age: Duration::from_millis(age), at: now })
        };
        self.marks = topics.into_iter().map(mark).collect();
    }

    /// Notes that lane 0 was opened: it may have dropped requests. It tells what it has stored after this, unless that is
    /// nothing.
    pub(super) fn handle_lane_open(&mut self) {
        self.marks.clear();
        self.requested.clear();
    }

    /// Returns the time until a deleted topic is forgotten; `None` without a policy.
    fn remaining(&self, topic: &str, policies: &Policies, now: Instant) -> Option<Duration> {
        let after = policies.forget_after(topic)?;
        let age = self.marks.get(topic).map_or(Duration::ZERO, |mark| mark.age + now.duration_since(mark.at));
        Some(after.saturating_sub(age))
    }

    /// States in `deleted` when each topic is forgotten, and returns what to request now. `is_back` tells of a marked topic
    /// that the source has it, or that the link does not carry it any more.
    pub(super) fn poll(
        &mut self,
        deleted: &mut [DeletedTopic],
        policies: &Policies,
        is_back: impl Fn(&str) -> bool,
        now: Instant,
    ) -> Requests {
        let mut requests = Requests::default();
        for one in deleted {
            let Some(remaining) = self.remaining(&one.topic, policies, now) else { continue };
            one.forgotten_in_seconds = Some(remaining.as_secs());
            if !self.marks.contains_key(&one.topic) {
                if self.requested.insert(one.topic.clone(), true) != Some(true) {
                    requests.gone.push(one.topic.clone());
                }
            } else if remaining.is_zero()
                && requests.forget.len() < FORGOTTEN_TOGETHER
                && self.tried.get(&one.topic).is_none_or(|tried| now.duration_since(*tried) >= AGAIN)
            {
                self.tried.insert(one.topic.clone(), now);
                requests.forget.push(one.topic.clone());
            }
        }
        self.tried.retain(|topic, _| self.marks.contains_key(topic));
        for topic in self.marks.keys().filter(|topic| is_back(topic)) {
            if self.requested.insert(topic.clone(), false) != Some(false) {
                requests.back.push(topic.clone());
            }
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use service::topics::{TopicFilter, TopicPattern};

    use super::*;
    use crate::partitions::policy::Rule;

    const WEEK: Duration = Duration::from_secs(7 * 86_400);
    const MINUTE: Duration = Duration::from_secs(60);

    fn policies() -> Policies {
        let topics = TopicFilter::new(vec![TopicPattern::parse("lab.*").unwrap()], Vec::new());
        Policies(vec![Rule { topics, policy: Vec::new(), forget_after: Some(WEEK) }])
    }

    fn deleted(topic: &str) -> Vec<DeletedTopic> {
        vec![DeletedTopic { topic: topic.to_owned(), positions: 1, forgotten_in_seconds: None }]
    }

    /// Marks of one topic that is gone for this time.
    fn gone_for(age: Duration) -> Vec<GoneTopic> {
        vec![GoneTopic { topic: "lab.a".to_owned(), since: NOW - age.as_millis() as i64 }]
    }

    const NOW: i64 = 1_700_000_000_000;

    fn requests(gone: &[&str], back: &[&str], forget: &[&str]) -> Requests {
        let owned = |topics: &[&str]| topics.iter().map(ToString::to_string).collect();
        Requests { gone: owned(gone), back: owned(back), forget: owned(forget) }
    }

    #[test]
    fn a_topic_is_forgotten_after_its_time_and_not_before() {
        let mut policy = ForgetPolicy::default();
        let now = Instant::now();
        let poll = |policy: &mut ForgetPolicy, now| {
            let mut topics = deleted("lab.a");
            let requests = policy.poll(&mut topics, &policies(), |_| false, now);
            (requests, topics[0].forgotten_in_seconds)
        };
        assert_eq!(poll(&mut policy, now), (requests(&["lab.a"], &[], &[]), Some(WEEK.as_secs())));
        assert_eq!(poll(&mut policy, now).0, Requests::default(), "it was requested");
        policy.handle_lane_open();
        assert_eq!(poll(&mut policy, now).0, requests(&["lab.a"], &[], &[]), "the lane may have dropped it");
        // Stored before this session, by the receiver's clock.
        policy.handle_gone_since(gone_for(WEEK - 2 * MINUTE), NOW, now);
        assert_eq!(poll(&mut policy, now + MINUTE), (Requests::default(), Some(60)));
        assert_eq!(poll(&mut policy, now + 2 * MINUTE), (requests(&[], &[], &["lab.a"]), Some(0)));
        assert_eq!(poll(&mut policy, now + 2 * MINUTE).0, Requests::default(), "it is being forgotten");
        assert_eq!(poll(&mut policy, now + 3 * MINUTE).0, requests(&[], &[], &["lab.a"]), "it was refused");
    }

    #[test]
    fn a_topic_that_came_back_begins_again() {
        let mut policy = ForgetPolicy::default();
        let now = Instant::now();
        policy.handle_gone_since(gone_for(2 * WEEK), NOW, now);
        let back = |policy: &mut ForgetPolicy| policy.poll(&mut [], &policies(), |topic| topic == "lab.a", now);
        assert_eq!(back(&mut policy), requests(&[], &["lab.a"], &[]));
        assert_eq!(back(&mut policy), Requests::default());
        policy.handle_gone_since(Vec::new(), NOW, now);
        let again = policy.poll(&mut deleted("lab.a"), &policies(), |_| false, now);
        assert_eq!(again, requests(&["lab.a"], &[], &[]));
    }

    #[test]
    fn only_topics_with_a_policy_are_forgotten() {
        let mut policy = ForgetPolicy::default();
        let mut topics = deleted("orders");
        assert_eq!(policy.poll(&mut topics, &policies(), |_| false, Instant::now()), Requests::default());
        assert_eq!(topics[0].forgotten_in_seconds, None);
    }

    #[test]
    fn a_clock_that_was_set_back_forgets_later() {
        let mut policy = ForgetPolicy::default();
        let now = Instant::now();
        let since = vec![GoneTopic { topic: "lab.a".to_owned(), since: NOW }];
        policy.handle_gone_since(since, NOW - 1_000_000, now);
        assert_eq!(policy.remaining("lab.a", &policies(), now), Some(WEEK));
    }
}
