//! Target topics that cannot be used, or not now: they halt or wait alone.

use std::sync::Barrier;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use kafka::catalog::Answers;
use wire::control::Jump;
use wire::ids::{Slot, TopicId};

use super::*;
use crate::join::fixtures;
use crate::link::announced::Announced;
use crate::link::limits::LinkLimits;

/// A cluster in which every topic has the same number of partitions and may or may not grow.
struct Cluster {
    partitions: AtomicI32,
    grows: bool,
    /// Makes the first requests for descriptions wait for each other.
    together: Option<Barrier>,
    asked: AtomicUsize,
    /// True if one invalid name makes the whole request for descriptions fail.
    refuses_batches: bool,
}

fn cluster(partitions: i32, grows: bool, together: Option<Barrier>) -> Cluster {
    Cluster { partitions: partitions.into(), grows, together, asked: AtomicUsize::new(0), refuses_batches: false }
}

fn refuse<T>(doing: &str) -> Result<T, KafkaError> {
    Err(KafkaError { doing: doing.into(), reason: "not authorised".into(), fault: KafkaFault::Unauthorized })
}

impl Catalog for Cluster {
    fn describe(&self, names: &[String]) -> Answers<TopicDescription> {
        let id = TopicId([2; 16]);
        let partitions = self.partitions.load(Ordering::SeqCst);
        if let Some(together) = self.together.as_ref().filter(|_| self.asked.fetch_add(1, Ordering::SeqCst) < 2) {
            together.wait();
        }
        let topic = |name: &String| match name.as_str() {
            "to.denied" => refuse("description"),
            "to.refused" => Err(KafkaError::misused("description", "invalid topic")),
            "to.missing" => Err(KafkaError::unknown_topic("description")),
            _ => Ok(TopicDescription { name: name.clone(), id, partitions, replicas: 1 }),
        };
        assert!(names.iter().all(|name| check_kafka_name(name).is_ok()), "{names:?} is no question for a cluster");
        let answers: Vec<_> = names.iter().map(topic).collect();
        let refused = answers.iter().find_map(|answer| answer.clone().err().filter(is_refused_name));
        match refused {
            Some(error) if self.refuses_batches && names.len() > 1 => Err(error),
            _ => Ok(answers),
        }
    }
    fn bounds(&self, partitions: &[Partition], _: Isolation) -> Answers<Bounds> {
        let has = self.partitions.load(Ordering::SeqCst);
        assert!(partitions.iter().all(|at| at.partition < has), "a missing partition was requested");
        let bounds = |at: &Partition| match &*at.topic {
            "to.leaderless" => Err(timed_out("bounds")),
            _ => Ok(Bounds { start: Position(0), end: Position(0) }),
        };
        Ok(partitions.iter().map(bounds).collect())
    }
    fn replicas(&self, partitions: &[Partition]) -> Answers<Replicas> {
        let in_sync = |at: &Partition| if &*at.topic == "to.short" { 1 } else { 2 };
        let replicas = |at| Ok(Replicas { leader: Some(1), in_sync: in_sync(at), required: 2 });
        Ok(partitions.iter().map(replicas).collect())
    }
    fn create(&self, _: &[NewTopic]) -> Answers<()> {
        refuse("creation")
    }
    fn grow(&self, _: &str, partitions: i32) -> Result<(), KafkaError> {
        // A broker refuses to grow a topic to the size that it has.
        let grown = self.grows && self.partitions.swap(partitions, Ordering::SeqCst) < partitions;
        if grown { Ok(()) } else { refuse("growth") }
    }
}

fn targets(cluster: Cluster) -> Targets {
    let all = vec![service::topics::TopicPattern::parse(".*").unwrap()];
    let terms = Terms {
        link: "l".to_owned(),
        classes: wire::lanes::ClassTable::new(1),
        lane_hash: "h".to_owned(),
        source_cluster: "source".to_owned(),
        target_cluster: "target".to_owned(),
        filter_hash: 1,
        sender: "a".to_owned(),
        accepts: None,
        map: crate::lane::MapTerms::new(false),
        state: None,
    };
    let catalog: Arc<dyn Catalog> = Arc::new(cluster);
    let creator = TopicCreator {
        catalog: Arc::clone(&catalog),
        sets_defaults: true,
        state_topic: "state".to_owned(),
        left_out: Arc::default(),
    };
    Targets {
        blocking: Blocking::default(),
        catalog,
        creator,
        refused_topics: Arc::default(),
        rename: Rename::prefix("to."),
        allowed: TopicFilter::new(all, Vec::new()),
        replication: None,
        copy_configs: true,
        terms: Arc::new(terms),
        announcements: Arc::new(Announcements::new(Announced::new(1 << 20))),
        admission: Arc::new(Lock::new(Admission::new(LinkLimits::default()))),
        creating: Arc::default(),
    }
}

fn offered(partition: i32) -> OfferedPartition {
    OfferedPartition { slot: Slot(partition as u32), partition, partitions: 3, ..fixtures::offered("orders") }
}

#[test]
fn a_target_that_cannot_grow_halts_only_missing_partitions() {
    let targets = targets(cluster(2, false, None));
    let found = targets.look_up(&[offered(0), offered(1), offered(2)], &CarriedTopics::new(1)).unwrap();
    let found = found.offered;
    assert!(found[0].target.is_ok() && found[1].target.is_ok());
    let halt = found[2].target.as_ref().unwrap_err();
    assert_eq!(halt.reason, "target-too-few-partitions");
    assert!(halt.detail.contains("to.orders has 2 partitions, the source's topic 3"), "{}", halt.detail);
}

#[test]
fn a_topic_that_cannot_be_used_now_waits_alone() {
    let targets = targets(cluster(3, false, None));
    let offers =
        ["denied", "orders", "leaderless", "short"].map(|topic| OfferedPartition { topic: topic.into(), ..offered(0) });
    let topics = |waiting: Vec<Waiting>| waiting.into_iter().map(|one| one.partition.topic).collect::<Vec<_>>();
    let carried = CarriedTopics::new(1);
    let claims = targets.claims(&offers, &carried).unwrap();
    assert_eq!(topics(claims.waiting), ["denied"], "it could be missing");
    assert_eq!(claims.partitions.len(), 3);
    let found = targets.look_up(&offers, &carried).unwrap();
    assert_eq!(found.offered.len(), 1);
    assert_eq!(found.offered[0].partition.topic, "orders");
    let reason = "write to to.short/0: the partition has 1 in-sync replicas, `min.insync.replicas` is 2";
    assert_eq!(found.waiting.last().unwrap().error.to_string(), reason);
    assert_eq!(topics(found.waiting), ["denied", "leaderless", "short"]);
}

#[test]
fn a_name_that_kafka_refuses_halts_its_topic_alone() {
    let targets = targets(Cluster { refuses_batches: true, ..cluster(3, false, None) });
    let long = "x".repeat(247);
    let offers =
        ["orders", "refused", &long, "a/b"].map(|topic| OfferedPartition { topic: topic.into(), ..offered(0) });
    let carried = CarriedTopics::new(1);
    let claims = targets.claims(&offers, &carried).unwrap();
    assert!(claims.waiting.is_empty() && claims.origins.is_empty(), "{claims:?}");
    let found = targets.look_up(&claims.partitions, &carried).unwrap();
    assert!(found.waiting.is_empty() && found.offered[0].target.is_ok(), "{found:?}");
    let halts: Vec<_> = found.offered[1..].iter().map(|offered| offered.target.clone().unwrap_err()).collect();
    assert!(halts.iter().all(|halt| halt.reason == "target-refused"), "{halts:?}");
    assert_eq!(halts[0].detail, "description: invalid topic");
    assert!(halts[1].detail.contains("has 250 characters, Kafka allows 249: to.x"), "{}", halts[1].detail);
    assert!(halts[2].detail.ends_with("\"to.a/b\""), "{}", halts[2].detail);
    assert_eq!(targets.refused_topics.sentences().len(), 3);
}

#[test]
fn no_topic_is_created_for_a_partition_of_unknown_origin() {
    let targets = targets(cluster(0, false, None));
    let unsure = OfferedPartition { topic: "missing".into(), jump: Some(Jump::carried_only()), ..offered(0) };
    let carried = CarriedTopics::new(1);
    assert!(targets.claims(std::slice::from_ref(&unsure), &carried).unwrap().origins.is_empty());
    let found = targets.look_up(&[unsure], &carried).unwrap();
    assert_eq!(found.offered[0].target.as_ref().unwrap_err().reason, "origin-unknown");
}

#[test]
fn lanes_that_find_a_topic_too_small_grow_it_once() {
    let targets = targets(cluster(1, true, Some(Barrier::new(2))));
    let look_up = |partition| targets.look_up(&[offered(partition)], &CarriedTopics::new(1)).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| look_up(1));
        let found = look_up(2);
        assert!(found.offered[0].target.is_ok(), "{found:?}");
        assert!(other.join().unwrap().offered[0].target.is_ok());
    });
}
