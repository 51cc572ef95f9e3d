//! Positions of topics that are not carried: they are orphaned, and forgotten on request.

use std::collections::HashSet;
use std::sync::Arc;

use receiver::state::{self, LaneRecord, LaneState, MovedRecord, PartitionRecord};
use receiver::{CarriedTopics, Extent, ForgetStep, ForgetTopic, Lane, LaneTarget, MarkGone, StateEntry};
use tokio::sync::oneshot;
use wire::control::Control;
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Position, Slot};

use crate::offers::{answers, key, offered, open, record, stored};
use crate::willing::{LANE, Step, Willing, lane_on, step_all};

/// A request to forget a topic, and its outcome.
type Asked = oneshot::Receiver<Result<u32, String>>;

fn ask(lane: &mut Lane<Willing>, topic: &str, step: ForgetStep) -> Asked {
    let (done, outcome) = oneshot::channel();
    lane.handle_forget(ForgetTopic { topic: topic.into(), step, asked: 7, reason: "operator: forget".into(), done });
    outcome
}

fn forget(lane: &mut Lane<Willing>, topic: &str) -> Result<u32, String> {
    let mut outcome = ask(lane, topic, ForgetStep::Positions);
    answers(lane);
    outcome.try_recv().unwrap()
}

fn folded(lane: &mut Lane<Willing>) -> LaneState {
    LaneState::fold(LANE, "l", "fra", &lane.target_mut().read_state(Extent::LastStable).unwrap()).unwrap()
}

fn gone(topics: &[&str]) -> HashSet<Arc<str>> {
    topics.iter().map(|&topic| topic.into()).collect()
}

#[test]
fn a_forgotten_topic_has_no_position_and_is_new_later() {
    let (mut lane, epoch, _) = open(vec![stored("orders", Some(HaltReason::TopicRecreated)), stored("bills", None)]);
    lane.at(epoch).unwrap().handle_topics_gone(&gone(&["orders"]));
    assert!(lane.is_orphaned(&key("orders")) && !lane.is_orphaned(&key("bills")), "before all are offered");
    assert_eq!(forget(&mut lane, "orders"), Ok(1));
    assert_eq!(lane.orphaned().count(), 0);
    let state = folded(&mut lane);
    assert_eq!(state.partitions.keys().collect::<Vec<_>>(), [&key("bills")]);
    let jump = &state.jumps[&0];
    assert_eq!((jump.from, jump.to, jump.asked, &*jump.reason), (5, -1, 7, "operator: forget"));
    assert_eq!(jump.halt.as_ref().unwrap().reason, "topic-recreated");
    assert_eq!(forget(&mut lane, "orders"), Ok(0), "there is nothing left");
    assert_eq!(forget(&mut lane, "unheard-of"), Ok(0));
    // Made again, it is a new topic.
    let (mut lane, epoch) = reopened(&mut lane);
    lane.at(epoch).unwrap().handle_offer(offered(0, "orders", None)).unwrap();
    assert_eq!(answers(&mut lane), [(0, "open".to_owned())]);
    assert_eq!(folded(&mut lane).partitions[&key("orders")].position, Position(0));
}

/// The lane of another receiver, opened for a session whose lanes were all read.
fn reopened(lane: &mut Lane<Willing>) -> (Lane<Willing>, Epoch) {
    let mut next = lane_on(lane.target_mut());
    let carried_topics = Arc::new(CarriedTopics::new(2));
    let epoch = next.open(crate::offers::two_lanes(), Arc::clone(&carried_topics)).unwrap();
    carried_topics.handle_lane_read(LaneId(1), [].iter());
    (next, epoch)
}

#[test]
fn a_topic_that_is_carried_is_not_forgotten() {
    let (mut lane, epoch, _) = open(vec![stored("orders", None)]);
    lane.at(epoch).unwrap().handle_offer(offered(0, "orders", None)).unwrap();
    assert_eq!(answers(&mut lane), [(0, "open".to_owned())]);
    assert_eq!(forget(&mut lane, "orders"), Err("lane 0 still carries orders".to_owned()));
    let halt = state::HaltRecord::new(HaltReason::SourceGone, "deleted");
    lane.at(epoch).unwrap().handle_halted(Slot(0), halt).unwrap();
    assert!(forget(&mut lane, "orders").is_err(), "the halt is not answered yet");
    assert_eq!(forget(&mut lane, "orders"), Ok(1));
    let mut closed = lane_on(&Willing::default());
    assert_eq!(ask(&mut closed, "orders", ForgetStep::Positions).try_recv(), Ok(Err("lane 0 is not open".to_owned())));
}

#[test]
fn a_handed_over_partition_does_not_come_back() {
    let entry = |key: Vec<u8>, value: Vec<u8>| StateEntry::new(key, Some(value));
    let moved = MovedRecord { to: LaneId(1), record: PartitionRecord { moves: 1, ..record("orders", None) } };
    let moved = entry(state::moved_key("fra", &key("orders")), state::encode(&moved));
    let (mut lane, _, _) = open(vec![stored("orders", None), moved]);
    assert_eq!(folded(&mut lane).moved.len(), 1);
    assert_eq!(forget(&mut lane, "orders"), Ok(0), "its position is in lane 1");
    let mut outcome = ask(&mut lane, "orders", ForgetStep::Handovers);
    answers(&mut lane);
    assert_eq!(outcome.try_recv(), Ok(Ok(1)));
    let state = folded(&mut lane);
    assert!(state.moved.is_empty() && state.partitions.is_empty(), "{state:?}");
    assert!(state.jumps.is_empty(), "no position was dropped");
}

#[test]
fn forgetting_survives_an_unknown_outcome() {
    let (mut lane, epoch, _) = open(vec![stored("orders", None)]);
    lane.at(epoch).unwrap().handle_topics_gone(&gone(&["orders"]));
    lane.target_mut().fails = true;
    let mut outcome = ask(&mut lane, "orders", ForgetStep::Positions);
    assert!(lane.step().is_err());
    assert!(outcome.try_recv().is_err(), "it may have been stored or not");
    lane.recover().unwrap();
    answers(&mut lane);
    assert_eq!(outcome.try_recv(), Ok(Ok(0)), "it was stored");
    assert_eq!((lane.orphaned().count(), folded(&mut lane).partitions.len()), (0, 0));
}

#[test]
fn a_rebuilt_source_is_accepted_once_and_stored() {
    let accepting = |cluster: &str, accepts: Option<&str>| {
        let accepts = accepts.map(|id| receiver::AcceptedCluster { id: id.to_owned(), at: 9 });
        let terms =
            receiver::Terms { accepts, source_cluster: cluster.to_owned(), ..(*crate::offers::two_lanes()).clone() };
        Arc::new(terms)
    };
    let moved = MovedRecord { to: LaneId(1), record: PartitionRecord { moves: 1, ..record("moved", None) } };
    let moved = StateEntry::new(state::moved_key("fra", &key("moved")), Some(state::encode(&moved)));
    let (mut lane, _, _) = open(vec![stored("orders", None), moved]);
    let mut open = |terms| lane.open(terms, Arc::new(CarriedTopics::new(2))).map_err(|error| error.to_string());
    for accepts in [None, Some("other"), Some("fra")] {
        let refused = open(accepting("new", accepts)).unwrap_err();
        assert!(refused.contains("source cluster fra") && refused.contains("accept_cluster = \"new\""), "{refused}");
    }
    open(accepting("new", Some("new"))).unwrap();
    open(accepting("new", None)).unwrap();
    assert!(open(accepting("fra", None)).is_err(), "the new id is stored");
    let entries = lane.target_mut().read_state(Extent::LastStable).unwrap();
    assert!(LaneState::fold(LANE, "l", "fra", &entries).is_err(), "no record of the former cluster is left");
    let state = LaneState::fold(LANE, "l", "new", &entries).unwrap();
    let LaneRecord { source_cluster, .. } = state.lane.unwrap();
    let record = &state.partitions[&key("orders")];
    assert_eq!((&*source_cluster, record.position), ("new", Position(5)));
    assert_eq!(record.halt.as_ref().unwrap().reason, "topic-recreated");
    assert!(state.moved[&key("moved")].record.halt.is_some());
    let jumps: Vec<_> = state.jumps.values().map(|jump| (jump.asked, jump.accepted.as_str())).collect();
    assert_eq!(jumps, [(9, "source cluster new in place of fra")]);
}

/// Times since which topics are gone, as the lane states them.
fn marks(lane: &mut Lane<Willing>) -> Vec<Vec<(String, i64)>> {
    let replies = std::iter::from_fn(|| lane.poll_reply());
    let marks = replies.filter_map(|reply| match reply {
        Control::GoneSince { topics, .. } => Some(topics.into_iter().map(|gone| (gone.topic, gone.since)).collect()),
        _ => None,
    });
    marks.collect()
}

fn mark(lane: &mut Lane<Willing>, topics: &[&str], since: Option<i64>) -> Vec<Vec<(String, i64)>> {
    lane.handle_mark_gone(MarkGone { topics: topics.iter().map(|&topic| topic.into()).collect(), since });
    step_all(lane);
    marks(lane)
}

#[test]
fn the_time_since_which_a_topic_is_gone_survives_a_restart() {
    let (mut lane, _, _) = open(vec![stored("orders", None), stored("bills", None)]);
    let both = |orders, bills| vec![vec![("bills".to_owned(), bills), ("orders".to_owned(), orders)]];
    assert_eq!(mark(&mut lane, &["orders", "bills"], Some(7)), both(7, 7));
    assert_eq!(mark(&mut lane, &["orders"], Some(9)), Vec::<Vec<_>>::new(), "the earlier time stays");
    let (mut lane, _) = reopened(&mut lane);
    assert_eq!(marks(&mut lane), both(7, 7));
    // One comes back and is deleted again, and the other one is forgotten.
    assert_eq!(mark(&mut lane, &["orders"], None), [[("bills".to_owned(), 7)]]);
    assert_eq!(mark(&mut lane, &["orders"], Some(9)), both(9, 7));
    assert_eq!(forget(&mut lane, "bills"), Ok(1));
    assert_eq!(folded(&mut lane).gone, [("orders".into(), 9)].into());
    let (mut lane, _) = reopened(&mut lane);
    assert_eq!(marks(&mut lane), [[("orders".to_owned(), 9)]]);
}
