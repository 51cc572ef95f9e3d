//! How a producer ends that still holds records.

// What a test unwraps, it asserts.
#![allow(clippy::unwrap_used)]

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use wire::frame::HeaderBlock;

use super::*;

const PARTITIONS: i32 = 4;
/// Longer than anything here may take.
const ANSWERS_AFTER: Duration = Duration::from_secs(20);

fn send_all(producer: &mut Producer) {
    let (topic, frame, headers) = (Arc::from("orders"), Bytes::from_static(b"value"), HeaderBlock::default());
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

#[test]
fn a_producer_that_is_dropped_has_every_record_given_up_before_its_instance_ends() {
    let mock: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
    mock.create_topic("orders", PARTITIONS, 1).unwrap();
    let properties = Properties { bootstrap_servers: vec![mock.bootstrap_servers()], extra: Default::default() };
    let config = ProducerConfig {
        link: "test",
        transactional_id: "causeway.test.0",
        transaction_timeout: Duration::from_secs(30),
        memory: 64 << 20,
    };
    let mut producer = Producer::fence(&properties, &config, Duration::from_secs(20)).unwrap();
    producer.begin().unwrap();
    // Once, so that the transaction has its partitions, and what follows is sent at once.
    send_all(&mut producer);
    producer.drain().unwrap();
    mock.broker_round_trip_time(1, ANSWERS_AFTER).unwrap();
    send_all(&mut producer);
    assert!(!producer.give_up(Duration::ZERO), "nothing is under way");
    assert!(producer.give_up(ANSWERS_AFTER / 2), "waited for answers");
    assert_eq!(producer.reports.count(), producer.sent);
}
