//! Discovery of the source's topics: those that match the filter, listed again every few seconds, and the bounds of
//! each partition's log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka::catalog::{Bounds, Catalog, Isolation, TopicDescription};
use kafka::{KafkaError, KafkaFault};
use service::live::Live;
use service::lock::Lock;
use service::topics::{TopicFilter, TopicPattern};
use tokio::sync::watch;
use wire::control::PartitionEnd;
use wire::ids::Position;
use wire::partition::Partition;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::Config;
use crate::partitions::lane_partitions::SourceTopic;
use crate::source::descriptions::Descriptions;
use crate::source::origins::OtherLinks;
use crate::source::origins::reading::{OriginReader, StateLog, UnreadState};

/// Interval between two listings of the topics. New ones are carried within 5 s: half to list them, half to open them.
pub(crate) const INTERVAL: Duration = Duration::from_millis(2500);
/// Least interval between two listings that the receiver asks for.
const ASKED_INTERVAL: Duration = Duration::from_millis(700);
/// Topics that match the filter, in order of their names.
pub type Topics = Arc<Vec<SourceTopic>>;

/// Returns the hash that tells filters apart.
pub(crate) fn listing_hash(filter: &TopicFilter) -> u64 {
    xxh3_64(filter.canonical().as_bytes())
}

/// Result of one listing, with its filter: a session begins and ends with its filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Hash of the filter, which tells filters apart here and in the target's state.
    pub filter_hash: u64,
    /// Topics of the source that match the filter.
    pub topics: Topics,
    /// Entries of the filter that match no topic of the source. A source hides topics that one may not read.
    pub unmatched: Vec<String>,
    /// Parts of other links' state topics that cannot be read.
    pub unread: Vec<UnreadState>,
    /// Sentence that says which other cluster the source has become. The topics are those of the former one.
    pub other_cluster: Option<String>,
}

impl Discovered {
    /// Logs what is wrong now and was not wrong `before`: entries that match nothing, and states that cannot be read.
    pub fn report(&self, before: &Self) {
        for entry in self.unmatched.iter().filter(|entry| !before.unmatched.contains(entry)) {
            tracing::warn!("{}", matches_nothing(entry));
        }
        for unread in self.unread.iter().filter(|unread| !before.unread.contains(unread)) {
            tracing::warn!("{unread}");
        }
        if self.unread.is_empty() && !before.unread.is_empty() {
            tracing::info!("state topics of all links at the source can be read again");
        }
    }

    /// Returns the sentence about the states that cannot be read, if there are any.
    pub fn trouble(&self) -> Option<String> {
        let first = self.unread.first()?;
        let others = self.unread.len() - 1;
        Some(if others == 0 { first.to_string() } else { format!("{first} ({others} more parts of state topics)") })
    }
}

/// Returns the sentence about an entry of `source.topics` that matches no topic.
pub fn matches_nothing(entry: &str) -> String {
    format!(
        "`source.topics` has \"{entry}\", which matches no topic: the source has none of this name, or this sender may not describe it"
    )
}

/// Lists the topics of one source, and keeps what need not be asked for again.
pub struct TopicLister {
    origins: OriginReader,
    descriptions: Descriptions,
}

impl TopicLister {
    /// Makes a lister that has listed nothing yet. `states` reads other links' state.
    pub fn new(states: Arc<dyn StateLog>) -> Self {
        Self { origins: OriginReader::new(states), descriptions: Descriptions::default() }
    }

    /// Lists the topics once. Topics that must not be carried are among them; their origin says so.
    pub fn list(
        &mut self,
        catalog: &dyn Catalog,
        filter: &TopicFilter,
        links: &OtherLinks,
    ) -> Result<Discovered, KafkaError> {
        let all = catalog.topics()?;
        let listed: Vec<_> = all.iter().filter(|topic| filter.matches(&topic.name)).collect();
        let due = self.descriptions.due(&listed, |name| filter.matches(name));
        self.describe(catalog, &due)?;
        let described = self.descriptions.all();
        // Origins are read after the topics: a topic that a link has just created must not look like this cluster's own.
        let read = self.origins.read(catalog, &all, &described, links)?;
        let topic = |topic: TopicDescription| SourceTopic {
            origin: read.origins.of(&topic.name, topic.id, filter.forwards(&topic.name)),
            unsure: read.is_unsure(&topic.name, topic.id),
            name: topic.name.into(),
            id: topic.id,
            partitions: topic.partitions,
        };
        let topics: Vec<_> = described.into_iter().map(topic).collect();
        let is_excluded = |pattern: &TopicPattern| pattern.exact().is_some_and(|name| !filter.matches(name));
        let matches_none = |pattern: &&TopicPattern| !topics.iter().any(|topic| pattern.matches(&topic.name));
        let unmatched = filter.topics().iter().filter(matches_none).filter(|pattern| !is_excluded(pattern));
        let unmatched = unmatched.map(|pattern| pattern.as_str().to_owned()).collect();
        let filter_hash = listing_hash(filter);
        Ok(Discovered { filter_hash, topics: Arc::new(topics), unmatched, unread: read.unread, other_cluster: None })
    }

    fn describe(&mut self, catalog: &dyn Catalog, due: &[String]) -> Result<(), KafkaError> {
        for (name, answer) in due.iter().zip(catalog.describe(due)?) {
            match answer {
                Ok(topic) => self.descriptions.handle(topic),
                Err(error) if error.is_unknown_topic() => self.descriptions.forget(name),
                // A right was revoked: the topic exists, and its partitions halt when they are read.
                Err(error) if error.fault == KafkaFault::Unauthorized => {}
                // Of this moment: the next listing has it, and no topic is taken for deleted meanwhile.
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Lists the topics every [`INTERVAL`], sooner when the receiver asks for a reading, and immediately with a new filter. Publishes changes until `topics` has no
/// receiver. Calls `report` after each listing with what is wrong, or `None`.
pub(crate) async fn watch(
    mut watcher: TopicWatcher,
    topics: watch::Sender<Discovered>,
    mut asked: watch::Receiver<()>,
    report: impl Fn(Option<String>) + Send,
) {
    let mut failing = false;
    while !topics.is_closed() {
        let lists = watcher.clone();
        let found = tokio::task::spawn_blocking(move || lists.list()).await;
        match found {
            Ok(Ok(found)) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("source's topics can be listed again");
                }
                report(found.trouble());
                topics.send_if_modified(|known| {
                    let changed = *known != found;
                    if changed {
                        found.report(known);
                        *known = found;
                    }
                    changed
                });
            }
            Ok(Err(error @ ListError::ClusterChanged { .. })) => {
                tracing::error!("{error}");
                topics.send_modify(|known| known.other_cluster = Some(error.to_string()));
                return;
            }
            Ok(Err(error)) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "could not list the source's topics; trying again");
                }
                report(Some(error.to_string()));
            }
            Err(_) => return,
        }
        let listed = tokio::time::Instant::now();
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = watcher.config.changed() => {}
            () = asked_again(&mut asked, listed) => {}
            () = topics.closed() => {}
        }
    }
}

/// Waits until the receiver asks for a reading of the source, at least [`ASKED_INTERVAL`] after the last listing.
async fn asked_again(asked: &mut watch::Receiver<()>, listed: tokio::time::Instant) {
    if asked.changed().await.is_err() {
        return std::future::pending().await;
    }
    tokio::time::sleep_until(listed + ASKED_INTERVAL).await;
}

/// Reasons why the topics of the source could not be listed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    /// The cluster does not answer.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The cluster at this address is another one than when the process started.
    #[error(
        "the source cluster's id was {was}, is {is}: it was rebuilt, or the address leads to another one; to carry it in place of the former one, set `links.accept_cluster = \"{is}\"` in the receiver's file, reload it and start the sender again"
    )]
    ClusterChanged { was: Arc<str>, is: String },
}

/// Lists the topics of one source with the current filter.
#[derive(Clone)]
pub(crate) struct TopicWatcher {
    pub catalog: Arc<dyn Catalog>,
    pub config: Live<Config>,
    /// Lister, used by one listing at a time.
    pub lister: Arc<Lock<TopicLister>>,
    /// Id of the cluster when it was first asked; `None` before that.
    pub cluster: Option<Arc<str>>,
}

impl TopicWatcher {
    /// Lists the topics once; blocks on the cluster.
    pub(crate) fn list(&self) -> Result<Discovered, ListError> {
        let source = &self.config.now().source;
        let found = self.lister.lock().list(&*self.catalog, &source.filter(), &source.other_links())?;
        // Asked last: then the topics are those of this cluster.
        match &self.cluster {
            Some(was) => {
                let is = self.catalog.cluster_id()?;
                if *is == **was { Ok(found) } else { Err(ListError::ClusterChanged { was: Arc::clone(was), is }) }
            }
            None => Ok(found),
        }
    }
}

/// Logs of the partitions that go to a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceLogs {
    /// Known logs, in order of topic and number.
    pub known: Vec<SourceLog>,
    /// Partitions whose log cannot be asked for now, each with the reason.
    pub waiting: Vec<(Partition, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceLog {
    pub at: Partition,
    /// Start of the log, and its high watermark.
    pub bounds: Bounds,
    /// Last stable offset, where committed records end.
    pub stable: Position,
}

/// Ends of the source's partitions.
pub(crate) type SourceEnds = BTreeMap<Partition, PartitionEnd>;

impl SourceLogs {
    /// Returns the ends of all logs; those of logs that cannot be asked for are unknown.
    pub(crate) fn ends(&self) -> SourceEnds {
        let end = |log: &SourceLog| {
            // Each is asked of another moment: the stable end may be the later one.
            let end = log.bounds.end.max(log.stable);
            (log.at.clone(), PartitionEnd { partition: log.at.partition, stable: log.stable, end })
        };
        let unknown = |(at, _): &(Partition, String)| (at.clone(), PartitionEnd::unknown(at.partition));
        self.known.iter().map(end).chain(self.waiting.iter().map(unknown)).collect()
    }
}

/// Asks the source for the log of each partition that goes to `target`. The high
/// watermark is asked first, so that records appended meanwhile do not look like an open transaction.
pub(crate) fn source_logs(
    catalog: &dyn Catalog,
    topics: &[SourceTopic],
    target: Option<&str>,
) -> Result<SourceLogs, KafkaError> {
    let carried = topics.iter().filter(|topic| topic.origin.not_carried_reason(target).is_none());
    let all = |topic: &SourceTopic| {
        let name = Arc::clone(&topic.name);
        (0..topic.partitions).map(move |partition| Partition { topic: Arc::clone(&name), partition })
    };
    let all: Vec<_> = carried.flat_map(all).collect();
    if all.is_empty() {
        return Ok(SourceLogs::default());
    }
    let bounds = catalog.bounds(&all, Isolation::Uncommitted)?;
    let stable = catalog.ends(&all, Isolation::Committed)?;
    let mut logs = SourceLogs::default();
    for ((at, bounds), stable) in all.into_iter().zip(bounds).zip(stable) {
        match bounds.and_then(|bounds| Ok((bounds, stable?))) {
            Ok((bounds, stable)) => logs.known.push(SourceLog { at, bounds, stable }),
            Err(error) => logs.waiting.push((at, error.reason)),
        }
    }
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use kafka::catalog::{Answers, TopicSummary};
    use kafka::log::{LogError, OffsetEntry};
    use service::lock::Lock;
    use wire::ids::TopicId;

    use super::*;

    /// Source with one topic. The listing lacks it unless it is `Ok`; its description is this.
    struct OneTopic(Lock<Result<i32, KafkaFault>>);

    impl OneTopic {
        fn list(&self, lister: &mut TopicLister, filter: &TopicFilter) -> Vec<String> {
            let found = lister.list(self, filter, &OtherLinks::default()).unwrap();
            found.topics.iter().map(|topic| topic.name.to_string()).collect()
        }
    }

    impl Catalog for OneTopic {
        fn topics(&self) -> Result<Vec<TopicSummary>, KafkaError> {
            let one = |&partitions: &i32| TopicSummary { name: "orders".to_owned(), partitions };
            Ok(self.0.lock().iter().map(one).collect())
        }
        fn describe(&self, names: &[String]) -> Answers<TopicDescription> {
            let answer = |name: &String| match *self.0.lock() {
                Ok(partitions) => {
                    Ok(TopicDescription { name: name.clone(), id: TopicId([1; 16]), partitions, replicas: 1 })
                }
                Err(fault) => Err(KafkaError { doing: "description".into(), reason: "refused".into(), fault }),
            };
            Ok(names.iter().map(answer).collect())
        }
    }

    struct NoStates;

    impl StateLog for NoStates {
        fn read(&self, _: &str, _: i32, _: Bounds) -> Result<Vec<OffsetEntry>, LogError> {
            Ok(Vec::new())
        }
    }

    fn filter(pattern: &str) -> TopicFilter {
        TopicFilter::new(vec![TopicPattern::parse(pattern).unwrap()], Vec::new())
    }

    #[test]
    fn a_topic_that_may_not_be_described_any_more_is_not_deleted() {
        let source = OneTopic(Lock::new(Ok(1)));
        let mut lister = TopicLister::new(Arc::new(NoStates));
        assert_eq!(source.list(&mut lister, &filter("orders")), ["orders"]);
        *source.0.lock() = Err(KafkaFault::Unauthorized);
        for _ in 0..2 {
            assert_eq!(source.list(&mut lister, &filter("orders")), ["orders"]);
        }
        assert!(source.list(&mut lister, &filter("other")).is_empty(), "it left the filter");
        assert!(source.list(&mut lister, &filter("orders")).is_empty(), "it was never listed with this filter");
    }

    #[test]
    fn a_topic_that_the_source_does_not_know_any_more_is_deleted() {
        let source = OneTopic(Lock::new(Ok(1)));
        let mut lister = TopicLister::new(Arc::new(NoStates));
        assert_eq!(source.list(&mut lister, &filter("orders")), ["orders"]);
        *source.0.lock() = Err(KafkaFault::UnknownTopic);
        assert!(source.list(&mut lister, &filter("orders")).is_empty());
    }
}
