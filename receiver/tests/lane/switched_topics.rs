//! Topics that are switched over alone: no partition of them is carried any more, in this session and in later ones.

use std::sync::Arc;

use receiver::state::LaneState;
use receiver::{CarriedTopics, Extent, HandoverRequest, Lane, LaneMessage, LaneTarget, Offered, SwitchedTopics};
use wire::control::{Accepts, Jump};
use wire::halt::HaltReason;
use wire::ids::{LaneId, Position, TopicId};

use crate::offers::{answers, key, offered, open, stored, two_lanes};
use crate::willing::{LANE, Willing, lane_on};

fn switched(topic: &str) -> SwitchedTopics {
    SwitchedTopics { topics: [topic.into()].into(), detail: "switched over by ann".to_owned() }
}

fn halts(lane: &mut Lane<Willing>) -> Vec<(String, Option<String>)> {
    let entries = lane.target_mut().read_state(Extent::LastStable).unwrap();
    let state = LaneState::fold(LANE, "l", "fra", &entries).unwrap();
    let mut halts: Vec<_> = state.partitions.into_iter().map(|(key, record)| (key, record.halt)).collect();
    halts.sort_by(|a, b| a.0.cmp(&b.0));
    halts.into_iter().map(|(key, halt)| (key.to_string(), halt.map(|halt| halt.reason))).collect()
}

/// The offer of a partition that `orders` got later.
fn grown(slot: u32) -> Offered {
    let mut grown = offered(slot, "orders", None);
    grown.partition.partition = 1;
    grown.target.as_mut().unwrap().partition.partition = 1;
    grown
}

#[test]
fn a_new_partition_of_a_switched_topic_begins_in_no_lane() {
    let (mut lane, epoch, carried) = open(vec![stored("orders", None)]);
    carried.handle_lane_read(LaneId(1), [].iter());
    lane.at(epoch).unwrap().handle_switched_over(&switched("orders"));
    assert!(answers(&mut lane).is_empty());
    // The lane of its class asks the lane where new partitions begin.
    let request = HandoverRequest { offered: grown(1), to: LaneId(1), filter_hash: None, handed: None };
    lane.handle_lane_message(LaneMessage::Request(Box::new(request)));
    assert!(answers(&mut lane).is_empty());
    let told = lane.poll_lane_message();
    assert!(matches!(&told, Some((LaneId(1), LaneMessage::Refused(..)))), "{told:?}");
}

#[test]
fn a_partition_offered_during_the_switch_over_does_not_join() {
    let (mut lane, epoch, carried) = open(vec![stored("orders", None)]);
    carried.handle_lane_read(LaneId(1), [].iter());
    lane.at(epoch).unwrap().handle_switched_over(&switched("orders"));
    lane.at(epoch).unwrap().handle_offer(offered(0, "orders", None)).unwrap();
    assert_eq!(answers(&mut lane), [(0, "switched-over".to_owned())], "in the transaction that stores the halt");
    // A policy that has lifted another halt meanwhile lifts nothing.
    let jump = Jump {
        expected: Position(5),
        to: Position(6),
        accepts: Accepts::Nothing,
        asked: 7,
        reason: "policy: skip".to_owned(),
    };
    lane.at(epoch).unwrap().handle_offer(offered(1, "orders", Some(jump))).unwrap();
    assert_eq!(answers(&mut lane), [(1, "switched-over".to_owned())]);
}

#[test]
fn a_switched_topic_stays_so_if_its_source_is_made_again() {
    let halted = stored("halted", Some(HaltReason::RecordTooLarge));
    let (mut lane, epoch, carried) = open(vec![stored("orders", None), halted, stored("bills", None)]);
    carried.handle_lane_read(LaneId(1), [].iter());
    lane.at(epoch).unwrap().handle_offer(offered(0, "orders", None)).unwrap();
    lane.at(epoch).unwrap().handle_offer(offered(1, "bills", None)).unwrap();
    assert_eq!(answers(&mut lane), [(0, "open".to_owned()), (1, "open".to_owned())]);

    lane.at(epoch).unwrap().handle_switched_over(&switched("orders"));
    lane.at(epoch).unwrap().handle_switched_over(&switched("halted"));
    assert_eq!(answers(&mut lane), [(0, "switched-over".to_owned())], "its sender learns of it");
    let over = || Some("switched-over".to_owned());
    let expected = [("bills/0", None), ("halted/0", over()), ("orders/0", over())];
    assert_eq!(halts(&mut lane), expected.map(|(key, halt)| (key.to_owned(), halt)));
    lane.at(epoch).unwrap().handle_switched_over(&switched("orders"));
    assert!(!lane.has_work(), "asked again, nothing is left to do");

    // A partition that the topic gets now, and all of them in a later session: also of a topic that was created again.
    lane.at(epoch).unwrap().handle_offer(grown(2)).unwrap();
    assert_eq!(answers(&mut lane), [(2, "switched-over".to_owned())]);
    let mut next = lane_on(lane.target_mut());
    let carried = Arc::new(CarriedTopics::new(2));
    let epoch = next.open(two_lanes(), Arc::clone(&carried)).unwrap();
    carried.handle_lane_read(LaneId(1), [].iter());
    let mut created_again = offered(0, "orders", None);
    created_again.partition.topic_id = TopicId([9; 16]);
    next.at(epoch).unwrap().handle_offer(created_again).unwrap();
    next.at(epoch).unwrap().handle_offer(grown(2)).unwrap();
    next.at(epoch).unwrap().handle_offer(offered(1, "bills", None)).unwrap();
    let over = |slot| (slot, "switched-over".to_owned());
    let mut answered = answers(&mut next);
    answered.sort_unstable();
    assert_eq!(answered, [over(0), (1, "open".to_owned()), over(2)]);
    assert!(next.positions().all(|(found, _)| found.partition == 0), "a new partition has no position");

    // An operator may take it back.
    let jump = Jump {
        expected: Position(5),
        to: Position(5),
        accepts: Accepts::Nothing,
        asked: 7,
        reason: "operator: resume".to_owned(),
    };
    next.at(epoch).unwrap().handle_offer(offered(3, "orders", Some(jump))).unwrap();
    assert_eq!(answers(&mut next), [(3, "open".to_owned())]);
    assert!(next.positions().any(|(found, record)| *found == key("orders") && record.halt.is_none()));
    next.at(epoch).unwrap().handle_offer(grown(4)).unwrap();
    assert_eq!(answers(&mut next), [(4, "open".to_owned())], "with the last one the whole topic is taken back");
}
