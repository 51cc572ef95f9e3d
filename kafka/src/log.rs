//! Reader of a whole partition, from its start to its end. State is read back from the target with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use service::bell::Bell;
use wire::ids::{Position, Slot};
use wire::partition::Partition;

use super::admin::KafkaCatalog;
use super::consumer::{Consumer, ConsumerConfig, ConsumerMemory, Fault, LaneEvent, LaneQueue, Start};
use super::error::KafkaError;
use super::properties::Properties;
use crate::catalog::{Bounds, Catalog, Isolation, only};

/// Time for which the last stable offset may stay below the high watermark because of another producer's transaction.
const STABLE_WITHIN: Duration = Duration::from_secs(10);
/// Time for which reading may make no progress, for example because the broker is down.
const PROGRESS_WITHIN: Duration = Duration::from_secs(30);
/// Memory for prefetched records of all reads together. State is small.
const MEMORY: ConsumerMemory = ConsumerMemory { bytes: 64 << 20, lanes: 4 };
const SLOT: Slot = Slot(0);

/// Reader of whole partitions. It keeps its connections between reads. It is cheap to clone, and may read several
/// partitions at the same time.
#[derive(Debug, Clone)]
pub struct LogReader {
    consumer: Consumer,
    catalog: KafkaCatalog,
}

/// Key and value of a record; `None` is null, which is not the same as empty.
pub type Entry = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Error of a read that did not reach the partition's end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Another producer's open transaction delays the end of the partition.
    #[error("the partition ends at {high_watermark}, but a transaction is still open at {stable} after {} s", STABLE_WITHIN.as_secs())]
    Undecided { stable: Position, high_watermark: Position },
    /// The client reports that the partition cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Fault),
}

impl LogReader {
    /// Starts the client, which connects at the first read.
    pub fn start(properties: &Properties, link: &str) -> Result<Self, KafkaError> {
        // An empty fetch shows the end, so brokers must answer it soon.
        let config = ConsumerConfig { link, memory: MEMORY, fetch_wait: Duration::from_millis(10) };
        let consumer = Consumer::start(properties, &config)?;
        let catalog = KafkaCatalog::over(consumer.client());
        Ok(Self { consumer, catalog })
    }

    /// Reads all committed records of a partition in order, from its start at least to its end at the time of the call.
    /// `extent` says which end: the last stable offset or the high watermark.
    pub fn read(&self, topic: &str, partition: i32, extent: Isolation) -> Result<Vec<Entry>, LogError> {
        let bounds = only(self.catalog.bounds(&[Partition::new(topic, partition)], extent))?;
        self.read_within(topic, partition, bounds)
    }

    /// Reads all committed records of a partition in order, from `bounds.start` at least to `bounds.end`.
    pub fn read_within(&self, topic: &str, partition: i32, bounds: Bounds) -> Result<Vec<Entry>, LogError> {
        let mut entries = Vec::new();
        if bounds.start >= bounds.end {
            return Ok(entries);
        }
        let bell = Bell::default();
        let mut lane = self.consumer.lane(bell.clone());
        let topic: Arc<str> = topic.into();
        lane.assign(&[Start { slot: SLOT, topic, partition, position: bounds.start, leader_epoch: -1 }])?;

        let mut reached = bounds.start;
        let mut ended = false;
        let mut moved = Instant::now();
        while reached < bounds.end {
            let before = reached;
            ended |= take_all(&mut lane, &mut reached, &mut entries)?;
            if reached > before {
                moved = Instant::now();
            } else if ended && moved.elapsed() > STABLE_WITHIN {
                return Err(LogError::Undecided { stable: reached, high_watermark: bounds.end });
            } else if moved.elapsed() > PROGRESS_WITHIN {
                return Err(
                    KafkaError::timed_out(format!("read of state partition {partition}"), PROGRESS_WITHIN).into()
                );
            }
            if reached < bounds.end {
                bell.wait(Duration::from_secs(1));
            }
        }
        Ok(entries)
    }
}

/// Takes all events in the queue; returns whether the end of the committed records was among them.
fn take_all(lane: &mut LaneQueue, reached: &mut Position, entries: &mut Vec<Entry>) -> Result<bool, LogError> {
    let mut ended = false;
    while let Some(event) = lane.peek() {
        match event {
            LaneEvent::Record { record, .. } => {
                entries.push((record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec)));
                *reached = Position::after(record.offset);
            }
            LaneEvent::End { position, .. } => {
                *reached = (*reached).max(position);
                ended = true;
            }
            LaneEvent::Fault { fault, .. } => return Err(fault.into()),
        }
        lane.advance();
    }
    Ok(ended)
}
