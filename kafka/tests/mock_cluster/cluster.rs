//! Mock cluster, and the readers and writers of the tests.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka::consumer::{Consumer, ConsumerConfig, ConsumerMemory, Fault, LaneEvent, LaneQueue, Start};
use kafka::producer::{Appended, InFlight, Offsets, ProduceError, Producer, ProducerConfig};
use kafka::{KafkaError, LiveProperties, Properties};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use service::bell::Bell;
use wire::frame::{HeaderBlock, RecordRef};
use wire::ids::{Offset, Position, Slot};
use wire::partition::Partition;

/// Time limit of every wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Cluster {
    pub(crate) mock: MockCluster<'static, DefaultProducerContext>,
    pub(crate) properties: Properties,
}

impl Cluster {
    pub(crate) fn with_topic(topic: &str, partitions: i32) -> Self {
        let mock = MockCluster::new(1).expect("mock cluster");
        mock.create_topic(topic, partitions, 1).expect("topic");
        // Short times, so that tests wait neither for topics that do not exist nor between connections.
        let extra = [("topic.metadata.propagation.max.ms", "200"), ("reconnect.backoff.max.ms", "100")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let properties = Properties { bootstrap_servers: vec![mock.bootstrap_servers()], extra };
        Self { mock, properties }
    }

    pub(crate) fn consumer(&self) -> Consumer {
        Self::consumer_of(&LiveProperties::from(&self.properties))
    }

    pub(crate) fn consumer_of(properties: &LiveProperties) -> Consumer {
        let memory = ConsumerMemory { bytes: 64 << 20, lanes: 4 };
        let config = ConsumerConfig { link: "test", memory, fetch_wait: Duration::from_millis(10) };
        Consumer::start(properties, &config).expect("consumer")
    }

    pub(crate) fn producer(&self) -> Producer {
        fence(&self.properties, PATIENCE).expect("fence")
    }

    /// Commits records with these values in one transaction.
    pub(crate) fn write(&self, topic: &str, partition: i32, values: impl IntoIterator<Item = String>) {
        let mut producer = self.producer();
        producer.begin().expect("begin");
        for value in values {
            let frame = Bytes::from(value);
            send(&mut producer, topic, partition, &Data { value: Some(&frame), ..Data::default() }, &frame);
        }
        producer.drain().expect("drain");
        producer.commit().expect("commit");
    }
}

pub(crate) fn fence(properties: &Properties, limit: Duration) -> Result<Producer, KafkaError> {
    let config = ProducerConfig {
        client: "test",
        transactional_id: "causeway.test.0",
        transaction_timeout: Duration::from_secs(30),
        memory: 64 << 20,
        zstd_topics: &BTreeSet::new(),
        in_flight: InFlight::default(),
    };
    Producer::fence(properties, &config, limit)
}

/// Content of a record.
#[derive(Default)]
pub(crate) struct Data<'a> {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

pub(crate) fn send(producer: &mut Producer, topic: &str, partition: i32, data: &Data<'_>, frame: &Bytes) {
    try_send(producer, topic, partition, data, frame).expect("produce");
}

pub(crate) fn try_send(
    producer: &mut Producer,
    topic: &str,
    partition: i32,
    data: &Data<'_>,
    frame: &Bytes,
) -> Result<(), ProduceError> {
    let mut headers = HeaderBlock::default();
    for (key, value) in data.headers {
        headers.push(key, *value);
    }
    let record = RecordRef {
        offset: Offset(0),
        timestamp: data.timestamp,
        key: data.key,
        value: data.value,
        headers: headers.as_headers(),
    };
    producer.produce(&Arc::from(topic), partition, &record, frame)
}

pub(crate) fn start(slot: u32, topic: &str, partition: i32, position: i64) -> Start {
    Start {
        slot: Slot(slot),
        topic: topic.into(),
        partition,
        position: Position(position),
        leader_epoch: -1,
        is_late: false,
    }
}

/// Copy of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Record {
        slot: u32,
        offset: i64,
        timestamp: i64,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        headers: Vec<SeenHeader>,
    },
    End {
        slot: u32,
        position: i64,
    },
    Fault {
        slot: u32,
        fault: Fault,
    },
}

pub(crate) type SeenHeader = (Vec<u8>, Option<Vec<u8>>);

impl Seen {
    pub(crate) fn slot(&self) -> u32 {
        match self {
            Self::Record { slot, .. } | Self::End { slot, .. } | Self::Fault { slot, .. } => *slot,
        }
    }

    fn of(event: &LaneEvent<'_>) -> Self {
        match event {
            LaneEvent::Record { slot, record, .. } => Self::Record {
                slot: slot.0,
                offset: record.offset.0,
                timestamp: record.timestamp,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record.headers.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect(),
            },
            LaneEvent::End { slot, position } => Self::End { slot: slot.0, position: position.0 },
            LaneEvent::Fault { slot, fault } => Self::Fault { slot: slot.0, fault: fault.clone() },
        }
    }
}

/// Reader of a lane. It waits for the lane's bell alone, so that a lost wake-up fails the test.
pub(crate) struct Reader {
    pub(crate) lane: LaneQueue,
    bell: Bell,
}

impl Reader {
    pub(crate) fn of(consumer: &Consumer) -> Self {
        let bell = Bell::default();
        Self { lane: consumer.lane(bell.clone()), bell }
    }

    pub(crate) fn next(&mut self) -> Seen {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(seen) = self.lane.peek().map(|event| Seen::of(&event)) {
                self.lane.advance();
                return seen;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no event within {PATIENCE:?}");
            self.bell.wait(left);
        }
    }

    /// Returns all events up to the `End` at `position` of `slot`.
    pub(crate) fn until_end(&mut self, slot: u32, position: i64) -> Vec<Seen> {
        let mut seen = Vec::new();
        let end = Seen::End { slot, position };
        loop {
            let event = self.next();
            if event == end {
                return seen;
            }
            seen.push(event);
        }
    }
}

pub(crate) fn offsets(events: &[Seen]) -> Vec<i64> {
    events
        .iter()
        .filter_map(|event| match event {
            Seen::Record { offset, .. } => Some(*offset),
            _ => None,
        })
        .collect()
}

pub(crate) fn appended(topic: &str, partition: i32, first: i64, last: i64) -> Appended {
    Appended { partition: Partition::new(topic, partition), offsets: Offsets::between(Offset(first), Offset(last)) }
}
