//! A stock reader: what a cluster holds, as any consumer of its topics would see it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::cluster::Cluster;
use crate::record::{Contents, Entry, digest_of};

/// How long reading to the end may go on without one record or one partition's end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one poll waits: also how late the reader learns of new partitions at the latest.
const POLL: Duration = Duration::from_millis(100);

/// Which records a reader gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Those of committed transactions, and those without one.
    Committed,
    /// All, aborted ones included.
    Uncommitted,
}

/// Reads one topic from its start. One topic only, because the stock client's end-of-partition event does
/// not say of which topic it is.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
    /// By assigned partition: whether its end has been reached.
    at_end: BTreeMap<i32, bool>,
    contents: Contents,
}

impl Reader {
    /// A reader of `topic`, which need not exist yet.
    pub fn new(cluster: &Cluster, topic: &str, isolation: Isolation) -> Result<Self> {
        Self::connect(&cluster.bootstrap(), topic, isolation)
    }

    /// As [`Reader::new`], by `bootstrap.servers`.
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
        Ok(Self { consumer, topic: topic.to_owned(), at_end: BTreeMap::new(), contents: Contents::default() })
    }

    /// What has been read so far.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Reads until the end of every partition that exists now. A topic that does not exist is an error.
    pub fn read_to_end(&mut self) -> Result<&Contents> {
        self.assign_new_partitions()?;
        ensure!(!self.at_end.is_empty(), "no topic {}", self.topic);
        let mut progress = Instant::now();
        while self.at_end.values().any(|at_end| !at_end) {
            if self.poll()? {
                progress = Instant::now();
            }
            if progress.elapsed() > PATIENCE {
                bail!("reading {} has stood still for {PATIENCE:?}", self.topic);
            }
        }
        Ok(&self.contents)
    }

    /// Reads on, past the ends and into new partitions, until `done` or `deadline`. Whether it was done.
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

    /// One event. Whether it was a record or the end of a partition.
    fn poll(&mut self) -> Result<bool> {
        match self.consumer.poll(POLL) {
            Some(Ok(message)) => {
                let entry = Entry { offset: message.offset(), digest: digest_of(&message) };
                self.contents.add(message.topic(), message.partition(), entry);
                self.at_end.insert(message.partition(), false);
                Ok(true)
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.at_end.insert(partition, true);
                Ok(true)
            }
            // The client reconnects by itself; whoever reads has a deadline.
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

/// All records of these topics that exist now.
pub fn read(cluster: &Cluster, topics: &[&str], isolation: Isolation) -> Result<Contents> {
    let mut all = Contents::default();
    for topic in topics {
        all.merge(Reader::new(cluster, topic, isolation)?.read_to_end()?);
    }
    Ok(all)
}
