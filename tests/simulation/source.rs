//! The source cluster in memory: logs of committed records with gaps between them, and the reader of a lane.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use kafka::KafkaError;
use kafka::catalog::{Bounds, Catalog, TopicSummary};
use sender::SourceTopic;
use sender::TopicOrigin;
use sender::Topics;
use sender::{Assignment, Event, LaneReader, PartitionFault};
use testkit::{MemoryCatalog, topic_id};
use wire::frame::{HeaderBlock, Job, Library, RecordRef};
use wire::ids::{Offset, Position, Slot};

use crate::dice::Dice;
use crate::payload::{HUGE, POISON, Payload};

/// Number of records that a reader may have read ahead, over all its partitions.
const PREFETCH_MAX: usize = 24;

pub(crate) type Tp = (Arc<str>, i32);

/// Log of a partition: records, and `None` where compaction, an abort or a transaction marker left a gap.
#[derive(Default)]
pub(crate) struct Log {
    start: i64,
    /// First offset that retention has not deleted. Earlier records are kept here for the oracle.
    pub(crate) kept_from: i64,
    entries: Vec<Option<Arc<Payload>>>,
}

impl Log {
    pub(crate) fn end(&self) -> i64 {
        self.start + self.entries.len() as i64
    }

    /// Returns its first offset before retention deleted anything.
    pub(crate) fn origin(&self) -> i64 {
        self.start
    }

    pub(crate) fn at(&self, offset: i64) -> Option<&Arc<Payload>> {
        self.entries.get(usize::try_from(offset - self.start).ok()?)?.as_ref()
    }
}

/// State of the source cluster.
#[derive(Default)]
pub(crate) struct Source {
    pub(crate) logs: BTreeMap<Tp, Log>,
    pub(crate) templates: Templates,
    /// True if most records have a template in common.
    pub(crate) has_templates: bool,
    written: u64,
}

/// Templates that senders have learned from the records.
pub(crate) struct Templates {
    pub(crate) library: Arc<Library>,
    jobs: Receiver<Job>,
}

impl Default for Templates {
    fn default() -> Self {
        let (library, jobs) = Library::new();
        Self { library, jobs }
    }
}

impl Templates {
    /// Learns from what was shown.
    pub(crate) fn learn(&self) {
        self.jobs.try_iter().for_each(Job::learn);
    }
}

pub(crate) type SharedSource = Arc<Mutex<Source>>;

impl Source {
    pub(crate) fn add_partition(&mut self, topic: &str, dice: &Dice) {
        let topic: Arc<str> = topic.into();
        let partition = self.partitions(&topic);
        let start = if dice.chance(300) { dice.below(50) as i64 } else { 0 };
        self.logs.insert((topic, partition), Log { start, kept_from: start, entries: Vec::new() });
    }

    pub(crate) fn partitions(&self, topic: &Arc<str>) -> i32 {
        self.logs.keys().filter(|(name, _)| name == topic).count() as i32
    }

    /// Appends the records of a transaction to a random partition, with gaps as Kafka leaves them.
    pub(crate) fn append(&mut self, dice: &Dice) {
        let Some(index) = (!self.logs.is_empty()).then(|| dice.below(self.logs.len() as u64)) else { return };
        let aborted = dice.chance(150);
        let compacted = if dice.chance(300) { 300 } else { 0 };
        let records = dice.within(1, 6);
        let giant = dice.chance(20);
        let mut made = Vec::new();
        for _ in 0..records {
            let hole = aborted || dice.chance(compacted);
            made.push((!hole).then(|| self.payload(dice, giant)));
        }
        if aborted || dice.chance(400) {
            made.push(None);
        }
        if let Some(log) = self.logs.values_mut().nth(index as usize) {
            log.entries.extend(made);
        }
    }

    /// Appends exactly one record.
    pub(crate) fn append_one(&mut self, tp: &Tp, dice: &Dice) {
        let payload = self.payload(dice, false);
        if let Some(log) = self.logs.get_mut(tp) {
            log.entries.push(Some(payload));
        }
    }

    /// Appends a record that cannot be carried: the target rejects it, or it is too large for any frame.
    pub(crate) fn append_poison(&mut self, dice: &Dice, huge: u64) {
        let value = if dice.chance(huge) { vec![0; HUGE] } else { POISON.to_vec() };
        let payload = Payload { value: Some(value), ..Payload::clone(&self.payload(dice, false)) };
        let index = dice.below(self.logs.len() as u64) as usize;
        if let Some(log) = self.logs.values_mut().nth(index) {
            log.entries.push(Some(Arc::new(payload)));
        }
    }

    /// Deletes some of the oldest records of a partition, carried or not, as retention does.
    pub(crate) fn trim(&mut self, dice: &Dice) {
        let index = dice.below(self.logs.len() as u64) as usize;
        if let Some(log) = self.logs.values_mut().nth(index) {
            log.kept_from += dice.below((log.end() - log.kept_from) as u64 + 1) as i64;
        }
    }

    fn payload(&mut self, dice: &Dice, giant: bool) -> Arc<Payload> {
        self.written += 1;
        let len = if giant { dice.within(2000, 3000) } else { dice.below(200) } as usize;
        let byte = dice.below(256) as u8;
        let similar = || format!("{{\"number\":{},\"byte\":{byte},\"pad\":\"{}\"}}", self.written, "-".repeat(len));
        let is_similar = self.has_templates && !self.written.is_multiple_of(10);
        let value = if is_similar { similar().into_bytes() } else { vec![byte; len] };
        let headers =
            if dice.chance(100) { vec![(b"h".to_vec(), None), (b"h".to_vec(), Some(Vec::new()))] } else { vec![] };
        Arc::new(Payload {
            timestamp: 1_700_000_000_000 + self.written as i64,
            key: Some(self.written.to_be_bytes().to_vec()),
            value: (!dice.chance(50)).then_some(value),
            headers,
        })
    }

    /// Returns a catalog of the logs as they are now.
    pub(crate) fn catalog(&self) -> MemoryCatalog {
        let catalog = MemoryCatalog::new("source");
        for ((topic, _), log) in &self.logs {
            let bounds = Bounds { start: Position(log.kept_from), end: Position(log.end()) };
            catalog.add_partition(topic, bounds);
        }
        catalog
    }
}

/// Returns the topics of a catalog, as discovery finds them.
pub(crate) fn topics(catalog: &MemoryCatalog) -> Topics {
    let topic = |TopicSummary { name, partitions }: TopicSummary| SourceTopic {
        id: topic_id(&name),
        name: name.into(),
        partitions,
        origin: TopicOrigin::Own,
        unsure: false,
    };
    Arc::new(catalog.topics().unwrap().into_iter().map(topic).collect())
}

/// Reader of the partitions of one lane. It reads ahead of the lane, in a random order of partitions.
pub(crate) struct SimReader {
    source: SharedSource,
    dice: Dice,
    reading: BTreeMap<Slot, Reading>,
    queue: VecDeque<Fetched>,
    headers: HeaderBlock,
}

struct Reading {
    tp: Tp,
    position: i64,
    /// Last end of the log that was reported.
    ended: i64,
}

enum Fetched {
    Record(Slot, i64, Arc<Payload>),
    End(Slot, i64),
    /// Position that the log does not have.
    Gone(Slot, i64),
}

impl Fetched {
    fn slot(&self) -> Slot {
        match self {
            Self::Record(slot, ..) | Self::End(slot, _) | Self::Gone(slot, _) => *slot,
        }
    }
}

impl SimReader {
    pub(crate) fn new(source: SharedSource, dice: Dice) -> Self {
        Self { source, dice, reading: BTreeMap::new(), queue: VecDeque::new(), headers: HeaderBlock::default() }
    }

    /// Fetches from a random partition, sometimes nothing.
    fn fetch(&mut self) {
        if self.reading.is_empty() || self.queue.len() >= PREFETCH_MAX {
            return;
        }
        let index = self.dice.below(self.reading.len() as u64) as usize;
        let Some((&slot, reading)) = self.reading.iter_mut().nth(index) else { return };
        let source = self.source.lock().unwrap();
        let log = &source.logs[&reading.tp];
        if reading.position < log.kept_from {
            self.queue.push_back(Fetched::Gone(slot, reading.position));
            self.reading.remove(&slot);
            return;
        }
        let until = log.end().min(reading.position.saturating_add(self.dice.within(1, 8) as i64));
        while reading.position < until {
            if let Some(payload) = log.at(reading.position) {
                self.queue.push_back(Fetched::Record(slot, reading.position, Arc::clone(payload)));
            }
            reading.position += 1;
        }
        if reading.position == log.end() && reading.ended != log.end() {
            reading.ended = log.end();
            self.queue.push_back(Fetched::End(slot, log.end()));
        }
    }
}

impl LaneReader for SimReader {
    fn assign(&mut self, partitions: &[Assignment]) -> Result<(), KafkaError> {
        for at in partitions {
            let reading = Reading { tp: (Arc::clone(&at.topic), at.partition), position: at.position.0, ended: -1 };
            assert!(self.reading.insert(at.slot, reading).is_none(), "slot {} is assigned twice", at.slot);
        }
        Ok(())
    }

    fn unassign(&mut self, slots: &[Slot]) -> Result<(), KafkaError> {
        self.reading.retain(|slot, _| !slots.contains(slot));
        self.queue.retain(|fetched| !slots.contains(&fetched.slot()));
        Ok(())
    }

    fn peek(&mut self) -> Option<Event<'_>> {
        if self.queue.is_empty() {
            self.fetch();
        }
        Some(match self.queue.front()? {
            Fetched::Gone(slot, wanted) => {
                let fault = PartitionFault::OutOfRange { wanted: *wanted, detail: "deleted".to_owned() };
                Event::Fault { slot: *slot, fault }
            }
            Fetched::End(slot, position) => Event::End { slot: *slot, position: Position(*position) },
            Fetched::Record(slot, offset, payload) => {
                self.headers.clear();
                payload.headers.iter().for_each(|(key, value)| self.headers.push(key, value.as_deref()));
                let record = RecordRef {
                    offset: Offset(*offset),
                    timestamp: payload.timestamp,
                    key: payload.key.as_deref(),
                    value: payload.value.as_deref(),
                    headers: self.headers.as_headers(),
                };
                Event::Record { slot: *slot, leader_epoch: 3, record }
            }
        })
    }

    fn advance(&mut self) {
        self.queue.pop_front();
        self.fetch();
    }
}
