//! How long records take from being written at one cluster to being visible at another: a reader of the target
//! that compares the clock with each record's timestamp, which [`crate::journal::Load::stamped_now`] sets.

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

/// How long one poll waits; a record that comes meanwhile ends it.
const POLL: Duration = Duration::from_millis(50);

/// A reader at work. Dropping it stops it.
#[derive(Debug)]
pub struct Latencies {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Histogram<u64>>>>,
}

impl Latencies {
    /// Reads these partitions of `topic`, which must exist, from their start, `read_committed`.
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

    /// Milliseconds of every record that was seen, once there is none left to see.
    pub fn finish(mut self) -> Result<Histogram<u64>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the reader has no thread")?;
        thread.join().map_err(|_| anyhow!("the reader panicked"))?
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

fn read(consumer: &BaseConsumer, stop: &AtomicBool) -> Result<Histogram<u64>> {
    let mut latencies = Histogram::new(3)?;
    loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let stamped = message.timestamp().to_millis().context("a record without a timestamp")?;
                latencies.record((millis_now() - stamped).max(0).unsigned_abs())?;
            }
            // The client reconnects by itself.
            Some(Err(_)) => {}
            None if stop.load(Ordering::Relaxed) => return Ok(latencies),
            None => {}
        }
    }
}
