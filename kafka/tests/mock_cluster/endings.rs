//! Clients that end while their threads work, or after an error. Run under AddressSanitizer, these tests show who reads
//! memory that another one has freed.

use std::thread;
use std::time::Duration;

use bytes::Bytes;
use kafka::admin::KafkaCatalog;
use kafka::catalog::{Catalog, Isolation, only};
use kafka::consumer::{Consumer, ConsumerConfig, ConsumerMemory, FetchedBytes};
use kafka::log::LogReader;
use kafka::producer::{ProduceError, Producer};
use kafka::{KafkaFault, Properties};
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as Code};
use wire::partition::Partition;

use crate::cluster::{Cluster, Data, PATIENCE, Reader, fence, send, start, try_send};

fn values(count: i64) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("value {n}"))
}

/// Commits a transaction with records for every partition, or returns its first error.
fn transact(producer: &mut Producer, partitions: i32) -> Result<(), ProduceError> {
    producer.begin()?;
    let frame = Bytes::from(vec![b'x'; 300]);
    for number in 0..partitions * 50 {
        let data = Data { key: Some(b"key"), value: Some(&frame), headers: &[(b"a", Some(b"1"))], ..Data::default() };
        try_send(producer, "t", number % partitions, &data, &frame)?;
    }
    producer.drain()?;
    producer.commit()
}

#[test]
fn producers_end_after_every_kind_of_error() {
    const FENCED: Code = Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED;
    let failures = [
        (Api::Produce, FENCED),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_INVALID_RECORD),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER),
        (Api::Produce, Code::RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID),
        (Api::AddPartitionsToTxn, FENCED),
        (Api::AddPartitionsToTxn, Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
        (Api::EndTxn, FENCED),
        (Api::EndTxn, Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
    ];
    let cluster = Cluster::with_topic("t", 4);
    for (api, code) in failures {
        let mut producer = cluster.producer();
        transact(&mut producer, 4).unwrap();
        // Several answers, so that one still arrives while the producer ends.
        cluster.mock.request_errors(api, &[code; 4]);
        transact(&mut producer, 4).unwrap_err();
        drop(producer);
        cluster.mock.clear_request_errors(api);
    }
}

#[test]
fn producers_end_with_answers_on_their_way() {
    let cluster = Cluster::with_topic("t", 4);
    cluster.mock.broker_round_trip_time(1, Duration::from_millis(3)).unwrap();
    let properties = &cluster.properties;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for wait in 0..8 {
                    let mut producer = fence(properties, PATIENCE).unwrap();
                    producer.begin().unwrap();
                    for number in 0..200 {
                        let frame = Bytes::from(format!("frame {number}"));
                        let data = Data { value: Some(&frame), ..Data::default() };
                        send(&mut producer, "t", number % 4, &data, &frame);
                    }
                    thread::sleep(Duration::from_millis(wait));
                }
            });
        }
    });
}

#[test]
fn producers_end_while_they_register_partitions() {
    let cluster = Cluster::with_topic("t", 4);
    let properties = &cluster.properties;
    let frame = Bytes::from_static(b"value");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // Spread over the first two milliseconds: the client registers partitions after one.
                for round in 0..20 {
                    let mut producer = fence(properties, PATIENCE).unwrap();
                    producer.begin().unwrap();
                    for partition in 0..4 {
                        send(&mut producer, "t", partition, &Data { value: Some(&frame), ..Data::default() }, &frame);
                    }
                    thread::sleep(Duration::from_micros(100 * round));
                }
            });
        }
    });
}

#[test]
fn a_fence_that_is_refused_leaves_nothing_behind() {
    let cluster = Cluster::with_topic("t", 1);
    let refused = Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    for limit in [1, 20, 20_000] {
        cluster.mock.request_errors(Api::InitProducerId, &[refused; 2]);
        fence(&cluster.properties, Duration::from_millis(limit)).unwrap_err();
        cluster.mock.clear_request_errors(Api::InitProducerId);
    }
}

#[test]
fn consumers_end_while_they_fetch() {
    let cluster = Cluster::with_topic("t", 4);
    for partition in 0..4 {
        cluster.write("t", partition, values(2_000));
    }
    for round in 0..12 {
        let consumer = cluster.consumer();
        let mut readers: Vec<Reader> = (0..4).map(|_| Reader::of(&consumer)).collect();
        for (partition, reader) in (0..).zip(&mut readers) {
            reader.lane.assign(&[start(partition, "t", i32::try_from(partition).unwrap(), 0)]).unwrap();
        }
        for reader in readers.iter_mut().take(round % 5) {
            reader.next();
        }
        drop(consumer);
        // The last lane ends the client, and each is dropped by a thread of its own.
        thread::scope(|scope| {
            for reader in readers {
                scope.spawn(move || drop(reader));
            }
        });
    }
}

#[test]
fn clients_end_when_their_cluster_is_gone() {
    let cluster = Cluster::with_topic("t", 2);
    cluster.write("t", 0, values(500));
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(0, "t", 0, 0), start(1, "missing", 0, 0)]).unwrap();
    reader.next();
    let mut producer = cluster.producer();
    producer.begin().unwrap();
    let frame = Bytes::from_static(b"value");
    send(&mut producer, "t", 1, &Data { value: Some(&frame), ..Data::default() }, &frame);
    let catalog = KafkaCatalog::start(&cluster.properties, "test").unwrap();
    let log = LogReader::start(&cluster.properties, "test").unwrap();
    assert_eq!(log.read("t", 0).unwrap().len(), 500);
    drop(cluster);
    thread::scope(|scope| {
        // Without an answer, the call is in flight while the clients end.
        scope.spawn(|| drop((producer, log)));
        scope.spawn(|| drop((reader, consumer)));
    });
    drop(catalog);
}

#[test]
fn refused_admin_calls_name_their_reason() {
    let cluster = Cluster::with_topic("t", 1);
    let catalog = KafkaCatalog::start(&cluster.properties, "test").unwrap();
    assert_eq!(catalog.topics().unwrap().len(), 1);
    assert!(catalog.cluster_id().is_ok());
    catalog.describe(&["t\0".to_owned()]).unwrap_err();
    let refused = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.mock.request_errors(Api::ListOffsets, &[refused]);
    let error = only(catalog.ends(&[Partition::new("t", 0)], Isolation::Committed)).unwrap_err();
    assert_eq!(error.fault, KafkaFault::Unauthorized);
}

#[test]
fn clients_without_a_usable_certificate_do_not_start() {
    let properties = |extra: &[(&str, &str)]| Properties {
        bootstrap_servers: vec!["127.0.0.1:1".to_owned()],
        extra: extra.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
    };
    let broken = [
        properties(&[("security.protocol", "SSL"), ("ssl.ca.location", "/nonexistent")]),
        properties(&[("security.protocol", "SSL"), ("ssl.certificate.pem", "no certificate")]),
        properties(&[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "SCRAM-SHA-512")]),
        properties(&[("security.protocol", "nothing")]),
        properties(&[("client.id", "a\0b")]),
    ];
    let memory = ConsumerMemory { bytes: 64 << 20, lanes: 4 };
    let config = ConsumerConfig { link: "test", memory, fetch_wait: Duration::from_millis(10) };
    for properties in broken {
        Consumer::start(&properties, &config).unwrap_err();
        Consumer::start_counted(&properties, &config, FetchedBytes::default()).unwrap_err();
        KafkaCatalog::start(&properties, "test").unwrap_err();
    }
}

#[test]
fn a_failed_tls_handshake_ends_with_its_client() {
    // The mock speaks plain text.
    let mut cluster = Cluster::with_topic("t", 1);
    cluster.properties.extra.insert("security.protocol".to_owned(), "SSL".to_owned());
    for wait in 0..6 {
        let consumer = cluster.consumer();
        let mut reader = Reader::of(&consumer);
        reader.lane.assign(&[start(0, "t", 0, 0)]).unwrap();
        thread::sleep(Duration::from_millis(20 * wait));
    }
}

/// The client would ask again after 500 ms, each time.
#[test]
fn an_id_whose_transaction_is_being_ended_is_taken_over_soon() {
    let cluster = Cluster::with_topic("t", 1);
    cluster.producer();
    cluster.mock.request_errors(Api::InitProducerId, &[Code::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS; 3]);
    let began = std::time::Instant::now();
    transact(&mut cluster.producer(), 1).unwrap();
    assert!(began.elapsed() < Duration::from_millis(1_000), "it took {:?}", began.elapsed());
}
