//! Descriptions of the source's topics. Sans-IO.
//!
//! A listing has only names and numbers of partitions. Whether a topic was deleted and created again is known from its
//! id, and ids come from a description, which costs more. So a listing describes what is new or has changed, and renews
//! the oldest of the other descriptions.

use std::collections::{HashMap, HashSet};

use kafka::catalog::{TopicDescription, TopicSummary};

/// Descriptions that one listing renews: as many as one request has. Up to this number of topics, each listing renews all.
const RENEWED: usize = 500;

/// Description of each topic, and the listing that it is from.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    known: HashMap<String, (u64, TopicDescription)>,
    listing: u64,
}

impl Descriptions {
    /// Begins a listing that found these topics; forgets those that are not `wanted` any more. Returns the names to
    /// describe. Known topics that the listing lacks are among them: a cluster does not list a topic that this client may
    /// not describe, and only the answer for its name tells that from a deleted one.
    pub(super) fn due(&mut self, listed: &[&TopicSummary], is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
        self.listing += 1;
        self.known.retain(|name, _| is_wanted(name));
        let names: HashSet<&str> = listed.iter().map(|topic| topic.name.as_str()).collect();
        let is_current = |topic: &TopicSummary| {
            self.known.get(&topic.name).is_some_and(|(_, known)| known.partitions == topic.partitions)
        };
        let changed = listed.iter().filter(|topic| !is_current(topic));
        let missing = self.known.keys().filter(|name| !names.contains(name.as_str()));
        let mut due: Vec<String> = changed.map(|topic| topic.name.clone()).chain(missing.cloned()).collect();
        let mut oldest: Vec<_> = listed.iter().filter(|topic| is_current(topic)).collect();
        oldest.sort_by_key(|topic| self.known[&topic.name].0);
        due.extend(oldest.into_iter().take(RENEWED).map(|topic| topic.name.clone()));
        due
    }

    /// Takes the description of a topic.
    pub(super) fn handle(&mut self, topic: TopicDescription) {
        self.known.insert(topic.name.clone(), (self.listing, topic));
    }

    /// Forgets a topic that does not exist any more.
    pub(super) fn forget(&mut self, name: &str) {
        self.known.remove(name);
    }

    /// Returns the descriptions in order of names.
    pub(super) fn all(&self) -> Vec<TopicDescription> {
        let mut all: Vec<_> = self.known.values().map(|(_, topic)| topic.clone()).collect();
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

#[cfg(test)]
mod tests {
    use wire::ids::TopicId;

    use super::*;

    fn topic(number: usize, partitions: i32) -> TopicSummary {
        TopicSummary { name: format!("{number:04}"), partitions }
    }

    fn list(descriptions: &mut Descriptions, topics: &[TopicSummary]) -> Vec<String> {
        let due = descriptions.due(&topics.iter().collect::<Vec<_>>(), |_| true);
        for topic in topics.iter().filter(|topic| due.contains(&topic.name)) {
            let TopicSummary { name, partitions } = topic.clone();
            descriptions.handle(TopicDescription { name, id: TopicId([1; 16]), partitions, replicas: 1 });
        }
        for gone in due.iter().filter(|name| topics.iter().all(|topic| topic.name != **name)) {
            descriptions.forget(gone);
        }
        due
    }

    #[test]
    fn a_listing_describes_what_is_new_or_changed() {
        let mut descriptions = Descriptions::default();
        let mut topics: Vec<_> = (0..2 * RENEWED).map(|number| topic(number, 1)).collect();
        assert_eq!(list(&mut descriptions, &topics).len(), 2 * RENEWED);
        assert_eq!(list(&mut descriptions, &topics).len(), RENEWED);
        topics[999] = topic(999, 2);
        topics.push(topic(1000, 1));
        let due = list(&mut descriptions, &topics);
        assert_eq!(due[..2], ["0999", "1000"]);
        topics.remove(0);
        assert_eq!(list(&mut descriptions, &topics)[0], "0000", "the listing alone does not tell why it lacks a topic");
        assert_eq!(descriptions.all().len(), topics.len());
        assert!(descriptions.all().iter().all(|topic| topic.name != "0000"));
    }

    #[test]
    fn every_description_is_renewed_in_turn() {
        let mut descriptions = Descriptions::default();
        let topics: Vec<_> = (0..4 * RENEWED).map(|number| topic(number, 1)).collect();
        list(&mut descriptions, &topics);
        let renewed: HashSet<String> = (0..4).flat_map(|_| list(&mut descriptions, &topics)).collect();
        assert_eq!(renewed.len(), topics.len());
    }

    #[test]
    fn up_to_500_topics_are_described_by_every_listing() {
        let mut descriptions = Descriptions::default();
        let topics: Vec<_> = (0..RENEWED).map(|number| topic(number, 1)).collect();
        for _ in 0..3 {
            assert_eq!(list(&mut descriptions, &topics).len(), RENEWED);
        }
        descriptions.forget("0007");
        assert_eq!(descriptions.all().len(), RENEWED - 1);
    }
}
