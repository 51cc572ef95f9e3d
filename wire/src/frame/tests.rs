//! What is packed comes out unchanged, what was never packed is refused, and no claim costs memory.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::compress::Codec;
use crate::error::DecodeError;
use crate::ids::{Epoch, LaneId, Offset, Position, Sequence, Slot};
use crate::limits::{FRAME_BODY_MAX, FRAME_HEADER_BYTES, FRAME_RAW_TARGET, RECORDS_MAX, RUNS_MAX};

type Field = Option<Vec<u8>>;

/// A record that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    offset: i64,
    timestamp: i64,
    key: Field,
    value: Field,
    headers: Vec<(Vec<u8>, Field)>,
}

/// Operation of the sender on a partition.
#[derive(Debug, Clone)]
enum Op {
    Push { slot: u32, gap: i64, leader_epoch: i32, record: Record },
    Advance { slot: u32, by: i64 },
}

/// Expected content of a frame for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    from: i64,
    next: i64,
    leader_epoch: i32,
    records: Vec<Record>,
}

impl Record {
    fn read(record: &RecordRef<'_>) -> Self {
        Self {
            offset: record.offset.0,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect(),
        }
    }

    fn push(&self, builder: &mut FrameBuilder, slot: u32, from: i64, leader_epoch: i32) {
        let mut block = HeaderBlock::default();
        self.headers.iter().for_each(|(key, value)| block.push(key, value.as_deref()));
        let record = RecordRef {
            offset: Offset(self.offset),
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: block.as_headers(),
        };
        let most = builder.raw_len() + record.raw_len();
        builder.push(Slot(slot), Position(from), leader_epoch, &record);
        assert!(builder.raw_len() <= most, "{} bytes where {most} were the most", builder.raw_len());
    }
}

fn field() -> impl Strategy<Value = Field> {
    option::of(vec(any::<u8>(), 0..20))
}

fn record() -> impl Strategy<Value = Record> {
    let timestamp = prop_oneof![Just(-1), 1_700_000_000_000..1_700_000_100_000_i64, any::<i64>()];
    let key = prop_oneof![Just(Vec::new()), Just(b"trace".to_vec()), vec(any::<u8>(), 0..5)];
    (timestamp, field(), field(), vec((key, field()), 0..4)).prop_map(|(timestamp, key, value, headers)| Record {
        offset: 0,
        timestamp,
        key,
        value,
        headers,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let slot = || prop_oneof![0..5_u32, Just(u32::MAX), Just(300)];
    prop_oneof![
        5 => (slot(), prop_oneof![5 => Just(0), 1 => 1..1000_i64, 1 => 0..1_i64 << 50], -1..100, record())
            .prop_map(|(slot, gap, leader_epoch, record)| Op::Push { slot, gap, leader_epoch, record }),
        1 => (slot(), 0..1_i64 << 40).prop_map(|(slot, by)| Op::Advance { slot, by }),
    ]
}

/// Packs `ops`, and says what must come out.
fn pack(builder: &mut FrameBuilder, ops: &[Op]) -> BTreeMap<u32, Expected> {
    let mut expected = BTreeMap::new();
    for op in ops {
        let (Op::Push { slot, .. } | Op::Advance { slot, .. }) = *op;
        let from = i64::from(slot % 7) * 1000;
        let begun = Expected { from, next: from, leader_epoch: -1, records: Vec::new() };
        let run = expected.entry(slot).or_insert(begun);
        match op {
            Op::Push { gap, leader_epoch, record, .. } => {
                let record = Record { offset: run.next + gap, ..record.clone() };
                record.push(builder, slot, run.next, *leader_epoch);
                run.next = record.offset + 1;
                run.leader_epoch = *leader_epoch;
                run.records.push(record);
            }
            Op::Advance { by, .. } => {
                builder.advance(Slot(slot), Position(run.next), Position(run.next + by));
                run.next += by;
            }
        }
    }
    expected.retain(|_, run| run.from < run.next);
    expected
}

/// Walks through a frame as a receiver does, coming back to each step with a cursor kept from before.
fn unpack(frame: &Frame) -> BTreeMap<u32, Expected> {
    let mut found = BTreeMap::new();
    let mut cursor = FrameCursor::default();
    loop {
        let mut kept = cursor;
        let Some(step) = frame.next(&mut cursor) else { break };
        assert_eq!(frame.next(&mut kept), Some(step), "a kept cursor finds what the first one found");
        match step {
            Step::Run(run) => {
                let begun =
                    Expected { from: run.from.0, next: -1, leader_epoch: run.leader_epoch, records: Vec::new() };
                assert_eq!(found.insert(run.slot.0, begun), None, "a partition has one run");
            }
            Step::Record(run, record) => {
                found
                    .get_mut(&run.slot.0)
                    .expect("a run begins before its records")
                    .records
                    .push(Record::read(&record));
            }
            Step::RunEnd(run) => {
                let begun = found.get_mut(&run.slot.0).expect("a run begins before it ends");
                assert_eq!(begun.records.len(), run.count as usize);
                begun.next = run.next.0;
            }
        }
    }
    assert_eq!(frame.next(&mut cursor), None, "the end stays the end");
    found
}

fn head() -> FrameHead {
    FrameHead { lane: LaneId(3), epoch: Epoch(u64::MAX), sequence: Sequence(7) }
}

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::None), Just(Codec::Lz4), (-3..7).prop_map(Codec::Zstd)]
}

/// A small frame with something of everything, uncompressed.
fn sample() -> Vec<u8> {
    let mut builder = FrameBuilder::new();
    let headers = vec![(b"a".to_vec(), None), (b"a".to_vec(), Some(Vec::new())), (Vec::new(), Some(b"z".to_vec()))];
    let record = Record { offset: 12, timestamp: -1, key: None, value: Some(b"v".to_vec()), headers };
    record.push(&mut builder, 9, 10, 4);
    Record { offset: 500, headers: Vec::new(), ..record }.push(&mut builder, 2, 0, -1);
    builder.advance(Slot(5), Position(7), Position(8));
    builder.finish(head(), Codec::None).to_vec()
}

fn decode(bytes: &[u8]) -> Result<Frame, DecodeError> {
    Frame::decode(Bytes::copy_from_slice(bytes))
}

/// The error for a frame whose byte at `at` is `value`, its checksum being right.
fn changed(at: usize, value: u8) -> DecodeError {
    let mut bytes = sample();
    bytes[at] = value;
    seal(&mut bytes);
    decode(&bytes).expect_err("a rule is broken")
}

proptest! {
    #[test]
    fn what_is_packed_comes_out_unchanged(batches in vec((vec(op(), 1..60), codec()), 1..4)) {
        let mut builder = FrameBuilder::new();
        for (ops, codec) in batches {
            let expected = pack(&mut builder, &ops);
            if expected.is_empty() {
                prop_assert!(builder.is_empty());
                continue;
            }
            let positions: BTreeMap<_, _> = builder.positions().map(|(slot, next)| (slot.0, next.0)).collect();
            let records = builder.record_count();
            let most = builder.raw_len();
            let bytes = builder.finish(head(), codec);
            prop_assert!(builder.is_empty() && bytes.len() <= most);
            let frame = Frame::decode(bytes.clone()).expect("what we send, we accept");
            prop_assert_eq!(frame.header(), &FrameHeader::check(&bytes).expect("as above"));
            prop_assert_eq!(frame.header().head, head());
            prop_assert_eq!(frame.header().frame_len(), bytes.len());
            prop_assert_eq!(frame.header().record_count as usize, records);
            prop_assert_eq!(positions, expected.iter().map(|(&slot, run)| (slot, run.next)).collect());
            prop_assert_eq!(unpack(&frame), expected);
            crate::hostile::frame(&bytes);
        }
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused(ops in vec(op(), 1..10), codec in codec()) {
        let mut builder = FrameBuilder::new();
        prop_assume!(!pack(&mut builder, &ops).is_empty());
        let bytes = builder.finish(head(), codec);
        for len in 0..bytes.len() {
            prop_assert!(matches!(decode(&bytes[..len]), Err(DecodeError::Truncated { .. })), "cut to {}", len);
            // With the checksum and the stated length made to fit, the body itself must be found short.
            let mut fitted = bytes[..len].to_vec();
            if let Some(body_len) = fitted.get_mut(44..48) {
                body_len.copy_from_slice(&(len.saturating_sub(FRAME_HEADER_BYTES) as u32).to_le_bytes());
            }
            seal(&mut fitted);
            prop_assert!(decode(&fitted).is_err(), "cut to {}, lengths fitted", len);
        }
    }

    #[test]
    fn any_change_of_a_frame_is_refused_or_walked_through(
        ops in vec(op(), 1..8),
        codec in codec(),
        changes in vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
    ) {
        let mut builder = FrameBuilder::new();
        prop_assume!(!pack(&mut builder, &ops).is_empty());
        let mut bytes = builder.finish(head(), codec).to_vec();
        for (at, flip) in changes {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if at != 48 {
                crate::hostile::frame(&bytes);
            }
        }
    }

    #[test]
    fn any_bytes_behind_a_header_are_refused_or_walked_through(
        body in vec(prop_oneof![3 => 0..4_u8, 1 => any::<u8>()], 6..80), runs in 1..4_u32, records in 0..6_u32, codec in 0..3_u8,
    ) {
        let mut bytes = sample();
        bytes.truncate(FRAME_HEADER_BYTES);
        bytes[4] = codec;
        bytes[32..36].copy_from_slice(&runs.to_le_bytes());
        bytes[36..40].copy_from_slice(&records.to_le_bytes());
        bytes[40..44].copy_from_slice(&(body.len() as u32).to_le_bytes());
        bytes[44..48].copy_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend(body);
        crate::hostile::frame(&bytes);
    }
}

#[test]
fn a_bit_flipped_on_the_way_is_noticed() {
    let bytes = sample();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn reserved_or_unknown_parts_of_the_header_are_refused_by_name() {
    assert_eq!(changed(0, b'X'), DecodeError::Malformed("not a frame"));
    assert_eq!(changed(3, 2), DecodeError::UnknownFrame(2));
    assert_eq!(changed(4, 5), DecodeError::UnknownCodec(5));
    assert_eq!(changed(5, 1), DecodeError::Malformed("reserved byte 5 is not zero"));
    assert_eq!(changed(6, 1), DecodeError::Malformed("run hashes are not part of this version"));
    assert_eq!(changed(7, 1), DecodeError::Malformed("unknown flags"));
    assert_eq!(changed(8, 64), DecodeError::OverLimit { field: "lane", found: 64, limit: 63 });
    assert_eq!(changed(11, 1), DecodeError::Malformed("reserved bytes 10 and 11 are not zero"));
    assert_eq!(changed(12, 1), DecodeError::Malformed("dictionaries are not part of this version"));
}

#[test]
fn every_number_in_the_header_has_a_limit() {
    let limit = |found, limit, field| DecodeError::OverLimit { field, found, limit };
    assert_eq!(changed(35, 1), limit(3 + (1 << 24), RUNS_MAX.into(), "runs"));
    assert_eq!(changed(39, 1), limit(2 + (1 << 24), RECORDS_MAX.into(), "records"));
    let len = (sample().len() - FRAME_HEADER_BYTES) as u64;
    assert_eq!(changed(43, 16), limit(len + (16 << 24), FRAME_BODY_MAX as u64, "raw length"));
    assert_eq!(changed(47, 1), limit(len + (1 << 24), len, "body length"));
    assert_eq!(changed(32, 0), DecodeError::Malformed("frame without runs"));
    assert_eq!(changed(40, 255), DecodeError::RawLength { stated: 255, found: len as usize });
    assert!(matches!(changed(38, 1), DecodeError::Truncated { .. }), "more records than bytes");
}

#[test]
fn the_run_table_is_refused_where_it_breaks_a_rule() {
    // slot 2: from 0, covers 501 (two bytes), 1 record, leader epoch −1, no shape.
    let table = FRAME_HEADER_BYTES;
    assert_eq!(sample()[table..table + 7], [2, 0, 0xf5, 0x03, 1, 1, 0]);
    assert_eq!(changed(table + 2, 0xf4), DecodeError::Malformed("offset outside its run"), "500 is not below 500");
    assert_eq!(changed(table + 3, 0x02), DecodeError::Malformed("offset outside its run"));
    assert_eq!(changed(table + 4, 2), DecodeError::Malformed("runs do not add up to the frame's records"));
    assert_eq!(changed(table + 5, 3), DecodeError::Malformed("leader epoch out of range"));
    assert_eq!(changed(table + 6, 1), DecodeError::Malformed("a run of a plain body has no group"));
    // slot 5, two after 2: from 7, covers 1, no records, no leader epoch.
    assert_eq!(sample()[table + 7..table + 13], [2, 7, 1, 0, 1, 0]);
    assert_eq!(changed(table + 9, 0), DecodeError::Malformed("run covers no position"));
    assert_eq!(changed(table + 11, 0), DecodeError::Malformed("leader epoch without records"));
}

/// Returns the error of a body with these runs and records.
fn refusal(runs: u32, records: u32, body: &[u8]) -> DecodeError {
    let mut bytes = sample();
    bytes.truncate(FRAME_HEADER_BYTES);
    let len = body.len() as u32;
    for (at, value) in [(32, runs), (36, records), (40, len), (44, len)] {
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    bytes.extend(body);
    seal(&mut bytes);
    decode(&bytes).expect_err("a rule is broken")
}

#[test]
fn numbers_that_overflow_are_refused() {
    let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let body = |before: &[u8], after: &[u8]| [before, &most, after].concat();
    let run = [0, 0, 1, 0, 1, 0];
    let wide = DecodeError::Malformed("slot wider than 32 bits");
    assert_eq!(refusal(1, 0, &body(&[], &[0, 1, 0, 1, 0])), wide);
    assert_eq!(refusal(2, 0, &body(&run, &[0, 1, 0, 1, 0])), wide);
    let over = |error| matches!(error, DecodeError::OverLimit { found: u64::MAX, .. });
    assert!(over(refusal(1, 0, &body(&[0], &[1, 0, 1, 0]))), "from");
    assert!(over(refusal(1, 0, &body(&[0, 1], &[0, 1, 0]))), "positions covered");
    assert!(over(refusal(1, 0, &body(&[0, 0, 1], &[1, 0]))), "records");
    assert_eq!(refusal(1, 0, &body(&[0, 0, 1, 0], &[0])), DecodeError::Malformed("leader epoch out of range"));
    let one = [0, 0, 1, 1, 1, 0];
    let outside = DecodeError::Malformed("offset outside its run");
    assert_eq!(refusal(1, 1, &body(&one, &[0, 0, 0, 0])), outside);
    assert!(over(refusal(1, 1, &body(&[&one[..], &[0, 0]].concat(), &[0, 0]))), "key length");
    assert!(over(refusal(1, 1, &body(&[&one[..], &[0, 0, 0]].concat(), &[0]))), "value length");
    assert!(over(refusal(1, 1, &body(&[&one[..], &[0, 0, 0, 0]].concat(), &[0]))), "headers");
    assert!(over(refusal(1, 1, &body(&[&one[..], &[0, 0, 0, 0, 1]].concat(), &[0]))), "header bytes");
}

#[test]
fn header_tables_that_do_not_fill_their_bytes_are_refused() {
    let with = |headers: &[u8]| refusal(1, 1, &[&[0, 0, 1, 1, 1, 0, 0, 0, 0, 0], headers].concat());
    assert_eq!(with(&[1, 3, 1, b'k', 0, 0]), DecodeError::TrailingBytes(1), "behind the table");
    assert_eq!(with(&[1, 4, 1, b'k', 0, 0]), DecodeError::TrailingBytes(1), "one header, two stated");
    assert_eq!(with(&[2, 3, 1, b'k', 0]), DecodeError::Truncated { missing: 1 }, "two headers, one there");
    assert_eq!(with(&[1, 3, 1, b'k', 2, b'v']), DecodeError::Truncated { missing: 1 }, "value past the table");
    assert_eq!(with(&[1, 2, 3, b'k', b'k', 0]), DecodeError::Truncated { missing: 2 }, "key past the table");
}

#[test]
fn a_byte_more_than_the_columns_say_is_refused() {
    let mut bytes = sample();
    bytes.push(0);
    assert_eq!(decode(&bytes).unwrap_err(), DecodeError::TrailingBytes(1));
    let len = (bytes.len() - FRAME_HEADER_BYTES) as u32;
    bytes[40..44].copy_from_slice(&len.to_le_bytes());
    bytes[44..48].copy_from_slice(&len.to_le_bytes());
    seal(&mut bytes);
    assert_eq!(decode(&bytes).unwrap_err(), DecodeError::TrailingBytes(1));
}

#[test]
fn payloads_are_not_shown() {
    let mut block = HeaderBlock::default();
    block.push(b"secret", Some(b"secret"));
    let record =
        RecordRef { offset: Offset(1), timestamp: 2, key: Some(b"secret"), value: None, headers: block.as_headers() };
    let mut builder = FrameBuilder::new();
    builder.push(Slot(0), Position(0), -1, &record);
    let shown = format!("{record:?} {builder:?} {:?}", decode(&builder.finish(head(), Codec::None)));
    assert!(!shown.contains("secret") && !shown.contains("115, 101"), "{shown}");
}

#[test]
fn a_frame_of_smallest_records_ends_at_the_size_target() {
    let mut builder = FrameBuilder::new();
    let record =
        |offset| RecordRef { offset: Offset(offset), timestamp: 0, key: None, value: None, headers: Headers::EMPTY };
    let mut position = 0;
    while builder.raw_len() + record(position).raw_len() <= FRAME_RAW_TARGET {
        builder.push(Slot(0), Position(position), 0, &record(position));
        position += 1;
    }
    assert!(position > 200_000, "{position} records");
    let bytes = builder.finish(head(), Codec::Zstd(1));
    assert_eq!(decode(&bytes).unwrap().runs()[0].next, Position(position));
    while builder.raw_len() + crate::limits::RUN_BYTES_MAX <= FRAME_RAW_TARGET {
        let slot = builder.positions().count() as u32;
        builder.advance(Slot(slot), Position(0), Position(1));
    }
    assert!(decode(&builder.finish(head(), Codec::Lz4)).unwrap().runs().len() > 32_000);
}

#[test]
fn the_largest_record_travels_alone() {
    let spare = RecordRef { offset: Offset(0), timestamp: 0, key: Some(b""), value: None, headers: Headers::EMPTY };
    let value = vec![7; crate::limits::RECORD_BYTES_MAX - spare.raw_len()];
    let record = RecordRef { value: Some(&value), ..spare };
    for codec in [Codec::None, Codec::Zstd(1)] {
        let mut builder = FrameBuilder::new();
        builder.push(Slot(u32::MAX), Position(0), i32::MAX, &record);
        let frame = Frame::decode(builder.finish(head(), codec)).unwrap();
        let mut cursor = FrameCursor::default();
        frame.next(&mut cursor);
        assert!(matches!(frame.next(&mut cursor), Some(Step::Record(_, found)) if found == record));
    }
}

fn panics(pack: impl FnOnce(&mut FrameBuilder) + std::panic::UnwindSafe) -> bool {
    std::panic::catch_unwind(|| pack(&mut FrameBuilder::new())).is_err()
}

#[test]
fn an_offset_below_its_position_is_not_packed() {
    let record =
        |offset| RecordRef { offset: Offset(offset), timestamp: 0, key: None, value: None, headers: Headers::EMPTY };
    assert!(panics(|builder| builder.push(Slot(0), Position(5), -1, &record(4))));
    assert!(!panics(|builder| builder.push(Slot(0), Position(5), -1, &record(5))));
}

#[test]
fn a_run_with_a_gap_is_not_packed() {
    let panics_at = |position| {
        panics(move |builder| {
            builder.advance(Slot(0), Position(0), Position(5));
            builder.advance(Slot(0), Position(position), Position(7));
        })
    };
    assert!(panics_at(6) && !panics_at(5));
}
