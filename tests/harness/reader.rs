//! A stock consumer, to read what a cluster has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::cluster::Cluster;
use crate::record::{Contents, Entry, copied_entry_of, entry_of};

/// Time that a reader waits for the next record or the next end of a partition.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time that one poll waits, and the longest delay until the reader learns of new partitions.
const POLL: Duration = Duration::from_millis(100);

/// Records that a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Records of committed transactions, and records without a transaction.
    Committed,
    /// All records, with those of aborted transactions.
    Uncommitted,
}

/// Reader of one topic from its start. It reads one topic only, because the client's end-of-partition event does not
/// name the topic.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
    /// Assigned partitions; true once the reader has reached the end.
    at_end: BTreeMap<i32, bool>,
    contents: Contents,
    /// What is noted of a record.
    entry: fn(&BorrowedMessage<'_>) -> Entry,
}

impl Reader {
    /// Makes a reader of `topic`, which need not exist yet.
    pub fn new(cluster: &Cluster, topic: &str, isolation: Isolation) -> Result<Self> {
        Self::connect(&cluster.bootstrap(), topic, isolation)
    }

    /// Makes a reader as [`Reader::new`], with `bootstrap.servers`.
    pub fn connect(bootstrap: &str, topic: &str, isolation: Isolation) -> Result<Self> {
        let level = match isolation {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap).set("group.id", "causeway-tests");
        config.set("isolation.level", level).set("enable.auto.commit", "false").set("check.crcs", "true");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
        config.set("fetch.wait.max.ms", "50").set("fetch.message.max.bytes", "10485760");
        config.set("queued.max.messages.kbytes", "65536").set("reconnect.backoff.max.ms", "500");
        let consumer = config.create()?;
        let topic = topic.to_owned();
        Ok(Self { consumer, topic, at_end: BTreeMap::new(), contents: Contents::default(), entry: entry_of })
    }

    /// Returns the records read so far.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Reads until the end of every partition that exists now. A missing topic is an error.
    pub fn read_to_end(&mut self) -> Result<&Contents> {
        self.assign_new_partitions()?;
        ensure!(!self.at_end.is_empty(), "no topic {}", self.topic);
        let mut progress = Instant::now();
        while self.at_end.values().any(|at_end| !at_end) {
            if self.poll()? {
                progress = Instant::now();
            }
            if progress.elapsed() > PATIENCE {
                bail!("no record and no end of a partition of {} within {PATIENCE:?}", self.topic);
            }
        }
        Ok(&self.contents)
    }

    /// Reads, past the ends and into new partitions, until `done` or `deadline`. Returns whether `done` came first.
    pub fn read_until(&mut self, deadline: Instant, mut done: impl FnMut(&Contents) -> bool) -> Result<bool> {
        loop {
            if done(&self.contents) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            if !self.poll()? {
                self.assign_new_partitions()?;
            }
        }
    }

    /// Waits for one event. Returns whether it was a record or the end of a partition.
    fn poll(&mut self) -> Result<bool> {
        match self.consumer.poll(POLL) {
            Some(Ok(message)) => {
                let entry = (self.entry)(&message);
                self.contents.add(message.topic(), message.partition(), entry);
                self.at_end.insert(message.partition(), false);
                Ok(true)
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.at_end.insert(partition, true);
                Ok(true)
            }
            // The client reconnects by itself, and the caller has a deadline.
            Some(Err(_)) | None => Ok(false),
        }
    }

    fn assign_new_partitions(&mut self) -> Result<()> {
        let Ok(metadata) = self.consumer.fetch_metadata(Some(&self.topic), Duration::from_secs(5)) else {
            return Ok(());
        };
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        let mut new = TopicPartitionList::new();
        for partition in partitions.filter(|partition| !self.at_end.contains_key(&partition.id())) {
            new.add_partition_offset(&self.topic, partition.id(), Offset::Beginning)?;
        }
        if new.count() > 0 {
            self.consumer.incremental_assign(&new)?;
            self.at_end.extend(new.elements().iter().map(|element| (element.partition(), false)));
        }
        Ok(())
    }
}

/// Reads what `causeway salvage` has copied into a topic: each record with the offset that it had at the source, and the digest
/// that it had there.
pub fn read_copies(cluster: &Cluster, topic: &str) -> Result<Contents> {
    let mut reader = Reader { entry: copied_entry_of, ..Reader::new(cluster, topic, Isolation::Committed)? };
    Ok(reader.read_to_end()?.clone())
}

/// Reads all records that these topics have now.
pub fn read(cluster: &Cluster, topics: &[&str], isolation: Isolation) -> Result<Contents> {
    let mut all = Contents::default();
    for topic in topics {
        all.merge(Reader::new(cluster, topic, isolation)?.read_to_end()?);
    }
    Ok(all)
}
