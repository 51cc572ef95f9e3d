//! The load: a stock, idempotent producer that writes records to the source at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use super::journal::Journal;
use super::record::{Record, TOPICS};
use super::worker::Worker;

/// Records per second, few enough for a laptop that also runs both clusters.
const RATE: u64 = 40_000;
/// Time between two turns of the load.
const TICK: Duration = Duration::from_millis(5);
/// Longest pause that the load makes up for; after a longer one it continues at its rate.
const BURST: Duration = Duration::from_millis(50);
/// Time limit for the source to accept the last records.
const FLUSH: Duration = Duration::from_secs(10);

/// Every partition of the demo, in the order that the journal counts them.
pub(crate) fn partitions() -> Vec<(&'static str, i32)> {
    TOPICS.iter().flat_map(|&(topic, count)| (0..count).map(move |partition| (topic, partition))).collect()
}

/// Starts to write to the cluster at `address`, noting each record in `journal`. The worker ends when the source has all
/// that was sent.
pub(crate) fn start(address: &str, journal: Arc<Journal>) -> Result<Worker> {
    let refused = Arc::new(AtomicU64::new(0));
    let producer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("enable.idempotence", "true")
        .set("linger.ms", "5")
        .create_with_context(Reports(Arc::clone(&refused)))
        .context("the load's producer")?;
    Worker::start("load", move |stop| {
        write(&producer, &journal, stop)?;
        producer.flush(FLUSH).context("the source did not take the last records")?;
        let refused = refused.load(Ordering::Relaxed);
        ensure!(refused == 0, "the source refused {refused} records of the load");
        Ok(())
    })
}

fn write(producer: &BaseProducer<Reports>, journal: &Journal, stop: &AtomicBool) -> Result<()> {
    let partitions = partitions();
    let mut rng = StdRng::from_rng(&mut rand::rng());
    let mut since = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let due = since.elapsed().min(BURST);
        let count = u64::try_from(due.as_micros()).unwrap_or(0) * RATE / 1_000_000;
        since = Instant::now();
        for _ in 0..count {
            let index = rng.random_range(0..partitions.len());
            // A partition with enough in flight gets no record; the others do.
            if let Some(number) = journal.next_number(index) {
                let (topic, partition) = partitions[index];
                let record = Record::make(topic, number, &mut rng);
                journal.handle_sent(index, record.clone());
                send(producer, topic, partition, &record)?;
            }
        }
        producer.poll(TICK);
    }
    Ok(())
}

fn send(producer: &BaseProducer<Reports>, topic: &str, partition: i32, record: &Record) -> Result<()> {
    let mut next = BaseRecord::<[u8], [u8]>::to(topic)
        .partition(partition)
        .timestamp(record.timestamp)
        .headers(record.kafka_headers());
    next.key = record.key.as_deref();
    next.payload = record.value.as_deref();
    loop {
        match producer.send(next) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(TICK);
                next = back;
            }
            Err((error, _)) => return Err(error).context("the load"),
        }
    }
}

/// Counter of the records that the source refuses.
struct Reports(Arc<AtomicU64>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _opaque: ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
