//! Offers to a lane: those that wait for the state of other lanes, and late halts.

use std::collections::HashSet;
use std::sync::Arc;

use receiver::map::PartitionMap;
use receiver::state::{self, HaltRecord, PartitionRecord};
use receiver::{
    CarriedTopics, HandoverRequest, Lane, LaneMessage, Offered, OfferedTarget, StateEntry, TargetPartition, Terms,
};
use wire::control::{Accepts, Control, Jump, LaneClosedReason, OfferedPartition};
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Position, Slot, TopicId};
use wire::lanes::{ClassRequest, ClassTable};
use wire::partition::Partition;

use crate::willing::{Step, Willing, lane, step_all, terms};

pub(crate) fn key(topic: &str) -> Partition {
    Partition { topic: topic.into(), partition: 0 }
}

pub(crate) fn target_name(topic: &str) -> String {
    format!("fra.{topic}")
}

/// Record of a partition at position 5.
pub(crate) fn record(topic: &str, halt: Option<HaltReason>) -> PartitionRecord {
    PartitionRecord {
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
        map: PartitionMap::default(),
    }
}

/// State entry of a partition at position 5.
pub(crate) fn stored(topic: &str, halt: Option<HaltReason>) -> StateEntry {
    let value = Some(state::encode(&record(topic, halt)));
    StateEntry::new(state::partition_key("fra", &key(topic)), value)
}

pub(crate) fn offered(slot: u32, topic: &str, jump: Option<Jump>) -> Offered {
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
        skips_refused: None,
        returning: None,
        room: None,
        was_deferred: false,
    }
}

/// Terms of a link of two lanes. New partitions begin in lane 0.
pub(crate) fn two_lanes() -> Arc<Terms> {
    let other = [ClassRequest { name: "other".to_owned(), lanes: 1, strict: false }];
    terms(ClassTable::new(1).append(&other).unwrap())
}

/// A lane of a link of two; the other one is not open yet.
pub(crate) fn open(entries: Vec<StateEntry>) -> (Lane<Willing>, Epoch, Arc<CarriedTopics>) {
    let mut lane = lane(entries);
    let terms = two_lanes();
    let carried_topics = Arc::new(CarriedTopics::new(2));
    let epoch = lane.open(terms, Arc::clone(&carried_topics)).unwrap();
    (lane, epoch, carried_topics)
}

/// Slots that the lane reports as open, and halted ones with the reason.
pub(crate) fn answers(lane: &mut Lane<Willing>) -> Vec<(u32, String)> {
    step_all(lane);
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
fn a_new_partition_does_not_delay_stored_ones() {
    let (mut lane, epoch, carried_topics) = open(vec![stored("orders", None)]);
    lane.at(epoch).unwrap().handle_offer(offered(0, "brand-new", None)).unwrap();
    lane.at(epoch).unwrap().handle_offer(offered(1, "orders", None)).unwrap();
    lane.at(epoch).unwrap().handle_last_offer();
    assert_eq!(answers(&mut lane), [(1, "open".to_owned())]);
    lane.at(epoch).unwrap().handle_halted(Slot(1), HaltRecord::new(HaltReason::Corrupt, "a batch")).unwrap();
    assert_eq!(answers(&mut lane), [(1, "corrupt".to_owned())], "nor a halt");
    carried_topics.handle_lane_read(LaneId(1), [].iter());
    assert_eq!(answers(&mut lane), [(0, "open".to_owned())]);
}

#[test]
fn a_late_halt_of_a_closed_slot_changes_nothing() {
    let (mut lane, epoch, _) = open(vec![stored("orders", None)]);
    lane.at(epoch).unwrap().handle_offer(offered(0, "orders", None)).unwrap();
    assert_eq!(answers(&mut lane), [(0, "open".to_owned())]);
    lane.at(epoch).unwrap().handle_halted(Slot(0), HaltRecord::new(HaltReason::RecordTooLarge, "first")).unwrap();
    assert_eq!(answers(&mut lane), [(0, "record-too-large".to_owned())]);
    let jump =
        Jump { expected: Position(5), to: Position(6), accepts: Accepts::Nothing, asked: 0, reason: "test".to_owned() };
    lane.at(epoch).unwrap().handle_offer(offered(1, "orders", Some(jump))).unwrap();
    assert_eq!(answers(&mut lane), [(1, "open".to_owned())]);
    lane.at(epoch).unwrap().handle_halted(Slot(0), HaltRecord::new(HaltReason::Truncated, "late")).unwrap();
    assert!(answers(&mut lane).is_empty(), "it was answered before");
    assert_eq!(halt_of(&lane, "orders"), None, "it is being read under slot 1");
}

/// A request for `orders` by another lane, which was offered it.
fn request(to: u16) -> LaneMessage {
    LaneMessage::Request(Box::new(HandoverRequest {
        offered: offered(1, "orders", None),
        to: LaneId(to),
        filter_hash: None,
        handed: None,
    }))
}

#[test]
fn a_joined_partition_is_not_handed_over_in_its_epoch() {
    let (mut lane, epoch, carried_topics) = open(vec![stored("orders", None)]);
    carried_topics.handle_lane_read(LaneId(1), [].iter());
    lane.at(epoch).unwrap().handle_offer(offered(0, "orders", None)).unwrap();
    assert_eq!(answers(&mut lane), [(0, "open".to_owned())]);
    lane.at(epoch).unwrap().handle_halted(Slot(0), HaltRecord::new(HaltReason::Corrupt, "a batch")).unwrap();
    assert_eq!(answers(&mut lane), [(0, "corrupt".to_owned())]);
    lane.handle_lane_message(request(1));
    assert!(answers(&mut lane).is_empty());
    let told = lane.poll_lane_message();
    assert!(matches!(&told, Some((LaneId(1), LaneMessage::Refused(..)))), "{told:?}");
    assert_eq!(halt_of(&lane, "orders").as_deref(), Some("corrupt"), "it is still here");
}

#[test]
fn a_request_follows_the_trail_only_after_the_commit() {
    let (mut lane, _, carried_topics) = open(vec![stored("orders", None)]);
    carried_topics.handle_lane_read(LaneId(1), [].iter());
    // A sender offers it to two lanes.
    lane.handle_lane_message(request(1));
    lane.handle_lane_message(request(2));
    lane.step().unwrap();
    let told: Vec<_> = std::iter::from_fn(|| lane.poll_lane_message()).collect();
    assert!(matches!(&told[..], [(LaneId(1), LaneMessage::HandedOver(..))]), "{told:?}");
    lane.step().unwrap();
    let told: Vec<_> = std::iter::from_fn(|| lane.poll_lane_message()).collect();
    assert!(matches!(&told[..], [(LaneId(1), LaneMessage::Request(request))] if request.to == LaneId(2)), "{told:?}");
}

#[test]
fn a_partition_offered_twice_gets_a_jump_refused() {
    let (mut lane, epoch, _) = open(vec![stored("orders", None)]);
    lane.at(epoch).unwrap().handle_offer(offered(0, "orders", None)).unwrap();
    lane.at(epoch).unwrap().handle_offer(offered(1, "orders", None)).unwrap();
    assert_eq!(answers(&mut lane), [(1, "jump-refused".to_owned()), (0, "open".to_owned())]);
}

#[test]
fn a_second_partition_with_the_same_target_is_halted() {
    let (mut lane, epoch, _) = open(vec![stored("orders", None)]);
    let mut second = offered(1, "bills", None);
    second.target = offered(0, "orders", None).target;
    lane.at(epoch).unwrap().handle_offer(offered(0, "orders", None)).unwrap();
    lane.at(epoch).unwrap().handle_offer(second).unwrap();
    assert_eq!(answers(&mut lane), [(1, "target-taken".to_owned()), (0, "open".to_owned())]);
}

#[test]
fn slots_of_an_epoch_are_freed_before_they_are_many() {
    let (mut lane, epoch, _) = open(vec![stored("orders", None)]);
    let mut slot = 0;
    while !lane.has_too_many_slots() {
        assert!(slot < 2_000, "{slot} slots");
        lane.at(epoch).unwrap().handle_offer(offered(slot, "orders", None)).unwrap();
        assert_eq!(answers(&mut lane), [(slot, "open".to_owned())]);
        let passes = HaltRecord::new(HaltReason::SourceGone, "no partition");
        lane.at(epoch).unwrap().handle_halted(Slot(slot), passes).unwrap();
        assert_eq!(answers(&mut lane).len(), 1);
        slot += 1;
    }
    lane.close(LaneClosedReason::TargetFailed, "as its thread does");
    assert!(!lane.has_too_many_slots());
}

#[test]
fn names_that_the_link_may_not_carry_are_not_kept() {
    let (mut lane, epoch, carried_topics) = open(vec![stored("orders", None)]);
    for (slot, topic, reason) in [
        (0, "orders", HaltReason::TopicUnauthorized),
        (1, "new", HaltReason::TopicUnauthorized),
        (2, "../a", HaltReason::TargetRefused),
    ] {
        let target = Err(HaltRecord::new(reason, "a test"));
        lane.at(epoch).unwrap().handle_offer(Offered { target, ..offered(slot, topic, None) }).unwrap();
    }
    lane.at(epoch).unwrap().handle_offer(offered(3, "allowed", None)).unwrap();
    let not_offered = || {
        let mut keys: HashSet<_> = ["orders", "new", "../a", "allowed"].map(key).into();
        carried_topics.keep_orphans(&mut keys);
        keys
    };
    assert_eq!(not_offered(), ["new", "../a"].map(key).into(), "a stored position is no orphan");
    lane.close(LaneClosedReason::SessionEnded, "the session ends");
}
