//! A real Kafka cluster as the source: one consumer for all lanes.

use std::time::Duration;

use kafka::consumer::{Consumer, ConsumerConfig, ConsumerMemory, LaneEvent, LaneQueue, Start};
use kafka::{KafkaError, LiveProperties};
use service::bell::Bell;
use wire::ids::{LaneId, Slot};

use super::{FetchedBytes, LaneReader, Source};

/// Time that brokers keep an idle fetch open: each names every partition, and there may be thousands. A record ends it, but
/// a partition that is added, and the end of a log, wait for the next one.
const FETCH_WAIT: Duration = Duration::from_millis(500);

#[derive(Debug, Clone)]
pub struct KafkaSource {
    consumer: Consumer,
    fetched: FetchedBytes,
}

impl KafkaSource {
    /// Starts the client, which connects when a lane is assigned partitions. All lanes together may prefetch `memory`.
    /// Error: a property that librdkafka does not know or accept.
    pub fn start(
        properties: impl Into<LiveProperties>,
        link: &str,
        memory: ConsumerMemory,
    ) -> Result<Self, KafkaError> {
        let config = ConsumerConfig { link, memory, fetch_wait: FETCH_WAIT };
        let fetched = FetchedBytes::default();
        Ok(Self { consumer: Consumer::start_counted(properties, &config, fetched.clone())?, fetched })
    }
}

impl Source for KafkaSource {
    type Reader = LaneQueue;

    fn open(&self, _lane: LaneId, bell: Bell) -> Result<LaneQueue, KafkaError> {
        Ok(self.consumer.lane(bell))
    }

    fn fetched(&self) -> Option<FetchedBytes> {
        Some(self.fetched.clone())
    }
}

impl LaneReader for LaneQueue {
    fn assign(&mut self, partitions: &[Start]) -> Result<(), KafkaError> {
        Self::assign(self, partitions)
    }
    fn unassign(&mut self, slots: &[Slot]) -> Result<(), KafkaError> {
        Self::unassign(self, slots)
    }
    fn peek(&mut self) -> Option<LaneEvent<'_>> {
        Self::peek(self)
    }
    fn advance(&mut self) {
        Self::advance(self);
    }
}
