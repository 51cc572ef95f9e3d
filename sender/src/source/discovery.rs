//! Discovery of the source's topics: those that match the filter, listed again every few seconds, and the bounds of
//! each partition's log.

use std::sync::Arc;
use std::time::Duration;

use kafka::catalog::{Bounds, Catalog, Isolation, TopicDescription};
use kafka::{KafkaError, KafkaFault};
use service::live::Live;
use service::lock::Lock;
use service::topics::{TopicFilter, TopicPattern};
use tokio::sync::watch;
use wire::ids::Position;
use wire::partition::Partition;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::Config;
use crate::partitions::lane_partitions::SourceTopic;
use crate::source::origins::reading::{OriginReader, OriginsError};

/// Interval between two listings of the topics. New ones are carried within 5 s: half to list them, half to open them.
pub(crate) const INTERVAL: Duration = Duration::from_millis(2500);
/// Topics that match the filter, in order of their names.
pub type Topics = Arc<Vec<SourceTopic>>;

/// Result of one listing, with its filter: a session begins and ends with its filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Hash of the filter, which tells filters apart here and in the target's state.
    pub filter_hash: u64,
    /// Topics of the source that match the filter.
    pub topics: Topics,
    /// Entries of the filter that match no topic of the source. A source hides topics that one may not read.
    pub unmatched: Vec<String>,
    /// Sentence that says which other cluster the source has become. The topics are those of the former one.
    pub other_cluster: Option<String>,
}

impl Discovered {
    /// Logs the entries that match nothing now and were not `before`.
    pub fn report_unmatched(&self, before: &[String]) {
        for entry in self.unmatched.iter().filter(|entry| !before.contains(entry)) {
            tracing::warn!("{}", matches_nothing(entry));
        }
    }
}

/// Returns the sentence about an entry of `source.topics` that matches no topic.
pub fn matches_nothing(entry: &str) -> String {
    format!(
        "`source.topics` has \"{entry}\", which matches no topic: the source has none of this name, or this sender may not describe it"
    )
}

/// Lists the topics once. Topics that must not be carried are among them; their origin says so.
pub fn discover(
    catalog: &dyn Catalog,
    filter: &TopicFilter,
    origins: &mut OriginReader,
) -> Result<Discovered, OriginsError> {
    let all = catalog.topics()?;
    let mut names: Vec<_> = all.iter().map(|topic| &topic.name).filter(|name| filter.matches(name)).cloned().collect();
    names.sort_unstable();
    let described = catalog.describe(&names)?.into_iter().filter(|found| !found.as_ref().is_err_and(is_gone));
    // Any other error of one topic is of this moment: the next listing has it, and none is taken for deleted meanwhile.
    let described = described.collect::<Result<Vec<_>, _>>()?;
    // Origins are read after the topics: a topic that a link has just created must not look like this cluster's own.
    let origins = origins.read(catalog, &all)?;
    let topic = |topic: TopicDescription| SourceTopic {
        origin: origins.of(&topic.name, topic.id, filter.forwards(&topic.name)),
        name: topic.name.into(),
        id: topic.id,
        partitions: topic.partitions,
    };
    let mut topics: Vec<_> = described.into_iter().map(topic).collect();
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let is_excluded = |pattern: &TopicPattern| pattern.exact().is_some_and(|name| !filter.matches(name));
    let matches_none = |pattern: &&TopicPattern| !topics.iter().any(|topic| pattern.matches(&topic.name));
    let unmatched = filter.topics().iter().filter(matches_none).filter(|pattern| !is_excluded(pattern));
    let unmatched = unmatched.map(|pattern| pattern.as_str().to_owned()).collect();
    let filter_hash = xxh3_64(filter.canonical().as_bytes());
    Ok(Discovered { filter_hash, topics: Arc::new(topics), unmatched, other_cluster: None })
}

/// Lists the topics every [`INTERVAL`], and immediately with a new filter. Publishes changes until `topics` has no
/// receiver. Calls `report` with a failure, and with `None` when it is over.
pub(crate) async fn watch(
    mut watcher: TopicWatcher,
    topics: watch::Sender<Discovered>,
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
                    report(None);
                }
                topics.send_if_modified(|known| {
                    let changed = *known != found;
                    if changed {
                        found.report_unmatched(&known.unmatched);
                        *known = found;
                    }
                    changed
                });
            }
            Ok(Err(error @ OriginsError::ClusterChanged { .. })) => {
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
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = watcher.config.changed() => {}
            () = topics.closed() => {}
        }
    }
}

/// Lists the topics of one source with the current filter.
#[derive(Clone)]
pub(crate) struct TopicWatcher {
    pub catalog: Arc<dyn Catalog>,
    pub config: Live<Config>,
    /// Reader of the topics' origins, used by one listing at a time.
    pub origins: Arc<Lock<OriginReader>>,
    /// Id of the cluster when it was first asked; `None` before that.
    pub cluster: Option<Arc<str>>,
}

impl TopicWatcher {
    /// Lists the topics once; blocks on the cluster.
    pub(crate) fn list(&self) -> Result<Discovered, OriginsError> {
        let found = discover(&*self.catalog, &self.config.now().source.filter(), &mut self.origins.lock())?;
        // Asked last: then the topics are those of this cluster.
        match &self.cluster {
            Some(was) => {
                let is = self.catalog.cluster_id()?;
                if *is == **was { Ok(found) } else { Err(OriginsError::ClusterChanged { was: Arc::clone(was), is }) }
            }
            None => Ok(found),
        }
    }
}

/// Returns whether a topic was deleted, or hidden from this sender, after it was listed.
fn is_gone(error: &KafkaError) -> bool {
    matches!(error.fault, KafkaFault::UnknownTopic | KafkaFault::Unauthorized)
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
