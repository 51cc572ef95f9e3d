//! The reader at the target: a stock consumer that passes every record to the journal as it arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::journal::Journal;
use super::load::partitions;
use super::record::Record;
use super::worker::Worker;

const POLL: Duration = Duration::from_millis(50);
/// Time limit for an answer of the target.
const ANSWER: Duration = Duration::from_secs(10);
/// Time limit for reading to the end after the last write.
const END: Duration = Duration::from_secs(20);

/// Waits for the topics to appear in the cluster at `address`, then reads them from their start. Once it is told to stop,
/// the worker reads to the end of the target, which must not be written to any longer.
pub(crate) fn start(address: &str, journal: Arc<Journal>) -> Result<Worker> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("group.id", "demo-reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("allow.auto.create.topics", "false")
        .set("fetch.wait.max.ms", "50")
        .create()?;
    Worker::start("reader", move |stop| read(&consumer, &journal, stop))
}

fn read(consumer: &BaseConsumer, journal: &Journal, stop: &AtomicBool) -> Result<()> {
    while !all_there(consumer)? {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    let partitions = partitions();
    let mut assigned = TopicPartitionList::new();
    for &(topic, partition) in &partitions {
        assigned.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assigned)?;
    let mut stopped_at = None;
    loop {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let at = (message.topic(), message.partition());
                let index = partitions.iter().position(|partition| *partition == at);
                let index = index.context("the target brought a record of another topic")?;
                journal.handle_arrived(index, &Record::of(&message));
            }
            Some(Err(error)) => tracing::debug!(%error, "reader"),
            None if stop.load(Ordering::Relaxed) => {
                let since = *stopped_at.get_or_insert_with(Instant::now);
                if at_end(consumer)? {
                    return Ok(());
                }
                if since.elapsed() > END {
                    bail!("the end of the target could not be read within {} s", END.as_secs());
                }
            }
            None => {}
        }
    }
}

fn all_there(consumer: &BaseConsumer) -> Result<bool> {
    let metadata = consumer.fetch_metadata(None, ANSWER)?;
    let there = |(name, count): &(&str, i32)| {
        let found = metadata.topics().iter().find(|topic| topic.name() == *name);
        found.is_some_and(|topic| i32::try_from(topic.partitions().len()) == Ok(*count))
    };
    Ok(super::record::TOPICS.iter().all(there))
}

fn at_end(consumer: &BaseConsumer) -> Result<bool> {
    for element in consumer.position()?.elements() {
        let (_, end) = consumer.fetch_watermarks(element.topic(), element.partition(), ANSWER)?;
        let reached = match element.offset() {
            Offset::Offset(position) => position,
            _ => 0,
        };
        if reached < end {
            return Ok(false);
        }
    }
    Ok(true)
}
