//! Lanes that are promoted carry nothing any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use receiver::promoted::PromotedRecord;
use receiver::state::LaneState;
use receiver::{CarriedTopics, EndsReading, Extent, Lane, LaneTarget, OpenError};
use wire::close::CloseCode;
use wire::control::PartitionEnd;
use wire::ids::Position;
use wire::lanes::ClassTable;

use crate::offers::{answers, key, open, stored};
use crate::willing::{LANE, Willing, lane, lane_on, terms};

fn asked(by: &str) -> PromotedRecord {
    PromotedRecord::first(7, by.to_owned(), "the source is gone".to_owned())
}

fn refusal(lane: &mut Lane<Willing>) -> (CloseCode, String) {
    match lane.open(crate::offers::two_lanes(), Arc::new(CarriedTopics::new(2))) {
        Err(OpenError::Refused(close)) => (close.code, close.detail),
        other => panic!("{other:?}"),
    }
}

fn folded(lane: &mut Lane<Willing>) -> LaneState {
    LaneState::fold(LANE, "l", "fra", &lane.target_mut().read_state(Extent::LastStable).unwrap()).unwrap()
}

#[test]
fn a_promoted_lane_is_opened_by_no_one_and_its_state_stays() {
    let (mut owner, ..) = open(vec![stored("orders", None)]);
    let before = folded(&mut owner);
    let mut promoter = lane_on(owner.target_mut());
    let state = promoter.promote("l", Some(&asked("ann"))).unwrap();
    assert_eq!((&state.partitions, &state.promoted), (&before.partitions, &Some(asked("ann"))));
    for lane in [&mut owner, &mut promoter] {
        let fences = lane.target_mut().fences();
        let (code, detail) = refusal(lane);
        assert!(code == CloseCode::Promoted && detail.contains("by ann"), "{detail}");
        assert_eq!(lane.target_mut().fences(), fences, "a refusal fences no one");
    }
    let classes = owner.append_classes(&terms(ClassTable::new(2)), &[]);
    assert!(matches!(classes, Err(OpenError::Refused(close)) if close.code == CloseCode::Promoted));
}

#[test]
fn a_promotion_that_is_asked_again_keeps_its_first_record() {
    let (mut lane, ..) = open(vec![stored("orders", None)]);
    lane.promote("l", Some(&asked("ann"))).unwrap();
    let again = lane.promote("l", Some(&asked("bob"))).unwrap();
    assert_eq!(again.promoted, Some(asked("ann")));
    assert_eq!(folded(&mut lane).promoted, Some(asked("ann")));
}

#[test]
fn a_promotion_of_unknown_outcome_is_asked_again() {
    let (mut lane, ..) = open(vec![stored("orders", None)]);
    // The bid or the record: either may be stored.
    for _ in 0..2 {
        lane.target_mut().fails = true;
        assert!(matches!(lane.promote("l", Some(&asked("ann"))), Err(OpenError::Target(_))));
    }
    assert_eq!(lane.promote("l", Some(&asked("ann"))).unwrap().promoted, Some(asked("ann")));
    assert!(!folded(&mut lane).custody.is_undecided());
}

#[test]
fn a_lane_that_was_never_opened_is_promoted_too() {
    let mut lane = lane(Vec::new());
    let state = lane.promote("l", Some(&asked("ann"))).unwrap();
    assert!(state.partitions.is_empty());
    assert_eq!(refusal(&mut lane).0, CloseCode::Promoted);
}

#[test]
fn what_only_finishes_a_promotion_begins_none() {
    let mut lane = lane(Vec::new());
    assert!(matches!(lane.promote("l", None), Err(OpenError::Refused(close)) if close.code == CloseCode::Normal));
    assert_eq!(folded(&mut lane).promoted, None);
    lane.promote("l", Some(&asked("ann"))).unwrap();
    assert_eq!(lane.promote("l", None).unwrap().promoted, Some(asked("ann")));
}

#[test]
fn the_statement_is_stored_with_the_promotion() {
    let mut lane = lane(Vec::new());
    lane.promote("l", Some(&asked("ann"))).unwrap();
    lane.store_statement("l", "{\"partitions\":[]}").unwrap();
    let state = folded(&mut lane);
    assert_eq!(receiver::promoted::StatementPart::join(&state.statement).as_deref(), Some("{\"partitions\":[]}"));
    assert_eq!(state.promoted, Some(asked("ann")));
}

#[test]
fn ends_of_the_source_survive_the_receiver() {
    let (mut lane, ..) = open(vec![stored("orders", None)]);
    let end = PartitionEnd { partition: 0, stable: Position(8), end: Position(9) };
    let ends = ["orders", "bills", "clicks"].map(|topic| (key(topic), end));
    let reading = EndsReading { heard: 70, ends: Arc::new(BTreeMap::from(ends)), ..EndsReading::default() };
    lane.handle_source_ends(reading);
    assert!(lane.has_work());
    answers(&mut lane);
    let kept = folded(&mut lane).ends;
    let home = |topic: &str| crate::offers::two_lanes().home(&key(topic)) == LANE;
    let expected: Vec<_> = ["bills", "clicks", "orders"].into_iter().filter(|topic| home(topic)).map(key).collect();
    assert_eq!(kept.keys().cloned().collect::<Vec<_>>(), expected);
    assert!(!expected.is_empty() && kept.values().all(|word| (word.end.0, word.heard) == (9, 70)));
}
