//! A target that returns an older state than it has stored: a lane must not continue from that.

use std::sync::Arc;

use receiver::{CarriedTopics, Lane, OpenError, RecoverError, TargetError};
use wire::control::Control;
use wire::ids::Epoch;
use wire::lanes::ClassTable;

use crate::willing::{LANE, Step, Willing, lane, terms};

fn open(lane: &mut Lane<Willing>) -> Result<Epoch, OpenError> {
    lane.open(terms(ClassTable::new(1)), Arc::new(CarriedTopics::new(1)))
}

fn opened() -> Lane<Willing> {
    let mut lane = lane(Vec::new());
    assert_eq!(open(&mut lane), Ok(Epoch(1)));
    lane
}

const LOST: TargetError = TargetError::StateLost { lane: LANE, known: Epoch(1), found: Epoch(0) };

#[test]
fn a_state_older_than_before_the_fence_is_refused() {
    let mut lane = opened();
    lane.target_mut().forgets_after = Some(1);
    assert_eq!(open(&mut lane), Err(OpenError::Target(LOST)));
    assert_eq!(open(&mut lane), Ok(Epoch(2)), "it is there again");
}

#[test]
fn a_recovering_lane_waits_for_its_state() {
    // Before the fence, and after it.
    for forgets_after in [0, 1] {
        let mut lane = opened();
        lane.target_mut().fails = true;
        lane.keep_alive();
        lane.step().unwrap_err();
        lane.target_mut().forgets_after = Some(forgets_after);
        let lost = lane.recover();
        assert!(matches!(&lost, Err(RecoverError::Target(error)) if *error == LOST), "{lost:?}");
        lane.recover().unwrap();
        assert!(!lane.needs_recovery());
        let closed = std::iter::from_fn(|| lane.poll_reply()).any(|reply| matches!(reply, Control::LaneClosed { .. }));
        assert!(!closed, "the sender is not notified");
    }
}
