//! Records that are written to the source: JSON of about 336 bytes, of the kind that applications write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use harness::cluster::Cluster;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::stage::PATIENCE;

/// Interval at which due records are written.
const TICK: Duration = Duration::from_millis(1);

const CARRIERS: [&str; 8] = ["UA", "AA", "B6", "DL", "EV", "MQ", "US", "WN"];
const AIRPORTS: [&str; 12] = ["EWR", "JFK", "LGA", "IAH", "MIA", "ATL", "ORD", "FLL", "IAD", "MCO", "LAX", "SFO"];

/// Makes the values of departures, one after the other.
pub(super) struct Departures {
    rng: StdRng,
    number: u64,
}

impl Departures {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), number: 0 }
    }

    pub(super) fn next(&mut self) -> String {
        self.number += 1;
        let minute = self.number / 4;
        let month = 1 + minute / 43_200 % 12;
        let day = 1 + minute / 1_440 % 28;
        let hour = minute / 60 % 24;
        let planned = hour * 100 + minute % 60;
        let delay = self.below(72) as i64 - 12;
        let air_time = 40 + self.below(340);
        let arrival = planned + air_time / 60 * 100;
        let carrier = CARRIERS[self.below(8) as usize];
        let origin = AIRPORTS[self.below(3) as usize];
        let destination = AIRPORTS[3 + self.below(9) as usize];
        let flight = 1 + self.below(6_000);
        let tail = 10_000 + self.below(90_000);
        let distance = air_time * 7 + self.below(90);
        format!(
            "{{\"year\":2013,\"month\":{month},\"day\":{day},\"dep_time\":{},\"sched_dep_time\":{planned},\
             \"dep_delay\":{delay},\"arr_time\":{arrival},\"sched_arr_time\":{},\"arr_delay\":{},\
             \"carrier\":\"{carrier}\",\"flight\":{flight},\"tailnum\":\"N{tail}\",\"origin\":\"{origin}\",\
             \"dest\":\"{destination}\",\"air_time\":{air_time},\"distance\":{distance},\"hour\":{hour},\
             \"minute\":{},\"time_hour\":\"2013-{month:02}-{day:02}T{hour:02}:00:00Z\"}}",
            planned.cast_signed() + delay,
            arrival + 9,
            delay - 3,
            minute % 60,
        )
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng.random_range(0..bound)
    }
}

/// Writes `count` records to the partitions in turn, as fast as the cluster takes them. Returns the bytes of their values.
pub(super) fn write_all(cluster: &Cluster, topic: &str, partitions: i32, count: u64) -> Result<u64> {
    let producer = producer(cluster, "50")?;
    let mut departures = Departures::new(1);
    let mut bytes = 0;
    for number in 0..count {
        let value = departures.next();
        bytes += value.len() as u64;
        // Runs of records to one partition, as keyed or sticky producers write them.
        send(&producer, topic, (number / 100 % partitions as u64) as i32, &value)?;
    }
    producer.flush(PATIENCE)?;
    Ok(bytes)
}

/// Writer of a steady rate of records to the partitions in turn, each with the time of its writing. Its client waits 5 ms
/// for more records, as clients do by default.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<u64>>,
}

impl Writer {
    pub(super) fn start(cluster: &Cluster, topic: &str, partitions: i32, per_second: u32) -> Result<Self> {
        let producer = producer(cluster, "5")?;
        let topic = topic.to_owned();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let write = move || {
            let mut departures = Departures::new(2);
            let began = Instant::now();
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                let due = (began.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
                while count < due {
                    send(&producer, &topic, (count % partitions as u64) as i32, &departures.next())?;
                    count += 1;
                }
                producer.poll(Duration::ZERO);
                thread::sleep(TICK);
            }
            producer.flush(PATIENCE)?;
            Ok(count)
        };
        Ok(Self { stop, thread: thread::spawn(write) })
    }

    /// Stops after the records that are due. Returns their number.
    pub(super) fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the writer panicked"))?
    }
}

fn producer(cluster: &Cluster, linger_ms: &str) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap()).set("linger.ms", linger_ms);
    config.set("enable.idempotence", "true").set("compression.type", "lz4");
    config.set("queue.buffering.max.messages", "1000000");
    Ok(config.create()?)
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, value: &str) -> Result<()> {
    let mut record = BaseRecord::<(), str>::to(topic).partition(partition).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), same)) => {
                producer.poll(Duration::from_millis(5));
                record = same;
            }
            Err((error, _)) => return Err(anyhow!(error)),
        }
    }
}
