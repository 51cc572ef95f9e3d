//! Answers from maps whose older ranges are in blocks.

use testkit::MemoryCatalog;
use wire::ids::{Position, TopicId};
use wire::partition::Partition;

use super::*;
use crate::target::map::PartitionMap;
use crate::target::state::PartitionRecord;

const LANE: LaneId = LaneId(2);

/// Map topic with the blocks of one partition.
struct MapTopic(Vec<StoredBlock>);

impl StoredMaps for MapTopic {
    fn state(&self, _: &str, _: LaneId) -> Result<Vec<StateEntry>, TargetError> {
        Ok(Vec::new())
    }

    fn blocks(&self, link: &str, lane: LaneId, near: Offset) -> Result<Vec<StoredBlock>, TargetError> {
        assert_eq!((link, lane), ("l", LANE));
        Ok(self.0.iter().filter(|block| block.offset == near).cloned().collect())
    }

    fn own_topic(&self, _: &str) -> Result<Vec<StateEntry>, TargetError> {
        Ok(Vec::new())
    }

    fn timestamp(&self, _: &TargetPartition, _: Offset) -> Result<Option<i64>, TargetError> {
        Ok(None)
    }

    fn first_since(&self, _: &TargetPartition, _: Position, _: i64) -> Result<FirstSince, TargetError> {
        Ok(FirstSince::Nowhere)
    }
}

/// Partition whose record `source` went to target offset 2 × `source`, in 100 transactions.
fn carried() -> (KnownMap, MapTopic) {
    let key = Partition::new("orders", 3);
    let mut map = PartitionMap::beginning(Position(10));
    let mut blocks = Vec::new();
    for source in 10..110 {
        let block = map.block(30);
        map.append(Offset(source));
        map.predict();
        map.prove([2 * source].into_iter().collect(), Position(source + 1));
        if let Some(block) = block {
            let offset = Offset(7 * blocks.len() as i64);
            map.handle_block(&block, LANE, offset);
            let key = state::partition_key("fra", &key);
            blocks.push(StoredBlock { offset, key, value: block.encode() });
        }
    }
    let record = PartitionRecord {
        topic_id: TopicId::UNKNOWN,
        position: Position(120),
        leader_epoch: -1,
        target_topic: "fra.orders".to_owned(),
        target_topic_id: TopicId::UNKNOWN,
        target_partition: 3,
        target_end: Position(0),
        delivered: 100,
        skipped: 0,
        holes: 10,
        halt: None,
        moves: 0,
        map,
    };
    assert!(blocks.len() > 3, "{} blocks", blocks.len());
    (KnownMap { source_cluster: "fra".to_owned(), key, record, is_present: true }, MapTopic(blocks))
}

/// Translates one offset. Returns the state and the offset of the answer.
fn answer(known: &KnownMaps, translator: &Translator, offset: &str, reverse: bool) -> (TranslationState, Option<i64>) {
    let request = TranslateRequest { link: None, reverse, offsets: vec![offset.parse().expect("an offset")] };
    let catalog = MemoryCatalog::new("target");
    let search = Search { translator, link: "l", catalog: &catalog, deadline: Instant::now() + WITHIN };
    let answer = search.answer(known, &request.queries().expect("valid")[0]).expect("found");
    (answer.state, answer.offset)
}

fn known(map: KnownMap) -> KnownMaps {
    let mut known = KnownMaps::default();
    known.add(map);
    known
}

#[test]
fn every_answer_says_what_the_map_knows() {
    use TranslationState::{BeforeMap, NoRecord, NotCarried, Record, UnknownPartition};
    let (map, topic) = carried();
    let known = known(map);
    let translator = Translator::new(Arc::new(topic));
    for (offset, expected) in [
        ("orders/3@9", (BeforeMap, None)),
        ("orders/3@10", (Record, Some(20))),
        ("orders/3@55", (Record, Some(110))),
        ("orders/3@109", (Record, Some(218))),
        ("orders/3@110", (NoRecord, Some(219))),
        ("orders/3@120", (NotCarried, None)),
        ("orders/4@0", (UnknownPartition, None)),
        ("fra.orders/3@0", (UnknownPartition, None)),
    ] {
        assert_eq!(answer(&known, &translator, offset, false), expected, "{offset}");
    }
    for (offset, expected) in [
        ("fra.orders/3@19", (BeforeMap, None)),
        ("fra.orders/3@20", (Record, Some(10))),
        ("fra.orders/3@21", (NoRecord, Some(11))),
        ("fra.orders/3@218", (Record, Some(109))),
        ("fra.orders/3@219", (NotCarried, None)),
        ("orders/3@20", (UnknownPartition, None)),
    ] {
        assert_eq!(answer(&known, &translator, offset, true), expected, "{offset}");
    }
}

#[test]
fn deleted_or_foreign_blocks_are_before_the_map() {
    let (map, mut topic) = carried();
    let recent = map.record.map.search().expect("it has begun").start().source.0;
    let known = known(map);
    topic.0[0].key = state::partition_key("fra", &Partition::new("orders", 4));
    let translator = Translator::new(Arc::new(topic));
    assert_eq!(answer(&known, &translator, "orders/3@10", false).0, TranslationState::BeforeMap);
    assert_eq!(answer(&known, &translator, &format!("orders/3@{}", recent - 1), false).0, TranslationState::Record);
    let translator = Translator::new(Arc::new(MapTopic(Vec::new())));
    assert_eq!(answer(&known, &translator, &format!("orders/3@{recent}"), false).0, TranslationState::Record);
    assert_eq!(answer(&known, &translator, &format!("orders/3@{}", recent - 1), false).0, TranslationState::BeforeMap);
}

#[test]
fn the_first_record_is_known_if_the_map_has_all_of_them() {
    let (map, topic) = carried();
    let catalog = MemoryCatalog::new("target");
    let first = |map: &KnownMap, topic: MapTopic, from: i64| {
        Translator::new(Arc::new(topic)).first_written("l", &catalog, map, Position(from)).expect("found")
    };
    let all = topic.0.clone();
    for (from, expected) in [(5, 20), (20, 20)] {
        assert_eq!(first(&map, MapTopic(all.clone()), from), FirstWritten::At(Offset(expected)), "from {from}");
    }
    for from in [110, 218] {
        assert_eq!(first(&map, MapTopic(all.clone()), from), FirstWritten::Throughout, "from {from}");
    }
    assert_eq!(first(&map, MapTopic(all.clone()), 219), FirstWritten::Nowhere);
    let mut again = map.clone();
    again.record.map = PartitionMap::beginning(Position(120));
    assert_eq!(first(&again, MapTopic(all.clone()), 5), FirstWritten::BeforeMap, "the map has begun again");
    assert_eq!(first(&map, MapTopic(Vec::new()), 5), FirstWritten::BeforeMap, "its blocks are deleted");
    let mut older = map;
    older.record.delivered += 1;
    assert_eq!(first(&older, MapTopic(all), 5), FirstWritten::BeforeMap, "the map began later than the link");
}

#[test]
fn newest_of_two_records_counts() {
    let (mut oldest, topic) = carried();
    let mut new = oldest.clone();
    new.record.moves = 1;
    new.record.position = Position(500);
    // Of the hand-over that made it the newest.
    let mut moved = KnownMap { is_present: false, ..new.clone() };
    moved.record.position = Position(400);
    oldest.record.position = Position(600);
    let mut known = KnownMaps::default();
    [moved.clone(), oldest, new, moved].into_iter().for_each(|map| known.add(map));
    let translator = Translator::new(Arc::new(topic));
    assert_eq!(answer(&known, &translator, "orders/3@499", false), (TranslationState::NoRecord, Some(219)));
}
