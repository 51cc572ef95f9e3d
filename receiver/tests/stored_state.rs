//! The state that a version has written is read by every later one. `fixtures/state-1.hex` was written by the
//! first; it is added to, never changed. A newer format is refused before any owner is fenced.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use receiver::custody::{BidName, BidRecord, CustodyRecord, Holder, WriterId};
use receiver::map::{Block, PartitionMap};
use receiver::promoted::{EndsRecord, PromotedRecord, SourceEnd, StatementPart};
use receiver::state::{self, HaltRecord, JumpRecord, LaneRecord, LaneState, MovedRecord, PartitionRecord};
use receiver::{
    CarriedTopics, DecodeMemory, Delivered, Extent, Lane, LaneTarget, MapTerms, OpenError, StateEntry, TargetError,
    TargetPartition, Terms, Unwritable,
};
use wire::close::CloseCode;
use wire::control::{PartitionEnd, TopicEnds};
use wire::frame::RecordRef;
use wire::ids::{Epoch, LaneId, Offset, Position, TopicId};
use wire::origin::{self, Origin};
use wire::partition::Partition;

const LANE: LaneId = LaneId(3);
const SOURCE: &str = "QpC-xqYIT7ytK--X86sw";
const TARGET: &str = "kd0lsq2-R1iTIvPf4mzP";

fn lane_record() -> LaneRecord {
    LaneRecord {
        link: "fra-to-sin".into(),
        lanes: 8,
        lane_hash: "xxh3-64".into(),
        epoch: Epoch(300),
        source_cluster: SOURCE.into(),
        target_cluster: TARGET.into(),
        filter_hash: Some(0x0123_4567_89ab_cdef),
        sender: "fra-1".into(),
        classes: vec![("default".into(), 0, 7)],
    }
}

fn partition_record() -> PartitionRecord {
    PartitionRecord {
        topic_id: TopicId([1; 16]),
        position: Position(70_000),
        leader_epoch: -1,
        target_topic: "fra.orders".into(),
        target_topic_id: TopicId([2; 16]),
        target_partition: 5,
        target_end: Position(70_123),
        delivered: 69_000,
        skipped: 1,
        holes: 999,
        halt: Some(HaltRecord { reason: "record-rejected".into(), detail: "larger than 1048576 bytes".into() }),
        moves: 2,
        map: PartitionMap::default(),
    }
}

/// A map with ranges and a block, and that block.
fn map() -> (PartitionMap, Block) {
    let mut map = PartitionMap::beginning(Position(69_000));
    let mut carry = |sources: std::ops::Range<i64>, target: i64| {
        let block = map.block(4);
        for source in sources.clone() {
            map.append(Offset(source));
        }
        map.predict();
        map.prove((target..).take(sources.count()).collect(), Position(70_000));
        if let Some(block) = &block {
            map.handle_block(block, LANE, Offset(300));
        }
        block
    };
    let blocks: Vec<_> = [(69_000..69_300, 5), (69_310..69_400, 306), (69_400..69_401, 500), (69_402..70_000, 502)]
        .into_iter()
        .filter_map(|(sources, target)| carry(sources, target))
        .collect();
    (map.clone(), blocks[0].clone())
}

fn origin_record() -> Origin {
    let clusters = vec!["ams".into(), SOURCE.into()];
    Origin { target_topic: "fra.orders".into(), target_topic_id: TopicId([2; 16]), clusters }
}

fn moved_record() -> MovedRecord {
    MovedRecord { to: LaneId(9), record: PartitionRecord { halt: None, moves: 3, ..partition_record() } }
}

fn clicks_0() -> Partition {
    Partition { topic: "clicks".into(), partition: 0 }
}

fn jump_record() -> JumpRecord {
    JumpRecord {
        number: 367,
        asked: 1_790_000_000_000,
        sender: "fra-1".into(),
        topic: "orders".into(),
        partition: 5,
        from: 69_999,
        to: 70_000,
        accepted: "another incarnation".into(),
        reason: "operator: resume --skip".into(),
        halt: partition_record().halt,
    }
}

fn custody_record() -> CustodyRecord {
    CustodyRecord { number: 4, writer: WriterId::named("causeway.fra-to-sin.3"), holder: Holder(u128::MAX - 5) }
}

fn bid() -> (BidName, BidRecord) {
    let writer = WriterId::named("causeway.fra-to-sin.3+1");
    let holder = Holder(77);
    (BidName { holder, number: 2 }, BidRecord { succeeds: 4, writer, holder })
}

fn promoted_record() -> PromotedRecord {
    PromotedRecord::first(1_790_000_000_000, "ann".into(), "the source is gone".into())
}

fn ends_record() -> EndsRecord {
    let end = PartitionEnd { partition: 5, stable: Position(70_000), end: Position(70_012) };
    EndsRecord { heard: 1_790_000_000_000, topics: vec![TopicEnds { topic: "orders".into(), ends: vec![end] }] }
}

fn orders_5() -> Partition {
    Partition { topic: "orders".into(), partition: 5 }
}

/// Keys and values as this version writes them.
fn written() -> Vec<(Vec<u8>, Vec<u8>)> {
    vec![
        (state::lane_key(), state::encode(&lane_record())),
        (state::partition_key(SOURCE, &orders_5()), state::encode(&partition_record())),
        (origin::key("orders"), state::encode(&origin_record())),
        (state::jump_key(367), state::encode(&jump_record())),
        (state::moved_key(SOURCE, &clicks_0()), state::encode(&moved_record())),
        (state::custody_key(), state::encode(&custody_record())),
        (state::bid_key(bid().0), state::encode(&bid().1)),
        (state::promoted_key(), state::encode(&promoted_record())),
        (state::ends_key(0), state::encode(&ends_record())),
        (state::statement_key(0), state::encode(&StatementPart { parts: 1, text: "{}".into() })),
    ]
}

/// Pairs of lines, a key and its value in hexadecimal; `#` begins a comment.
fn fixture() -> Vec<(Vec<u8>, Vec<u8>)> {
    fixture_of("state-1.hex")
}

fn fixture_of(name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(bytes_of).collect();
    lines.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn bytes_of(line: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal");
    (0..line.len()).step_by(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entries(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<StateEntry> {
    pairs.into_iter().map(|(key, value)| StateEntry::new(key, Some(value))).collect()
}

#[test]
fn the_state_of_the_first_version_is_read_and_written() {
    let lines: String = written().iter().map(|(key, value)| format!("{}\n{}\n", hex(key), hex(value))).collect();
    assert!(fixture() == written(), "this version writes:\n{lines}");
    let folded = LaneState::fold(LANE, "fra-to-sin", SOURCE, &entries(fixture())).expect("readable");
    assert_eq!(folded.lane, Some(lane_record()));
    assert_eq!(folded.partitions, HashMap::from([(orders_5(), partition_record())]));
    assert_eq!(folded.moved, HashMap::from([(clicks_0(), moved_record())]));
    assert_eq!(folded.origins, HashMap::from([("orders".into(), origin_record())]));
    assert_eq!(folded.jumps, BTreeMap::from([(367, jump_record())]));
    assert_eq!(folded.promoted, Some(promoted_record()));
    let word = SourceEnd { stable: Position(70_000), end: Position(70_012), heard: 1_790_000_000_000 };
    assert_eq!(folded.ends, BTreeMap::from([(orders_5(), word)]));
    assert_eq!(StatementPart::join(&folded.statement).as_deref(), Some("{}"));
    assert_eq!(folded.custody.present, CustodyRecord { number: 5, writer: bid().1.writer, holder: Holder(77) });
}

#[test]
fn offset_maps_of_the_first_version_are_read_and_written() {
    let (map, block) = map();
    let record = PartitionRecord { map, ..partition_record() };
    let moved = MovedRecord { to: LaneId(9), record: PartitionRecord { halt: None, moves: 3, ..record.clone() } };
    let written = vec![
        (state::partition_key(SOURCE, &orders_5()), state::encode(&record)),
        (state::moved_key(SOURCE, &clicks_0()), state::encode(&moved)),
        (state::partition_key(SOURCE, &orders_5()), block.encode()),
    ];
    let lines: String = written.iter().map(|(key, value)| format!("{}\n{}\n", hex(key), hex(value))).collect();
    let fixture = fixture_of("map-1.hex");
    assert!(fixture == written, "this version writes:\n{lines}");
    let folded = LaneState::fold(LANE, "fra-to-sin", SOURCE, &entries(fixture[..2].to_vec())).expect("readable");
    assert_eq!(folded.partitions, HashMap::from([(orders_5(), record)]));
    assert_eq!(folded.moved, HashMap::from([(clicks_0(), moved)]));
    assert_eq!(Block::decode(&fixture[2].1), Ok(block));
}

/// A target that may be read and must not be touched.
struct Untouched(Vec<StateEntry>);

impl LaneTarget for Untouched {
    fn read_state(&mut self, _: Extent) -> Result<Vec<StateEntry>, TargetError> {
        Ok(self.0.clone())
    }

    fn ids(&self) -> Vec<WriterId> {
        WriterId::of_writer("untouched", "bulk")
    }

    fn fence(&mut self, _: &WriterId, _: Duration) -> Result<(), TargetError> {
        panic!("fenced")
    }

    fn expel(&mut self, _: &WriterId, _: Duration) -> Result<(), TargetError> {
        panic!("fenced")
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        panic!("begun")
    }

    fn produce(&mut self, _: &TargetPartition, _: &RecordRef<'_>, _: &Bytes) -> Result<(), TargetError> {
        panic!("produced")
    }

    fn write_state(&mut self, _: &[u8], _: Option<&[u8]>) -> Result<(), TargetError> {
        panic!("written")
    }

    fn write_block(&mut self, _: &[u8], _: &[u8]) -> Result<(), TargetError> {
        panic!("written")
    }

    fn drain(&mut self) -> Result<Delivered, TargetError> {
        panic!("drained")
    }

    fn commit_entries(&mut self, _: Vec<StateEntry>) -> Result<Offset, TargetError> {
        panic!("committed")
    }

    fn unwritable(&mut self, _: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        panic!("asked")
    }

    fn discard(&mut self) {}
}

fn refusal(entries: Vec<StateEntry>) -> (CloseCode, String) {
    let mut lane = Lane::new(LANE, Holder(1), Untouched(entries), DecodeMemory::new(1 << 20));
    let stored = lane_record();
    let terms = Terms {
        link: stored.link,
        classes: wire::lanes::ClassTable::new(stored.lanes),
        lane_hash: stored.lane_hash,
        source_cluster: stored.source_cluster,
        target_cluster: stored.target_cluster,
        filter_hash: 1,
        sender: stored.sender,
        accepts: None,
        map: MapTerms::new(false),
        state: None,
    };
    match lane.open(Arc::new(terms), Arc::new(CarriedTopics::new(8))) {
        Err(OpenError::Refused(close)) => (close.code, close.detail),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_newer_format_is_refused_before_a_fence_or_a_write() {
    let newer = |index: usize, value: bool| {
        let mut pairs = fixture();
        let (key, of_it) = &mut pairs[index];
        if value {
            of_it[0] = 2
        } else {
            key[0] = 2
        }
        refusal(entries(pairs))
    };
    for (index, value, what) in [
        (0, false, "key"),
        (0, true, "lane record"),
        (1, false, "key"),
        (1, true, "partition record"),
        (2, false, "key"),
        (2, true, "origin record"),
        (3, false, "key"),
        (3, true, "jump"),
        (4, false, "key"),
        (4, true, "moved record"),
        (5, false, "key"),
        (5, true, "custody record"),
        (6, false, "key"),
        (6, true, "bid"),
        (7, true, "promotion"),
        (8, true, "record of ends"),
        (9, true, "statement"),
    ] {
        let sentence = format!("state partition 3: a {what} has format 2; this version reads 1: use a newer one");
        assert_eq!(newer(index, value), (CloseCode::StateRefused, sentence));
    }
}
