//! Producers that keep a journal of the records that the cluster acknowledged.
//!
//! They are idempotent, so that a retry writes no record twice. A record that is neither acknowledged nor refused would
//! make the journal useless, so it fails the test.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, Message};

use crate::cluster::Cluster;
use crate::reader::{Isolation, Reader};
use crate::record::{Contents, Entry, Record};
use crate::topics::unique;

/// Time that a record, a flush or a commit may take while brokers are killed and restarted.
const PATIENCE: Duration = Duration::from_secs(120);

/// Age of the first record, so that no record's timestamp is in the future. It must be less than a day: a broker that
/// loads its log forgets idempotent producers whose last record is more than 24 h old (`producer.id.expiration.ms`),
/// and then writes a retry twice.
const PAST: Duration = Duration::from_secs(12 * 3600);

/// Records that a writer wrote.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    /// Records that the cluster acknowledged, and committed if transactions were used.
    pub written: Contents,
    /// Number of records that were acknowledged in a transaction which was then aborted.
    pub aborted: u64,
}

/// Load of one writer.
#[derive(Debug, Clone)]
pub struct Load {
    topic: String,
    partitions: i32,
    rate: Option<u32>,
    limit: u64,
    seed: u64,
    value_max: usize,
    abort_percent: Option<u32>,
    stamped_now: bool,
}

impl Load {
    /// Makes a load of random records to random partitions below `partitions`, at full speed, until stopped.
    pub fn new(topic: &str, partitions: i32) -> Self {
        Self {
            topic: topic.to_owned(),
            partitions,
            rate: None,
            limit: u64::MAX,
            seed: 1,
            value_max: 16 << 10,
            abort_percent: None,
            stamped_now: false,
        }
    }

    /// Limits the load to this many records per second.
    pub fn rate(self, rate: u32) -> Self {
        Self { rate: Some(rate), ..self }
    }

    /// Ends the load after this many records.
    pub fn limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// Sets the seed. The same seed writes the same records in the same transactions, except for their timestamps.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets the largest size of a value, in bytes.
    pub fn value_max(self, value_max: usize) -> Self {
        Self { value_max, ..self }
    }

    /// Gives each record the time of its writing as timestamp, for [`crate::latency`].
    pub fn stamped_now(self) -> Self {
        Self { stamped_now: true, ..self }
    }

    /// Writes in transactions of random size, and aborts this percentage of them.
    pub fn transactional(self, abort_percent: u32) -> Self {
        Self { abort_percent: Some(abort_percent), ..self }
    }

    /// Starts a thread that writes this load.
    pub fn start(self, cluster: &Cluster) -> Result<Writer> {
        let producer = self.producer(cluster)?;
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::clone(&producer.context().acknowledged);
        let rng = StdRng::seed_from_u64(self.seed);
        let first_timestamp = millis_now() - PAST.as_millis() as i64;
        let run = Run {
            load: self,
            producer,
            stop: Arc::clone(&stop),
            rng,
            first_timestamp,
            bootstrap: cluster.bootstrap(),
            unplaced: Vec::new(),
            next: 0,
        };
        let thread = thread::Builder::new().name("writer".to_owned()).spawn(move || run.run())?;
        Ok(Writer { stop, acknowledged, thread: Some(thread) })
    }

    fn producer(&self, cluster: &Cluster) -> Result<BaseProducer<Notes>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap());
        config.set("enable.idempotence", "true").set("compression.type", "lz4").set("linger.ms", "2");
        config.set("message.max.bytes", "10485760");
        config.set("message.timeout.ms", PATIENCE.as_millis().to_string());
        config.set("reconnect.backoff.max.ms", "500");
        if self.abort_percent.is_some() {
            config.set("transactional.id", unique("writer"));
            config.set("transaction.timeout.ms", PATIENCE.as_millis().to_string());
        }
        let producer: BaseProducer<Notes> = config.create_with_context(Notes::default())?;
        if self.abort_percent.is_some() {
            producer.init_transactions(PATIENCE)?;
        }
        Ok(producer)
    }
}

/// Running writer. Dropping it stops it.
#[derive(Debug)]
pub struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Journal>>>,
}

impl Writer {
    /// Returns the number of records that the cluster has acknowledged so far, with those of aborted transactions.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops writing, waits for the records in flight, and returns the journal.
    pub fn stop(self) -> Result<Journal> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until the load's limit is reached, and returns the journal.
    pub fn finish(mut self) -> Result<Journal> {
        let thread = self.thread.take().context("the writer has no thread")?;
        thread.join().map_err(|_| anyhow!("the writer panicked"))?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Delivery reports that are not yet in the journal.
#[derive(Debug, Default)]
struct Notes {
    delivered: Mutex<Vec<(i32, Entry)>>,
    refused: Mutex<Option<KafkaError>>,
    acknowledged: Arc<AtomicU64>,
}

impl ClientContext for Notes {}

impl ProducerContext for Notes {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, digest: Box<u64>) {
        match result {
            Ok(message) => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                let entry = Entry { offset: message.offset(), digest: *digest };
                self.delivered.lock().unwrap_or_else(PoisonError::into_inner).push((message.partition(), entry));
            }
            Err((error, _)) => *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone()),
        }
    }
}

impl Notes {
    fn take(&self) -> Vec<(i32, Entry)> {
        std::mem::take(&mut *self.delivered.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_refused(&self) -> Option<KafkaError> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Run {
    load: Load,
    producer: BaseProducer<Notes>,
    stop: Arc<AtomicBool>,
    rng: StdRng,
    first_timestamp: i64,
    bootstrap: String,
    /// Partition and digest of acknowledged records whose offset is not known.
    unplaced: Vec<(i32, u64)>,
    /// Number of the next record.
    next: u64,
}

impl Run {
    fn run(mut self) -> Result<Journal> {
        let mut journal = Journal::default();
        let started = Instant::now();
        while !self.is_over() {
            match self.load.abort_percent {
                None => self.send_next(started)?,
                Some(percent) => self.transaction(started, percent, &mut journal)?,
            }
        }
        self.producer.flush(PATIENCE)?;
        if let Some(error) = self.producer.context().take_refused() {
            bail!("the journal of {} is incomplete: {error}", self.load.topic);
        }
        self.enter(&mut journal);
        self.place(&mut journal)?;
        Ok(journal)
    }

    fn is_over(&self) -> bool {
        self.next >= self.load.limit || self.stop.load(Ordering::Relaxed)
    }

    fn enter(&mut self, journal: &mut Journal) {
        for (partition, entry) in self.producer.context().take() {
            if entry.offset < 0 {
                self.unplaced.push((partition, entry.digest));
            } else {
                journal.written.add(&self.load.topic, partition, entry);
            }
        }
    }

    /// Finds acknowledged records in the log: a broker that recognises a retry acknowledges it without the offset.
    fn place(&self, journal: &mut Journal) -> Result<()> {
        if self.unplaced.is_empty() {
            return Ok(());
        }
        let topic = &self.load.topic;
        let mut reader = Reader::connect(&self.bootstrap, topic, Isolation::Committed)?;
        let contents = reader.read_to_end()?;
        for &(partition, digest) in &self.unplaced {
            let entry = contents.partition(topic, partition).iter().find(|entry| entry.digest == digest);
            let entry = entry.with_context(|| format!("{topic}/{partition} has lost an acknowledged record"))?;
            journal.written.add(topic, partition, *entry);
        }
        Ok(())
    }

    fn transaction(&mut self, started: Instant, abort_percent: u32, journal: &mut Journal) -> Result<()> {
        self.producer.begin_transaction()?;
        for _ in 0..self.rng.random_range(1..=200) {
            if self.is_over() {
                break;
            }
            self.send_next(started)?;
        }
        let abort = self.rng.random_range(0..100) < abort_percent;
        self.producer.flush(PATIENCE)?;
        let failed = self.producer.context().take_refused().is_some();
        if !abort && !failed && self.end("commit", |producer| producer.commit_transaction(PATIENCE))? {
            self.enter(journal);
            return Ok(());
        }
        self.end("abort", |producer| producer.abort_transaction(PATIENCE))?;
        journal.aborted += self.producer.context().take().len() as u64;
        Ok(())
    }

    /// Commits or aborts, and retries as long as the client allows. Returns `false` if the transaction must be aborted.
    fn end(&self, what: &str, attempt: impl Fn(&BaseProducer<Notes>) -> Result<(), KafkaError>) -> Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match attempt(&self.producer) {
                Ok(()) => return Ok(true),
                Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => {
                    return Ok(false);
                }
                Err(KafkaError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("the writer cannot {what}"));
                }
            }
        }
    }

    /// Sends one record when it is due. Handles delivery reports while it waits.
    fn send_next(&mut self, started: Instant) -> Result<()> {
        let due = self.load.rate.map(|rate| started + Duration::from_secs_f64(self.next as f64 / f64::from(rate)));
        while let Some(left) = due.and_then(|due| due.checked_duration_since(Instant::now())).filter(|d| !d.is_zero()) {
            // The client counts in milliseconds; 0 would make this loop spin.
            self.producer.poll(left.max(Duration::from_millis(1)));
        }
        // Unique within a writer and not quite in order, as with real producers.
        let timestamp = match self.load.stamped_now {
            true => millis_now(),
            false => self.first_timestamp + (self.next ^ 5) as i64,
        };
        let record = Record::random(&mut self.rng, self.load.value_max, timestamp);
        let partition = self.rng.random_range(0..self.load.partitions);
        self.next += 1;
        send(&self.producer, &self.load.topic, partition, &record)
    }
}

/// Returns the current time as records have it.
pub fn millis_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as i64
}

fn send(producer: &BaseProducer<Notes>, topic: &str, partition: i32, record: &Record) -> Result<()> {
    let mut message =
        BaseRecord::with_opaque_to(topic, Box::new(record.digest())).partition(partition).timestamp(record.timestamp);
    message.key = record.key.as_deref();
    message.payload = record.value.as_deref();
    message.headers = record.owned_headers();
    let deadline = Instant::now() + PATIENCE;
    loop {
        producer.poll(Duration::ZERO);
        match producer.send(message) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if Instant::now() < deadline => {
                producer.poll(Duration::from_millis(10));
                message = back;
            }
            Err((error, _)) => {
                return Err(error).with_context(|| format!("cannot write to {topic}/{partition}"));
            }
        }
    }
}

/// Begins a transaction with one record, and leaves it open for as long as the producer lives.
pub fn leave_open(cluster: &Cluster, topic: &str) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap()).set("transactional.id", unique("hangs"));
    config.set("transaction.timeout.ms", "600000");
    let producer: BaseProducer = config.create()?;
    producer.init_transactions(PATIENCE)?;
    producer.begin_transaction()?;
    producer.send(BaseRecord::<[u8], [u8]>::to(topic).payload(b"undecided")).map_err(|(error, _)| error)?;
    producer.flush(PATIENCE)?;
    Ok(producer)
}

/// Writes these records to one partition, in order, and waits for the acknowledgements.
pub fn write(cluster: &Cluster, topic: &str, partition: i32, records: &[Record]) -> Result<Journal> {
    TopicWriter::connect(cluster, topic)?.write(partition, records)
}

/// Producer of one topic that is used again and again: connecting takes longer than writing a few records.
pub struct TopicWriter {
    topic: String,
    producer: BaseProducer<Notes>,
}

impl TopicWriter {
    /// Makes a producer; it connects with its first record.
    pub fn connect(cluster: &Cluster, topic: &str) -> Result<Self> {
        Ok(Self { topic: topic.to_owned(), producer: Load::new(topic, 1).producer(cluster)? })
    }

    /// Writes these records to one partition, in order, and waits for the acknowledgements.
    pub fn write(&self, partition: i32, records: &[Record]) -> Result<Journal> {
        let Self { topic, producer } = self;
        for record in records {
            send(producer, topic, partition, record)?;
        }
        producer.flush(PATIENCE)?;
        if let Some(error) = producer.context().take_refused() {
            bail!("{topic}/{partition} refused a record: {error}");
        }
        let mut journal = Journal::default();
        for (partition, entry) in producer.context().take() {
            journal.written.add(topic, partition, entry);
        }
        Ok(journal)
    }
}
