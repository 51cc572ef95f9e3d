//! The source as a real Kafka cluster: one consumer for all lanes.

use std::time::Duration;

use kafka::consumer::{Consumer, ConsumerConfig, ConsumerMemory, Fault, LaneEvent, LaneQueue, Start};
use kafka::{KafkaError, Properties};
use service::bell::Bell;
use wire::ids::{LaneId, Slot};

use super::{Assignment, Event, LaneReader, PartitionFault, Source};

/// How long brokers hold an idle fetch open: with thousands of idle partitions every fetch costs, and
/// an end of partition may be this late.
const FETCH_WAIT: Duration = Duration::from_millis(500);

/// Reads a Kafka cluster.
#[derive(Debug, Clone)]
pub struct KafkaSource(Consumer);

impl KafkaSource {
    /// Starts the client. Nothing is connected to or read yet. `memory` is what all lanes may prefetch.
    ///
    /// # Errors
    /// A property librdkafka does not know or take.
    pub fn start(properties: &Properties, link: &str, memory: ConsumerMemory) -> Result<Self, KafkaError> {
        let config = ConsumerConfig { link, memory, fetch_wait: FETCH_WAIT };
        Consumer::start(properties, &config).map(Self)
    }
}

impl Source for KafkaSource {
    type Reader = KafkaLaneReader;

    fn open(&self, _lane: LaneId, bell: Bell) -> Result<KafkaLaneReader, KafkaError> {
        Ok(KafkaLaneReader(self.0.lane(bell)))
    }
}

/// Reads one lane's partitions.
#[derive(Debug)]
pub struct KafkaLaneReader(LaneQueue);

impl LaneReader for KafkaLaneReader {
    fn assign(&mut self, partitions: &[Assignment]) -> Result<(), KafkaError> {
        let starts: Vec<Start> = partitions.iter().map(start_of).collect();
        self.0.assign(&starts)
    }

    fn unassign(&mut self, slots: &[Slot]) -> Result<(), KafkaError> {
        self.0.unassign(slots)
    }

    fn peek(&mut self) -> Option<Event<'_>> {
        self.0.peek().map(|event| match event {
            LaneEvent::Record { slot, leader_epoch, record } => Event::Record { slot, leader_epoch, record },
            LaneEvent::End { slot, position } => Event::End { slot, position },
            LaneEvent::Fault { slot, fault } => Event::Fault { slot, fault: fault_of(fault) },
        })
    }

    fn advance(&mut self) {
        self.0.advance();
    }
}

fn start_of(assignment: &Assignment) -> Start {
    Start {
        slot: assignment.slot,
        topic: assignment.topic.clone(),
        partition: assignment.partition,
        position: assignment.position,
        leader_epoch: assignment.leader_epoch,
    }
}

fn fault_of(fault: Fault) -> PartitionFault {
    match fault {
        Fault::OutOfRange { wanted, detail } => PartitionFault::OutOfRange { wanted, detail },
        Fault::Truncated(detail) => PartitionFault::Truncated(detail),
        Fault::Corrupt(detail) => PartitionFault::Corrupt(detail),
        Fault::Gone(detail) => PartitionFault::Gone(detail),
        Fault::Unauthorized(detail) => PartitionFault::Unauthorized(detail),
        Fault::Other(detail) => PartitionFault::Other(detail),
    }
}
