//! Lanes of classes in the state of lane 0: another receiver appends to the same ones.

use std::sync::Arc;

use receiver::state::LaneState;
use receiver::{CarriedTopics, Extent, LaneTarget};
use wire::control::{Control, LaneClosedReason};
use wire::ids::Epoch;
use wire::lanes::{ClassRequest, ClassTable};

use crate::willing::{LANE, Willing, lane_on, terms};

fn requests(requests: &[(&str, u16)]) -> Vec<ClassRequest> {
    requests.iter().map(|(name, lanes)| ClassRequest { name: (*name).into(), lanes: *lanes, strict: false }).collect()
}

#[test]
fn classes_are_stored_first_and_fence_only_for_new_lanes() {
    let target = Willing::default();
    let plain = terms(ClassTable::new(4));
    let mut first = lane_on(&target);
    let table = first.append_classes(&plain, &requests(&[("bulk", 2)])).unwrap();
    assert_eq!((table.lanes(), target.fences()), (6, 1));

    // Another receiver, at the same time: it appends after the stored lanes, although its sender does not know them.
    let mut second = lane_on(&target);
    let both = second.append_classes(&plain, &requests(&[("critical", 1)])).unwrap();
    assert_eq!((both.class("critical").unwrap().first, both.lanes()), (6, 7));
    assert_eq!(second.append_classes(&plain, &requests(&[("critical", 1)])), Ok(both.clone()));
    assert_eq!(second.append_classes(&plain, &[]), Ok(both.clone()), "a removed class keeps its lanes");
    assert_eq!(target.fences(), 2, "there was nothing to append");

    let refused = second.append_classes(&plain, &requests(&[("bulk", 3)])).unwrap_err().to_string();
    assert!(refused.contains("\"bulk\" was made with 2 lanes, 3 are asked for"), "{refused}");
    let fewer = second.append_classes(&terms(ClassTable::new(3)), &[]).unwrap_err().to_string();
    assert!(fewer.contains("was made with 4 lanes, and the sender's `lanes.count` is 3"), "{fewer}");
    assert_eq!(target.fences(), 2, "a refusal fences no one");

    // A session that began before the second class opens its lanes and removes nothing.
    first.open(terms(table), Arc::new(CarriedTopics::new(6))).unwrap();
    let state = LaneState::fold(LANE, "l", "fra", &first.target_mut().read_state(Extent::LastStable).unwrap()).unwrap();
    assert_eq!(state.lane.unwrap().table(), Ok(both));
    let other = plain.classes.append(&requests(&[("other", 2)])).unwrap();
    let refused = first.open(terms(other), Arc::new(CarriedTopics::new(6))).unwrap_err().to_string();
    assert!(refused.contains("changed by another session"), "{refused}");
}

#[test]
fn an_open_lane_is_closed_when_lanes_are_appended() {
    let target = Willing::default();
    let plain = terms(ClassTable::new(4));
    let mut first = lane_on(&target);
    first.open(Arc::clone(&plain), Arc::new(CarriedTopics::new(4))).unwrap();
    while first.poll_reply().is_some() {}
    first.append_classes(&plain, &[]).unwrap();
    assert_eq!(first.epoch(), Some(Epoch(1)), "nothing to append");
    first.append_classes(&plain, &requests(&[("bulk", 2)])).unwrap();
    let Some(Control::LaneClosed { reason, .. }) = first.poll_reply() else { panic!("no reply") };
    assert_eq!(reason, LaneClosedReason::TargetFailed, "the sender opens it again");
}
