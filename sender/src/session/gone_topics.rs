//! Topics with stored positions that the source no longer has: one trouble per topic, until it comes back, leaves the
//! filter or is forgotten. Sans-IO.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use service::topics::TopicFilter;
use tokio::sync::oneshot;
use wire::control::OrphanedTopic;
use wire::limits::TOPICS_NAMED_MAX;

use crate::partitions::deleted_topic::DeletedTopic;
use crate::partitions::lane_partitions::SourceTopic;

/// Answer to an operator.
type Answer = oneshot::Sender<Result<String, String>>;

/// Topics of one session that are gone from the source.
#[derive(Default)]
pub(super) struct GoneTopics {
    /// Topics that were offered in this session and have vanished, with the number of their partitions.
    vanished: BTreeMap<Arc<str>, u32>,
    /// Topics that the receiver reports as orphaned; `None` if it does not report them.
    reported: Option<BTreeMap<String, u32>>,
    /// Number of orphaned topics that its report does not name.
    others: u32,
    /// Operators who wait for a topic to be forgotten.
    waiting: BTreeMap<String, Answer>,
    /// Topics that are logged.
    logged: BTreeSet<String>,
}

impl GoneTopics {
    /// Starts a session. The receiver `reports` orphaned topics if it knows how to.
    pub(super) fn new(reports: bool) -> Self {
        Self { reported: reports.then(BTreeMap::new), ..Self::default() }
    }

    /// Takes a listing of the source: of `offered` topics, with their partitions, those that it lacks have vanished.
    /// Returns the newly vanished.
    pub(super) fn handle_topics(&mut self, topics: &[SourceTopic], offered: BTreeMap<Arc<str>, u32>) -> Vec<Arc<str>> {
        let present: BTreeSet<_> = topics.iter().map(|topic| &topic.name).collect();
        self.vanished.retain(|topic, _| !present.contains(topic));
        let missing = offered.into_iter().filter(|(topic, _)| !present.contains(topic));
        let new: Vec<_> = missing.filter(|(topic, _)| !self.vanished.contains_key(topic)).collect();
        self.vanished.extend(new.iter().cloned());
        new.into_iter().map(|(topic, _)| topic).collect()
    }

    /// Takes a report of the receiver, which names all orphaned topics except `others`.
    pub(super) fn handle_report(&mut self, topics: Vec<OrphanedTopic>, others: u32) {
        self.others = others;
        self.reported = Some(topics.into_iter().map(|orphaned| (orphaned.topic, orphaned.positions)).collect());
    }

    /// Returns the topics that match the filter, have positions and do not exist. Topics that left the filter are no
    /// trouble.
    pub(super) fn deleted(&self, filter: &TopicFilter, topics: &[SourceTopic]) -> Vec<DeletedTopic> {
        let present: BTreeSet<&str> = topics.iter().map(|topic| &*topic.name).collect();
        let mut known = self.reported.clone().unwrap_or_default();
        if self.reported.is_none() || self.others > 0 {
            let local = self.vanished.iter().map(|(topic, &partitions)| (topic.to_string(), partitions));
            local.for_each(|(topic, partitions)| _ = known.entry(topic).or_insert(partitions));
        }
        let deleted = known.into_iter().filter(|(topic, _)| filter.matches(topic) && !present.contains(&**topic));
        deleted
            .map(|(topic, positions)| DeletedTopic { topic, positions, forgotten_in_seconds: None })
            .take(TOPICS_NAMED_MAX)
            .collect()
    }

    /// Logs the deleted topics that were not logged before, in one line.
    pub(super) fn report(&mut self, deleted: &[DeletedTopic]) {
        self.logged.retain(|topic| deleted.iter().any(|one| one.topic == *topic));
        let new: Vec<_> = deleted.iter().filter(|one| self.logged.insert(one.topic.clone())).collect();
        if let Some(first) = new.first() {
            tracing::warn!(topics = new.len(), first = first.topic, "{}", DeletedTopic::SENTENCE);
        }
    }

    /// Returns whether a request to forget this topic waits already.
    pub(super) fn is_waiting(&self, topic: &str) -> bool {
        self.waiting.contains_key(topic)
    }

    pub(super) fn handle_request(&mut self, topic: String, answer: Answer) {
        self.waiting.insert(topic, answer);
    }

    /// Handles the receiver's answer to a request.
    pub(super) fn handle_forgotten(&mut self, topic: &str, positions: u32, refused: &str) {
        let outcome = match (positions, refused) {
            (0, "") => Err(format!("no position of {topic} is stored")),
            (_, "") => Ok(format!("{topic}: {positions} positions dropped; a topic of this name is a new one")),
            (_, refused) => Err(format!("{topic}: {refused}; {positions} positions dropped, repeat the command")),
        };
        if refused.is_empty()
            && let Some(reported) = &mut self.reported
        {
            reported.remove(topic);
        }
        if let Some(answer) = self.waiting.remove(topic) {
            // The operator may have gone.
            let _ = answer.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use service::topics::TopicPattern;
    use wire::ids::TopicId;

    use super::*;
    use crate::source::origins::TopicOrigin;

    fn filter() -> TopicFilter {
        TopicFilter::new(vec![TopicPattern::parse("lab.*").unwrap()], Vec::new())
    }

    fn topic(name: &str) -> SourceTopic {
        SourceTopic { name: name.into(), id: TopicId([1; 16]), partitions: 2, origin: TopicOrigin::Own, unsure: false }
    }

    fn offered(topics: &[&str]) -> BTreeMap<Arc<str>, u32> {
        topics.iter().map(|&topic| (topic.into(), 2)).collect()
    }

    fn names(deleted: &[DeletedTopic]) -> Vec<&str> {
        deleted.iter().map(|one| one.topic.as_str()).collect()
    }

    fn orphaned(topic: &str) -> OrphanedTopic {
        OrphanedTopic { topic: topic.to_owned(), positions: 3 }
    }

    #[test]
    fn a_deleted_topic_is_noticed_once_and_ends_when_it_returns() {
        let mut gone = GoneTopics::new(false);
        let both = offered(&["lab.a", "lab.b"]);
        assert!(gone.handle_topics(&[topic("lab.a"), topic("lab.b")], both.clone()).is_empty());
        assert_eq!(gone.handle_topics(&[topic("lab.a")], both.clone()), ["lab.b".into()]);
        assert!(gone.handle_topics(&[topic("lab.a")], both.clone()).is_empty());
        assert_eq!(names(&gone.deleted(&filter(), &[topic("lab.a")])), ["lab.b"]);
        assert!(gone.handle_topics(&[topic("lab.a"), topic("lab.b")], both).is_empty());
        assert!(gone.deleted(&filter(), &[topic("lab.a"), topic("lab.b")]).is_empty());
    }

    #[test]
    fn only_reported_topics_of_the_filter_are_trouble() {
        let mut gone = GoneTopics::new(true);
        gone.handle_topics(&[], offered(&["lab.a"]));
        assert!(gone.deleted(&filter(), &[]).is_empty(), "no position of it was ever stored");
        gone.handle_report(vec![orphaned("lab.a"), orphaned("lab.back"), orphaned("old")], 0);
        let deleted = gone.deleted(&filter(), &[topic("lab.back")]);
        assert_eq!(deleted, [DeletedTopic { topic: "lab.a".into(), positions: 3, forgotten_in_seconds: None }]);
        gone.handle_report(vec![orphaned("old")], 1);
        assert_eq!(names(&gone.deleted(&filter(), &[])), ["lab.a"], "the report may leave it out");
    }

    #[test]
    fn forgetting_answers_the_operator_and_ends_the_trouble() {
        let mut gone = GoneTopics::new(true);
        gone.handle_report(vec![orphaned("lab.a"), orphaned("lab.b")], 0);
        let mut ask = |topic: &str, positions, refused| {
            let (answer, mut outcome) = oneshot::channel();
            gone.handle_request(topic.to_owned(), answer);
            assert!(gone.is_waiting(topic));
            gone.handle_forgotten(topic, positions, refused);
            outcome.try_recv().unwrap()
        };
        let refused = ask("lab.a", 1, "lane 3 is not open").unwrap_err();
        assert_eq!(refused, "lab.a: lane 3 is not open; 1 positions dropped, repeat the command");
        assert!(ask("lab.b", 3, "").unwrap().starts_with("lab.b: 3 positions dropped"));
        assert_eq!(ask("unheard-of", 0, ""), Err("no position of unheard-of is stored".to_owned()));
        assert_eq!(names(&gone.deleted(&filter(), &[])), ["lab.a"]);
    }
}
