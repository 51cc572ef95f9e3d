//! The target as a real Kafka cluster: one transactional producer per lane, one state topic per link.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kafka::catalog::Catalog;
use kafka::log::{LogError, LogReader, TimedEntry};
use kafka::producer::{InFlight, ProduceError, Producer, ProducerConfig};
use kafka::{KafkaError, KafkaFault, Properties, Refusal};
use service::lock::Lock;
use wire::frame::{HeaderBlock, RecordRef};
use wire::ids::{LaneId, Offset};

use super::custody::WriterId;
use super::stall::Stall;
use super::{
    Appended, Delivered, Extent, LaneTarget, Rejection, Rejections, StateEntry, Target, TargetError, TargetPartition,
    Unwritable, state,
};

/// Settings of a [`KafkaTarget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KafkaTargetConfig {
    /// Time after which the target aborts a dead receiver's transaction; `read_committed` readers wait that long.
    pub transaction_timeout: Duration,
    /// Bytes of records that may wait in each lane's client.
    pub lane_memory: u64,
}

impl Default for KafkaTargetConfig {
    fn default() -> Self {
        Self { transaction_timeout: Duration::from_secs(30), lane_memory: 64 << 20 }
    }
}

pub struct KafkaTarget {
    properties: Arc<Properties>,
    config: KafkaTargetConfig,
    /// Answers what the producers cannot tell: which partitions can be written.
    catalog: Arc<dyn Catalog>,
    /// Log readers, one per link, so that its lanes share connections.
    logs: Lock<HashMap<String, LogReader>>,
}

impl KafkaTarget {
    /// Makes a target; it connects when its first lane is opened.
    pub fn new(properties: Properties, config: KafkaTargetConfig, catalog: Arc<dyn Catalog>) -> Self {
        Self { properties: Arc::new(properties), config, catalog, logs: Lock::default() }
    }
}

impl Target for KafkaTarget {
    type Lane = KafkaLane;

    fn open(&self, link: &str, lane: LaneId) -> Result<KafkaLane, KafkaError> {
        let mut logs = self.logs.lock();
        let log = match logs.get(link) {
            Some(log) => log.clone(),
            None => logs.entry(link.to_owned()).or_insert(LogReader::start(&self.properties, link)?).clone(),
        };
        Ok(KafkaLane {
            properties: self.properties.clone(),
            config: self.config,
            catalog: Arc::clone(&self.catalog),
            link: link.to_owned(),
            state_topic: state::topic(link).into(),
            lane,
            log,
            written: HashMap::new(),
            zstd_topics: BTreeSet::new(),
            in_flight: InFlight::default(),
            producer: None,
        })
    }
}

pub struct KafkaLane {
    properties: Arc<Properties>,
    config: KafkaTargetConfig,
    catalog: Arc<dyn Catalog>,
    link: String,
    state_topic: Arc<str>,
    lane: LaneId,
    log: LogReader,
    /// Time of each entry of the last reading, in ms since the Unix epoch, by its key.
    written: HashMap<Vec<u8>, i64>,
    /// Topics whose records are compressed with zstd: one of them was too large with the client's codec.
    zstd_topics: BTreeSet<Arc<str>>,
    /// Limit on the bytes in flight that the last producer had.
    in_flight: InFlight,
    /// `None` until fenced, and after a discard.
    producer: Option<Producer>,
}

impl KafkaLane {
    fn producer(&mut self) -> Result<&mut Producer, TargetError> {
        let lane = self.lane;
        self.producer.as_mut().ok_or_else(|| {
            let reason = "it has not been fenced since it was opened or discarded";
            KafkaError::misused(format!("write of lane {lane}"), reason).into()
        })
    }

    fn partition(&self) -> i32 {
        i32::from(self.lane.0)
    }

    /// Tells a refusal of the lane's own state from one of a record that it carries.
    fn about_state(&self, error: ProduceError) -> TargetError {
        match error {
            ProduceError::Rejected(Rejections { first: rejection, .. }) | ProduceError::TooLarge(rejection, _)
                if rejection.partition.topic == self.state_topic =>
            {
                TargetError::StateRejected { topic: rejection.partition.topic, reason: rejection.reason }
            }
            other => other.into(),
        }
    }

    fn initialised(&self, writer: &WriterId, within: Duration) -> Result<Producer, TargetError> {
        let config = ProducerConfig {
            link: &self.link,
            transactional_id: writer.as_str(),
            transaction_timeout: self.config.transaction_timeout,
            memory: self.config.lane_memory,
            zstd_topics: &self.zstd_topics,
            in_flight: self.in_flight,
        };
        Ok(Producer::fence(&self.properties, &config, within)?)
    }

    fn judge(&mut self, error: ProduceError) -> TargetError {
        match error {
            ProduceError::TooLarge(rejection, bytes) if rejection.partition.topic != self.state_topic => {
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
        let limit = self.log.settings(topic).ok().and_then(|settings| settings.max_message_bytes());
        let limit = limit.map_or_else(String::new, |limit| format!(", and `max.message.bytes` of {topic} is {limit}"));
        let reason =
            format!("{}: it has {bytes} bytes before compression, was tried with zstd too{limit}", rejection.reason);
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
            match self.catalog.replicas(&written) {
                Ok(replicas) => stall.handle_replicas(&written, &replicas, &unreported)?,
                Err(error) => tracing::debug!(lane = %self.lane, %error, "no delivery reports, and no answer why"),
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

    fn untrusted(&self, reason: impl ToString) -> TargetError {
        TargetError::State { lane: self.lane, reason: reason.to_string() }
    }
}

impl LaneTarget for KafkaLane {
    fn read_state(&mut self, extent: Extent) -> Result<Vec<StateEntry>, TargetError> {
        let read = match extent {
            Extent::LastStable => self.log.read(&self.state_topic, self.partition()),
            Extent::Through(offset) => self.log.read_through(&self.state_topic, self.partition(), offset),
        };
        let log = read.map_err(|error| match error {
            // The next attempt may reach the partition's new leader.
            error @ LogError::NotReached { .. } => KafkaError {
                doing: "read of the lane's state".to_owned(),
                reason: error.to_string(),
                fault: KafkaFault::Unavailable,
            }
            .into(),
            LogError::Kafka(error) if error.fault == KafkaFault::UnknownTopic => {
                TargetError::StateGone(self.state_topic.to_string())
            }
            LogError::Kafka(error) => error.into(),
            error => self.untrusted(error),
        })?;
        let mut last = HashMap::new();
        self.written.clear();
        for (at, TimedEntry { entry: (key, value), timestamp }) in log.into_iter().enumerate() {
            let key = key.ok_or_else(|| self.untrusted("a record without a key, which this program does not write"))?;
            self.written.insert(key.clone(), timestamp);
            match value {
                Some(value) => last.insert(key, (at, value)),
                None => last.remove(&key),
            };
        }
        // Bids count in the order of the log.
        let ordered: BTreeMap<_, _> = last.into_iter().map(|(key, (at, value))| (at, (key, value))).collect();
        Ok(ordered.into_values().map(|(key, value)| StateEntry { key, value: Some(value) }).collect())
    }

    fn written_at(&self, key: &[u8]) -> Option<i64> {
        self.written.get(key).copied().filter(|time| *time >= 0)
    }

    fn fence(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        self.discard();
        self.producer = Some(self.initialised(writer, within)?);
        Ok(())
    }

    fn expel(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        self.initialised(writer, within).map(drop)
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        Ok(self.producer()?.begin()?)
    }
    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, frame: &Bytes) -> Result<(), TargetError> {
        self.append(&to.topic, to.partition, record, frame)
    }

    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        let topic = self.state_topic.clone();
        let partition = self.partition();
        let headers = HeaderBlock::default();
        // Operators and the topic's compaction read the time; this program does not.
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let timestamp = i64::try_from(timestamp).unwrap_or(-1);
        let record = RecordRef { offset: Offset(0), timestamp, key: Some(key), value, headers: headers.as_headers() };
        // The value lies in no frame, so that the client copies it.
        self.append(&topic, partition, &record, &Bytes::new())
    }

    fn drain(&mut self) -> Result<Delivered, TargetError> {
        let mut appended = self.await_reports(Producer::drain_while_reported)?;
        let timestamps_altered = self.producer()?.timestamps_altered();
        let state = |end: &mut Appended| end.partition.topic == self.state_topic;
        let state_end = appended.extract_if(.., state).map(|end| end.last).max();
        Ok(Delivered { appended, state_end, timestamps_altered })
    }

    fn unwritable(&mut self, partitions: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        let replicas = self.catalog.replicas(partitions)?;
        let refused = partitions.iter().zip(replicas).filter_map(|(partition, replicas)| {
            let reason = replicas.ok()?.refusal()?;
            Some(Unwritable { partition: partition.clone(), reason })
        });
        Ok(refused.collect())
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
