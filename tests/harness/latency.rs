//! Latency of records from the write at one cluster until a reader of another sees them. The reader compares the clock
//! with each record's timestamp, which [`crate::journal::Load::stamped_now`] sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::cluster::Cluster;
use crate::journal::millis_now;

/// Time that one poll waits for a record.
const POLL: Duration = Duration::from_millis(50);

/// Write time and latency of one record, in milliseconds.
#[derive(Debug)]
struct Seen {
    written: i64,
    took: u64,
}

/// Running reader. Dropping it stops it.
#[derive(Debug)]
pub struct Latencies {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Seen>>>>,
}

impl Latencies {
    /// Starts a `read_committed` reader of these partitions of `topic`, which must exist, from their start.
    pub fn start(cluster: &Cluster, topic: &str, partitions: i32) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", cluster.bootstrap()).set("group.id", "causeway-tests");
        config.set("isolation.level", "read_committed").set("enable.auto.commit", "false");
        config.set("fetch.wait.max.ms", "10").set("fetch.message.max.bytes", "10485760");
        let consumer: BaseConsumer = config.create()?;
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&assignment)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("latencies".to_owned()).spawn(move || read(&consumer, &stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Waits until no record is left to read, and returns all latencies, in milliseconds.
    pub fn finish(self) -> Result<Histogram<u64>> {
        let [_, all] = self.finish_split(i64::MIN)?;
        Ok(all)
    }

    /// Returns the latencies of the records written before `at`, in ms since the Unix epoch, and those of the others.
    pub fn finish_split(mut self, at: i64) -> Result<[Histogram<u64>; 2]> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the reader has no thread")?;
        let mut halves = [Histogram::new(3)?, Histogram::new(3)?];
        for seen in thread.join().map_err(|_| anyhow!("the reader panicked"))?? {
            halves[usize::from(seen.written >= at)].record(seen.took)?;
        }
        Ok(halves)
    }
}

impl Drop for Latencies {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(consumer: &BaseConsumer, stop: &AtomicBool) -> Result<Vec<Seen>> {
    let mut latencies = Vec::new();
    loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let written = message.timestamp().to_millis().context("a record without a timestamp")?;
                latencies.push(Seen { written, took: (millis_now() - written).max(0).unsigned_abs() });
            }
            // The client reconnects by itself.
            Some(Err(_)) => {}
            None if stop.load(Ordering::Relaxed) => return Ok(latencies),
            None => {}
        }
    }
}
