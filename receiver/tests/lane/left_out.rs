//! Partitions that the target cannot write: a lane leaves them out and carries the others.

use std::sync::Arc;

use receiver::state::HaltRecord;
use receiver::{CarriedTopics, Lane, Unwritable};
use wire::compress::Codec;
use wire::control::Control;
use wire::frame::{FrameBuilder, FrameHead, HeaderBlock, IntactFrame, RecordRef};
use wire::halt::HaltReason;
use wire::ids::{Epoch, Offset, Position, Sequence, Slot};
use wire::lanes::ClassTable;

use crate::offers::{key, offered, stored, target_name};
use crate::willing::{LANE, Step, Willing, lane, step_all, terms};

const REASON: &str = "the partition has no leader";

/// A lane that two partitions have joined, as slots 0 and 1.
fn joined() -> (Lane<Willing>, Epoch) {
    let mut lane = lane(vec![stored("one", None), stored("three", None)]);
    let epoch = lane.open(terms(ClassTable::new(1)), Arc::new(CarriedTopics::new(1))).unwrap();
    lane.at(epoch).unwrap().handle_offer(offered(0, "one", None)).unwrap();
    lane.at(epoch).unwrap().handle_offer(offered(1, "three", None)).unwrap();
    step_all(&mut lane);
    while lane.poll_reply().is_some() {}
    (lane, epoch)
}

pub(crate) fn unwritable(topic: &str) -> Unwritable {
    let partition = key(&target_name(topic));
    Unwritable { partition, reason: REASON.to_owned() }
}

/// A frame with one record for each of these slots.
pub(crate) fn frame(epoch: Epoch, sequence: u64, records: &[(u32, i64)]) -> IntactFrame {
    let mut builder = FrameBuilder::new();
    let headers = HeaderBlock::default();
    for &(slot, offset) in records {
        let record = RecordRef {
            offset: Offset(offset),
            timestamp: 1,
            key: None,
            value: Some(b"value"),
            headers: headers.as_headers(),
        };
        builder.push(Slot(slot), Position(offset), -1, &record);
    }
    let head = FrameHead { lane: LANE, epoch, sequence: Sequence(sequence) };
    IntactFrame::check(builder.finish(head, Codec::None)).unwrap()
}

/// Answers about slots, and acks, as words.
fn replies(lane: &mut Lane<Willing>) -> Vec<String> {
    let word = |reply| match reply {
        Control::PartitionOpen { slot, position, .. } => format!("{slot} open at {position}"),
        Control::PartitionHalted { slot, position, reason, detail, .. } => {
            format!("{slot} {reason} at {position}: {detail}")
        }
        Control::Ack { sequence, .. } => format!("ack {sequence}"),
        other => panic!("{other:?}"),
    };
    std::iter::from_fn(|| lane.poll_reply()).map(word).collect()
}

fn position(lane: &Lane<Willing>, topic: &str) -> i64 {
    lane.positions().find(|(found, _)| **found == key(topic)).unwrap().1.position.0
}

#[test]
fn partition_that_cannot_be_written_is_left_out_of_its_lane() {
    let (mut lane, epoch) = joined();
    lane.target_mut().unwritable = vec![unwritable("one")];
    lane.handle_frame(frame(epoch, 0, &[(0, 5), (1, 5)])).unwrap();
    assert_eq!(lane.step().unwrap_err().to_string(), "fra.one/0: the partition has no leader");
    assert_eq!(replies(&mut lane), [""; 0]);
    lane.recover().unwrap();
    assert_eq!(replies(&mut lane), ["0 target-unavailable at 5: the partition has no leader"]);
    step_all(&mut lane);
    assert_eq!(replies(&mut lane), ["ack 0"]);
    assert_eq!((position(&lane, "one"), position(&lane, "three")), (5, 6));

    // Frames that were packed before the sender learned of it.
    lane.handle_frame(frame(epoch, 1, &[(0, 6), (1, 6)])).unwrap();
    step_all(&mut lane);
    assert_eq!((position(&lane, "one"), position(&lane, "three")), (5, 7));
    assert_eq!((lane.target_mut().records, lane.counts().halts), (2, 1));

    lane.target_mut().unwritable.clear();
    lane.at(epoch).unwrap().handle_offer(offered(2, "one", None)).unwrap();
    step_all(&mut lane);
    lane.handle_frame(frame(epoch, 2, &[(2, 5), (1, 7)])).unwrap();
    step_all(&mut lane);
    assert_eq!(replies(&mut lane), ["ack 1", "2 open at 5", "ack 2"]);
    assert_eq!((position(&lane, "one"), position(&lane, "three")), (6, 8));
}

#[test]
fn failure_without_such_a_partition_leaves_none_out() {
    let (mut lane, epoch) = joined();
    lane.target_mut().fails = true;
    lane.handle_frame(frame(epoch, 0, &[(0, 5), (1, 5)])).unwrap();
    lane.step().unwrap_err();
    lane.recover().unwrap();
    step_all(&mut lane);
    assert_eq!(replies(&mut lane), ["ack 0"]);
}

#[test]
fn partition_of_an_earlier_transaction_is_left_out_too() {
    let (mut lane, epoch) = joined();
    // The transaction fails, for example because the one before cannot be ended.
    lane.target_mut().fails = true;
    lane.handle_frame(frame(epoch, 0, &[(1, 5)])).unwrap();
    lane.step().unwrap_err();
    lane.target_mut().unwritable = vec![unwritable("one")];
    lane.recover().unwrap();
    assert_eq!(replies(&mut lane), ["0 target-unavailable at 5: the partition has no leader"]);
    step_all(&mut lane);
    assert_eq!(position(&lane, "three"), 6);
}

#[test]
fn halt_by_the_sender_counts_more_than_leaving_out() {
    let (mut lane, epoch) = joined();
    lane.target_mut().unwritable = vec![unwritable("one")];
    lane.handle_frame(frame(epoch, 0, &[(0, 5)])).unwrap();
    lane.step().unwrap_err();
    lane.at(epoch).unwrap().handle_halted(Slot(0), HaltRecord::new(HaltReason::Corrupt, "a batch")).unwrap();
    lane.recover().unwrap();
    step_all(&mut lane);
    assert_eq!(replies(&mut lane), ["ack 0", "0 corrupt at 5: a batch"]);
}

#[test]
fn state_partition_that_cannot_be_written_is_named() {
    let (mut lane, epoch) = joined();
    let state = Unwritable { partition: key("__causeway.l.state"), reason: REASON.to_owned() };
    lane.target_mut().fails = true;
    lane.handle_frame(frame(epoch, 0, &[(1, 5)])).unwrap();
    lane.step().unwrap_err();
    lane.target_mut().unwritable = vec![state];
    let error = lane.recover().unwrap_err().to_string();
    assert_eq!(error, "__causeway.l.state/0: the partition has no leader");
    lane.target_mut().unwritable.clear();
    lane.recover().unwrap();
    step_all(&mut lane);
    assert_eq!(replies(&mut lane), ["ack 0"]);
}
