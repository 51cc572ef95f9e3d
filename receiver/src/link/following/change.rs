//! Changes of the settings of target topics, and what the target refuses of them.

use std::collections::BTreeMap;

use kafka::KafkaError;
use kafka::catalog::{Catalog, TopicChange};

use super::rule::Change;
use crate::target::refused_setting::{nearest, words};

/// Changes of one topic, and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Changes that the target has made.
    pub(crate) made: Vec<Change>,
    /// Values that the target accepts in place of those wanted, by setting.
    pub(crate) nearest: BTreeMap<&'static str, String>,
    /// Settings that the target refuses, with the reason.
    pub(crate) refused: BTreeMap<&'static str, String>,
    /// Failure of the request: the right is missing, or no broker answers now.
    pub(crate) failed: Option<KafkaError>,
}

/// A topic whose changes are being made.
struct Pending {
    at: usize,
    topic: String,
    changes: Vec<Change>,
}

/// Makes the changes of topics in few requests. A refused value is replaced by the nearest that the target accepts; other
/// settings that it refuses are left out. Blocks on the target. The outcomes are in the order of the topics.
pub(crate) fn make(catalog: &dyn Catalog, topics: Vec<(String, Vec<Change>)>) -> Vec<Outcome> {
    let mut outcomes: Vec<_> = topics.iter().map(|_| Outcome::default()).collect();
    let numbered = topics.into_iter().enumerate();
    let mut pending: Vec<_> = numbered.map(|(at, (topic, changes))| Pending { at, topic, changes }).collect();
    // Each round ends a topic, or replaces or leaves out one of its settings.
    loop {
        pending.retain(|topic| !topic.changes.is_empty());
        if pending.is_empty() {
            return outcomes;
        }
        let asked: Vec<_> = pending.iter().map(Pending::request).collect();
        let answers = catalog.alter(&asked).unwrap_or_else(|error| vec![Err(error); asked.len()]);
        for (topic, answer) in pending.iter_mut().zip(answers) {
            topic.handle(answer, &mut outcomes[topic.at]);
        }
    }
}

impl Pending {
    fn request(&self) -> TopicChange {
        let settings = self.changes.iter().map(|change| (change.name.to_owned(), change.to.clone()));
        TopicChange { topic: self.topic.clone(), settings: settings.collect() }
    }

    /// Takes the target's answer. What is left in `changes` is tried again.
    fn handle(&mut self, answer: Result<(), KafkaError>, outcome: &mut Outcome) {
        match answer {
            Ok(()) => outcome.made.append(&mut self.changes),
            Err(error) if !error.is_unanswered() && !error.is_about_rights() && !error.is_unknown_topic() => {
                self.handle_refusal(&error.reason, outcome);
            }
            Err(error) => {
                self.changes.clear();
                outcome.failed = Some(error);
            }
        }
    }

    fn handle_refusal(&mut self, reason: &str, outcome: &mut Outcome) {
        let words = words(reason);
        let names_any = self.changes.iter().any(|change| words.contains(&change.name));
        let mut kept = Vec::new();
        for mut change in self.changes.drain(..) {
            if names_any && !words.contains(&change.name) {
                kept.push(change);
                continue;
            }
            let value = change.to.as_deref().unwrap_or_default();
            let nearest = nearest(reason, change.name, value).filter(|_| !outcome.nearest.contains_key(change.name));
            match nearest {
                Some(nearest) => {
                    outcome.nearest.insert(change.name, nearest.clone());
                    // The target may have it already.
                    if nearest != change.from {
                        change.to = Some(nearest);
                        kept.push(change);
                    }
                }
                None => drop(outcome.refused.insert(change.name, reason.to_owned())),
            }
        }
        self.changes = kept;
    }
}

#[cfg(test)]
mod tests {
    use kafka::KafkaFault;
    use kafka::catalog::Answers;
    use service::lock::Lock;

    use super::*;

    /// Cluster that requires segments of 1 MiB, refuses a compression of `none`, and lets no one alter `secret`.
    #[derive(Default)]
    struct Strict(Lock<Vec<TopicChange>>);

    impl Catalog for Strict {
        fn alter(&self, topics: &[TopicChange]) -> Answers<()> {
            let fail = |reason: &str, fault| Err(KafkaError { doing: "change".into(), reason: reason.into(), fault });
            let alter = |topic: &TopicChange| {
                let has = |name: &str, value: &str| topic.settings.contains(&(name.to_owned(), Some(value.to_owned())));
                if topic.topic == "secret" {
                    return fail("Broker: Topic authorization failed", KafkaFault::Unauthorized);
                }
                if has("segment.bytes", "1000") {
                    let reason = "Invalid value 1000 for configuration segment.bytes: Value must be at least 1048576";
                    return fail(reason, KafkaFault::Misused);
                }
                if has("compression.type", "none") {
                    return fail("Invalid value none for configuration compression.type", KafkaFault::Misused);
                }
                self.0.lock().push(topic.clone());
                Ok(())
            };
            Ok(topics.iter().map(alter).collect())
        }
    }

    fn change(name: &'static str, from: &str, to: &str) -> Change {
        Change { name, from: from.to_owned(), to: Some(to.to_owned()) }
    }

    #[test]
    fn refused_settings_delay_neither_others_nor_other_topics() {
        let cluster = Strict::default();
        let changes = vec![
            change("retention.ms", "1", "2"),
            change("segment.bytes", "2000000", "1000"),
            change("compression.type", "lz4", "none"),
        ];
        let topics = [("secret", changes[..1].to_vec()), ("orders", changes), ("plain", Vec::new())];
        let outcomes = make(&cluster, topics.map(|(topic, changes)| (topic.to_owned(), changes)).into());
        assert!(outcomes[0].failed.as_ref().is_some_and(KafkaError::is_about_rights) && outcomes[0].made.is_empty());
        let orders = &outcomes[1];
        assert_eq!(orders.made, [change("retention.ms", "1", "2"), change("segment.bytes", "2000000", "1048576")]);
        assert_eq!(orders.nearest["segment.bytes"], "1048576");
        assert!(orders.refused["compression.type"].contains("Invalid value none") && orders.failed.is_none());
        assert_eq!(cluster.0.lock().len(), 1, "its changes were made together");
        assert!(outcomes[2].made.is_empty());
    }

    #[test]
    fn a_nearest_value_that_the_target_has_is_not_set_again() {
        let cluster = Strict::default();
        let outcomes = make(&cluster, vec![("orders".to_owned(), vec![change("segment.bytes", "1048576", "1000")])]);
        assert_eq!(outcomes[0].nearest["segment.bytes"], "1048576");
        assert!(outcomes[0].made.is_empty() && cluster.0.lock().is_empty());
    }

    #[test]
    fn a_refusal_that_names_no_setting_is_of_all_of_them() {
        struct Policy;
        impl Catalog for Policy {
            fn alter(&self, topics: &[TopicChange]) -> Answers<()> {
                let fault = KafkaFault::RecordRejected;
                Ok(vec![Err(KafkaError { doing: "change".into(), reason: "policy".into(), fault }); topics.len()])
            }
        }
        let changes = vec![change("retention.ms", "1", "2"), change("segment.ms", "1", "2")];
        let outcomes = make(&Policy, vec![("orders".to_owned(), changes)]);
        assert_eq!(outcomes[0].refused.keys().copied().collect::<Vec<_>>(), ["retention.ms", "segment.ms"]);
    }
}
