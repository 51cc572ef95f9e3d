//! Offsets of consumer groups when their coordinator moves, and when it refuses a commit.

use kafka::admin::KafkaCatalog;
use kafka::catalog::{Catalog, only};
use kafka::groups::{CommitError, GroupCommit, GroupOffset};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};
use wire::ids::Position;
use wire::partition::Partition;

use crate::cluster::Cluster;

const TOPIC: &str = "orders";

fn commit_at(position: i64) -> GroupCommit {
    let metadata = "host-1".to_owned();
    let offset = GroupOffset { partition: Partition::new(TOPIC, 0), position: Position(position), metadata };
    GroupCommit { group: "g".to_owned(), offsets: vec![offset] }
}

#[test]
fn a_coordinator_that_moved_is_an_error_and_no_crash() {
    let cluster = Cluster::with_topic(TOPIC, 1);
    let catalog = KafkaCatalog::start(&cluster.properties, "test").unwrap();
    let read = || only(catalog.committed(&["g".to_owned()]));
    for moved in [Code::RD_KAFKA_RESP_ERR_NOT_COORDINATOR, Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE] {
        cluster.mock.request_errors(RDKafkaApiKey::OffsetFetch, &[moved]);
        assert!(read().is_err(), "{moved:?}");
        assert_eq!(read(), Ok(Vec::new()), "the next client finds it");
    }
}

#[test]
fn a_refused_commit_names_its_reason() {
    let cluster = Cluster::with_topic(TOPIC, 1);
    let catalog = KafkaCatalog::start(&cluster.properties, "test").unwrap();
    let commit = || only(catalog.commit(&[commit_at(7)])).map(|mut outcomes| outcomes.remove(0));
    assert_eq!(commit(), Ok(Ok(())));
    cluster.mock.request_errors(RDKafkaApiKey::OffsetCommit, &[Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    assert_eq!(commit(), Ok(Err(CommitError::HasMembers)));
    let denied = Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.mock.request_errors(RDKafkaApiKey::OffsetCommit, &[denied]);
    let Ok(Err(CommitError::Kafka(error))) = commit() else { panic!("no refusal") };
    assert!(error.is_about_rights() && error.to_string().starts_with("commit for group `g`: "), "{error}");
}
