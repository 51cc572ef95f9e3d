//! Shaped frames, with state and without: every field comes back byte for byte, and no frame is larger than a plain one
//! but those that begin what later ones refer to.

use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use shape::{Job, Library};
use wire::compress::{Codec, id};
use wire::control::CreditTerms;
use wire::error::{DecodeError, PeerMisbehaved};
use wire::frame::{
    Frame, FrameBuilder, FrameHead, HeaderBlock, IntactFrame, LaneDecoder, RecordRef, Shaper, StateBound, seal,
};
use wire::ids::{Epoch, LaneId, Offset, Position, Sequence, Slot};
use wire::limits::{FRAME_HEADER_BYTES, STATE_EXCESS_MAX};

const HEAD: FrameHead = FrameHead { lane: LaneId(0), epoch: Epoch(1), sequence: Sequence(0) };
const CODEC: Codec = Codec::Shape(1);
/// Bytes that a shaped frame may have more than a plain one.
const EXCESS_MAX: usize = 8;

type Field = Option<Vec<u8>>;

/// A record that owns its bytes.
#[derive(Debug, Clone)]
struct Record {
    slot: u32,
    gap: i64,
    timestamp: i64,
    key: Field,
    value: Field,
    headers: Vec<(Vec<u8>, Field)>,
}

/// Builder and shaper of a lane with five partitions of three topics, and a slot without a topic.
struct Link {
    builder: FrameBuilder,
    shaper: Shaper,
    jobs: std::sync::mpsc::Receiver<Job>,
    decoder: LaneDecoder,
}

impl Link {
    fn new() -> Self {
        Self::with(None)
    }

    /// A link whose frames refer to others within a state of 1 MiB.
    fn with_state() -> Self {
        Self::with(StateBound::within(1 << 20))
    }

    fn with(bound: Option<StateBound>) -> Self {
        let (library, jobs) = Library::new();
        let mut shaper = Shaper::new(library);
        shaper.begin(bound);
        for (slot, topic) in [(0, "a"), (1, "b"), (2, "a"), (3, "c"), (4, "b")] {
            shaper.join(Slot(slot), &Arc::from(topic));
        }
        Self { builder: FrameBuilder::new(), shaper, jobs, decoder: LaneDecoder::new(bound) }
    }

    /// Makes a frame of these records, and learns from them.
    fn make(&mut self, records: &[Record]) -> Bytes {
        self.shaper.allow_excess(STATE_EXCESS_MAX as u64);
        let bytes = build(&mut self.builder, records).finish_with(HEAD, CODEC, &mut self.shaper);
        self.jobs.try_iter().for_each(Job::learn);
        bytes
    }

    fn decode(&mut self, frame: &Bytes) -> Result<Frame, PeerMisbehaved> {
        self.decoder.decode(&IntactFrame::check(frame.clone()).expect("a frame"))
    }

    /// Sends a frame of these records; returns it with the lengths of it and of the plain frame.
    fn send(&mut self, records: &[Record]) -> (Frame, [usize; 2]) {
        let raw = build(&mut FrameBuilder::new(), records).finish(HEAD, Codec::None);
        let plain = build(&mut FrameBuilder::new(), records).finish(HEAD, CODEC.plain()).len();
        let bytes = self.make(records);
        let frame = self.decode(&bytes).expect("a frame that was built");
        assert_eq!(frame.body()[..], raw[FRAME_HEADER_BYTES..], "the body is the same, byte for byte");
        (frame, [bytes.len(), plain])
    }
}

fn build<'a>(builder: &'a mut FrameBuilder, records: &[Record]) -> &'a mut FrameBuilder {
    let mut next = [0; 8];
    for record in records {
        let mut headers = HeaderBlock::default();
        record.headers.iter().for_each(|(key, value)| headers.push(key, value.as_deref()));
        let from = next[record.slot as usize];
        let offset = from + record.gap;
        let reference = RecordRef {
            offset: Offset(offset),
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: headers.as_headers(),
        };
        builder.push(Slot(record.slot), Position(from), 3, &reference);
        next[record.slot as usize] = offset + 1;
    }
    builder.advance(Slot(7), Position(0), Position(5));
    builder
}

fn event(slot: u32, number: usize) -> Record {
    let value = format!(
        "{{\"id\":{number},\"state\":\"open\",\"amount\":{}.{:02},\"by\":\"agent\"}}",
        number * 7,
        number % 100
    );
    Record {
        slot,
        gap: 0,
        timestamp: 1_700_000_000_000 + number as i64 * 3,
        key: Some(format!("customer-{}", number % 40).into_bytes()),
        value: Some(value.into_bytes()),
        headers: vec![(b"trace".to_vec(), Some(format!("00-{number:08x}-01").into_bytes()))],
    }
}

fn events(slot: u32, from: usize, count: usize) -> Vec<Record> {
    (from..from + count).map(|number| event(slot, number)).collect()
}

/// Bytes that no codec makes smaller.
fn noise(number: usize, len: usize) -> Vec<u8> {
    let mut state = number as u64 * 2 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..len / 8 + 1).flat_map(|_| next().to_le_bytes()).take(len).collect()
}

fn is_shaped(frame: &Frame) -> bool {
    frame.header().codec_id == id::SHAPE
}

/// A record, most often an event, with each field of every kind that Kafka stores.
fn record() -> impl Strategy<Value = Record> {
    let timestamp = prop_oneof![
        8 => 1_700_000_000_000..1_700_000_100_000_i64,
        1 => Just(-1),
        1 => -5_000_000_000_000..0_i64,
        1 => any::<i64>(),
    ];
    let field = || {
        prop_oneof![
            1 => Just(None),
            1 => Just(Some(Vec::new())),
            1 => vec(any::<u8>(), 0..40).prop_map(Some),
            2 => (0..9_000_u32).prop_map(|n| Some(format!("{{\"id\":{n},\"at\":\"2024-01-{:02}\"}}", n % 28 + 1).into_bytes())),
        ]
    };
    let headers = prop_oneof![
        4 => Just(Vec::new()),
        1 => vec((prop_oneof![Just(b"id".to_vec()), vec(any::<u8>(), 0..5)], field()), 1..4),
    ];
    let gap = prop_oneof![9 => Just(0), 1 => 1..1_000_i64, 1 => 0..1_i64 << 40];
    (0..6_u32, 0..9_000_usize, any::<bool>(), (gap, timestamp, field(), field(), headers)).prop_map(
        |(slot, number, is_event, (gap, timestamp, key, value, headers))| {
            if is_event { event(slot, number) } else { Record { slot, gap, timestamp, key, value, headers } }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_records_come_back_byte_for_byte(frames in vec(vec(record(), 1..700), 2..5)) {
        let mut link = Link::new();
        for slot in 0..5 {
            link.send(&events(slot, 0, 200));
        }
        for records in frames {
            let (_, [len, plain]) = link.send(&records);
            prop_assert!(len <= plain + EXCESS_MAX, "{len} bytes, and {plain} without shapes");
        }
    }

    #[test]
    fn any_records_come_back_byte_for_byte_with_state(frames in vec(vec(record(), 1..40), 2..60)) {
        let mut link = Link::with_state();
        for slot in 0..5 {
            link.send(&events(slot, 0, 200));
        }
        let mut remembered = 0;
        for records in frames {
            let (frame, [len, plain]) = link.send(&records);
            prop_assert!(len <= plain + STATE_EXCESS_MAX, "{len} bytes, and {plain} without shapes");
            remembered += usize::from(frame.header().codec_id == id::STATE);
        }
        prop_assert!(remembered > 0);
    }
}

#[test]
fn small_frames_with_state_have_far_fewer_bytes() {
    // Of one such record, with a header, the frame's own fields are the greater part.
    for (count, factor) in [(1, 1.15), (5, 1.3), (50, 1.8)] {
        let mut link = Link::with_state();
        let mut sums = [0; 2];
        for number in 0..400 {
            let (_, lengths) = link.send(&events(0, number * count, count));
            if number >= 200 {
                sums.iter_mut().zip(lengths).for_each(|(sum, len)| *sum += len);
            }
        }
        let [with_state, plain] = sums;
        assert!(
            with_state as f64 * factor <= plain as f64,
            "{count} records: {with_state} bytes, and {plain} without state"
        );
    }
}

/// Frames of which all but the first refer to those before.
fn remembered(link: &mut Link) -> Vec<Bytes> {
    let frames: Vec<_> = (0..40).map(|number| link.make(&events(0, number * 9, 9))).collect();
    let first = frames.iter().position(|frame| frame[4] == id::STATE).expect("a frame with state");
    assert!(frames[first..].iter().all(|frame| frame[4] == id::STATE));
    frames[first..].to_vec()
}

#[test]
fn a_frame_with_state_needs_each_frame_before_it_once() {
    let mut link = Link::with_state();
    let frames = remembered(&mut link);
    let refused = |link: &mut Link, frame| {
        let error = link.decode(frame).expect_err("not the next frame");
        assert!(matches!(error, PeerMisbehaved::State { error: DecodeError::Block(_), .. }), "{error}");
        assert_eq!(link.decode(&frames[1]).err(), Some(error), "nothing that follows is trusted");
    };
    link.decode(&frames[0]).expect("the first frame");
    refused(&mut link, &frames[2]);
    link.decoder = LaneDecoder::new(StateBound::within(1 << 20));
    link.decode(&frames[0]).expect("the first frame");
    link.decode(&frames[1]).expect("the second frame");
    refused(&mut link, &frames[1]);
    // An epoch whose sender has kept the state of the one before.
    link.decoder = LaneDecoder::new(StateBound::within(1 << 20));
    refused(&mut link, &frames[3]);
}

#[test]
fn state_beyond_what_was_agreed_is_refused() {
    let mut link = Link::with_state();
    let frames = remembered(&mut link);
    link.decoder = LaneDecoder::new(None);
    let refused = DecodeError::StateBound { found: 20, most: 0 };
    assert_eq!(link.decode(&frames[0]).err(), Some(PeerMisbehaved::Bytes(refused)), "a session without the feature");
    let less = StateBound::within(1 << 19);
    link.decoder = LaneDecoder::new(less);
    let error = DecodeError::StateBound { found: 20, most: 1 << 19 };
    assert_eq!(link.decode(&frames[0]).err(), Some(PeerMisbehaved::State { sequence: Sequence(0), error }));
    let credit = CreditTerms { reserve: 1 << 20, pool: 56 << 20 };
    assert_eq!(
        StateBound::granted(credit, 8),
        less.and_then(|_| StateBound::within(2 << 20)),
        "a quarter of the credit"
    );
    assert_eq!(StateBound::granted(CreditTerms { reserve: 1024, pool: 1024 }, 8), None);
}

#[test]
fn a_body_that_is_restored_otherwise_is_refused() {
    let mut link = Link::with_state();
    let frames = remembered(&mut link);
    let mut damaged = frames[0].to_vec();
    damaged[FRAME_HEADER_BYTES + 1] ^= 1;
    seal(&mut damaged);
    let error = link.decode(&damaged.into()).expect_err("another body");
    assert_eq!(error, PeerMisbehaved::State { sequence: Sequence(0), error: DecodeError::Restored });
}

#[test]
fn what_is_sent_without_state_is_not_referred_to() {
    let mut link = Link::with_state();
    let mut codecs = Vec::new();
    for number in 0..300 {
        // Every few frames something else makes a template lose.
        let odd = |record| Record { value: Some(noise(number * 9 + record, 300)), ..event(0, record) };
        let records = if number % 7 < 2 { (0..9).map(odd).collect() } else { events(0, number * 9, 9) };
        codecs.push(link.send(&records).0.header().codec_id);
    }
    let with_state: Vec<_> = codecs.split(|codec| *codec != id::STATE).filter(|frames| !frames.is_empty()).collect();
    assert!(with_state.len() > 1, "no frame without state between those with it: {codecs:?}");
}

#[test]
fn frames_of_one_topic_are_shaped_once_it_is_known() {
    let mut link = Link::new();
    assert!(!is_shaped(&link.send(&events(0, 0, 2_000)).0), "nothing is known yet, and learning is for another thread");
    for number in 1..40 {
        let (frame, [len, plain]) = link.send(&events(0, number * 2_000, 2_000));
        assert!(is_shaped(&frame) && len * 2 < plain, "frame {number}: {len} bytes, and {plain} without shapes");
    }
}

#[test]
fn the_bytes_of_each_run_are_known_once_a_frame_is_closed() {
    let mut link = Link::new();
    (0..3).for_each(|round| drop(link.send(&events(0, round * 2_000, 2_000))));
    let mut records = events(0, 6_000, 2_000);
    records.extend((0..40).map(|number| Record { slot: 4, value: Some(noise(number, 2_000)), ..event(4, number) }));
    let sum = |records: &[Record], slot: u32| -> u64 {
        let field = |field: &Option<Vec<u8>>| field.as_ref().map_or(0, Vec::len);
        let of_slot = records.iter().filter(|record| record.slot == slot);
        of_slot.map(|record| (field(&record.key) + field(&record.value)) as u64).sum()
    };
    let (frame, [len, _]) = link.send(&records);
    assert!(is_shaped(&frame));
    let runs = link.builder.finished();
    let of = |slot| *runs.iter().find(|run| run.slot == Slot(slot)).unwrap();
    let shaped = of(0);
    let random = of(4);
    let bare = of(7);
    assert_eq!((shaped.records, random.records, bare.records, bare.record_bytes), (2_000, 40, 0, 0));
    for (slot, run) in [(0, shaped), (4, random)] {
        let fields = sum(&records, slot);
        assert!(run.record_bytes > fields && run.record_bytes < fields * 2, "with headers: {run:?}");
    }
    // What has a template is in blocks of a known length.
    assert!(shaped.block_bytes > 0 && shaped.loose_bytes * 2 < shaped.record_bytes, "{shaped:?}");
    assert!(runs.iter().map(|run| run.block_bytes).sum::<u64>() < len as u64, "{runs:?}, {len}");
    // A plain frame has no blocks.
    build(&mut link.builder, &records).finish(HEAD, CODEC.plain());
    let plain = link.builder.finished();
    assert!(plain.iter().all(|run| run.block_bytes == 0 && run.loose_bytes > run.record_bytes), "{plain:?}");
}

#[test]
fn partitions_of_a_topic_share_what_is_known_of_it() {
    let mut link = Link::new();
    link.send(&events(0, 0, 2_000));
    let mixed: Vec<Record> = (0..2_000).map(|number| event([0, 2, 3, 5][number % 4], number)).collect();
    let (frame, [len, plain]) = link.send(&mixed);
    assert!(is_shaped(&frame) && len < plain, "{len} bytes, and {plain} without shapes");
    // The others are learned meanwhile.
    let (_, [better, _]) = link.send(&mixed);
    assert!(better < len, "{better} bytes after {len}");
}

#[test]
fn fields_of_every_kind_are_in_shaped_frames_too() {
    let mut link = Link::new();
    link.send(&events(0, 0, 2_000));
    let mut records = events(0, 0, 2_000);
    for (number, record) in records.iter_mut().enumerate() {
        match number % 9 {
            0 => record.key = None,
            1 => record.key = Some(Vec::new()),
            2 => record.value = None,
            3 => record.value = Some(Vec::new()),
            4 => record.timestamp = -86_400_000 * number as i64,
            5 => record.headers = vec![(b"z".to_vec(), None), (b"a".to_vec(), Some(Vec::new())), (b"z".to_vec(), None)],
            6 => record.headers.clear(),
            7 => record.gap = number as i64,
            _ => {}
        }
    }
    assert!(is_shaped(&link.send(&records).0));
}

#[test]
fn random_bytes_do_not_grow_and_what_follows_is_shaped() {
    let mut link = Link::new();
    for number in 0..40 {
        let record = |record| Record { value: Some(noise(number * 64 + record, 8_000)), ..event(0, record) };
        let (_, [len, plain]) = link.send(&(0..64).map(record).collect::<Vec<_>>());
        assert!(len <= plain + EXCESS_MAX, "{len} bytes, and {plain} compressed");
    }
    let found = (0..80).find(|number| is_shaped(&link.send(&events(0, number * 2_000, 2_000)).0));
    assert!(found.is_some_and(|frames| frames < 70), "{found:?}");
}

#[test]
fn small_frames_are_sent_without_shapes() {
    let mut link = Link::new();
    link.send(&events(0, 0, 2_000));
    assert!(!is_shaped(&link.send(&events(0, 0, 2)).0));
}
