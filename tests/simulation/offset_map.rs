//! The offset map, compared record by record with what the target has.

use std::collections::BTreeMap;

use receiver::map::search::{Found, Step, Wanted};
use receiver::map::{Block, PartitionMap};
use receiver::state::{LaneState, PartitionRecord};
use wire::ids::{LaneId, Offset, Position};

use crate::logs::{Entry, Logs, Place};
use crate::source::Tp;
use crate::target::fold;

/// Place of every committed record of a partition.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Source position at which the partition began.
    begun: i64,
    to_target: BTreeMap<i64, i64>,
    to_source: BTreeMap<i64, i64>,
}

impl Truth {
    pub(crate) fn beginning(begun: i64) -> Self {
        Self { begun, ..Self::default() }
    }

    pub(crate) fn add(&mut self, source: i64, target: i64) {
        self.to_target.insert(source, target);
        self.to_source.insert(target, source);
    }

    /// Returns the target offset behind the last record; 0 if there is none.
    pub(crate) fn end(&self) -> i64 {
        self.to_source.last_key_value().map_or(0, |(last, _)| last + 1)
    }

    fn expected(&self, wanted: Wanted) -> Found {
        let (offsets, offset) = match wanted {
            Wanted::Target(offset) => (&self.to_target, offset.0),
            Wanted::Source(offset) => (&self.to_source, offset.0),
        };
        match offsets.range(offset..).next() {
            Some((&at, &other)) if at == offset => Found::Record(Offset(other)),
            Some((_, &other)) => Found::Next(Offset(other)),
            None => Found::After(offsets.last_key_value().map(|(_, other)| Position(other + 1))),
        }
    }

    /// Compares a stored map with every offset between the beginning of the partition and its end.
    fn compare(&self, record: &PartitionRecord, blocks: &Blocks<'_>) -> Result<(), String> {
        let sources = (self.begun..record.position.0).map(|offset| Wanted::Target(Offset(offset)));
        let first = self.to_source.first_key_value().map_or(0, |(first, _)| *first);
        let last = self.to_source.last_key_value().map_or(-1, |(last, _)| *last);
        let targets = (first..=last + 1).map(|offset| Wanted::Source(Offset(offset)));
        for wanted in sources.chain(targets.filter(|_| !self.to_source.is_empty())) {
            let found = blocks.find(&record.map, wanted)?;
            let expected = self.expected(wanted);
            if found != expected {
                return Err(format!("{wanted:?} is {expected:?}, the map has {found:?}: {:?}", record.map));
            }
        }
        let before = blocks.find(&record.map, Wanted::Target(Offset(self.begun - 1)))?;
        if before == Found::Before { Ok(()) } else { Err(format!("the map has {before:?} before it begins")) }
    }
}

/// Blocks in the map topic.
struct Blocks<'a>(&'a Logs);

impl Blocks<'_> {
    fn find(&self, map: &PartitionMap, wanted: Wanted) -> Result<Found, String> {
        // A partition of which nothing was carried has no map.
        let Some(part) = map.search() else { return Ok(Found::Before) };
        let mut step = part.find(wanted);
        loop {
            let at = match step {
                Step::Found(found) => return Ok(found),
                Step::Read(at) => at,
            };
            let entry = self.0.committed(&Place::Map(at.lane.0), at.offset.0 as usize, at.offset.0 as usize + 1).next();
            let Some(Entry::State(_, Some(value))) = entry else {
                return Err(format!("no block of the map is at {at:?}"));
            };
            let block = Block::decode(value).map_err(|error| error.to_string())?;
            if block.search().start() != at.start {
                return Err(format!("another block of the map than {at:?} is there"));
            }
            step = block.search().find(wanted);
        }
    }
}

/// Compares the stored maps with the truth.
pub(crate) fn check(truths: &BTreeMap<Tp, Truth>, logs: &Logs, lanes: u16) -> Result<(), String> {
    // A partition that was handed over has a record in the lane before, with the same number of moves.
    let mut records: BTreeMap<Tp, (bool, PartitionRecord)> = BTreeMap::new();
    for lane in 0..lanes {
        let place = Place::State(lane);
        let entries = fold(logs.committed(&place, 0, logs.high_watermark(&place)));
        let state = LaneState::fold(LaneId(lane), "sim", "source", &entries).map_err(|error| error.to_string())?;
        let moved = state.moved.into_iter().map(|(key, moved)| (key, false, moved.record));
        let present = state.partitions.into_iter().map(|(key, record)| (key, true, record));
        for (key, is_present, record) in present.chain(moved) {
            let newest = records.entry((key.topic, key.partition)).or_insert_with(|| (is_present, record.clone()));
            if (newest.1.moves, newest.0) < (record.moves, is_present) {
                *newest = (is_present, record);
            }
        }
    }
    for (tp, truth) in truths {
        let (_, record) = records.get(tp).ok_or_else(|| format!("{tp:?}: no record, and no map"))?;
        truth.compare(record, &Blocks(logs)).map_err(|wrong| format!("map of {tp:?}: {wrong}"))?;
    }
    Ok(())
}
