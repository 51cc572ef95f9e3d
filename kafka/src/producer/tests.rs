//! The end of a producer that still has records in flight.

#![allow(clippy::unwrap_used)]

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use wire::frame::HeaderBlock;
use wire::ids::Offset;

use super::*;

const PARTITIONS: i32 = 4;
/// Delay of the broker's answers, longer than anything here may take.
const ANSWERS_AFTER: Duration = Duration::from_secs(20);

fn send_all(producer: &mut Producer) {
    let topic = Arc::from("orders");
    let frame = Bytes::from_static(b"value");
    let headers = HeaderBlock::default();
    for partition in 0..PARTITIONS {
        let record = RecordRef {
            offset: Offset(0),
            timestamp: 1,
            key: None,
            value: Some(&frame),
            headers: headers.as_headers(),
        };
        producer.produce(&topic, partition, &record, &frame).unwrap();
    }
}

/// A producer with a transaction in which records are in flight, and its cluster, which answers them late.
fn with_records_in_flight() -> (MockCluster<'static, DefaultProducerContext>, Producer) {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("orders", PARTITIONS, 1).unwrap();
    let properties = Properties { bootstrap_servers: vec![mock.bootstrap_servers()], extra: Default::default() };
    let config = ProducerConfig {
        client: "test",
        transactional_id: "causeway.test.0",
        transaction_timeout: Duration::from_secs(30),
        memory: 64 << 20,
        zstd_topics: &BTreeSet::new(),
        in_flight: InFlight::default(),
    };
    let mut producer = Producer::fence(&properties, &config, Duration::from_secs(20)).unwrap();
    producer.begin().unwrap();
    // The first records add the partitions to the transaction, so that the next ones are sent immediately.
    send_all(&mut producer);
    producer.drain().unwrap();
    mock.broker_round_trip_time(1, ANSWERS_AFTER).unwrap();
    send_all(&mut producer);
    (mock, producer)
}

#[test]
fn all_records_are_reported_before_the_instance_ends() {
    let (_mock, mut producer) = with_records_in_flight();
    assert!(!producer.discard(Duration::ZERO), "no record is in flight");
    assert!(producer.discard(ANSWERS_AFTER / 2), "waited for answers");
    assert_eq!(producer.reports.count(), producer.sent);
}

#[test]
fn frames_are_kept_while_their_records_are_in_flight() {
    let (_mock, mut producer) = with_records_in_flight();
    assert!(producer.reports.count() < producer.sent);
    producer.begin().unwrap_err();
    assert!(producer.reports.count() < producer.sent, "the records are forgotten");
    // A drain that forgot the records would succeed, and drop the frames.
    producer.deadline = Instant::now();
    producer.drain().unwrap_err();
    assert!(!producer.frames.is_empty(), "librdkafka reads a frame that is gone");
}
