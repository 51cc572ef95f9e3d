//! A transactional producer for one lane: explicit partitions and timestamps, headers, payloads without a copy.
//!
//! There is no abort. After any error, drop the producer and make another one with the same transactional id:
//! [`Producer::fence`] ends the transaction that the dropped one left open.

mod in_flight;
mod offsets;
mod record;
mod refusal_reason;
mod refused_batch;
mod rejection;
mod reports;
mod sent;
mod take_over;
mod topics;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka_sys as sys;
use sys::rd_kafka_resp_err_t as Code;
use wire::frame::RecordRef;
use wire::partition::Partition;

use super::client::{CallError, Client, Queue, Topic, check, fatal, millis};
use super::error::{KafkaError, known, refusal};
use super::properties::{DEFAULT_CODEC, Properties, Setting};
use super::throttle;
pub use in_flight::InFlight;
pub use offsets::{Offsets, Stretch};
pub use rejection::{Rejection, Rejections};
use reports::{BadReport, Reports};
use sent::{Origin, SentRecords};
use take_over::take_over;
use topics::{Place, Topics};

/// Number of records after which the delivery reports are taken, so that they never pile up.
const REPORTS_EVERY: u64 = 1024;
/// Age of a transaction from which on it is committed soon if a broker delays its answers.
const SLOW_AFTER: Duration = Duration::from_secs(2);
/// Time to wait for room in the client's queue before the deadline is checked again.
const ROOM_WAIT: Duration = Duration::from_millis(20);
/// Time limit for a topic's metadata when a partition is not known yet.
const METADATA_WAIT: Duration = Duration::from_secs(5);
/// Time limit for the client's threads to discard the records of a dropped producer. They need milliseconds, unless one
/// of them waits for a name server; then no answer arrives that could do harm.
const PURGE_WITHIN: Duration = Duration::from_secs(10);
/// Time within which the client registers a record's partition with the transaction: its timer has one millisecond.
const REGISTERED_WITHIN: Duration = Duration::from_millis(5);
/// Silence of the brokers after which all batches in flight are answered, once one was refused.
const NAMES_WAIT: Duration = Duration::from_millis(20);
/// Time for which the client waits for more records of a batch. A transaction's last records do not wait: see
/// [`Producer::hurry`].
const LINGER: Duration = Duration::from_millis(5);
/// Time for which the client sends its records immediately, before reports are taken.
const HURRY: Duration = Duration::from_millis(1);
/// Pause before the next purge: a record that is being sent again was not in the queue at the last one.
const PURGE_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy)]
pub struct ProducerConfig<'a> {
    /// Name of the process, for the client id.
    pub client: &'a str,
    /// Transactional id: a newer producer with it fences older ones.
    pub transactional_id: &'a str,
    /// Time for which the target keeps a dead producer's transaction open. It limits every call here as well.
    pub transaction_timeout: Duration,
    /// Bytes of records that may wait in the client.
    pub memory: u64,
    /// Topics whose records are compressed with zstd instead of the codec of the properties.
    pub zstd_topics: &'a BTreeSet<Arc<str>>,
    /// Limit on the bytes in flight, as the producer before this one knew it.
    pub in_flight: InFlight,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// The call failed; the transaction's outcome may be unknown.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Records are refused permanently, or their partition does not exist.
    #[error("{0}")]
    Rejected(Rejections),
    /// A record is refused permanently because of its size after compression. Its key and value have this many bytes before.
    #[error("{} refuses a record: {}", .0.partition, .0.reason)]
    TooLarge(Rejection, u64),
    /// The receiver may not write a topic of the transaction, and the client does not say which. Nothing was sent.
    #[error(transparent)]
    Unwritable(KafkaError),
}

/// Offsets that one partition got in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Target partition that took the records.
    pub partition: Partition,
    pub offsets: Offsets,
}

/// Partition with records of the present transaction that are not reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreported {
    pub partition: Partition,
    /// Broker that took the last record that was reported; `None` if there was none.
    pub broker: Option<i32>,
}

/// A producer that owns its transactional id. Dropping it discards its records; the next owner of the id ends a
/// transaction that is still open, or else the transaction timeout does.
#[derive(Debug)]
pub struct Producer {
    name: String,
    timeout: Duration,
    deadline: Instant,
    reports: Reports,
    sent: u64,
    sent_to: SentRecords,
    in_flight: InFlight,
    begun: Instant,
    /// Longest delay that a broker has announced since the transaction began.
    delay: Duration,
    zstd_topics: BTreeSet<Arc<str>>,
    topics: Topics,
    queue: Queue,
    // The last reference to the instance, which reads the frames: it must be dropped before them.
    client: Arc<Client>,
    frames: Vec<Bytes>,
}

impl Producer {
    /// Makes a producer that takes over the transactional id. Before this returns, earlier owners are fenced and their
    /// open transactions ended. Blocks for at most `deadline`.
    pub fn fence(properties: &Properties, config: &ProducerConfig<'_>, deadline: Duration) -> Result<Self, KafkaError> {
        let client = take_over(&settings(properties, config), config.transactional_id, deadline)?;
        Ok(Self {
            name: config.transactional_id.to_owned(),
            timeout: config.transaction_timeout,
            deadline: Instant::now(),
            reports: Reports::default(),
            sent: 0,
            sent_to: SentRecords::default(),
            in_flight: config.in_flight,
            begun: Instant::now(),
            delay: Duration::ZERO,
            zstd_topics: config.zstd_topics.clone(),
            topics: Topics::default(),
            queue: Queue::main(&client),
            client,
            frames: Vec::new(),
        })
    }

    /// Starts a transaction, which must be committed within the transaction timeout.
    /// After an error, drop the producer.
    pub fn begin(&mut self) -> Result<(), ProduceError> {
        // The counts say which frames librdkafka still reads, so they must not begin again before they are equal.
        if self.reports.count() < self.sent {
            let reason = "records of the transaction before it are in flight";
            return Err(KafkaError::misused(format!("begin of `{}`", self.name), reason).into());
        }
        self.begun = Instant::now();
        self.deadline = self.begun + self.timeout;
        self.delay = Duration::ZERO;
        self.reports = Reports::default();
        self.sent = 0;
        // SAFETY: the instance is live.
        unsafe { check(sys::rd_kafka_begin_transaction(self.client.raw())) }
            .map_err(|error| self.failed("begin", error).into())
    }

    /// Queues one record. Its value should lie inside `frame`, which is then held until all records are reported or the
    /// producer is dropped; any other value is copied. A timestamp of 0 is written as 1, because 0 means "now" to
    /// librdkafka.
    ///
    /// Blocks while the client's queue is full, up to the transaction's deadline.
    /// After an error, drop the producer.
    pub fn produce(
        &mut self,
        topic: &Arc<str>,
        partition: i32,
        record: &RecordRef<'_>,
        frame: &Bytes,
    ) -> Result<(), ProduceError> {
        let lent = record.value.is_none_or(|value| lies_within(value, frame));
        if lent && record.value.is_some_and(|value| !value.is_empty()) {
            self.hold(frame);
        }
        let place = self.topics.place(topic, || {
            let codec = self.zstd_topics.contains(topic).then_some(c"zstd");
            Topic::open(&self.client, topic, codec)
        })?;
        while !self.has_room(record) {
            self.await_room(record, self.timeout)?;
        }
        let mut refreshed = false;
        let address = loop {
            let handle = self.topics.at(place);
            // SAFETY: a lent value lies within a frame that outlives its report or the instance.
            let Err(error) = (unsafe { record::enqueue(&self.client, handle, partition, record, lent) }) else {
                break handle.address();
            };
            if error.is(Code::RD_KAFKA_RESP_ERR__QUEUE_FULL) {
                self.in_time("room in the client's queue")?;
                self.gather(ROOM_WAIT);
                self.verdict()?;
            } else if error.is(Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION) && !refreshed {
                // The client's metadata may be older than the partition.
                refreshed = true;
                self.refresh(place)?;
            } else if let Some(refusal) = refusal(error.code) {
                let rejection = Rejection {
                    partition: Partition::new(topic.clone(), partition),
                    refusal,
                    first: record.offset,
                    last: record.offset,
                    named: Vec::new(),
                    reason: error.reason,
                };
                return Err(ProduceError::Rejected(rejection.into()));
            } else {
                // A record before it has failed the transaction, and its report says why.
                if error.is(Code::RD_KAFKA_RESP_ERR__STATE) {
                    self.gather(ROOM_WAIT);
                    self.verdict()?;
                }
                return Err(self.failed("produce", error).into());
            }
        };
        self.sent += 1;
        self.in_flight.handle_queued(size(record));
        self.sent_to.add((address, partition));
        if self.sent.is_multiple_of(REPORTS_EVERY) {
            self.gather(Duration::ZERO);
        }
        Ok(())
    }

    /// Returns whether [`Producer::produce`] queues this record without waiting for delivery reports.
    pub fn has_room(&self, record: &RecordRef<'_>) -> bool {
        self.in_flight.has_room(size(record))
    }

    /// Waits until there is room for a record. Returns `None` if no report arrives for `patience`; call it again then.
    pub fn await_room(&mut self, record: &RecordRef<'_>, patience: Duration) -> Result<Option<()>, ProduceError> {
        let mut reported = Instant::now();
        while !self.has_room(record) {
            self.in_time("room for a record in flight")?;
            if reported.elapsed() >= patience {
                return Ok(None);
            }
            let count = self.reports.count();
            self.gather(ROOM_WAIT);
            self.verdict()?;
            if self.reports.count() > count {
                reported = Instant::now();
            }
        }
        Ok(Some(()))
    }

    /// Waits until every record of the transaction so far is reported. Returns the offsets that each partition got since
    /// the last call.
    /// The error is a rejected record, or else the first bad report; drop the producer then.
    pub fn drain(&mut self) -> Result<Vec<Appended>, ProduceError> {
        loop {
            if let Some(appended) = self.drain_while_reported(self.timeout)? {
                return Ok(appended);
            }
        }
    }

    /// Waits as [`Producer::drain`] does. Returns `None` if no report arrives for `patience`; call it again then.
    pub fn drain_while_reported(&mut self, patience: Duration) -> Result<Option<Vec<Appended>>, ProduceError> {
        let began = Instant::now();
        let mut reported = began;
        loop {
            self.verdict()?;
            let count = self.reports.count();
            if count == self.sent {
                break;
            }
            self.in_time("delivery reports")?;
            if began.elapsed() < LINGER {
                self.hurry();
                continue;
            }
            let left = patience.saturating_sub(reported.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            self.gather(left.min(self.deadline.saturating_duration_since(Instant::now())));
            if self.reports.count() > count {
                reported = Instant::now();
            }
        }
        self.frames.clear();
        let ends = self.reports.take_ends();
        self.sent_to.complete(&ends);
        let appended = ends
            .into_iter()
            .filter_map(|(origin, ends)| Some(Appended { partition: self.partition(origin)?, offsets: ends.offsets }));
        Ok(Some(appended.collect()))
    }

    /// Has the client send its records immediately for a moment, and takes the reports that have arrived.
    fn hurry(&mut self) {
        self.client.flush(HURRY);
        self.gather(Duration::ZERO);
    }

    /// Returns the partitions that records of the present transaction are in flight to.
    pub fn unreported(&self) -> Vec<Unreported> {
        let unreported = self.sent_to.unreported(self.reports.ends()).into_iter();
        let named =
            unreported.filter_map(|(origin, broker)| Some(Unreported { partition: self.partition(origin)?, broker }));
        named.collect()
    }

    /// Returns every partition that this producer has sent records to.
    pub fn written(&self) -> Vec<Partition> {
        self.sent_to.written().filter_map(|origin| self.partition(origin)).collect()
    }

    fn partition(&self, origin: Origin) -> Option<Partition> {
        let (address, partition) = origin;
        self.topics.name(address).map(|topic| Partition::new(Arc::clone(topic), partition))
    }

    /// Commits the transaction after [`Producer::drain`]: with records in flight, the client would wait for reports that
    /// only this producer takes from its queue.
    /// After an error the transaction's outcome is unknown: drop the producer and read the target.
    pub fn commit(&mut self) -> Result<(), ProduceError> {
        let limit = millis(self.timeout);
        // SAFETY: the instance is live.
        unsafe { check(sys::rd_kafka_commit_transaction(self.client.raw(), limit)) }
            .map_err(|error| self.failed("commit", error).into())
    }

    /// Longest delay that a broker has announced within the present transaction, because this client exceeds a quota.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Returns whether the transaction should be committed soon: a broker delays its answers, and the transaction is old.
    pub fn is_slow(&self) -> bool {
        !self.delay.is_zero() && self.begun.elapsed() > SLOW_AFTER.min(self.timeout / 4)
    }

    /// Limit on the bytes in flight, for the producer that replaces this one.
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.emptied()
    }

    fn hold(&mut self, frame: &Bytes) {
        let held = |last: &Bytes| last.as_ptr() == frame.as_ptr() && last.len() == frame.len();
        if !self.frames.last().is_some_and(held) {
            self.frames.push(frame.clone());
        }
    }

    /// Takes reports from the queue; waits for the first one for at most `wait`.
    fn gather(&mut self, wait: Duration) {
        let Self { queue, reports, .. } = self;
        let (bytes, delay) = throttle::collect(|| {
            let events = queue.poll(wait).into_iter().chain(std::iter::from_fn(|| queue.poll(Duration::ZERO)));
            events.map(|event| reports.take(&event)).sum()
        });
        self.in_flight.handle_reported(bytes);
        if !delay.is_zero() {
            self.delay = self.delay.max(delay);
            self.in_flight.handle_delay();
        }
    }

    /// Discards every record of a failed transaction and waits until the client has reported each. Returns false if that
    /// takes longer than `limit`.
    fn discard(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.reports.count() < self.sent {
            if Instant::now() >= deadline {
                return false;
            }
            self.client.purge();
            self.gather(PURGE_AGAIN);
        }
        true
    }

    fn verdict(&mut self) -> Result<(), ProduceError> {
        if self.reports.first_bad().is_some_and(|bad| !bad.named.is_empty()) {
            self.in_flight.handle_refusal();
            self.gather_names();
        }
        let Some(bad) = self.reports.first_bad() else { return Ok(()) };
        let Some(rejection) = self.rejection(bad) else {
            let error = CallError { code: bad.code, reason: bad.reason.clone(), retriable: false };
            return Err(self.unwritable().unwrap_or_else(|| self.failed("delivery", error).into()));
        };
        if known(bad.code) == Some(Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE) {
            return Err(ProduceError::TooLarge(rejection, bad.bytes));
        }
        let others = self.reports.also_named().filter_map(|bad| self.rejection(bad)).collect();
        Err(ProduceError::Rejected(Rejections { first: rejection, others }))
    }

    /// Waits for the reports of other batches in flight: brokers name the refused records of these too.
    fn gather_names(&mut self) {
        while self.reports.count() < self.sent && Instant::now() < self.deadline {
            let count = self.reports.count();
            self.gather(NAMES_WAIT);
            if self.reports.count() == count {
                // The client sends nothing further of a failed transaction.
                return;
            }
        }
    }

    /// Returns the rejection that a bad report means, if it is a permanent one of a partition.
    fn rejection(&self, bad: &BadReport) -> Option<Rejection> {
        let (first, last) = bad.offsets;
        Some(Rejection {
            partition: self.partition(bad.origin?)?,
            refusal: refusal(bad.code)?,
            first,
            last,
            named: bad.named.clone(),
            reason: bad.reason.clone(),
        })
    }

    /// Returns an error if the client discarded the records because of a missing right. Their reports do not say so, but
    /// the transaction does, when another one is begun.
    fn unwritable(&self) -> Option<ProduceError> {
        // SAFETY: the instance is live. Within a transaction, failed or not, the call changes nothing.
        let error = unsafe { check(sys::rd_kafka_begin_transaction(self.client.raw())) }.err()?;
        let missing = error.is(Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
        missing.then(|| ProduceError::Unwritable(self.failed("delivery", error)))
    }

    fn in_time(&self, awaited: &str) -> Result<(), KafkaError> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(KafkaError::timed_out(format!("{awaited} of `{}`", self.name), self.timeout))
    }

    fn refresh(&self, topic: Place) -> Result<(), KafkaError> {
        super::metadata::of_topic(&self.client, self.topics.at(topic), METADATA_WAIT)
    }

    /// Returns the call's error, or the fatal one behind it: after a fatal error, calls do not repeat its reason.
    fn failed(&self, doing: &str, error: CallError) -> KafkaError {
        let (code, reason) = fatal(&self.client).unwrap_or((error.code, error.reason));
        KafkaError::coded(format!("{doing} of `{}`", self.name), code, reason)
    }
}

impl Drop for Producer {
    /// Discards all records first: an instance must not end while answers to its records may arrive. librdkafka 2.12
    /// frees the text of the transaction's error while its broker threads still run, and the next answer that says
    /// "fenced" frees it again. Nor must it end while it registers a partition: its broker thread fails that request
    /// before the main thread has counted it, which is an assertion (`txn_req_cnt > 0`).
    fn drop(&mut self) {
        if !self.discard(PURGE_WITHIN) {
            let waited = PURGE_WITHIN.as_secs();
            tracing::warn!("`{}`: the Kafka client did not discard its records within {waited} s", self.name);
        }
        if self.sent > 0 {
            std::thread::sleep(REGISTERED_WITHIN);
        }
    }
}

fn size(record: &RecordRef<'_>) -> u64 {
    (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)) as u64
}

fn lies_within(value: &[u8], frame: &Bytes) -> bool {
    let value = value.as_ptr_range();
    let frame = frame.as_ptr_range();
    frame.start <= value.start && value.end <= frame.end
}

fn settings(properties: &Properties, config: &ProducerConfig<'_>) -> Vec<(String, String)> {
    let timeout = config.transaction_timeout.as_millis();
    let defaults: [Setting; 6] = [
        // Produce requests wait for as long as their records. This is for all others, such as those to a coordinator.
        ("socket.timeout.ms", timeout.min(8_000).to_string()),
        ("compression.type", DEFAULT_CODEC.to_owned()),
        ("linger.ms", LINGER.as_millis().to_string()),
        // Fits the default `max.message.bytes` of a topic; larger records travel alone.
        ("batch.size", "1000000".to_owned()),
        ("batch.num.messages", "100000".to_owned()),
        // The target decides which records are too large, not this default.
        ("message.max.bytes", "100000000".to_owned()),
    ];
    let fixed: [Setting; 7] = [
        ("transactional.id", config.transactional_id.to_owned()),
        ("transaction.timeout.ms", timeout.to_string()),
        // Records time out before their transaction does, so that their reports name the reason.
        ("message.timeout.ms", (timeout * 5 / 6).max(1).to_string()),
        ("enable.idempotence", "true".to_owned()),
        ("acks", "all".to_owned()),
        ("queue.buffering.max.messages", "0".to_owned()),
        ("queue.buffering.max.kbytes", (config.memory / 1024).clamp(1, 2_147_483_647).to_string()),
    ];
    properties.settings(config.client, &defaults, &fixed)
}

#[cfg(test)]
mod tests;
