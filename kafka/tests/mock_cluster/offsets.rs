//! Ends of logs when a broker disconnects before it answers.

use kafka::admin::KafkaCatalog;
use kafka::catalog::{Bounds, Catalog, Isolation};
use kafka::log::{LogError, LogReader};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};
use wire::ids::{Offset, Position};
use wire::partition::Partition;

use crate::cluster::Cluster;

const TOPIC: &str = "state";
const LEAVES: Code = Code::RD_KAFKA_RESP_ERR__TRANSPORT;
const ANSWERS: Code = Code::RD_KAFKA_RESP_ERR_NO_ERROR;

fn cluster_of_three_records() -> Cluster {
    let cluster = Cluster::with_topic(TOPIC, 1);
    cluster.write(TOPIC, 0, ["a", "b", "c"].map(str::to_owned));
    cluster
}

#[test]
fn a_log_without_an_answer_does_not_count_as_empty() {
    let cluster = cluster_of_three_records();
    let catalog = KafkaCatalog::start(&cluster.properties, "test").unwrap();
    let asked = [Partition::new(TOPIC, 0)];
    for answers in [[LEAVES, ANSWERS], [ANSWERS, LEAVES], [LEAVES, LEAVES]] {
        cluster.mock.request_errors(RDKafkaApiKey::ListOffsets, &answers);
        let bounds = catalog.bounds(&asked, Isolation::Uncommitted).unwrap();
        assert_eq!(bounds, [Ok(Bounds { start: Position(0), end: Position(3) })], "{answers:?}");
    }
    cluster.mock.request_errors(RDKafkaApiKey::ListOffsets, &[LEAVES]);
    assert_eq!(catalog.ends(&asked, Isolation::Committed).unwrap(), [Ok(Position(3))]);
}

#[test]
fn state_is_read_completely_after_a_broker_disconnect() {
    let cluster = cluster_of_three_records();
    let log = LogReader::start(&cluster.properties, "test").unwrap();
    cluster.mock.request_errors(RDKafkaApiKey::ListOffsets, &[ANSWERS, LEAVES]);
    let values: Vec<_> = log.read(TOPIC, 0).unwrap().into_iter().map(|timed| timed.entry.1).collect();
    assert_eq!(values, [b"a", b"b", b"c"].map(|value| Some(value.to_vec())));
}

#[test]
fn a_log_that_ends_before_the_wanted_offset_is_an_error() {
    let cluster = cluster_of_three_records();
    let log = LogReader::start(&cluster.properties, "test").unwrap();
    assert_eq!(log.read_through(TOPIC, 0, Offset(2)).unwrap().len(), 3);
    let short = log.read_through(TOPIC, 0, Offset(3)).unwrap_err();
    assert_eq!(short, LogError::NotReached { stable: Position(3), wanted: Position(4) });
}
