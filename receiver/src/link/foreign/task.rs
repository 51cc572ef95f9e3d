//! Task that reads the gaps of all links, one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka::KafkaFault;
use kafka::catalog::{Bounds, Catalog, only};
use kafka::log::Seen;

use super::watch::{Part, Reading};
use crate::link::ServedLink;
use crate::link::registry::ServedLinks;
use crate::target::{StateAccess, Target, TargetError, TargetPartition};
use crate::writer::Writers;

/// Least time between two readings, and the time between two looks for work.
const PAUSE: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_millis(500);
/// Most bytes that are read per second, on average.
const BYTES_PER_SECOND: u64 = 2 << 20;

/// Records of the target's topics.
pub(crate) trait TargetRecords: Send + Sync {
    /// Counts the committed records within `bounds`. It blocks.
    fn count(&self, at: &TargetPartition, bounds: Bounds) -> Result<Seen, TargetError>;
}

impl<T: Target> TargetRecords for Writers<T> {
    fn count(&self, at: &TargetPartition, bounds: Bounds) -> Result<Seen, TargetError> {
        self.states()?.count_records(at, bounds)
    }
}

/// Reads the gaps of all links as they are found.
pub(crate) async fn watch(links: Arc<ServedLinks>, records: Arc<dyn TargetRecords>) {
    loop {
        let mut pause = IDLE;
        for link in links.all() {
            for lane in link.overview().lanes {
                let gaps = std::mem::take(&mut *lane.gaps.lock());
                link.foreign.lock().handle_gaps(gaps, Instant::now());
            }
            let next = link.foreign.lock().next(Instant::now());
            if let Some(part) = next {
                let bytes = read(&link, &records, part).await;
                let paced = Duration::from_millis(bytes * 1000 / BYTES_PER_SECOND);
                tokio::time::sleep(paced.max(PAUSE)).await;
                pause = Duration::ZERO;
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Reads a part. Returns the bytes that it took.
async fn read(link: &Arc<ServedLink>, records: &Arc<dyn TargetRecords>, part: Part) -> u64 {
    let records = Arc::clone(records);
    let catalog = Arc::clone(&link.catalog);
    let asked = part.clone();
    let answer = tokio::task::spawn_blocking(move || look(&*records, &*catalog, &asked)).await;
    let reading = answer.unwrap_or_else(|_| Reading::Failed("the reading panicked".to_owned()));
    let bytes = if let Reading::Seen(seen) = reading { seen.bytes } else { 0 };
    report(link, &part, &reading);
    link.foreign.lock().handle_reading(part, reading, Instant::now());
    bytes
}

fn look(records: &dyn TargetRecords, catalog: &dyn Catalog, part: &Part) -> Reading {
    let Part { target, topic_id, from, to } = part;
    let failed = |error: &dyn std::error::Error| Reading::Failed(format!("{target}: {error}"));
    let seen = match records.count(target, Bounds { start: *from, end: *to }) {
        Ok(seen) => seen,
        Err(TargetError::Kafka(error)) if error.fault == KafkaFault::UnknownTopic => return Reading::Gone,
        Err(error) => return failed(&error),
    };
    if seen.records == 0 {
        return Reading::Seen(seen);
    }
    // Another topic of this name may have records of the link there.
    match only(catalog.describe(&[target.topic.to_string()])) {
        Ok(topic) if !topic.id.differs(*topic_id) => Reading::Seen(seen),
        Ok(_) => Reading::Gone,
        Err(error) if error.fault == KafkaFault::UnknownTopic => Reading::Gone,
        Err(error) => failed(&error),
    }
}

fn report(link: &ServedLink, part: &Part, reading: &Reading) {
    let Part { target, from, to, .. } = part;
    let link = &link.settings().name;
    match reading {
        Reading::Seen(Seen { records: count @ 1.., first: Some(first), .. }) => tracing::error!(
            link,
            "another program has written {count} records to {target}, the first at offset {first}: see docs/troubleshoot.md#foreign-writes"
        ),
        Reading::Seen(_) => tracing::debug!(link, %target, %from, %to, "no records of other programs"),
        Reading::Gone => tracing::debug!(link, %target, %from, %to, "offsets are gone, unread"),
        Reading::Failed(reason) => tracing::debug!(link, %from, %to, reason, "offsets cannot be read"),
    }
}
