//! Reads one partition from its start to its end: how state comes back from the target.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::ids::{Position, Slot};

use crate::catalog::{Bounds, Catalog, Isolation};
use service::bell::Bell;
use wire::partition::Partition;

use super::admin::KafkaCatalog;
use super::consumer::{Consumer, ConsumerConfig, ConsumerMemory, Fault, LaneEvent, LaneQueue, Start};
use super::error::KafkaError;
use super::properties::Properties;

/// How long the last stable offset may stay below the high watermark: somebody else's transaction.
const STABLE_WITHIN: Duration = Duration::from_secs(10);
/// How long reading may make no progress at all, the broker being down for instance.
const PROGRESS_WITHIN: Duration = Duration::from_secs(30);
/// State is small; this much is read ahead of it, for all reads that go on at once.
const MEMORY: ConsumerMemory = ConsumerMemory { bytes: 64 << 20, lanes: 4 };
const SLOT: Slot = Slot(0);

/// A reader of whole partitions that keeps its connections between reads. Cheap to clone; reads of
/// different partitions may go on at once.
#[derive(Debug, Clone)]
pub struct LogReader {
    consumer: Consumer,
    catalog: KafkaCatalog,
}

/// A key and its value, null kept apart from empty in both.
pub type Entry = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Why a partition could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The call failed.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A transaction that is not ours holds the end of the partition back.
    #[error("records up to {high_watermark} exist, but only those up to {stable} are decided after {} s", STABLE_WITHIN.as_secs())]
    Undecided {
        /// Where reading came to a stop.
        stable: Position,
        /// Where the partition ended when the read began.
        high_watermark: Position,
    },
    /// The client reports the partition unreadable.
    #[error(transparent)]
    Unreadable(#[from] Fault),
}

impl LogReader {
    /// Starts the client. Nothing is connected to or read yet.
    ///
    /// # Errors
    /// A property librdkafka does not know or take.
    pub fn start(properties: &Properties, link: &str) -> Result<Self, KafkaError> {
        // The end is known by a fetch that brings nothing, so brokers must not sit on it.
        let config = ConsumerConfig { link, memory: MEMORY, fetch_wait: Duration::from_millis(10) };
        let consumer = Consumer::start(properties, &config)?;
        let catalog = KafkaCatalog::over(consumer.client());
        Ok(Self { consumer, catalog })
    }

    /// All committed records of a partition, in order, from its start at least up to its end at the time
    /// of the call: the last stable offset or, as `extent` says, the high watermark.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn read(&self, topic: &str, partition: i32, extent: Isolation) -> Result<Vec<Entry>, LogError> {
        let asked = Partition::new(topic, partition);
        let bounds = self.catalog.bounds(&[asked], extent)?;
        bounds.first().map_or_else(|| Ok(Vec::new()), |&bounds| self.read_within(topic, partition, bounds))
    }

    /// All committed records of a partition, in order, from `bounds.start` at least up to `bounds.end`.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn read_within(&self, topic: &str, partition: i32, bounds: Bounds) -> Result<Vec<Entry>, LogError> {
        let mut entries = Vec::new();
        if bounds.start >= bounds.end {
            return Ok(entries);
        }
        let bell = Bell::default();
        let mut lane = self.consumer.lane(bell.clone());
        let topic: Arc<str> = topic.into();
        lane.assign(&[Start { slot: SLOT, topic, partition, position: bounds.start, leader_epoch: -1 }])?;

        let (mut reached, mut ended) = (bounds.start, false);
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

/// Takes what is there; says whether the end of what is decided came by.
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
