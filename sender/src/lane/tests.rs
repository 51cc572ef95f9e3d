//! Frames that leave a lane: their time and their credit.

use std::sync::{Arc, Mutex};

use wire::control::CreditTerms;
use wire::frame::{Frame, Headers, RecordRef, StateBound};
use wire::hello::{FEATURE_FRAME_STATE, FEATURE_SHAPES, FEATURE_ZSTD, FEATURES};
use wire::ids::Offset;

use super::*;

const LINGER: Duration = Duration::from_millis(5);
const PACKING: Packing = Packing {
    codec: Codec::None,
    features: FEATURES,
    frame_bytes: 2048,
    linger: LINGER,
    credit_max: 8192,
    state: None,
};

#[derive(Clone, Copy)]
enum Made {
    /// Of a slot, at an offset, with a value of so many bytes.
    Record(u32, i64, usize),
    End(u32, i64),
    Fault(u32),
}

impl Made {
    fn slot(self) -> Slot {
        let (Self::Record(slot, ..) | Self::End(slot, _) | Self::Fault(slot)) = self;
        Slot(slot)
    }
}

/// Shows what it is given, and forgets what is unassigned.
#[derive(Clone, Default)]
struct Script {
    events: Arc<Mutex<VecDeque<Made>>>,
    value: Vec<u8>,
}

impl Script {
    fn add(&self, made: impl IntoIterator<Item = Made>) {
        self.events.lock().unwrap().extend(made);
    }
}

impl LaneReader for Script {
    fn assign(&mut self, _: &[Assignment]) -> Result<(), KafkaError> {
        Ok(())
    }

    fn unassign(&mut self, slots: &[Slot]) -> Result<(), KafkaError> {
        self.events.lock().unwrap().retain(|made| !slots.contains(&made.slot()));
        Ok(())
    }

    fn peek(&mut self) -> Option<Event<'_>> {
        let made = self.events.lock().unwrap().front().copied()?;
        let slot = made.slot();
        Some(match made {
            Made::Record(_, offset, len) => {
                self.value = vec![7; len];
                let value = Some(&self.value[..]);
                let headers = Headers::EMPTY;
                let record = RecordRef { offset: Offset(offset), timestamp: 1, key: None, value, headers };
                Event::Record { slot, leader_epoch: 2, record }
            }
            Made::End(_, position) => Event::End { slot, position: Position(position) },
            Made::Fault(_) => Event::Fault { slot, fault: PartitionFault::Corrupt("crc".to_owned()) },
        })
    }

    fn advance(&mut self) {
        self.events.lock().unwrap().pop_front();
    }
}

/// An open lane that reads slots 0 to `slots` − 1 from position 0 and has been granted its first credit.
fn lane(slots: u32) -> (Lane<Script>, Script) {
    let script = Script::default();
    let mut lane = Lane::new(LaneId(0), script.clone(), PACKING);
    lane.open(Epoch(1), PACKING).unwrap();
    let at = |slot| Assignment {
        slot: Slot(slot),
        topic: "orders".into(),
        partition: slot as i32,
        position: Position(0),
        leader_epoch: -1,
        is_late: false,
    };
    lane.handle_partitions(Epoch(1), &(0..slots).map(at).collect::<Vec<_>>()).unwrap();
    grant(&mut lane);
    (lane, script)
}

fn grant(lane: &mut Lane<Script>) -> Option<u64> {
    let asked = lane.poll_credit_request()?;
    lane.handle_granted(asked);
    Some(asked)
}

/// Returns the slot, the first and last position and the record count of each run.
fn runs(frame: &OutFrame) -> Vec<(u32, i64, i64, u32)> {
    let frame = Frame::decode(frame.bytes.clone()).unwrap();
    frame.runs().iter().map(|run| (run.slot.0, run.from.0, run.next.0, run.count)).collect()
}

#[test]
fn a_record_waits_no_longer_than_the_linger() {
    let (mut lane, script) = lane(1);
    let start = Instant::now();
    script.add([Made::Record(0, 0, 10)]);
    lane.fill(start).unwrap();
    assert_eq!(lane.next_timeout(), Some(start + LINGER));
    assert!(lane.poll_frame(start).is_none());
    script.add([Made::Record(0, 1, 10)]);
    lane.fill(start + LINGER / 2).unwrap();
    let frame = lane.poll_frame(start + LINGER).unwrap();
    assert_eq!(runs(&frame), [(0, 0, 2, 2)]);
}

#[test]
fn a_frame_grows_to_its_maximum_while_the_transport_is_busy() {
    let (mut lane, script) = lane(1);
    let now = Instant::now();
    script.add((0..30).map(|offset| Made::Record(0, offset, 100)));
    lane.fill(now).unwrap();
    let frame = lane.poll_frame(now).expect("a full frame does not linger");
    assert!(frame.records > 10 && frame.raw_bytes <= PACKING.frame_bytes, "{frame:?}");
    assert_eq!(frame.surplus + frame.bytes.len() as u64, PACKING.frame_bytes, "what it does not need is given back");
    assert!(lane.poll_frame(now).is_none(), "nothing is read without credit for it");
    assert_eq!(grant(&mut lane), Some(PACKING.frame_bytes));
    lane.fill(now).unwrap();
    assert_eq!(runs(&lane.poll_frame(now + LINGER).unwrap())[0].1, frame.records as i64);
}

#[test]
fn positions_wait_a_second_for_records_to_travel_with() {
    let (mut lane, script) = lane(2);
    let start = Instant::now();
    script.add([Made::End(0, 4)]);
    lane.fill(start).unwrap();
    assert_eq!(lane.next_timeout(), Some(start + POSITIONS_WAIT));
    script.add([Made::Record(1, 0, 10)]);
    lane.fill(start).unwrap();
    assert_eq!(lane.next_timeout(), Some(start + LINGER));
    assert_eq!(runs(&lane.poll_frame(start + LINGER).unwrap()), [(0, 0, 4, 0), (1, 0, 1, 1)]);
}

#[test]
fn positions_without_records_stay_within_the_credit() {
    let (mut lane, script) = lane(200);
    let now = Instant::now();
    script.add((0..200).map(|slot| Made::End(slot, 5)));
    let mut seen = 0;
    while seen < 200 {
        lane.fill(now).unwrap();
        let frame = lane.poll_frame(now + POSITIONS_WAIT).unwrap();
        assert!(frame.raw_bytes <= PACKING.frame_bytes);
        seen += runs(&frame).len();
        grant(&mut lane);
    }
}

#[test]
fn a_record_larger_than_a_frame_travels_alone() {
    let (mut lane, script) = lane(1);
    let now = Instant::now();
    script.add([Made::Record(0, 0, 10), Made::Record(0, 1, 5000), Made::Record(0, 2, 10)]);
    lane.fill(now).unwrap();
    assert_eq!(runs(&lane.poll_frame(now).unwrap()), [(0, 0, 1, 1)], "records before it leave immediately");
    grant(&mut lane);
    assert_eq!(lane.fill(now).unwrap(), PACKING.frame_bytes, "the credit of an ordinary frame is given back");
    assert!(grant(&mut lane).unwrap() > 5000);
    lane.fill(now).unwrap();
    assert_eq!(runs(&lane.poll_frame(now).unwrap()), [(0, 1, 2, 1)]);
}

#[test]
fn credit_of_a_large_record_is_freed_with_its_partition() {
    let (mut lane, script) = lane(1);
    script.add([Made::Record(0, 0, 5000)]);
    lane.fill(Instant::now()).unwrap();
    let granted = grant(&mut lane).unwrap();
    lane.handle_halted(Epoch(1), Slot(0)).unwrap();
    assert_eq!(lane.fill(Instant::now()).unwrap(), granted - PACKING.frame_bytes);
}

#[test]
fn a_halted_partition_delays_no_other() {
    let (mut lane, script) = lane(3);
    let now = Instant::now();
    script.add([Made::Record(0, 0, 9000), Made::Fault(1), Made::Record(0, 1, 10), Made::Record(2, 0, 10)]);
    lane.fill(now).unwrap();
    let halts: Vec<_> = std::iter::from_fn(|| lane.poll_halt()).collect();
    let reasons = halts.iter().map(|halt| match halt {
        Control::PartitionHalted { slot, reason, .. } => (slot.0, reason.as_str()),
        other => panic!("{other:?}"),
    });
    assert_eq!(reasons.collect::<Vec<_>>(), [(0, "record-too-large"), (1, "corrupt")]);
    assert_eq!(runs(&lane.poll_frame(now + LINGER).unwrap()), [(2, 0, 1, 1)]);
}

#[test]
fn a_halt_is_reported_after_its_records_are_committed() {
    let (mut lane, script) = lane(1);
    let now = Instant::now();
    script.add([Made::Record(0, 0, 10), Made::Fault(0)]);
    lane.fill(now).unwrap();
    assert!(lane.poll_halt().is_none(), "the record before it is not sent");
    lane.poll_frame(now + LINGER).unwrap();
    assert!(lane.poll_halt().is_none(), "sent, not acked");
    lane.handle_ack(Epoch(1), Sequence(0)).unwrap();
    assert!(lane.poll_halt().is_some());
}

#[test]
fn a_halt_that_the_receiver_reported_is_not_repeated() {
    let (mut lane, script) = lane(2);
    let now = Instant::now();
    script.add([Made::Record(0, 0, 10), Made::Fault(0), Made::Fault(1)]);
    lane.fill(now).unwrap();
    lane.poll_frame(now + LINGER).unwrap();
    lane.handle_halted(Epoch(1), Slot(0)).unwrap();
    lane.handle_ack(Epoch(1), Sequence(0)).unwrap();
    let told: Vec<_> = std::iter::from_fn(|| lane.poll_halt()).collect();
    let [Control::PartitionHalted { slot: Slot(1), .. }] = &told[..] else { panic!("{told:?}") };
}

#[test]
fn an_ack_frees_its_own_epochs_frames_alone() {
    let (mut lane, script) = lane(1);
    let now = Instant::now();
    script.add([Made::Record(0, 0, 10)]);
    lane.fill(now).unwrap();
    lane.poll_frame(now + LINGER).unwrap();
    assert_eq!(lane.handle_ack(Epoch(0), Sequence(0)), Ok(Freed::default()));
    assert!(!lane.is_drained());
    let freed = lane.handle_ack(Epoch(1), Sequence(0)).unwrap();
    assert_eq!((freed.credit, freed.positions), (1024, vec![(Slot(0), Position(1))]));
    assert!((10..1024).contains(&freed.raw_bytes), "{}", freed.raw_bytes);
    assert!(lane.is_drained());
}

#[test]
fn a_too_large_record_leaves_the_position_at_that_record() {
    let (mut lane, script) = lane(1);
    let now = Instant::now();
    script.add([Made::Record(0, 7, 9000)]);
    lane.fill(now).unwrap();
    assert!(lane.poll_halt().is_none(), "the position before it is not committed");
    assert_eq!(runs(&lane.poll_frame(now + POSITIONS_WAIT).unwrap()), [(0, 0, 7, 0)]);
    lane.handle_ack(Epoch(1), Sequence(0)).unwrap();
    assert!(matches!(lane.poll_halt(), Some(Control::PartitionHalted { reason, .. }) if reason == "record-too-large"));
}

#[test]
fn a_leader_epoch_that_goes_back_halts_the_partition() {
    let (mut lane, script) = lane(0);
    let now = Instant::now();
    let at = Assignment {
        slot: Slot(0),
        topic: "orders".into(),
        partition: 0,
        position: Position(5),
        // The script's records are of epoch 2.
        leader_epoch: 3,
        is_late: false,
    };
    lane.handle_partitions(Epoch(1), &[at]).unwrap();
    script.add([Made::Record(0, 5, 10)]);
    lane.fill(now).unwrap();
    assert!(matches!(lane.poll_halt(), Some(Control::PartitionHalted { reason, .. }) if reason == "topic-recreated"));
    assert!(lane.poll_frame(now + LINGER).is_none(), "nothing of it leaves");
}

#[test]
fn every_fault_of_the_source_has_its_own_halt_reason() {
    let words = || "the client's words".to_owned();
    for (fault, word) in [
        (PartitionFault::Truncated(words()), "truncated"),
        (PartitionFault::Corrupt(words()), "corrupt"),
        (PartitionFault::Gone(words()), "source-gone"),
        (PartitionFault::Unauthorized(words()), "source-unauthorized"),
        (PartitionFault::Other(words()), "source-failed"),
    ] {
        assert_eq!(halt_reason(&fault).word(), word, "{fault:?}");
    }
}

#[test]
fn frames_follow_the_rate_within_a_session() {
    let (mut lane, script) = lane(1);
    let now = Instant::now();
    let next_frame = |lane: &mut Lane<Script>| {
        let offsets = 100 * FRAMES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        script.add((0..40).map(|offset| Made::Record(0, offsets + offset, 100)));
        let frame = loop {
            let surplus = lane.fill(now).unwrap();
            if let Some(bytes) = lane.poll_credit_request() {
                lane.handle_granted(bytes);
            } else if surplus == 0 {
                break lane.poll_frame(now + LINGER).unwrap();
            }
        };
        // The others of this time leave, too.
        while let Some(bytes) = lane.poll_credit_request() {
            lane.handle_granted(bytes);
            lane.fill(now).unwrap();
            lane.poll_frame(now + LINGER);
        }
        frame.raw_bytes
    };
    static FRAMES: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);
    assert!((1900..=2048).contains(&next_frame(&mut lane)), "the session's");
    lane.set_frame_bytes(1100);
    assert!(next_frame(&mut lane) <= 1100, "immediately, though there is credit for more");
    for (bytes, least) in [(1800, 1600), (1200, 1050)] {
        lane.set_frame_bytes(bytes);
        // On the credit that was granted before.
        next_frame(&mut lane);
        assert!((least..=bytes).contains(&next_frame(&mut lane)));
    }
    lane.set_frame_bytes(1 << 20);
    next_frame(&mut lane);
    assert!((1900..=2048).contains(&next_frame(&mut lane)), "no more than the session allows");
}

#[test]
fn a_receiver_gets_state_that_it_knows_and_grants() {
    let ours = StateBound::within(2 << 20);
    let packing = Packing { codec: Codec::Shape(1), state: ours, ..PACKING };
    assert_eq!(packing.agreed(FEATURES).state, ours);
    for older in [FEATURE_FRAME_STATE, FEATURE_SHAPES, FEATURE_ZSTD] {
        assert_eq!(packing.agreed(FEATURES & !older).state, None);
    }
    let credit = |bytes: u64| CreditTerms { reserve: 1 << 20, pool: bytes - (8 << 20) };
    for (bytes, expected) in [(256 << 20, ours), (32 << 20, StateBound::within(1 << 20)), (9 << 20, None)] {
        assert_eq!(packing.within(u64::MAX, credit(bytes), 8).state, expected, "{bytes} bytes of credit");
    }
    assert_eq!(Packing { state: None, ..packing }.within(u64::MAX, credit(256 << 20), 8).state, None);
}
