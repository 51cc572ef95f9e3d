//! What the source has: topics that match the filter, looked up again every few seconds, and where the
//! log of each partition begins and ends.

use std::sync::Arc;
use std::time::Duration;

use link::catalog::{Catalog, Isolation, TopicPartition};
use link::kafka::KafkaError;
use link::topics::TopicFilter;
use tokio::sync::watch;
use wire::ids::Position;

use crate::progress::Snapshot;
use crate::roster::SourceTopic;

/// New topics and partitions are seen within 5 s: half of it to look, half to offer and open.
pub const INTERVAL: Duration = Duration::from_millis(2500);

/// The topics that match, in order of their names.
pub type Topics = Arc<Vec<SourceTopic>>;

/// Looks once.
pub fn discover(catalog: &dyn Catalog, filter: &TopicFilter) -> Result<Topics, KafkaError> {
    let matching = catalog.topics()?.into_iter().filter(|topic| filter.matches(&topic.name));
    let mut names: Vec<_> = matching.map(|topic| topic.name).collect();
    names.sort_unstable();
    let mut topics: Vec<_> = catalog
        .describe(&names)?
        .into_iter()
        .map(|topic| SourceTopic { name: topic.name.into(), id: topic.id, partitions: topic.partitions })
        .collect();
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Arc::new(topics))
}

/// Looks every [`INTERVAL`] and publishes what changed, until nobody listens.
pub async fn watch(catalog: Arc<dyn Catalog>, filter: TopicFilter, topics: watch::Sender<Topics>) {
    let mut failing = false;
    while !topics.is_closed() {
        let (catalog, filter) = (Arc::clone(&catalog), filter.clone());
        let found = tokio::task::spawn_blocking(move || discover(&*catalog, &filter)).await;
        match found {
            Ok(Ok(found)) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("source cluster answers again");
                }
                topics.send_if_modified(|known| {
                    let changed = **known != *found;
                    if changed {
                        *known = found;
                    }
                    changed
                });
            }
            Ok(Err(error)) if !failing => {
                failing = true;
                tracing::warn!(%error, "could not list the source's topics; trying again");
            }
            Ok(Err(_)) => {}
            Err(_) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = topics.closed() => {}
        }
    }
}

/// How far the target is behind the source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// High watermark less committed position, over all partitions that have joined; holes count.
    pub records: u64,
}

/// Asks the source for its high watermarks and compares; `None` if no partition has joined yet.
pub fn lag(catalog: &dyn Catalog, lanes: &[Snapshot]) -> Result<Option<Lag>, KafkaError> {
    let committed: Vec<_> = lanes.iter().flat_map(|lane| &lane.committed).collect();
    let partitions: Vec<_> = committed
        .iter()
        .map(|(partition, _)| TopicPartition { topic: partition.topic.to_string(), partition: partition.partition })
        .collect();
    if partitions.is_empty() {
        return Ok(None);
    }
    let bounds = catalog.bounds(&partitions, Isolation::Uncommitted)?;
    let behind = |end: Position, at: Position| u64::try_from(end.0 - at.0).unwrap_or(0);
    let records = bounds.iter().zip(&committed).map(|(bounds, (_, at))| behind(bounds.end, *at)).sum();
    Ok(Some(Lag { records }))
}
