//! Frames that refer to earlier ones: decoded once, in order, and replayed as they were decoded.

use std::sync::Arc;

use receiver::{CarriedTopics, DecodeMemory, Lane, LaneError, Terms};
use wire::compress::{Codec, id};
use wire::error::{DecodeError, PeerMisbehaved};
use wire::frame::{FrameBuilder, FrameHead, Headers, IntactFrame, Job, Library, RecordRef, Shaper, StateBound};
use wire::ids::{Epoch, Offset, Position, Sequence, Slot};
use wire::lanes::ClassTable;
use wire::limits::STATE_EXCESS_MAX;

use crate::left_out::unwritable;
use crate::offers::{key, offered, stored, target_name};
use crate::willing::{LANE, Step, Willing, lane_within, step_all, terms};

/// Bound of the states.
fn bound() -> Option<StateBound> {
    StateBound::within(1 << 20)
}

/// A lane that two partitions have joined, as slots 0 and 1, in a session with this state.
fn joined(state: Option<StateBound>) -> (Lane<Willing>, Epoch) {
    joined_within(state, 1, &DecodeMemory::new(1 << 20))
}

/// The same for one of `lanes` lanes, which decode within this memory.
fn joined_within(state: Option<StateBound>, lanes: u16, memory: &Arc<DecodeMemory>) -> (Lane<Willing>, Epoch) {
    let mut lane = lane_within(&Willing::with(vec![stored("one", None), stored("three", None)]), Arc::clone(memory));
    let terms = Terms { state, ..(*terms(ClassTable::new(lanes))).clone() };
    let epoch = lane.open(Arc::new(terms), Arc::new(CarriedTopics::new(1))).unwrap();
    lane.at(epoch).unwrap().handle_offer(offered(0, "one", None)).unwrap();
    lane.at(epoch).unwrap().handle_offer(offered(1, "three", None)).unwrap();
    step_all(&mut lane);
    (lane, epoch)
}

/// Sender of frames with one record for each of two slots.
struct Sender {
    builder: FrameBuilder,
    shaper: Shaper,
    epoch: Epoch,
    sequence: u64,
    /// Offset of the next record of each partition.
    offset: i64,
}

impl Sender {
    fn new(epoch: Epoch) -> Self {
        let (library, jobs) = Library::new();
        let mut shaper = Shaper::new(library);
        let mut builder = FrameBuilder::new();
        // The template is learned in an earlier epoch.
        shaper.join(Slot(0), &"any".into());
        for number in 0..200 {
            push(&mut builder, 0, number);
        }
        let head = FrameHead { lane: LANE, epoch, sequence: Sequence(0) };
        builder.finish_with(head, Codec::Shape(1), &mut shaper);
        jobs.try_iter().for_each(Job::learn);
        shaper.begin(bound());
        (0..2).for_each(|slot| shaper.join(Slot(slot), &"any".into()));
        Self { builder, shaper, epoch, sequence: 0, offset: 5 }
    }

    fn next(&mut self) -> IntactFrame {
        self.frame(1)
    }

    /// Returns a frame with so many records of each slot.
    fn frame(&mut self, records: i64) -> IntactFrame {
        let offsets = self.offset..self.offset + records;
        (0..2).for_each(|slot| offsets.clone().for_each(|offset| push(&mut self.builder, slot, offset)));
        self.offset = offsets.end;
        let head = FrameHead { lane: LANE, epoch: self.epoch, sequence: Sequence(self.sequence) };
        self.sequence += 1;
        self.shaper.allow_excess(STATE_EXCESS_MAX as u64);
        let bytes = self.builder.finish_with(head, Codec::Shape(1), &mut self.shaper);
        assert_eq!(bytes[4], id::STATE);
        IntactFrame::check(bytes).unwrap()
    }
}

fn push(builder: &mut FrameBuilder, slot: u32, offset: i64) {
    let value = value(offset);
    let value = Some(&value[..]);
    let record = RecordRef { offset: Offset(offset), timestamp: 1, key: None, value, headers: Headers::EMPTY };
    builder.push(Slot(slot), Position(offset), -1, &record);
}

/// Value of the record at an offset of any partition.
fn value(offset: i64) -> Vec<u8> {
    format!("{{\"order\":{},\"state\":\"open\",\"customer\":\"c-{}\"}}", offset * 7, offset % 5).into_bytes()
}

/// Asserts that the records of a topic from offset 5 to `end` were appended, each once.
#[track_caller]
fn ensure_appended(lane: &mut Lane<Willing>, topic: &str, end: i64) {
    let name = target_name(topic);
    let found = lane.target_mut().values.iter().filter(|(to, _)| **to == *name).map(|(_, value)| value.clone());
    let found: Vec<_> = found.collect();
    assert_eq!(found, (5..end).map(value).collect::<Vec<_>>(), "{topic}");
    let position = lane.positions().find(|(found, _)| **found == key(topic)).unwrap().1.position;
    assert_eq!(position, Position(end), "{topic}");
}

#[test]
fn frames_are_replayed_as_they_were_decoded() {
    let (mut lane, epoch) = joined(bound());
    let mut sender = Sender::new(epoch);
    lane.handle_frame(sender.next()).unwrap();
    step_all(&mut lane);
    // The transaction fails after its frames were decoded.
    lane.target_mut().unwritable = vec![unwritable("one")];
    (0..3).for_each(|_| lane.handle_frame(sender.next()).unwrap());
    lane.step().unwrap_err();
    lane.recover().unwrap();
    step_all(&mut lane);
    ensure_appended(&mut lane, "one", 6);
    ensure_appended(&mut lane, "three", 9);
    // The transaction is committed, and its outcome is unknown.
    lane.target_mut().fails = true;
    (0..2).for_each(|_| lane.handle_frame(sender.next()).unwrap());
    lane.step().unwrap_err();
    lane.recover().unwrap();
    (0..2).for_each(|_| lane.handle_frame(sender.next()).unwrap());
    step_all(&mut lane);
    ensure_appended(&mut lane, "three", 13);
    assert_eq!(lane.held_bytes(), 0);
}

#[test]
fn no_record_of_a_frame_is_used_that_does_not_fit_the_state() {
    let (mut lane, epoch) = joined(bound());
    let mut sender = Sender::new(epoch);
    lane.handle_frame(sender.next()).unwrap();
    // The sender continues as if its frames of another epoch were known.
    sender.next();
    sender.sequence = 1;
    lane.handle_frame(sender.next()).unwrap();
    let refused = std::iter::repeat_with(|| lane.step()).take(3).find_map(Result::err);
    let Some(LaneError::Peer(PeerMisbehaved::State { sequence, error: DecodeError::Block(_) })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(sequence, Sequence(1));
    ensure_appended(&mut lane, "three", 6);
}

#[test]
fn a_lane_in_trouble_leaves_decode_memory_to_the_others() {
    let memory = DecodeMemory::new(2 << 20);
    let (mut lane, epoch) = joined_within(bound(), 8, &memory);
    let mut sender = Sender::new(epoch);
    let raw: usize = std::iter::repeat_with(|| {
        let frame = sender.frame(40);
        let raw = frame.header().raw_len;
        lane.handle_frame(frame).unwrap();
        raw
    })
    .take(150)
    .sum();
    assert!(raw > 600 << 10, "{raw} bytes are enough for more than three quarters");
    lane.target_mut().unwritable = vec![unwritable("one")];
    lane.step().unwrap_err();
    let held = memory.held();
    assert!((1 << 20..=3 << 19).contains(&held), "{held} bytes");
}

#[test]
fn a_session_without_the_feature_has_no_frames_with_state() {
    let (mut lane, epoch) = joined(None);
    lane.handle_frame(Sender::new(epoch).next()).unwrap();
    let refused = lane.step();
    assert!(
        matches!(refused, Err(LaneError::Peer(PeerMisbehaved::Bytes(DecodeError::StateBound { .. })))),
        "{refused:?}"
    );
    ensure_appended(&mut lane, "three", 5);
}

#[test]
fn a_new_epoch_begins_with_a_new_state() {
    let (mut lane, epoch) = joined(bound());
    let mut sender = Sender::new(epoch);
    (0..2).for_each(|_| lane.handle_frame(sender.next()).unwrap());
    step_all(&mut lane);
    let terms = Terms { state: bound(), ..(*terms(ClassTable::new(1))).clone() };
    let epoch = lane.open(Arc::new(terms), Arc::new(CarriedTopics::new(1))).unwrap();
    (0..2).for_each(|slot| {
        let topic = ["one", "three"][slot as usize];
        lane.at(epoch).unwrap().handle_offer(offered(slot, topic, None)).unwrap();
    });
    step_all(&mut lane);
    let mut sender = Sender { offset: 7, ..Sender::new(epoch) };
    (0..2).for_each(|_| lane.handle_frame(sender.next()).unwrap());
    step_all(&mut lane);
    ensure_appended(&mut lane, "three", 9);
}
