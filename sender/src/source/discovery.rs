//! What the source has: topics that match the filter, looked up again every few seconds, and where the
//! log of each partition begins and ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kafka::KafkaError;
use kafka::catalog::{Bounds, Catalog, Isolation, TopicDescription};
use service::live::Live;
use service::topics::TopicFilter;
use tokio::sync::watch;
use wire::ids::Position;
use wire::partition::Partition;
use xxhash_rust::xxh3::xxh3_64;

use crate::config::Config;
use crate::partitions::roster::SourceTopic;
use crate::report::status::Board;
use crate::source::origins::reading::{Origins, OriginsError};

/// New topics and partitions are seen within 5 s: half of it to look, half to offer and open.
pub const INTERVAL: Duration = Duration::from_millis(2500);

/// The topics that match, in order of their names.
pub type Topics = Arc<Vec<SourceTopic>>;

/// What was found, and by which filter: a session begins and ends with its filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// Tells filters apart, here and in the target's state.
    pub filter_hash: u64,
    /// What the source has of it.
    pub topics: Topics,
    /// What the filter names and the source does not show: a source hides what one may not read.
    pub missing: Vec<String>,
}

impl Discovered {
    /// Says what is missing now and was not `before`.
    pub fn report_missing(&self, before: &[String]) {
        for topic in self.missing.iter().filter(|topic| !before.contains(topic)) {
            tracing::warn!(
                topic,
                "topic is listed by name, and is not at the source or may not be read by this sender"
            );
        }
    }
}

/// Looks once. Those that are not to be carried are among them: how each came here says so.
pub fn discover(
    catalog: &dyn Catalog,
    filter: &TopicFilter,
    origins: &mut Origins,
) -> Result<Discovered, OriginsError> {
    let all = catalog.topics()?;
    let mut names: Vec<_> = all.iter().map(|topic| &topic.name).filter(|name| filter.matches(name)).cloned().collect();
    names.sort_unstable();
    let described = catalog.describe(&names)?;
    // After the topics, or one that a link has just made would be taken for this cluster's own.
    let passages = origins.look(catalog, &all)?;
    let topic = |topic: TopicDescription| SourceTopic {
        passage: passages.of(&topic.name, topic.id, filter.forwards(&topic.name)),
        name: topic.name.into(),
        id: topic.id,
        partitions: topic.partitions,
    };
    let mut topics: Vec<_> = described.into_iter().map(topic).collect();
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let listed = filter.topics().iter().filter_map(|pattern| pattern.exact()).filter(|topic| filter.matches(topic));
    let missing = listed.filter(|name| !topics.iter().any(|topic| *topic.name == **name)).map(str::to_owned).collect();
    let filter_hash = xxh3_64(filter.canonical().as_bytes());
    Ok(Discovered { filter_hash, topics: Arc::new(topics), missing })
}

/// Looks every [`INTERVAL`], and at once with a new filter, and publishes what changed, until nobody listens.
pub async fn watch(mut looker: Looker, topics: watch::Sender<Discovered>, board: Arc<Board>) {
    let mut failing = false;
    while !topics.is_closed() {
        let looks = looker.clone();
        let found = tokio::task::spawn_blocking(move || looks.look()).await;
        match found {
            Ok(Ok(found)) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("source's topics can be listed again");
                    board.set_discovery_trouble(None);
                }
                topics.send_if_modified(|known| {
                    let changed = *known != found;
                    if changed {
                        found.report_missing(&known.missing);
                        *known = found;
                    }
                    changed
                });
            }
            Ok(Err(error)) if !failing => {
                failing = true;
                tracing::warn!(%error, "could not list the source's topics; trying again");
                board.set_discovery_trouble(Some(error.to_string()));
            }
            Ok(Err(error)) => board.set_discovery_trouble(Some(error.to_string())),
            Err(_) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = looker.config.changed() => {}
            () = topics.closed() => {}
        }
    }
}

/// Looks at one source with the filter of the moment.
#[derive(Clone)]
pub struct Looker {
    /// The source cluster.
    pub catalog: Arc<dyn Catalog>,
    /// Says which topics to carry.
    pub config: Live<Config>,
    /// What links brought there; one look at a time.
    pub origins: Arc<Mutex<Origins>>,
}

impl Looker {
    /// Looks once; blocks on the cluster.
    pub fn look(&self) -> Result<Discovered, OriginsError> {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        discover(&*self.catalog, &self.config.now().source.filter(), &mut origins)
    }
}

/// One partition's log as the source has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceLog {
    /// Which.
    pub at: Partition,
    /// Where it begins, and its high watermark.
    pub bounds: Bounds,
    /// The last stable offset: committed records end there.
    pub stable: Position,
}

/// Asks the source for each partition's log that goes to `target`, in order of topic and number. The high watermark
/// is asked first, so that what is appended meanwhile is not taken for undecided.
pub fn source_logs(
    catalog: &dyn Catalog,
    topics: &[SourceTopic],
    target: Option<&str>,
) -> Result<Vec<SourceLog>, KafkaError> {
    let carried = topics.iter().filter(|topic| topic.passage.withheld(target).is_none());
    let all = |topic: &SourceTopic| {
        let name = Arc::clone(&topic.name);
        (0..topic.partitions).map(move |partition| Partition { topic: Arc::clone(&name), partition })
    };
    let all: Vec<_> = carried.flat_map(all).collect();
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let bounds = catalog.bounds(&all, Isolation::Uncommitted)?;
    let stable = catalog.ends(&all, Isolation::Committed)?;
    let both = all.into_iter().zip(bounds).zip(stable);
    Ok(both.map(|((at, bounds), stable)| SourceLog { at, bounds, stable }).collect())
}
