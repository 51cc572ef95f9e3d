//! Offers within a lane: what waits for the state of other lanes, what the sender's late words change.

use std::sync::Arc;

use receiver::join::carried_topics::Knowledge;
use receiver::join::{Offered, OfferedTarget};
use receiver::lane::{Errand, Fetch, Lane};
use receiver::target::state::{self, HaltRecord, PartitionRecord};
use receiver::target::{StateEntry, TargetPartition};
use wire::control::{Accepts, Control, Jump, OfferedPartition};
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Position, Slot, TopicId};
use wire::lanes::{ClassRequest, ClassTable};
use wire::partition::Partition;

use crate::willing::{Willing, lane, terms};

fn key(topic: &str) -> Partition {
    Partition { topic: topic.into(), partition: 0 }
}

fn target_name(topic: &str) -> String {
    format!("fra.{topic}")
}

/// What is stored of a partition that stands at 5.
fn stored(topic: &str, halt: Option<HaltReason>) -> StateEntry {
    let record = PartitionRecord {
        topic_id: TopicId([1; 16]),
        position: Position(5),
        leader_epoch: -1,
        target_topic: target_name(topic),
        target_topic_id: TopicId([2; 16]),
        target_partition: 0,
        target_end: Position(0),
        delivered: 5,
        skipped: 0,
        holes: 0,
        halt: halt.map(|reason| HaltRecord::new(reason, "as stored")),
        moves: 0,
    };
    StateEntry { key: state::partition_key("fra", &key(topic)), value: Some(state::encode(&record)) }
}

fn offered(slot: u32, topic: &str, jump: Option<Jump>) -> Offered {
    Offered {
        partition: OfferedPartition {
            slot: Slot(slot),
            topic: topic.to_owned(),
            partition: 0,
            topic_id: TopicId([1; 16]),
            partitions: 1,
            log_start: Position(0),
            log_end: Position(9),
            start: Position(0),
            jump,
        },
        target: Ok(OfferedTarget {
            partition: TargetPartition { topic: target_name(topic).into(), partition: 0 },
            topic_id: TopicId([2; 16]),
            end: Position(0),
            clusters: ["fra".to_owned()].into(),
        }),
    }
}

/// A lane of a link of two; the other one is not open yet.
fn open(entries: Vec<StateEntry>) -> (Lane<Willing>, Epoch, Arc<Knowledge>) {
    let mut lane = lane(entries);
    let other = [ClassRequest { name: "other".to_owned(), lanes: 1, strict: false }];
    // What begins, begins in lane 0.
    let terms = terms(ClassTable::new(1).append(&other).unwrap());
    let knowledge = Arc::new(Knowledge::new(2));
    let epoch = lane.open(terms, Arc::clone(&knowledge)).unwrap();
    (lane, epoch, knowledge)
}

/// Slots that are said to be open, and slots that are said to be halted with the reason.
fn answers(lane: &mut Lane<Willing>) -> Vec<(u32, String)> {
    while lane.has_work() {
        lane.step().unwrap();
    }
    let answer = |reply| match reply {
        Control::PartitionOpen { slot, .. } => Some((slot.0, "open".to_owned())),
        Control::PartitionHalted { slot, reason, .. } => Some((slot.0, reason)),
        _ => None,
    };
    std::iter::from_fn(|| lane.poll_reply()).filter_map(answer).collect()
}

fn halt_of(lane: &Lane<Willing>, topic: &str) -> Option<String> {
    let (_, record) = lane.positions().find(|(found, _)| **found == key(topic)).unwrap();
    record.halt.as_ref().map(|halt| halt.reason.clone())
}

#[test]
fn a_new_partition_that_waits_for_other_lanes_holds_up_none_whose_position_is_stored() {
    let (mut lane, epoch, knowledge) = open(vec![stored("orders", None)]);
    lane.handle_offer(epoch, offered(0, "brand-new", None)).unwrap();
    lane.handle_offer(epoch, offered(1, "orders", None)).unwrap();
    lane.handle_last_offer(epoch);
    assert_eq!(answers(&mut lane), [(1, "open".to_owned())]);
    lane.handle_halted(epoch, Slot(1), HaltRecord::new(HaltReason::Corrupt, "a batch"));
    assert_eq!(answers(&mut lane), [(1, "corrupt".to_owned())], "nor a halt");
    knowledge.handle_lane_read(LaneId(1), [].iter());
    assert_eq!(answers(&mut lane), [(0, "open".to_owned())]);
}

#[test]
fn a_senders_halt_of_a_slot_that_is_halted_already_changes_nothing() {
    let (mut lane, epoch, _) = open(vec![stored("orders", None)]);
    lane.handle_offer(epoch, offered(0, "orders", None)).unwrap();
    assert_eq!(answers(&mut lane), [(0, "open".to_owned())]);
    lane.handle_halted(epoch, Slot(0), HaltRecord::new(HaltReason::RecordTooLarge, "first"));
    assert_eq!(answers(&mut lane), [(0, "record-too-large".to_owned())]);
    let (expected, to) = (Position(5), Position(6));
    let jump = Jump { expected, to, accepts: Accepts::Nothing, asked: 0, reason: "test".to_owned() };
    lane.handle_offer(epoch, offered(1, "orders", Some(jump))).unwrap();
    assert_eq!(answers(&mut lane), [(1, "open".to_owned())]);
    lane.handle_halted(epoch, Slot(0), HaltRecord::new(HaltReason::Truncated, "late"));
    assert!(answers(&mut lane).is_empty(), "it was answered before");
    assert_eq!(halt_of(&lane, "orders"), None, "it is being read under slot 1");
}

/// Another lane wants `orders`, which it was offered.
fn fetch(to: u16) -> Errand {
    Errand::Fetch(Box::new(Fetch {
        offered: offered(1, "orders", None),
        to: LaneId(to),
        filter_hash: None,
        passed: None,
    }))
}

#[test]
fn a_partition_that_joined_is_not_handed_over_in_that_epoch_though_it_was_halted() {
    let (mut lane, epoch, knowledge) = open(vec![stored("orders", None)]);
    knowledge.handle_lane_read(LaneId(1), [].iter());
    lane.handle_offer(epoch, offered(0, "orders", None)).unwrap();
    assert_eq!(answers(&mut lane), [(0, "open".to_owned())]);
    lane.handle_halted(epoch, Slot(0), HaltRecord::new(HaltReason::Corrupt, "a batch"));
    assert_eq!(answers(&mut lane), [(0, "corrupt".to_owned())]);
    lane.handle_errand(fetch(1));
    assert!(answers(&mut lane).is_empty());
    let told = lane.poll_errand();
    assert!(matches!(&told, Some((LaneId(1), Errand::Refused(..)))), "{told:?}");
    assert_eq!(halt_of(&lane, "orders").as_deref(), Some("corrupt"), "it is still here");
}

#[test]
fn nobody_is_sent_along_the_trail_of_a_partition_before_the_move_is_committed() {
    let (mut lane, _, knowledge) = open(vec![stored("orders", None)]);
    knowledge.handle_lane_read(LaneId(1), [].iter());
    // A sender offers it to two lanes at once.
    lane.handle_errand(fetch(1));
    lane.handle_errand(fetch(2));
    lane.step().unwrap();
    let told: Vec<_> = std::iter::from_fn(|| lane.poll_errand()).collect();
    assert!(matches!(&told[..], [(LaneId(1), Errand::Passed(..))]), "{told:?}");
    lane.step().unwrap();
    let told: Vec<_> = std::iter::from_fn(|| lane.poll_errand()).collect();
    assert!(matches!(&told[..], [(LaneId(1), Errand::Fetch(fetch))] if fetch.to == LaneId(2)), "{told:?}");
}

#[test]
fn a_partition_offered_twice_is_not_said_to_be_in_its_own_way() {
    let (mut lane, epoch, _) = open(vec![stored("orders", None)]);
    lane.handle_offer(epoch, offered(0, "orders", None)).unwrap();
    lane.handle_offer(epoch, offered(1, "orders", None)).unwrap();
    assert_eq!(answers(&mut lane), [(1, "jump-refused".to_owned()), (0, "open".to_owned())]);
}

#[test]
fn two_partitions_that_would_be_written_to_one_are_told_apart_and_the_second_is_halted() {
    let (mut lane, epoch, _) = open(vec![stored("orders", None)]);
    let mut second = offered(1, "bills", None);
    second.target = offered(0, "orders", None).target;
    lane.handle_offer(epoch, offered(0, "orders", None)).unwrap();
    lane.handle_offer(epoch, second).unwrap();
    assert_eq!(answers(&mut lane), [(1, "target-taken".to_owned()), (0, "open".to_owned())]);
}
