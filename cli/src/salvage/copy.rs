//! Copies records of the source into topics next to theirs, each once: a transaction has some records, whose headers say
//! where they were, and a later command continues behind the last one that is committed.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka::admin::KafkaCatalog;
use kafka::catalog::{Bounds, Catalog, Isolation, TopicDescription, create, described, only};
use kafka::log::{LogError, LogReader};
use kafka::producer::{InFlight, ProduceError, Producer, ProducerConfig};
use kafka::{KafkaError, Properties};
use wire::frame::{HeaderBlock, RecordRef};
use wire::ids::{Offset, Position};
use wire::partition::Partition;

use super::coordinates::Coordinates;
use crate::exit::Failure;

/// Limits of a transaction.
const RECORDS_MAX: u64 = 1_000;
const BYTES_MAX: usize = 8 << 20;
/// Time for a transaction, and for the one that an earlier command has left open.
const WITHIN: Duration = Duration::from_secs(60);
/// Time for the markers of the transaction before this command.
const STABLE_WITHIN: Duration = Duration::from_secs(30);
const STABLE_STEP: Duration = Duration::from_millis(50);
const MEMORY: u64 = 64 << 20;
/// Bytes that the headers of the coordinates add to a record, at most.
const COORDINATES_BYTES: i64 = 1024;

/// Copier of what one link has left behind.
pub(super) struct Copier {
    link: String,
    catalog: KafkaCatalog,
    log: LogReader,
    producer: Producer,
    /// Last offset of each partition of the source that is copied, by the topics that were read.
    copied: HashMap<Arc<str>, Copied>,
}

/// What a topic of copies has.
#[derive(Debug, Default)]
struct Copied {
    /// Last offset of each partition of the source.
    last: HashMap<Partition, Offset>,
    /// Ends of its own partitions, until something is written there.
    ends: HashMap<i32, Position>,
}

impl Copier {
    /// Makes the clients, and ends what an earlier command for this link has not committed.
    pub(super) fn start(link: &str, properties: &Properties, catalog: KafkaCatalog) -> Result<Self, Failure> {
        let id = format!("causeway.salvage.{link}");
        let config = ProducerConfig {
            client: "salvage",
            transactional_id: &id,
            transaction_timeout: WITHIN,
            memory: MEMORY,
            zstd_topics: &BTreeSet::new(),
            in_flight: InFlight::default(),
        };
        let producer = Producer::fence(properties, &config, WITHIN)?;
        let log = LogReader::start(properties, link)?;
        Ok(Self { link: link.to_owned(), catalog, log, producer, copied: HashMap::new() })
    }

    /// Returns whether the topic of copies is open.
    pub(super) fn knows(&self, into: &str) -> bool {
        self.copied.contains_key(into)
    }

    /// Returns the last offset of a partition that is copied into an open topic.
    pub(super) fn last(&self, partition: &Partition, into: &str) -> Option<Offset> {
        self.copied.get(into)?.last.get(partition).copied()
    }

    /// Copies the records of `partition` within `bounds` into an open topic. Returns their number. After an error drop the
    /// copier.
    pub(super) fn copy(&mut self, partition: &Partition, bounds: Bounds, into: &Arc<str>) -> Result<u64, Failure> {
        let expected = self.copied.get_mut(into).and_then(|copied| copied.ends.remove(&partition.partition));
        let Self { link, log, producer, .. } = self;
        let mut writing = Writing { link, partition, into, producer, expected, records: 0, bytes: 0, all: 0 };
        let mut failed = None;
        log.scan(&partition.topic, partition.partition, bounds, |record| {
            if record.offset.0 >= bounds.end.0 {
                return ControlFlow::Break(());
            }
            match writing.add(record) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })
        .map_err(unreadable)?;
        failed.map_or(Ok(()), Err).and_then(|()| writing.commit())?;
        Ok(writing.all)
    }

    /// Creates the topic of the copies of `topic`, or reads what it has.
    pub(super) fn open(&mut self, topic: &str, into: &Arc<str>) -> Result<(), Failure> {
        let copied = self.read(topic, into)?;
        self.copied.insert(Arc::clone(into), copied);
        Ok(())
    }

    fn read(&self, topic: &str, into: &Arc<str>) -> Result<Copied, Failure> {
        let source = only(self.catalog.describe(&[topic.to_owned()]))?;
        let Some(found) = described(&self.catalog, &[into.to_string()])? else {
            self.create(&source, into)?;
            return Ok(Copied::default());
        };
        let settings = only(self.catalog.settings(&[into.to_string()]))?;
        if settings.retention_ms().is_some()
            || settings.iter().any(|(name, value)| name == "cleanup.policy" && value != "delete")
        {
            return Err(Failure::Failed(format!(
                "{into} does not keep everything: set retention.ms=-1 and cleanup.policy=delete"
            )));
        }
        if found.partitions < source.partitions {
            return Err(Failure::Failed(format!(
                "{into} has {} partitions, {topic} has {}: add partitions, or choose another --suffix",
                found.partitions, source.partitions
            )));
        }
        let mut copied = Copied::default();
        for partition in 0..found.partitions {
            let bounds = self.stable(&Partition::new(Arc::clone(into), partition))?;
            if bounds.start > Position(0) {
                return Err(Failure::Failed(format!("{into} has lost its oldest records: choose another --suffix")));
            }
            copied.ends.insert(partition, bounds.end);
            let mut foreign = None;
            self.log
                .scan(into, partition, bounds, |record| match Coordinates::read(&record.headers) {
                    Some(coordinates) => {
                        if coordinates.link == self.link {
                            copied.last.insert(coordinates.partition, coordinates.offset);
                        }
                        ControlFlow::Continue(())
                    }
                    None => {
                        foreign = Some(record.offset);
                        ControlFlow::Break(())
                    }
                })
                .map_err(unreadable)?;
            if let Some(offset) = foreign {
                return Err(Failure::Failed(format!(
                    "another program wrote to {into}, such as offset {offset} of partition {partition}: choose another --suffix"
                )));
            }
        }
        Ok(copied)
    }

    fn create(&self, source: &TopicDescription, into: &str) -> Result<(), KafkaError> {
        let settings = only(self.catalog.settings(std::slice::from_ref(&source.name)))?;
        let largest =
            settings.max_message_bytes().map(|bytes| (bytes + COORDINATES_BYTES).min(i32::MAX.into()).to_string());
        let mut configs = vec![
            ("cleanup.policy", "delete"),
            ("message.timestamp.type", "CreateTime"),
            ("retention.bytes", "-1"),
            ("retention.ms", "-1"),
        ];
        configs.extend(largest.iter().map(|bytes| ("max.message.bytes", bytes.as_str())));
        let replication = Some(source.replicas).filter(|replicas| *replicas > 0);
        create(&self.catalog, into, source.partitions, replication, &configs)
    }

    /// Returns the bounds of a partition without open transactions: that of an earlier command has ended, and its marker is
    /// written soon.
    fn stable(&self, at: &Partition) -> Result<Bounds, Failure> {
        let began = Instant::now();
        loop {
            let bounds = |isolation| only(self.catalog.bounds(std::slice::from_ref(at), isolation));
            let stable = bounds(Isolation::Committed)?;
            if bounds(Isolation::Uncommitted)?.end <= stable.end {
                return Ok(stable);
            }
            if began.elapsed() > STABLE_WITHIN {
                let seconds = STABLE_WITHIN.as_secs();
                let words = format!("a transaction of {at} is still open after {seconds} s: run it again later");
                return Err(Failure::Failed(words));
            }
            thread::sleep(STABLE_STEP);
        }
    }
}

/// Transactions with the records of one partition.
struct Writing<'a> {
    link: &'a str,
    partition: &'a Partition,
    into: &'a Arc<str>,
    producer: &'a mut Producer,
    /// Offset of the first copy, if all that the topic has was read before.
    expected: Option<Position>,
    /// Records and bytes of the open transaction.
    records: u64,
    bytes: usize,
    /// Records that are committed.
    all: u64,
}

impl Writing<'_> {
    fn add(&mut self, record: &RecordRef<'_>) -> Result<(), Failure> {
        if self.records == 0 {
            self.producer.begin().map_err(unwritten)?;
        }
        let mut headers = HeaderBlock::default();
        record.headers.iter().for_each(|(key, value)| headers.push(key, value));
        let coordinates =
            Coordinates { link: self.link.to_owned(), partition: self.partition.clone(), offset: record.offset };
        coordinates.write(&mut headers);
        let copy = RecordRef { headers: headers.as_headers(), ..*record };
        self.producer.produce(self.into, self.partition.partition, &copy, &Bytes::new()).map_err(unwritten)?;
        self.records += 1;
        self.bytes += copy.raw_len();
        if self.records >= RECORDS_MAX || self.bytes >= BYTES_MAX { self.commit() } else { Ok(()) }
    }

    fn commit(&mut self) -> Result<(), Failure> {
        if self.records > 0 {
            let appended = self.producer.drain().map_err(unwritten)?;
            let first = appended.first().map(|appended| appended.offsets.first().0);
            if let Some((expected, first)) =
                self.expected.take().zip(first).filter(|(expected, first)| expected.0 != *first)
            {
                return Err(Failure::Failed(format!(
                    "{}: the copies continue at offset {first}, where {expected} is read as the end: a broker that answers is \
                     behind, or another program writes there; run it again",
                    self.into
                )));
            }
            self.producer.commit().map_err(unwritten)?;
        }
        self.all += std::mem::take(&mut self.records);
        self.bytes = 0;
        Ok(())
    }
}

fn unreadable(error: LogError) -> Failure {
    match error {
        LogError::Kafka(error) => error.into(),
        error => Failure::failed(error),
    }
}

fn unwritten(error: ProduceError) -> Failure {
    match error {
        ProduceError::Kafka(error) | ProduceError::Unwritable(error) => error.into(),
        error => Failure::failed(error),
    }
}
