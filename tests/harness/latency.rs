//! Latency of records from the write at one cluster until a reader of another sees them. The reader compares the clock
//! with each record's timestamp, which [`crate::journal::Load::stamped_now`] sets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::cluster::Cluster;
use crate::journal::millis_now;
use crate::topics;
use crate::wait::until_ok;

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
    seen: Arc<Mutex<Vec<Seen>>>,
    thread: Option<JoinHandle<Result<()>>>,
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
        let seen = Arc::default();
        let list = Arc::clone(&seen);
        let reading = move || read(&consumer, &stopped, &list);
        let thread = thread::Builder::new().name("latencies".to_owned()).spawn(reading)?;
        Ok(Self { stop, seen, thread: Some(thread) })
    }

    /// Starts a reader as [`Self::start`], once the topic exists.
    pub fn start_when_created(cluster: &Cluster, topic: &str, partitions: i32, timeout: Duration) -> Result<Self> {
        until_ok(&format!("topic {topic}"), timeout, || {
            Ok((topics::partitions(cluster, topic)? >= partitions as usize).then_some(()))
        })?;
        Self::start(cluster, topic, partitions)
    }

    /// Returns the write time of the newest record so far, in ms since the Unix epoch.
    pub fn newest(&self) -> Option<i64> {
        self.lock().iter().map(|seen| seen.written).max()
    }

    /// Returns the latencies so far of the records written from `from` until `to`, in ms since the Unix epoch.
    pub fn between(&self, from: i64, to: i64) -> Result<Histogram<u64>> {
        let mut found = Histogram::new(3)?;
        for seen in self.lock().iter().filter(|seen| (from..=to).contains(&seen.written)) {
            found.record(seen.took)?;
        }
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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
        thread.join().map_err(|_| anyhow!("the reader panicked"))??;
        Ok([self.between(i64::MIN, at.saturating_sub(1))?, self.between(at, i64::MAX)?])
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

fn read(consumer: &BaseConsumer, stop: &AtomicBool, seen: &Mutex<Vec<Seen>>) -> Result<()> {
    loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let written = message.timestamp().to_millis().context("a record without a timestamp")?;
                let took = (millis_now() - written).max(0).unsigned_abs();
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { written, took });
            }
            // The client reconnects by itself.
            Some(Err(_)) => {}
            None if stop.load(Ordering::Relaxed) => return Ok(()),
            None => {}
        }
    }
}
