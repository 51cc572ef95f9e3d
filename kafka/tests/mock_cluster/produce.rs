//! Records arrive unchanged, with all kinds of keys, values, headers and timestamps.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka::Refusal;
use kafka::producer::{ProduceError, Rejections};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use wire::frame::RecordRef;
use wire::ids::Offset;

use crate::cluster::{Cluster, Data, Reader, Seen, SeenHeader, appended, offsets, send, start, try_send};

fn owned(headers: &[(&[u8], Option<&[u8]>)]) -> Vec<SeenHeader> {
    headers.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect()
}

#[test]
fn a_record_arrives_unchanged() {
    let cluster = Cluster::with_topic("t", 1);
    let frame = Bytes::from_static(b"--a value--");
    let value = &frame[2..9];
    let not_utf8: &[u8] = &[0xff, 0xfe];
    let headers: [(&[u8], Option<&[u8]>); 5] =
        [(b"a", Some(b"1")), (b"a", Some(b"2")), (b"", Some(b"")), (b"null", None), (not_utf8, Some(not_utf8))];
    let records = [
        Data { timestamp: 1_700_000_000_123, key: Some(b"key"), value: Some(value), headers: &headers },
        Data { timestamp: 5, key: Some(b""), value: Some(&frame[3..3]), headers: &[] },
        Data { timestamp: 6, key: None, value: None, headers: &[(b"only", None)] },
        Data { timestamp: -1, key: None, value: Some(b"from elsewhere"), headers: &[] },
        Data { timestamp: -5, key: Some(not_utf8), value: Some(b""), headers: &[] },
    ];
    let mut producer = cluster.producer();
    producer.begin().unwrap();
    for record in &records {
        send(&mut producer, "t", 0, record, &frame);
    }
    assert_eq!(producer.drain().unwrap(), [appended("t", 0, 0, 4)]);
    producer.commit().unwrap();

    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(0, "t", 0, 0)]).unwrap();
    let expected: Vec<Seen> = (0..)
        .zip(&records)
        .map(|(offset, record)| Seen::Record {
            slot: 0,
            offset,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: owned(record.headers),
        })
        .collect();
    assert_eq!(reader.until_end(0, 5), expected);
}

#[test]
fn a_timestamp_of_zero_is_written_as_one() {
    let cluster = Cluster::with_topic("t", 1);
    let mut producer = cluster.producer();
    producer.begin().unwrap();
    let frame = Bytes::from_static(b"v");
    for timestamp in [0, 1, 0] {
        send(&mut producer, "t", 0, &Data { timestamp, value: Some(&frame), ..Data::default() }, &frame);
    }
    producer.drain().unwrap();
    producer.commit().unwrap();
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(0, "t", 0, 0)]).unwrap();
    for event in reader.until_end(0, 3) {
        assert!(matches!(event, Seen::Record { timestamp: 1, .. }), "{event:?}");
    }
}

#[test]
fn records_of_many_frames_are_all_reported_and_read() {
    let cluster = Cluster::with_topic("t", 3);
    let mut producer = cluster.producer();
    for transaction in 0..3_i64 {
        producer.begin().unwrap();
        for number in 0..3_000_i32 {
            // Each record has a frame of its own, which only the producer keeps.
            let frame = Bytes::from(format!("frame {transaction} {number}").into_bytes());
            send(
                &mut producer,
                "t",
                number % 3,
                &Data { timestamp: 9, value: Some(&frame), ..Data::default() },
                &frame,
            );
        }
        let mut ends = producer.drain().unwrap();
        ends.sort_by_key(|end| end.partition.partition);
        let first = transaction * 1_000;
        let last = first + 999;
        let all = |partition| appended("t", partition, first, last);
        assert_eq!(ends, [all(0), all(1), all(2)]);
        producer.commit().unwrap();
    }
    let consumer = cluster.consumer();
    let mut reader = Reader::of(&consumer);
    reader.lane.assign(&[start(0, "t", 2, 0)]).unwrap();
    let seen = reader.until_end(0, 3_000);
    assert_eq!(offsets(&seen), (0..3_000).collect::<Vec<_>>());
    let Seen::Record { value: Some(value), .. } = &seen[2_999] else { panic!() };
    assert_eq!(value, b"frame 2 2999");
}

#[test]
fn a_partition_that_does_not_exist_is_named() {
    let cluster = Cluster::with_topic("t", 1);
    let mut producer = cluster.producer();
    producer.begin().unwrap();
    let frame = Bytes::from_static(b"v");
    send(&mut producer, "t", 0, &Data { value: Some(&frame), ..Data::default() }, &frame);
    producer.drain().unwrap();
    let error = try_send(&mut producer, "t", 7, &Data { value: Some(&frame), ..Data::default() }, &frame).unwrap_err();
    let ProduceError::Rejected(Rejections { first: rejection, .. }) = &error else { panic!("{error}") };
    assert_eq!((rejection.partition.to_string().as_str(), rejection.refusal), ("t/7", Refusal::Gone));
}

#[test]
fn a_permanent_refusal_is_not_a_temporary_failure() {
    let cluster = Cluster::with_topic("t", 1);
    let mut producer = cluster.producer();
    producer.begin().unwrap();
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP]);
    let frame = Bytes::from_static(b"a secret");
    send(&mut producer, "t", 0, &Data { value: Some(&frame), ..Data::default() }, &frame);
    match producer.drain() {
        Err(ProduceError::Rejected(Rejections { first: rejection, .. })) => {
            assert_eq!((rejection.partition.to_string().as_str(), rejection.refusal), ("t/0", Refusal::Record));
            assert!(!rejection.reason.contains("secret"), "{}", rejection.reason);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refused_batch_is_named_by_its_source_offsets() {
    let cluster = Cluster::with_topic("t", 1);
    let mut producer = cluster.producer();
    producer.begin().unwrap();
    let frame = Bytes::from_static(b"v");
    let topic: std::sync::Arc<str> = "t".into();
    let mut send = |offset| {
        let value = Some(&frame[..]);
        let headers = wire::frame::Headers::EMPTY;
        let record = RecordRef { offset: Offset(offset), timestamp: 5, key: None, value, headers };
        producer.produce(&topic, 0, &record, &frame).unwrap();
        producer.drain()
    };
    send(40).unwrap();
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    match send(i64::MAX - 1) {
        Err(ProduceError::TooLarge(rejection, _)) => {
            assert_eq!((rejection.first, rejection.last), (Offset(i64::MAX - 1), Offset(i64::MAX - 1)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_topic_is_named_without_payloads() {
    let cluster = Cluster::with_topic("t", 1);
    let mut producer = cluster.producer();
    producer.begin().unwrap();
    let frame = Bytes::from_static(b"a secret");
    let data = Data { value: Some(&frame), ..Data::default() };
    let failed = try_send(&mut producer, "nowhere", 0, &data, &frame).and_then(|()| producer.drain());
    match failed {
        Err(ProduceError::Rejected(Rejections { first: rejection, .. })) => {
            assert_eq!((rejection.partition.to_string().as_str(), rejection.refusal), ("nowhere/0", Refusal::Gone));
            assert!(!rejection.reason.contains("secret"), "{}", rejection.reason);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn dropping_a_producer_with_records_in_flight_is_quick() {
    let cluster = Cluster::with_topic("t", 1);
    let mut producer = cluster.producer();
    producer.begin().unwrap();
    let frame = Bytes::from(vec![b'x'; 1_000]);
    for _ in 0..20_000 {
        send(&mut producer, "t", 0, &Data { value: Some(&frame), ..Data::default() }, &frame);
    }
    let started = Instant::now();
    drop(producer);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}
