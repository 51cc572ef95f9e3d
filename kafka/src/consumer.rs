//! Batches of committed records through one private queue per lane.
//!
//! One instance serves all lanes of a sender, because its fetchers already share connections; but each
//! lane's partitions are forwarded to a queue of its own, so that a lane without credit is simply not
//! read: its queue fills to its share of the memory, and fetching stops for that lane alone.
//!
//! Never `pause`, `resume` or `position`: with end-of-partition events they skip a record in this
//! version of librdkafka.

mod events;
mod lane;
mod memory;
mod message;

use std::sync::Arc;
use std::time::Duration;

use wire::frame::RecordRef;
use wire::ids::{Position, Slot};

use service::bell::Bell;

use super::client::{Client, Kind};
use super::error::KafkaError;
use super::properties::{Properties, Setting};
use events::Events;

pub use lane::LaneQueue;
pub use memory::ConsumerMemory;

/// What a consumer is made from.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerConfig<'a> {
    /// The link's name: client and group ids show it to the cluster's operators. The group is never
    /// joined.
    pub link: &'a str,
    /// How much it may prefetch, and over how many lanes.
    pub memory: ConsumerMemory,
    /// How long a broker may hold a fetch open when there is nothing to read: how late an
    /// [`LaneEvent::End`] may be, against requests per second while idle.
    pub fetch_wait: Duration,
}

/// A consumer whose partitions are assigned by hand, one set per lane.
#[derive(Debug, Clone)]
pub struct Consumer(Arc<Instance>);

/// The instance and what watches it: the thread goes first, then the instance.
#[derive(Debug)]
struct Instance {
    _events: Events,
    client: Arc<Client>,
}

impl Consumer {
    /// Starts the client. Nothing is connected to or read yet.
    ///
    /// # Errors
    /// A property librdkafka does not know or take.
    pub fn start(properties: &Properties, config: &ConsumerConfig<'_>) -> Result<Self, KafkaError> {
        let client = Client::start(Kind::Consumer, &settings(properties, config), 0)?;
        let events = Events::watch(&client)?;
        Ok(Self(Arc::new(Instance { _events: events, client })))
    }

    /// A lane with no partitions yet. `bell` is rung whenever [`LaneQueue::peek`] has gone from nothing
    /// to something.
    #[must_use]
    pub fn lane(&self, bell: Bell) -> LaneQueue {
        LaneQueue::new(self.0.clone(), bell)
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.0.client
    }
}

/// A partition to be read from `position` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// How its events are labelled.
    pub slot: Slot,
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// The first offset wanted.
    pub position: Position,
    /// The leader epoch stored with the position (KIP-320); −1 if unknown.
    pub leader_epoch: i32,
}

/// What comes next in a lane's queue.
#[derive(Debug)]
pub enum LaneEvent<'a> {
    /// A committed record.
    Record {
        /// Which partition.
        slot: Slot,
        /// The leader epoch it was read under; −1 if unknown.
        leader_epoch: i32,
        /// The record, borrowed from the client's buffer.
        record: RecordRef<'a>,
    },
    /// Everything before `position` has been read; there is nothing more for now.
    End {
        /// Which partition.
        slot: Slot,
        /// May lie past the last record: transaction markers, aborted or compacted offsets.
        position: Position,
    },
    /// The partition delivers nothing more until it is assigned again.
    Fault {
        /// Which partition.
        slot: Slot,
        /// Why.
        fault: Fault,
    },
}

/// Why a partition stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The wanted offset is not in the log: retention, truncation or re-creation.
    #[error("offset {wanted} is not in the log: {detail}")]
    OutOfRange {
        /// The offset asked for; −1 if the client did not say.
        wanted: i64,
        /// The client's words.
        detail: String,
    },
    /// The log lost records that it had: leader epochs tell (KIP-320).
    #[error("log was truncated: {0}")]
    Truncated(String),
    /// A batch failed its checksum, or it or a record's headers could not be decoded.
    #[error("corrupt batch: {0}")]
    Corrupt(String),
    /// The topic or partition is gone.
    #[error("partition is gone: {0}")]
    Gone(String),
    /// Reading is not allowed.
    #[error("not authorised: {0}")]
    Unauthorized(String),
    /// Anything else the client reports for this partition.
    #[error("{0}")]
    Other(String),
}

fn settings(properties: &Properties, config: &ConsumerConfig<'_>) -> Vec<(String, String)> {
    let set = |name, value: &str| (name, value.to_owned());
    let defaults: [Setting; 2] =
        [("fetch.wait.max.ms", config.fetch_wait.as_millis().to_string()), set("fetch.error.backoff.ms", "100")];
    let mut fixed: Vec<Setting> = vec![
        // librdkafka assigns nothing without a group id; nobody joins the group.
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
    fixed.extend(config.memory.settings());
    properties.settings(config.link, &defaults, &fixed)
}
