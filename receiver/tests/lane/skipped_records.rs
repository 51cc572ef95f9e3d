//! Records that the target refuses and a policy leaves out: counted and logged once each, also where the answer to the
//! commit is lost.

use std::sync::Arc;

use receiver::{CarriedTopics, Lane, Offered};
use wire::ids::Epoch;
use wire::lanes::ClassTable;

use crate::left_out::frame;
use crate::offers::{offered, stored};
use crate::willing::{Step, Willing, lane, terms};

/// A lane that one partition has joined at position 5, as slot 0, whose refused records are left out.
fn joined(refuses: &[i64]) -> (Lane<Willing>, Epoch) {
    let mut lane = lane(vec![stored("one", None)]);
    lane.target_mut().refuses = refuses.to_vec();
    let epoch = lane.open(terms(ClassTable::new(1)), Arc::new(CarriedTopics::new(1))).unwrap();
    let offered = Offered { skips_refused: Some("policy: skip".into()), ..offered(0, "one", None) };
    lane.at(epoch).unwrap().handle_offer(offered).unwrap();
    carry(&mut lane);
    (lane, epoch)
}

/// Steps until nothing is left, and recovers after each failure.
fn carry(lane: &mut Lane<Willing>) {
    loop {
        if lane.needs_recovery() {
            lane.recover().unwrap();
        } else if !lane.has_work() || lane.step().is_err() && !lane.needs_recovery() {
            return;
        }
    }
}

fn jumps(lane: &Lane<Willing>) -> Vec<(i64, i64, String)> {
    lane.jumps().values().map(|jump| (jump.from, jump.to, jump.reason.clone())).collect()
}

#[test]
fn skips_are_counted_although_the_answer_to_the_commit_is_lost() {
    let (mut lane, epoch) = joined(&[6]);
    lane.handle_frame(frame(epoch, 0, &[(0, 5), (0, 6), (0, 7)])).unwrap();
    assert!(lane.step().is_err(), "the target names record 6");
    lane.recover().unwrap();
    lane.target_mut().fails = true;
    assert!(lane.step().is_err(), "it committed without an answer");
    assert_eq!(lane.counts().skipped, 0);
    carry(&mut lane);
    assert_eq!(lane.counts().skipped, 1);
    assert_eq!(jumps(&lane), [(6, 7, "policy: skip".to_owned())]);
}

#[test]
fn skips_of_one_partition_and_reason_are_one_entry() {
    let (mut lane, epoch) = joined(&[6, 9, 12]);
    for sequence in 0..3 {
        let first = 5 + 3 * sequence;
        lane.handle_frame(frame(epoch, sequence as u64, &[(0, first), (0, first + 1), (0, first + 2)])).unwrap();
        carry(&mut lane);
    }
    assert_eq!(jumps(&lane), [(6, 13, "policy: skip, 3 records, at source offsets 6, 9, 12".to_owned())]);
    assert_eq!((lane.counts().skipped, lane.counts().records), (3, 6));
}
