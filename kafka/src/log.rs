//! Reader of a whole partition, from its start to its end. State is read back from the target with it.

mod turns;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use service::bell::Bell;
use wire::frame::RecordRef;
use wire::ids::{Offset, Position, Slot};
use wire::partition::Partition;

use super::admin::KafkaCatalog;
use super::consumer::{Consumer, ConsumerConfig, ConsumerMemory, Fault, LaneEvent, LaneQueue, Start};
use super::error::KafkaError;
use super::live_properties::LiveProperties;
use crate::catalog::{Bounds, Catalog, Isolation, only};
use crate::topic_settings::TopicSettings;
use turns::Turns;

/// Time for which the committed records may end before the wanted position.
const REACHED_WITHIN: Duration = Duration::from_secs(10);
/// Time for which reading may make no progress, for example because the broker is down.
const PROGRESS_WITHIN: Duration = Duration::from_secs(30);
/// Memory for prefetched records of all reads together. State is small.
const MEMORY: ConsumerMemory = ConsumerMemory { bytes: 64 << 20, lanes: 4 };
/// Memory of a reader of small parts: it fetches 256 KiB at a time.
const SMALL_MEMORY: ConsumerMemory = ConsumerMemory { bytes: 2 << 20, lanes: 1 };
const SLOT: Slot = Slot(0);

/// Reader of whole partitions. It keeps its connections between reads. It is cheap to clone, and may read several
/// partitions at the same time; readings of one partition follow each other.
#[derive(Debug, Clone)]
pub struct LogReader {
    consumer: Consumer,
    catalog: KafkaCatalog,
    turns: Arc<Turns>,
}

/// Key and value of a record; `None` is null, which is not the same as empty.
pub type Entry = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A record and its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetEntry {
    pub offset: Offset,
    pub entry: Entry,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedEntry {
    pub entry: Entry,
    /// Timestamp of the record in ms since the Unix epoch; −1 for none.
    pub timestamp: i64,
}

/// Committed records in a part of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    pub records: u64,
    /// Offset of the first of them.
    pub first: Option<Offset>,
    /// Bytes of keys, values and headers that were read for it.
    pub bytes: u64,
    /// False if a part of it was deleted before it was read.
    pub is_whole: bool,
}

/// Where the first committed record since a time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstSince {
    At(Offset),
    /// No committed record has that time or a later one.
    Nowhere,
    /// Not before this position. More was not read.
    From(Position),
}

/// Error of a read that did not reach the partition's end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Another producer's open transaction delays the committed end of the partition, or the broker that answers no longer
    /// leads the partition.
    #[error("committed records end at {stable} after {} s, but must reach {wanted}: a transaction is still open there, or the broker that answers no longer leads the partition", REACHED_WITHIN.as_secs())]
    NotReached { stable: Position, wanted: Position },
    /// Records before the wanted offset were deleted, and that offset with them.
    #[error(
        "the partition begins at {start}, after offset {wanted}, which must be read: its retention deletes too early"
    )]
    Deleted { start: Position, wanted: Offset },
    /// The client reports that the partition cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Fault),
}

impl LogReader {
    /// Starts the client, which connects at the first read.
    pub fn start(properties: impl Into<LiveProperties>, link: &str) -> Result<Self, KafkaError> {
        Self::start_with(properties.into(), link, MEMORY)
    }

    /// Starts a client that reads little at a time, which delays none of the other.
    pub fn start_small(properties: impl Into<LiveProperties>, link: &str) -> Result<Self, KafkaError> {
        Self::start_with(properties.into(), link, SMALL_MEMORY)
    }

    fn start_with(properties: LiveProperties, link: &str, memory: ConsumerMemory) -> Result<Self, KafkaError> {
        // An empty fetch shows the end, so brokers must answer it soon.
        let config = ConsumerConfig { link, memory, fetch_wait: Duration::from_millis(10) };
        let consumer = Consumer::start(properties, &config)?;
        let catalog = KafkaCatalog::over(&consumer);
        Ok(Self { consumer, catalog, turns: Arc::default() })
    }

    /// Reads all committed records of a partition in order, from its start at least to the last stable offset at the time
    /// of the call.
    pub fn read(&self, topic: &str, partition: i32) -> Result<Vec<TimedEntry>, LogError> {
        let bounds = self.bounds(topic, partition)?;
        self.collect(topic, partition, bounds, timed)
    }

    /// Reads all committed records of a partition in order, from its start through the record at `offset`.
    ///
    /// # Errors
    /// [`LogError::NotReached`] if the broker that answers does not have that record: the answer is never shorter.
    pub fn read_through(&self, topic: &str, partition: i32, offset: Offset) -> Result<Vec<TimedEntry>, LogError> {
        let Bounds { start, .. } = self.bounds(topic, partition)?;
        let end = Position::after(offset);
        if start >= end {
            return Err(LogError::Deleted { start, wanted: offset });
        }
        self.collect(topic, partition, Bounds { start, end }, timed)
    }

    /// Returns the effective settings of a topic that decide what it keeps and accepts.
    pub fn settings(&self, topic: &str) -> Result<TopicSettings, KafkaError> {
        only(self.catalog.settings(&[topic.to_owned()]))
    }

    /// Reads the committed record at `offset`, and those at up to `before` offsets before it. None if it was deleted.
    pub fn read_near(
        &self,
        topic: &str,
        partition: i32,
        offset: Offset,
        before: i64,
    ) -> Result<Vec<OffsetEntry>, LogError> {
        let Bounds { start, end } = self.bounds(topic, partition)?;
        if start.0 > offset.0 || end.0 <= offset.0 {
            return Ok(Vec::new());
        }
        let start = start.max(Position(offset.0.saturating_sub(before)));
        self.read_within(topic, partition, Bounds { start, end: Position::after(offset) })
    }

    /// Counts the committed records within `bounds`.
    ///
    /// # Errors
    /// [`LogError::NotReached`] at once if a transaction is still open there; [`LogError::Deleted`] if all of it is deleted.
    pub fn count_within(&self, topic: &str, partition: i32, bounds: Bounds) -> Result<Seen, LogError> {
        let log = self.bounds(topic, partition)?;
        if log.end < bounds.end {
            return Err(LogError::NotReached { stable: log.end, wanted: bounds.end });
        }
        if log.start >= bounds.end {
            return Err(LogError::Deleted { start: log.start, wanted: Offset(bounds.start.0) });
        }
        let mut seen = Seen { is_whole: log.start <= bounds.start, ..Seen::default() };
        let part = Bounds { start: bounds.start.max(log.start), end: bounds.end };
        self.scan(topic, partition, part, |record| {
            seen.bytes += record.raw_len() as u64;
            if record.offset.0 < bounds.end.0 {
                seen.records += 1;
                seen.first.get_or_insert(record.offset);
            }
            ControlFlow::Continue(())
        })?;
        Ok(seen)
    }

    /// Looks for the first committed record at or after `from` whose timestamp is `since` (ms since the Unix epoch) or
    /// later, in about `room` bytes.
    pub fn first_since(
        &self,
        topic: &str,
        partition: i32,
        from: Position,
        since: i64,
        room: u64,
    ) -> Result<FirstSince, LogError> {
        let Bounds { start, end } = self.bounds(topic, partition)?;
        let mut found = FirstSince::Nowhere;
        let mut bytes = 0;
        self.scan(topic, partition, Bounds { start: from.max(start), end }, |record| {
            bytes += record.raw_len() as u64;
            if record.timestamp >= since {
                found = FirstSince::At(record.offset);
            } else if bytes > room {
                found = FirstSince::From(Position::after(record.offset));
            } else {
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        })?;
        Ok(found)
    }

    /// Returns the timestamp of the committed record at `offset`, in ms since the Unix epoch; `None` if there is no such
    /// record, or it has none.
    pub fn timestamp_at(&self, topic: &str, partition: i32, offset: Offset) -> Result<Option<i64>, LogError> {
        let Bounds { start, end } = self.bounds(topic, partition)?;
        let mut found = None;
        if start.0 <= offset.0 && offset.0 < end.0 {
            self.scan(
                topic,
                partition,
                Bounds { start: Position(offset.0), end: Position::after(offset) },
                |record| {
                    found = Some(record.timestamp).filter(|time| *time >= 0 && record.offset == offset);
                    ControlFlow::Break(())
                },
            )?;
        }
        Ok(found)
    }

    fn bounds(&self, topic: &str, partition: i32) -> Result<Bounds, LogError> {
        // The client may know an earlier leader, which hangs: the request to it would take seconds.
        self.catalog.renew_leaders(topic);
        Ok(only(self.catalog.bounds(&[Partition::new(topic, partition)], Isolation::Committed))?)
    }

    /// Reads all committed records of a partition in order, from `bounds.start` at least to `bounds.end`.
    pub fn read_within(&self, topic: &str, partition: i32, bounds: Bounds) -> Result<Vec<OffsetEntry>, LogError> {
        let placed = |record: &RecordRef<'_>| OffsetEntry { offset: record.offset, entry: entry(record) };
        self.collect(topic, partition, bounds, placed)
    }

    fn collect<E>(
        &self,
        topic: &str,
        partition: i32,
        bounds: Bounds,
        entry: fn(&RecordRef<'_>) -> E,
    ) -> Result<Vec<E>, LogError> {
        let mut entries = Vec::new();
        self.scan(topic, partition, bounds, |record| {
            entries.push(entry(record));
            ControlFlow::Continue(())
        })?;
        Ok(entries)
    }

    /// Passes on all committed records of a partition in order, from `bounds.start` at least to `bounds.end`, or until
    /// `take` breaks.
    pub fn scan(
        &self,
        topic: &str,
        partition: i32,
        bounds: Bounds,
        take: impl FnMut(&RecordRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        if bounds.start >= bounds.end {
            return Ok(());
        }
        self.turns.within(&Partition::new(topic, partition), || self.scan_alone(topic, partition, bounds, take))
    }

    fn scan_alone(
        &self,
        topic: &str,
        partition: i32,
        bounds: Bounds,
        mut take: impl FnMut(&RecordRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), LogError> {
        let bell = Bell::default();
        let mut lane = self.consumer.lane(bell.clone());
        lane.assign(&[Start {
            slot: SLOT,
            topic: topic.into(),
            partition,
            position: bounds.start,
            leader_epoch: -1,
            is_late: false,
        }])?;

        let mut reached = bounds.start;
        let mut ended = false;
        let mut moved = Instant::now();
        while reached < bounds.end {
            let before = reached;
            match take_all(&mut lane, &mut reached, &mut take)? {
                Taken::Enough => return Ok(()),
                Taken::Ended => ended = true,
                Taken::Some => {}
            }
            if reached > before {
                moved = Instant::now();
            } else if ended && moved.elapsed() > REACHED_WITHIN {
                return Err(LogError::NotReached { stable: reached, wanted: bounds.end });
            } else if moved.elapsed() > PROGRESS_WITHIN {
                return Err(KafkaError::timed_out(format!("read of {topic}/{partition}"), PROGRESS_WITHIN).into());
            }
            if reached < bounds.end {
                bell.wait(Duration::from_secs(1));
            }
        }
        Ok(())
    }
}

fn entry(record: &RecordRef<'_>) -> Entry {
    (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec))
}

fn timed(record: &RecordRef<'_>) -> TimedEntry {
    TimedEntry { entry: entry(record), timestamp: record.timestamp }
}

/// Events that were in a queue.
enum Taken {
    Some,
    /// The end of the committed records was among them.
    Ended,
    /// Enough records were read.
    Enough,
}

/// Takes all events in the queue.
fn take_all(
    lane: &mut LaneQueue,
    reached: &mut Position,
    take: &mut impl FnMut(&RecordRef<'_>) -> ControlFlow<()>,
) -> Result<Taken, LogError> {
    let mut taken = Taken::Some;
    while let Some(event) = lane.peek() {
        match event {
            LaneEvent::Record { record, .. } => {
                if take(&record).is_break() {
                    return Ok(Taken::Enough);
                }
                *reached = Position::after(record.offset);
            }
            LaneEvent::End { position, .. } => {
                *reached = (*reached).max(position);
                taken = Taken::Ended;
            }
            LaneEvent::Fault { fault, .. } => return Err(fault.into()),
        }
        lane.advance();
    }
    Ok(taken)
}
