//! Maps of random transactions, compared with where each record is.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use wire::ids::{LaneId, Offset, Position};
use wire::origin::{decode, encode};

use super::search::{Found, Step, Wanted};
use super::{Block, PartitionMap, Verdict};

/// Transaction: the gap before each record at the source and in the target.
#[derive(Debug, Clone)]
struct Transaction {
    records: Vec<(i64, i64)>,
    /// Target offsets that an aborted attempt has used before.
    aborted: i64,
    committed: bool,
    /// The process reads the stored map again afterwards.
    restarts: bool,
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let source_gap = prop_oneof![4 => Just(0i64), 1 => 1..4i64, 1 => 1..5_000i64];
    let target_gap = prop_oneof![20 => Just(0i64), 1 => 1..3i64];
    let aborted = prop_oneof![6 => Just(0i64), 1 => 1..40i64];
    (vec((source_gap, target_gap), 1..12), aborted, 0..8u8, 0..8u8).prop_map(|(records, aborted, fails, restarts)| {
        Transaction { records, aborted, committed: fails > 0, restarts: restarts == 0 }
    })
}

/// Map of a partition whose transactions are carried, the map topic, and the truth.
struct Carried {
    map: PartitionMap,
    blocks: Vec<Block>,
    begin: Position,
    position: Position,
    target_end: i64,
    truth: BTreeMap<i64, i64>,
    limit: usize,
    corrections: usize,
}

impl Carried {
    fn new(begin: i64, limit: usize) -> Self {
        Self {
            map: PartitionMap::beginning(Position(begin)),
            blocks: Vec::new(),
            begin: Position(begin),
            position: Position(begin),
            target_end: 0,
            truth: BTreeMap::new(),
            limit,
            corrections: 0,
        }
    }

    fn carry(&mut self, transaction: &Transaction) {
        let mut map = self.map.clone();
        let block = map.block(self.limit);
        let mut position = self.position;
        let mut target = self.target_end + transaction.aborted;
        let mut placed = Vec::new();
        for (source_gap, target_gap) in &transaction.records {
            let source = position.0 + source_gap;
            target += target_gap;
            map.append(Offset(source));
            placed.push((source, target));
            position = Position(source + 1);
            target += 1;
        }
        map.predict();
        let predicted = encode(&map);
        let verdict = map.prove(placed.iter().map(|(_, target)| *target).collect(), position);
        let stored = if verdict == Verdict::Proven { predicted } else { encode(&map) };
        self.corrections += usize::from(verdict == Verdict::Corrected);
        // The marker, also of an attempt that failed.
        self.target_end = target + 1;
        if !transaction.committed {
            return;
        }
        assert_eq!(decode::<PartitionMap>(&stored).unwrap(), map, "what is written last is true");
        self.map = map;
        self.position = position;
        self.truth.extend(placed);
        if let Some(block) = block {
            let stored = Block::decode(&block.encode()).unwrap();
            assert_eq!(stored, block);
            self.map.handle_block(&block, LaneId(3), Offset(self.blocks.len() as i64));
            self.blocks.push(stored);
        }
        if transaction.restarts {
            self.map = decode(&encode(&self.map)).unwrap();
        }
    }

    /// Searches an offset. Returns the number of blocks that were read.
    fn find(&self, wanted: Wanted) -> (Found, usize) {
        let mut step = self.map.search().unwrap().find(wanted);
        for read in 0.. {
            match step {
                Step::Found(found) => return (found, read),
                Step::Read(at) => step = self.blocks[at.offset.0 as usize].search().find(wanted),
            }
        }
        unreachable!()
    }

    fn check(&self) {
        let end = self.truth.last_key_value().map(|(_, target)| Position(target + 1));
        for source in self.begin.0..self.position.0 {
            let expected = match self.truth.range(source..).next() {
                Some((&at, &target)) if at == source => Found::Record(Offset(target)),
                Some((_, &target)) => Found::Next(Offset(target)),
                None => Found::After(end),
            };
            assert_eq!(self.find(Wanted::Target(Offset(source))).0, expected, "source offset {source}");
        }
        if self.begin.0 > 0 {
            assert_eq!(self.find(Wanted::Target(Offset(self.begin.0 - 1))).0, Found::Before);
        }
        let back: BTreeMap<_, _> = self.truth.iter().map(|(source, target)| (*target, *source)).collect();
        let first = back.first_key_value().map_or(0, |(target, _)| *target);
        for target in first..self.target_end {
            let expected = match back.range(target..).next() {
                Some((&at, &source)) if at == target => Found::Record(Offset(source)),
                Some((_, &source)) => Found::Next(Offset(source)),
                None => Found::After(self.truth.last_key_value().map(|(source, _)| Position(source + 1))),
            };
            if !self.truth.is_empty() {
                assert_eq!(self.find(Wanted::Source(Offset(target))).0, expected, "target offset {target}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_offset_is_found_where_its_record_is(
        begin in prop_oneof![Just(0i64), 1..1_000_000i64],
        limit in 0..40usize,
        transactions in vec(transaction(), 1..40),
    ) {
        let mut carried = Carried::new(begin, limit);
        transactions.iter().for_each(|transaction| carried.carry(transaction));
        carried.check();
    }

    #[test]
    fn damaged_maps_are_refused(bytes in vec(any::<u8>(), 0..60)) {
        let _ = decode::<PartitionMap>(&encode(&bytes));
        let mut block = vec![wire::origin::FORMAT];
        block.extend(bytes);
        if let Ok(block) = Block::decode(&block) {
            prop_assert_eq!(Block::decode(&block.encode()), Ok(block));
        }
    }
}

fn whole(count: usize) -> Transaction {
    Transaction { records: vec![(0, 0); count], aborted: 0, committed: true, restarts: false }
}

#[test]
fn undisturbed_transactions_are_predicted_and_cost_a_few_bytes() {
    let mut carried = Carried::new(0, usize::MAX);
    carried.carry(&whole(1_000));
    let one = encode(&carried.map).len();
    (0..20).for_each(|_| carried.carry(&whole(1_000)));
    assert_eq!(carried.corrections, 0);
    assert_eq!((encode(&carried.map).len() - one) / 20, 3, "bytes of a transaction");
}

#[test]
fn records_without_a_marker_between_them_are_one_range() {
    let mut carried = Carried::new(0, usize::MAX);
    (0..9).for_each(|_| {
        carried.carry(&whole(10));
        carried.target_end -= 1;
    });
    assert_eq!(carried.map.search().unwrap().ranges().count(), 1);
    assert_eq!(carried.corrections, 8, "a marker was expected");
}

#[test]
fn long_maps_are_searched_in_few_steps_and_take_little_memory() {
    let mut carried = Carried::new(0, 8);
    (0..25_000).for_each(|_| carried.carry(&whole(2)));
    assert!(carried.blocks.len() > 4_096, "{} blocks", carried.blocks.len());
    assert!(encode(&carried.map).len() < 100, "{} bytes", encode(&carried.map).len());
    for source in (0..50_000).step_by(997) {
        let (found, read) = carried.find(Wanted::Target(Offset(source)));
        assert_eq!(found, Found::Record(Offset(carried.truth[&source])));
        assert!(read <= 7 * 5 + 1, "{read} blocks were read");
    }
}

#[test]
fn map_begins_again_where_offsets_go_back_or_are_not_told() {
    let mut carried = Carried::new(100, 8);
    (0..30).for_each(|_| carried.carry(&whole(3)));
    let mut untold = carried.map.clone();
    untold.append(Offset(carried.position.0));
    untold.predict();
    assert_eq!(untold.prove([-1].into_iter().collect(), Position(191)), Verdict::Corrected);
    assert_eq!(untold, PartitionMap::beginning(Position(191)));
    let mut replaced = carried.map;
    replaced.append(Offset(190));
    replaced.predict();
    assert_eq!(replaced.prove([5].into_iter().collect(), Position(191)), Verdict::Corrected);
    let part = replaced.search().unwrap();
    assert_eq!(part.find(Wanted::Target(Offset(190))), Step::Found(Found::Record(Offset(5))));
    assert_eq!(part.find(Wanted::Target(Offset(189))), Step::Found(Found::Before));
}

#[test]
fn forgotten_ranges_are_before_the_map() {
    let mut carried = Carried::new(0, usize::MAX);
    (0..30).for_each(|_| carried.carry(&whole(3)));
    carried.map.forget_beyond(usize::MAX);
    carried.check();
    carried.map.forget_beyond(0);
    assert_eq!(carried.find(Wanted::Target(Offset(86))).0, Found::Before);
    assert_eq!(carried.find(Wanted::Target(Offset(87))).0, Found::Record(Offset(carried.truth[&87])));
}

#[test]
fn gaps_are_what_no_record_covers() {
    let mut map = PartitionMap::beginning(Position(0));
    for (source, target) in [(0, 5), (1, 6), (2, 9), (3, 11)] {
        map.append(Offset(source));
        map.predict();
        map.prove([target].into_iter().collect(), Position(source + 1));
    }
    let gaps =
        |from| map.search().unwrap().gaps_after(Position(from)).map(|(from, to)| (from.0, to.0)).collect::<Vec<_>>();
    assert_eq!(gaps(0), [(0, 5), (7, 9), (10, 11)]);
    assert_eq!(gaps(6), [(7, 9), (10, 11)]);
    assert_eq!(gaps(8), [(8, 9), (10, 11)]);
    assert!(gaps(12).is_empty());
}
