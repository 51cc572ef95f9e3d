//! Brokers that name refused records with sentences of their own. The mock cluster cannot, so a proxy in front of it adds
//! the sentences to its answers.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use kafka::Refusal;
use kafka::producer::{ProduceError, Producer, Rejection, Rejections};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};
use wire::frame::RecordRef;
use wire::ids::Offset;

use crate::cluster::{Cluster, Data, send};

/// The broker's sentence. librdkafka frees it before the delivery report can be read.
const SENTENCE: &[u8] = b"Compacted topic cannot accept message without key in topic partition t-0.";
/// Position of the list of refused records in an answer for one partition of a topic with a name of one byte.
const RECORD_ERRORS_AT: usize = 39;
/// Position of the partition's error code in it.
const ERROR_AT: usize = 13;
const PRODUCE: i16 = 0;

/// Reads one request or answer, without its length.
pub(crate) fn read_frame(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut frame = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

pub(crate) fn write_frame(stream: &mut TcpStream, frame: &[u8]) -> std::io::Result<()> {
    let len = u32::try_from(frame.len()).expect("small frame").to_be_bytes();
    stream.write_all(&[&len, frame].concat())
}

/// Replaces the broker's port in an answer, so that the client comes back to the proxy.
fn replace_port(frame: &mut [u8], from: u16, to: u16) {
    let address = |port: u16| [b"127.0.0.1", &u32::from(port).to_be_bytes()[..]].concat();
    let from = address(from);
    let to = address(to);
    for at in 0..frame.len().saturating_sub(from.len()) {
        if frame[at..].starts_with(&from) {
            frame[at..at + to.len()].copy_from_slice(&to);
        }
    }
}

/// Names records of a refused batch, by their indices, in the answer to a Produce request of version 9 or 10.
fn name_records(frame: &mut Vec<u8>, named: &[u8]) {
    if frame[ERROR_AT..ERROR_AT + 2] == [0, 0] {
        return;
    }
    assert_eq!(frame[RECORD_ERRORS_AT], 1, "the mock's list of refused records is not empty, or elsewhere");
    let small = |number: usize| u8::try_from(number).expect("small number");
    // A list: of each record the index in the batch, the sentence, no tags.
    let one = |index: &u8| [&[0, 0, 0, *index, small(SENTENCE.len() + 1)], SENTENCE, &[0]].concat();
    let list = [vec![small(named.len() + 1)], named.iter().flat_map(one).collect()].concat();
    frame.splice(RECORD_ERRORS_AT..=RECORD_ERRORS_AT, list);
}

/// Forwards one connection in both directions until either side closes it.
fn forward(mut client: TcpStream, broker: SocketAddr, own_port: u16, named: &'static [u8]) -> std::io::Result<()> {
    let mut upstream = TcpStream::connect(broker)?;
    let kinds: Arc<Mutex<HashMap<[u8; 4], i16>>> = Arc::default();
    let mut answers = upstream.try_clone()?;
    let mut answered = client.try_clone()?;
    let asked = kinds.clone();
    thread::spawn(move || -> std::io::Result<()> {
        loop {
            let mut frame = read_frame(&mut answers)?;
            let correlation: [u8; 4] = frame[..4].try_into().expect("four bytes");
            if asked.lock().expect("lock").remove(&correlation) == Some(PRODUCE) {
                name_records(&mut frame, named);
            }
            replace_port(&mut frame, broker.port(), own_port);
            write_frame(&mut answered, &frame)?;
        }
    });
    loop {
        let frame = read_frame(&mut client)?;
        let kind = i16::from_be_bytes([frame[0], frame[1]]);
        kinds.lock().expect("lock").insert(frame[4..8].try_into().expect("four bytes"), kind);
        write_frame(&mut upstream, &frame)?;
    }
}

/// Puts a proxy in front of the cluster, which names records of every batch. It serves connections until the test's
/// process ends.
fn behind_proxy(cluster: &mut Cluster, named: &'static [u8]) {
    let broker: SocketAddr = cluster.properties.bootstrap_servers[0].parse().expect("address");
    let listener = TcpListener::bind("127.0.0.1:0").expect("port");
    let own_port = listener.local_addr().expect("address").port();
    cluster.properties.bootstrap_servers = vec![format!("127.0.0.1:{own_port}")];
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || forward(client, broker, own_port, named));
        }
    });
}

/// Sends one record that the broker refuses with `code`, and returns the reason of the refusal.
fn refused(code: Code, key: Option<&[u8]>) -> String {
    let mut cluster = Cluster::with_topic("t", 1);
    behind_proxy(&mut cluster, &[0]);
    let mut producer = cluster.producer();
    producer.begin().expect("begin");
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[code]);
    let frame = Bytes::from_static(b"a secret");
    send(&mut producer, "t", 0, &Data { key, value: Some(&frame), ..Data::default() }, &frame);
    match producer.drain() {
        Err(ProduceError::Rejected(Rejections { first: rejection, .. }) | ProduceError::TooLarge(rejection, _)) => {
            assert_eq!((rejection.partition.to_string().as_str(), rejection.refusal), ("t/0", Refusal::Record));
            rejection.reason
        }
        other => panic!("{other:?}"),
    }
}

/// Sends a batch of records with offsets from 10. The broker refuses it and names records, by their indices.
fn refused_batch(records: i64, named: &'static [u8]) -> Rejection {
    let mut cluster = Cluster::with_topic("t", 1);
    behind_proxy(&mut cluster, named);
    let mut producer = cluster.producer();
    producer.begin().expect("begin");
    let topic: Arc<str> = "t".into();
    let frame = Bytes::from_static(b"v");
    let headers = wire::frame::Headers::EMPTY;
    let send = |producer: &mut Producer, offset| {
        let record = RecordRef { offset: Offset(offset), timestamp: 5, key: None, value: Some(&frame), headers };
        producer.produce(&topic, 0, &record, &frame).expect("produce");
    };
    send(&mut producer, 1);
    // This adds the partition to the transaction, so that the next records are sent together.
    producer.drain().expect("accepted");
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[Code::RD_KAFKA_RESP_ERR_INVALID_RECORD]);
    (10..10 + records).for_each(|offset| send(&mut producer, offset));
    match producer.drain() {
        Err(ProduceError::Rejected(Rejections { first, .. })) => first,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_is_named_only_if_the_broker_named_it() {
    let named = |records, named| {
        let Rejection { named, .. } = refused_batch(records, named);
        named.iter().map(|offset| offset.0).collect::<Vec<_>>()
    };
    assert_eq!(named(4, &[1, 3]), [11, 13]);
    assert_eq!(named(3, &[0, 1, 2]), [10, 11, 12], "all");
    assert_eq!(named(3, &[1]), [11]);
    assert_eq!(named(1, &[0]), [10], "it is alone");
    let none = refused_batch(3, &[]);
    assert_eq!((none.first, none.last, none.named), (Offset(10), Offset(12), vec![]));
    // In a batch of two, librdkafka reports the same whether the broker names one or both.
    for of_two in [&[0][..], &[1], &[0, 1]] {
        assert_eq!(named(2, of_two), [0i64; 0]);
    }
}

#[test]
fn the_reason_of_a_refusal_is_what_its_code_proves() {
    for _ in 0..5 {
        assert_eq!(
            refused(Code::RD_KAFKA_RESP_ERR_INVALID_RECORD, None),
            "Broker: Broker failed to validate record: it has no key, and a compacted topic requires one"
        );
    }
    assert_eq!(
        refused(Code::RD_KAFKA_RESP_ERR_INVALID_RECORD, Some(b"a key")),
        "Broker: Broker failed to validate record: the log of the partition's leader says why"
    );
    assert_eq!(
        refused(Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, Some(b"a key")),
        "Broker: Invalid timestamp: it is outside message.timestamp.before.max.ms or message.timestamp.after.max.ms \
         of the topic"
    );
}
