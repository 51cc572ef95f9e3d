//! The target as a real Kafka cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kafka::catalog::{Bounds, Catalog};
use kafka::log::{FirstSince, LogError, LogReader, OffsetEntry, Seen, TimedEntry};
use kafka::producer::{InFlight, ProduceError, Producer, ProducerConfig};
use kafka::{Follower, KafkaError, KafkaFault, LiveProperties, Refusal};
use service::bell::Bell;
use service::lock::Lock;
use wire::frame::{HeaderBlock, RecordRef};
use wire::ids::{LaneId, Offset, Position};
use wire::origin;

use super::custody::WriterId;
use super::stall::Stall;
use super::{
    Appended, Extent, Rejection, Rejections, StateAccess, StateEntry, StoredBlock, Target, TargetError,
    TargetPartition, TargetWriter, Unwritable,
};

/// Offsets before a block that are read with it: one fetch has them anyway, and the next search may need them.
const BLOCKS_BEFORE: i64 = 128;
/// Bytes of records that one search of a time reads.
const SEARCHED_BYTES: u64 = 64 << 20;

/// Settings of a [`KafkaTarget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KafkaTargetConfig {
    /// Time after which the target aborts a dead receiver's transaction; `read_committed` readers wait that long.
    pub transaction_timeout: Duration,
    /// Bytes of records that may wait in each writer's client.
    pub writer_memory: u64,
}

impl Default for KafkaTargetConfig {
    fn default() -> Self {
        Self { transaction_timeout: Duration::from_secs(30), writer_memory: 64 << 20 }
    }
}

pub struct KafkaTarget {
    clients: Clients,
    config: KafkaTargetConfig,
    /// Reader of state partitions. All lanes share its connections. It is started with the first of them.
    log: Lock<Option<LogReader>>,
    records: Arc<RecordReader>,
    /// Bells that ring when the credentials have changed.
    bells: Lock<Vec<Arc<CredentialBell>>>,
}

/// Bell of a thread that has new clients made when the credentials change.
#[derive(Debug)]
struct CredentialBell(Bell);

impl Follower for CredentialBell {
    fn handle_change(&self) {
        self.0.ring();
    }
}

/// Reader of data partitions, which is started with the first reading.
#[derive(Default)]
struct RecordReader(Lock<Option<LogReader>>);

impl RecordReader {
    fn get(&self, clients: &Clients) -> Result<LogReader, KafkaError> {
        let mut log = self.0.lock();
        if let Some(log) = &*log {
            return Ok(log.clone());
        }
        Ok(log.insert(LogReader::start_small(&clients.properties, &clients.name)?).clone())
    }
}

/// Dependencies that writers and readers share.
#[derive(Clone)]
struct Clients {
    properties: LiveProperties,
    /// Answers what the producers cannot tell: which partitions can be written.
    catalog: Arc<dyn Catalog>,
    /// Name of this process in the brokers' logs and quotas.
    name: Arc<str>,
}

impl KafkaTarget {
    /// Makes a target for the process `name`; it connects when its first lane is opened.
    pub fn new(
        properties: impl Into<LiveProperties>,
        config: KafkaTargetConfig,
        catalog: Arc<dyn Catalog>,
        name: &str,
    ) -> Self {
        let clients = Clients { properties: properties.into(), catalog, name: name.into() };
        Self { clients, config, log: Lock::default(), records: Arc::default(), bells: Lock::default() }
    }

    fn log(&self) -> Result<LogReader, KafkaError> {
        let mut log = self.log.lock();
        if let Some(log) = &*log {
            return Ok(log.clone());
        }
        Ok(log.insert(LogReader::start(&self.clients.properties, &self.clients.name)?).clone())
    }
}

impl Target for KafkaTarget {
    type Writer = KafkaWriter;
    type States = KafkaStates;

    fn writer(&self) -> Result<KafkaWriter, KafkaError> {
        Ok(KafkaWriter {
            clients: self.clients.clone(),
            config: self.config,
            log: self.log()?,
            states: HashSet::new(),
            zstd_topics: BTreeSet::new(),
            in_flight: InFlight::default(),
            generation: 0,
            producer: None,
        })
    }

    fn states(&self) -> Result<KafkaStates, KafkaError> {
        let records = Arc::clone(&self.records);
        Ok(KafkaStates { clients: self.clients.clone(), config: self.config, log: self.log()?, records })
    }

    fn generation(&self) -> u64 {
        self.clients.properties.generation()
    }

    fn ring_when_changed(&self, bell: &Bell) {
        let bell = Arc::new(CredentialBell(bell.clone()));
        let follower: Weak<CredentialBell> = Arc::downgrade(&bell);
        self.bells.lock().push(bell);
        self.clients.properties.follow(follower);
    }
}

/// Transactional producer of the receiver.
pub struct KafkaWriter {
    clients: Clients,
    config: KafkaTargetConfig,
    log: LogReader,
    /// Topics that state was written to.
    states: HashSet<Arc<str>>,
    /// Topics whose records are compressed with zstd: one of them was too large with the client's codec.
    zstd_topics: BTreeSet<Arc<str>>,
    /// Limit on the bytes in flight that the last producer had.
    in_flight: InFlight,
    /// Generation of the credentials that the producer was made with.
    generation: u64,
    /// `None` until fenced, and after a discard.
    producer: Option<Producer>,
}

/// Reader of state partitions.
pub struct KafkaStates {
    clients: Clients,
    config: KafkaTargetConfig,
    log: LogReader,
    records: Arc<RecordReader>,
}

impl KafkaWriter {
    fn producer(&mut self) -> Result<&mut Producer, TargetError> {
        self.producer
            .as_mut()
            .ok_or_else(|| KafkaError::misused("write to the target".to_owned(), "no producer is initialised").into())
    }

    /// Tells a refusal of a lane's own state from one of a record that it carries.
    fn about_state(&self, error: ProduceError) -> TargetError {
        match error {
            ProduceError::Rejected(Rejections { first: rejection, .. }) | ProduceError::TooLarge(rejection, _)
                if self.states.contains(&rejection.partition.topic) =>
            {
                let Rejection { partition, reason, .. } = rejection;
                match origin::is_map_topic(&partition.topic) {
                    true => TargetError::MapRejected { topic: partition.topic, reason },
                    false => TargetError::StateRejected { topic: partition.topic, reason },
                }
            }
            other => other.into(),
        }
    }

    fn judge(&mut self, error: ProduceError) -> TargetError {
        match error {
            ProduceError::TooLarge(rejection, bytes) if !self.states.contains(&rejection.partition.topic) => {
                TargetError::Rejected(self.judge_size(rejection, bytes).into())
            }
            other => self.about_state(other),
        }
    }

    /// Judges the refusal of records that are too large. The source may have taken one record in another codec: it is
    /// appended again with zstd, before its refusal counts.
    fn judge_size(&mut self, rejection: Rejection, bytes: u64) -> Rejection {
        if rejection.first != rejection.last {
            return rejection;
        }
        let topic = &rejection.partition.topic;
        if self.zstd_topics.insert(Arc::clone(topic)) {
            tracing::info!(%topic, "a record is too large in the present codec; compressing this topic with zstd");
            return Rejection { refusal: Refusal::Doubted, ..rejection };
        }
        let properties = self.clients.properties.now();
        let codec = properties.codec();
        let limit = self.log.settings(topic).ok().and_then(|settings| settings.max_message_bytes());
        let limit = limit.map_or_else(String::new, |limit| format!(", and `max.message.bytes` of {topic} is {limit}"));
        let reason = format!(
            "{}: it has {bytes} bytes before compression, was tried with {codec} and zstd{limit}",
            rejection.reason
        );
        Rejection { reason, ..rejection }
    }

    /// Waits for delivery reports: `wait` returns `None` whenever none arrived for the time that it was given. Then it
    /// looks for the cause.
    fn await_reports<R>(
        &mut self,
        mut wait: impl FnMut(&mut Producer, Duration) -> Result<Option<R>, ProduceError>,
    ) -> Result<R, TargetError> {
        let mut stall = Stall::default();
        loop {
            let waited = wait(self.producer()?, stall.patience());
            if let Some(done) = waited.map_err(|error| self.judge(error))? {
                return Ok(done);
            }
            let producer = self.producer()?;
            let written = producer.written();
            let unreported = producer.unreported();
            match self.clients.catalog.replicas(&written) {
                Ok(replicas) => stall.handle_replicas(&written, &replicas, &unreported)?,
                Err(error) => tracing::debug!(%error, "no delivery reports, and no answer why"),
            }
        }
    }

    fn append(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        record: &RecordRef<'_>,
        frame: &Bytes,
    ) -> Result<(), TargetError> {
        if !self.producer()?.has_room(record) {
            self.await_reports(|producer, patience| producer.await_room(record, patience))?;
        }
        let produced = self.producer()?.produce(topic, partition, record, frame);
        produced.map_err(|error| self.judge(error))
    }
}

impl TargetWriter for KafkaWriter {
    fn fence(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        self.discard();
        let config = self.config.producer(&self.clients.name, writer, &self.zstd_topics, self.in_flight);
        self.generation = self.clients.properties.generation();
        self.producer = Some(Producer::fence(&self.clients.properties.now(), &config, within)?);
        Ok(())
    }

    fn is_outdated(&self) -> bool {
        self.producer.is_some() && self.generation < self.clients.properties.generation()
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        Ok(self.producer()?.begin()?)
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, frame: &Bytes) -> Result<(), TargetError> {
        self.append(&to.topic, to.partition, record, frame)
    }

    fn write_state(&mut self, state: &TargetPartition, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        if !self.states.contains(&state.topic) {
            self.states.insert(Arc::clone(&state.topic));
        }
        let headers = HeaderBlock::default();
        // Operators and the topic's compaction read the time; this program does not.
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let timestamp = i64::try_from(timestamp).unwrap_or(-1);
        let record = RecordRef { offset: Offset(0), timestamp, key: Some(key), value, headers: headers.as_headers() };
        // The value lies in no frame, so that the client copies it.
        self.append(&state.topic, state.partition, &record, &Bytes::new())
    }

    fn drain(&mut self) -> Result<Vec<Appended>, TargetError> {
        self.await_reports(Producer::drain_while_reported)
    }

    fn is_slow(&self) -> bool {
        self.producer.as_ref().is_some_and(Producer::is_slow)
    }

    fn delay(&self) -> Duration {
        self.producer.as_ref().map_or(Duration::ZERO, Producer::delay)
    }

    fn commit(&mut self) -> Result<(), TargetError> {
        Ok(self.producer()?.commit()?)
    }

    fn discard(&mut self) {
        if let Some(producer) = self.producer.take() {
            self.in_flight = producer.in_flight();
        }
    }
}

impl StateAccess for KafkaStates {
    fn read(&mut self, state: &TargetPartition, extent: Extent) -> Result<Vec<StateEntry>, TargetError> {
        let TargetPartition { topic, partition } = state;
        let read = match extent {
            Extent::LastStable => self.log.read(topic, *partition),
            Extent::Through(offset) => self.log.read_through(topic, *partition, offset),
        };
        let untrusted = |reason: String| TargetError::State { lane: lane_of(state), reason };
        let log = read.map_err(|error| match error {
            // The next attempt may reach the partition's new leader.
            error @ LogError::NotReached { .. } => KafkaError {
                doing: "read of the lane's state".to_owned(),
                reason: error.to_string(),
                fault: KafkaFault::Unavailable,
            }
            .into(),
            LogError::Kafka(error) if error.fault == KafkaFault::UnknownTopic => {
                TargetError::StateGone(topic.to_string())
            }
            LogError::Kafka(error) => error.into(),
            error => untrusted(error.to_string()),
        })?;
        let mut last = HashMap::new();
        for (at, TimedEntry { entry: (key, value), timestamp }) in log.into_iter().enumerate() {
            let no_key = || untrusted("a record without a key, which this program does not write".to_owned());
            let key = key.ok_or_else(no_key)?;
            match value {
                Some(value) => drop(last.insert(key, (at, value, timestamp))),
                None => drop(last.remove(&key)),
            }
        }
        // Bids count in the order of the log.
        let ordered: BTreeMap<_, _> = last
            .into_iter()
            .map(|(key, (at, value, timestamp))| {
                (at, StateEntry { key, value: Some(value), written: Some(timestamp).filter(|time| *time >= 0) })
            })
            .collect();
        Ok(ordered.into_values().collect())
    }

    fn read_blocks(&mut self, map: &TargetPartition, near: Offset) -> Result<Vec<StoredBlock>, TargetError> {
        let read = match self.log.read_near(&map.topic, map.partition, near, BLOCKS_BEFORE) {
            Err(LogError::Kafka(error)) if error.fault == KafkaFault::UnknownTopic => return Ok(Vec::new()),
            read => read.map_err(|error| unreadable(map, error))?,
        };
        let block =
            |OffsetEntry { offset, entry: (key, value) }| Some(StoredBlock { offset, key: key?, value: value? });
        Ok(read.into_iter().filter_map(block).collect())
    }

    fn count_records(&mut self, at: &TargetPartition, bounds: Bounds) -> Result<Seen, TargetError> {
        let log = self.records.get(&self.clients)?;
        log.count_within(&at.topic, at.partition, bounds).or_else(|error| match error {
            // Nothing is known of what was deleted.
            LogError::Deleted { .. } => Ok(Seen::default()),
            error => Err(unreadable(at, error)),
        })
    }

    fn first_since(&mut self, at: &TargetPartition, from: Position, since: i64) -> Result<FirstSince, TargetError> {
        let log = self.records.get(&self.clients)?;
        let found = log.first_since(&at.topic, at.partition, from, since, SEARCHED_BYTES);
        found.map_err(|error| unreadable(at, error))
    }

    fn timestamp(&mut self, at: &TargetPartition, offset: Offset) -> Result<Option<i64>, TargetError> {
        let log = self.records.get(&self.clients)?;
        log.timestamp_at(&at.topic, at.partition, offset).map_err(|error| unreadable(at, error))
    }

    fn expel(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        let zstd_topics = BTreeSet::new();
        let config = self.config.producer(&self.clients.name, writer, &zstd_topics, InFlight::default());
        Producer::fence(&self.clients.properties.now(), &config, within)?;
        Ok(())
    }

    fn unwritable(&mut self, partitions: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        let replicas = self.clients.catalog.replicas(partitions)?;
        let refused = partitions.iter().zip(replicas).filter_map(|(partition, replicas)| {
            let reason = match replicas {
                Ok(replicas) => replicas.refusal()?,
                Err(error) if error.fault == KafkaFault::Unauthorized => error.reason,
                // A topic that was deleted: its records are refused.
                Err(_) => return None,
            };
            Some(Unwritable { partition: partition.clone(), reason })
        });
        Ok(refused.collect())
    }
}

impl KafkaTargetConfig {
    fn producer<'a>(
        &self,
        client: &'a str,
        writer: &'a WriterId,
        zstd_topics: &'a BTreeSet<Arc<str>>,
        in_flight: InFlight,
    ) -> ProducerConfig<'a> {
        ProducerConfig {
            client,
            transactional_id: writer.as_str(),
            transaction_timeout: self.transaction_timeout,
            memory: self.writer_memory,
            zstd_topics,
            in_flight,
        }
    }
}

/// Returns the error of a read that may succeed later.
fn unreadable(at: &TargetPartition, error: LogError) -> TargetError {
    match error {
        LogError::Kafka(error) => error.into(),
        error => {
            let fault = KafkaFault::Unavailable;
            KafkaError { doing: format!("read of {at}"), reason: error.to_string(), fault }.into()
        }
    }
}

/// Returns the lane of a state partition: they have the same numbers.
fn lane_of(state: &TargetPartition) -> LaneId {
    LaneId(u16::try_from(state.partition).unwrap_or(u16::MAX))
}

impl From<ProduceError> for TargetError {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::Kafka(error) => Self::Kafka(error),
            ProduceError::Unwritable(error) => Self::Unauthorized(error),
            ProduceError::Rejected(rejections) => Self::Rejected(rejections),
            ProduceError::TooLarge(rejection, _) => Self::Rejected(rejection.into()),
        }
    }
}
