//! A consumer of committed records, with a private queue for each lane.
//!
//! All lanes of a sender share its client instances, whose fetchers share connections. The partitions of each lane are
//! forwarded to that lane's own queue. A lane without credit does not read its queue: the queue fills up to
//! the lane's share of the memory, and fetching stops for that lane alone.
//!
//! Do not use `pause`, `resume` or `position`: with end-of-partition events they skip a record in this version of
//! librdkafka.

mod broker_probe;
mod event;
mod event_thread;
pub(crate) mod fetch_tap;
mod instances;
mod lane;
mod memory;
mod message;

use std::sync::Arc;
use std::time::Duration;

use service::bell::Bell;

use super::client::Client;
use super::error::KafkaError;
use super::live_properties::{LiveProperties, Renewing};
use super::properties::{Properties, READER_TIMEOUT, Setting};
use instances::{FURTHER_WAIT, Instances, Settings};

pub use event::{Fault, LaneEvent, Start};
pub use fetch_tap::FetchedBytes;
pub use lane::LaneQueue;
pub use memory::ConsumerMemory;

#[derive(Debug, Clone, Copy)]
pub struct ConsumerConfig<'a> {
    /// The link's name. The cluster's operators see it in the client id and the group id; the consumer never joins the
    /// group.
    pub link: &'a str,
    /// Memory for prefetched records, divided over the lanes.
    pub memory: ConsumerMemory,
    /// Time for which a broker may hold a fetch open when there is nothing to read. A longer one delays
    /// [`LaneEvent::End`], a shorter one costs requests while idle. With many partitions it is longer for most of them.
    pub fetch_wait: Duration,
}

/// A consumer with manual assignment: each lane has its own set of partitions.
#[derive(Debug, Clone)]
pub struct Consumer(Arc<Renewing<Instances>>);

impl Consumer {
    /// Starts the client, which connects when it has something to read.
    pub fn start(properties: impl Into<LiveProperties>, config: &ConsumerConfig<'_>) -> Result<Self, KafkaError> {
        Self::start_with(properties.into(), config, None)
    }

    /// Starts the client as [`Consumer::start`] does, and adds to `fetched` the bytes of record batches that brokers send.
    pub fn start_counted(
        properties: impl Into<LiveProperties>,
        config: &ConsumerConfig<'_>,
        fetched: FetchedBytes,
    ) -> Result<Self, KafkaError> {
        Self::start_with(properties.into(), config, Some(fetched))
    }

    fn start_with(
        properties: LiveProperties,
        config: &ConsumerConfig<'_>,
        fetched: Option<FetchedBytes>,
    ) -> Result<Self, KafkaError> {
        let ConsumerConfig { link, memory, fetch_wait } = *config;
        let link = link.to_owned();
        let start = move |properties: &Properties| {
            let config = ConsumerConfig { link: &link, memory, fetch_wait };
            let first = settings(properties, &config, fetch_wait, memory.settings());
            let further = settings(properties, &config, fetch_wait.max(FURTHER_WAIT), memory.further_settings());
            Instances::start(&first, further, fetched.clone()).map(Arc::new)
        };
        Ok(Self(Arc::new(Renewing::start(properties, start)?)))
    }

    /// Makes a lane without partitions. It wakes the thread that waits for `bell` whenever its queue is no longer empty.
    #[must_use]
    pub fn lane(&self, bell: Bell) -> LaneQueue {
        LaneQueue::new(self.0.clone(), bell)
    }

    pub(crate) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.0.present().first().client)
    }
}

fn settings(
    properties: &Properties,
    config: &ConsumerConfig<'_>,
    fetch_wait: Duration,
    memory: Vec<Setting>,
) -> Settings {
    let set = |name, value: &str| (name, value.to_owned());
    let defaults: [Setting; 3] = [
        ("fetch.wait.max.ms", fetch_wait.as_millis().to_string()),
        set("fetch.error.backoff.ms", "100"),
        set(READER_TIMEOUT.0, READER_TIMEOUT.1),
    ];
    let mut fixed: Vec<Setting> = vec![
        // librdkafka assigns nothing without a group id; the consumer never joins the group.
        ("group.id", format!("causeway.{}.data", config.link)),
        set("enable.auto.commit", "false"),
        set("enable.auto.offset.store", "false"),
        set("auto.offset.reset", "error"),
        set("isolation.level", "read_committed"),
        set("check.crcs", "true"),
        set("enable.partition.eof", "true"),
        // A full queue otherwise stops fetching for a whole second.
        set("fetch.queue.backoff.ms", "10"),
    ];
    fixed.extend(memory);
    properties.settings(config.link, &defaults, &fixed)
}
