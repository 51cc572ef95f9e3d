//! The ends of logs, asked of a broker that leaves before it answers.

use causeway_link::catalog::{Bounds, Catalog, Isolation, TopicPartition};
use causeway_link::kafka::admin::KafkaCatalog;
use causeway_link::kafka::log::LogReader;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};
use wire::ids::Position;

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
fn a_log_is_never_taken_for_empty_because_nobody_said_where_it_ends() {
    let cluster = cluster_of_three_records();
    let catalog = KafkaCatalog::start(&cluster.properties, "test").unwrap();
    let asked = [TopicPartition { topic: TOPIC.to_owned(), partition: 0 }];
    for answers in [[LEAVES, ANSWERS], [ANSWERS, LEAVES], [LEAVES, LEAVES]] {
        cluster.mock.request_errors(RDKafkaApiKey::ListOffsets, &answers);
        let bounds = catalog.bounds(&asked, Isolation::Uncommitted).unwrap();
        assert_eq!(bounds, [Bounds { start: Position(0), end: Position(3) }], "{answers:?}");
    }
    cluster.mock.request_errors(RDKafkaApiKey::ListOffsets, &[LEAVES]);
    assert_eq!(catalog.ends(&asked, Isolation::Committed).unwrap(), [Position(3)]);
}

#[test]
fn state_is_read_whole_though_its_broker_left_once() {
    let cluster = cluster_of_three_records();
    let log = LogReader::start(&cluster.properties, "test").unwrap();
    cluster.mock.request_errors(RDKafkaApiKey::ListOffsets, &[ANSWERS, LEAVES]);
    let values: Vec<_> =
        log.read(TOPIC, 0, Isolation::Committed).unwrap().into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [b"a", b"b", b"c"].map(|value| Some(value.to_vec())));
}
