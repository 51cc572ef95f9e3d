//! Translation of offsets between source and target, by the offset maps of a link.
//!
//! The newest ranges are in the memory of the lanes, which answer with a copy. Where no lane is open, as on a receiver whose
//! sender is gone, they are read from the state. Older ranges are in blocks of the map topic: a search reads few of them, on
//! threads of its own, and blocks that were read stay in memory as long as there is room.
//!
//! - `query`: the requests and their answers
//! - `aim`: target positions of consumer groups
//! - `known_maps`: maps of a link's partitions as of now
//! - `block_cache`: blocks in memory
//! - `carried`: topics with a position

pub(crate) mod aim;
mod block_cache;
mod carried;
pub(crate) mod known_maps;
mod query;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka::catalog::{Catalog, only};
use kafka::log::FirstSince;
use service::lock::Lock;
use wire::halt::HaltReason;
use wire::ids::{LaneId, Offset, Position};

use crate::lane::known_map::KnownMap;
use crate::lane::uncovered::end;
use crate::link::ServedLink;
use crate::link::blocking::Blocking;
use crate::target::map::blocks::BlockRef;
use crate::target::map::search::{Found, Step, Wanted};
use crate::target::map::{MapPart, MapRange};
use crate::target::state::PartitionRecord;
use crate::target::{Extent, StateAccess, StateEntry, StoredBlock, Target, TargetError, TargetPartition, state};
use aim::{Aim, SourcePosition, TargetPosition};
use block_cache::{BlockCache, BlockPlace, KnownBlock};
pub(crate) use carried::carried_topics;
use known_maps::KnownMaps;
use query::Query;
pub use query::{PartitionOffset, Place, TranslateRequest, Translation, TranslationState};

/// Time limit of one request: the admin port has 8 s for each.
const WITHIN: Duration = Duration::from_secs(7);
/// Time limit of a search for a link's first record, which may have to read all its blocks.
const FIRST_WITHIN: Duration = Duration::from_secs(600);
/// Requests that may search at the same time.
const SEARCHES_MAX: usize = 2;
/// Blocks of a search. It needs a tenth of them for the longest chain.
const BLOCKS_MAX: usize = 2048;

/// Maps that the target stores.
pub(crate) trait StoredMaps: Send + Sync {
    fn state(&self, link: &str, lane: LaneId) -> Result<Vec<StateEntry>, TargetError>;
    /// Returns blocks near an offset of a lane's partition of the map topic; none if that offset was deleted.
    fn blocks(&self, link: &str, lane: LaneId, near: Offset) -> Result<Vec<StoredBlock>, TargetError>;
    /// Reads a topic of the link's own, which has one partition; nothing if it does not exist.
    fn own_topic(&self, topic: &str) -> Result<Vec<StateEntry>, TargetError>;
    /// Returns the timestamp of the record at an offset in ms since the Unix epoch; `None` if it was deleted or has none.
    fn timestamp(&self, at: &TargetPartition, offset: Offset) -> Result<Option<i64>, TargetError>;
    /// Looks for the first record of a partition since a time, from a position on.
    fn first_since(&self, at: &TargetPartition, from: Position, time: i64) -> Result<FirstSince, TargetError>;
}

impl<T: Target> StoredMaps for T {
    fn state(&self, link: &str, lane: LaneId) -> Result<Vec<StateEntry>, TargetError> {
        self.states()?.read(&state::partition(link, lane), Extent::LastStable)
    }

    fn blocks(&self, link: &str, lane: LaneId, near: Offset) -> Result<Vec<StoredBlock>, TargetError> {
        self.states()?.read_blocks(&state::map_partition(link, lane), near)
    }

    fn own_topic(&self, topic: &str) -> Result<Vec<StateEntry>, TargetError> {
        match self.states()?.read(&TargetPartition::new(topic, 0), Extent::LastStable) {
            Err(TargetError::StateGone(_)) => Ok(Vec::new()),
            read => read,
        }
    }

    fn timestamp(&self, at: &TargetPartition, offset: Offset) -> Result<Option<i64>, TargetError> {
        self.states()?.timestamp(at, offset)
    }

    fn first_since(&self, at: &TargetPartition, from: Position, time: i64) -> Result<FirstSince, TargetError> {
        self.states()?.first_since(at, from, time)
    }
}

/// Where a link's first record at or after a position of a target partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstWritten {
    At(Offset),
    /// The link has written no such record.
    Nowhere,
    /// The map does not go back so far.
    BeforeMap,
    /// The link wrote there before that position, too.
    Throughout,
}

/// Translator of a receiver.
pub(crate) struct Translator {
    stored: Arc<dyn StoredMaps>,
    blocks: Lock<BlockCache>,
    searches: Blocking,
    /// Places of the searches for consumer groups, which delay no operator.
    group_searches: Blocking,
}

impl Translator {
    pub(crate) fn new(stored: Arc<dyn StoredMaps>) -> Self {
        Self {
            stored,
            blocks: Lock::default(),
            searches: Blocking::new(SEARCHES_MAX),
            group_searches: Blocking::new(SEARCHES_MAX),
        }
    }

    /// Translates the offsets of a request, in their order.
    pub(crate) async fn translate(
        self: Arc<Self>,
        link: Arc<ServedLink>,
        request: TranslateRequest,
    ) -> Result<Vec<Translation>, String> {
        let late = || format!("the target has not answered within {} s; try again", WITHIN.as_secs());
        let deadline = Instant::now() + WITHIN;
        let work = self.answer_all(link, request.queries()?, deadline);
        tokio::time::timeout(WITHIN, work).await.unwrap_or_else(|_| Err(late()))
    }

    async fn answer_all(
        self: Arc<Self>,
        link: Arc<ServedLink>,
        queries: Vec<Query>,
        deadline: Instant,
    ) -> Result<Vec<Translation>, String> {
        let in_memory = KnownMaps::of_lanes(&link.overview().lanes, &queries).await;
        let name = link.settings().name.clone();
        let searches = self.searches.clone();
        let search = move || {
            let known = match in_memory {
                Some(known) => known,
                None => KnownMaps::stored(&*self.stored, &name, &*link.catalog).map_err(|error| error.to_string())?,
            };
            let search = Search { translator: &self, link: &name, catalog: &*link.catalog, deadline };
            queries.iter().map(|query| search.answer(&known, query)).collect()
        };
        searches.run(search).await.unwrap_or_else(|| Err("the search failed".to_owned()))
    }
}

impl Translator {
    /// Translates positions, in their order. Those that the time does not suffice for have an error of their own. `None` if
    /// not all lanes of the link answer: what is stored may be another receiver's by now.
    pub(crate) async fn aims(
        self: Arc<Self>,
        link: Arc<ServedLink>,
        asked: Vec<SourcePosition>,
    ) -> Option<Vec<Result<Aim, String>>> {
        let queries: Vec<_> = asked.into_iter().map(|one| Query::of(one.partition, one.position)).collect();
        let known = KnownMaps::of_lanes(&link.overview().lanes, &queries).await?;
        self.aims_of(link, Arc::new(known), queries).await
    }

    /// Translates positions by these maps.
    pub(crate) async fn aims_by(
        self: Arc<Self>,
        link: Arc<ServedLink>,
        known: Arc<KnownMaps>,
        asked: Vec<SourcePosition>,
    ) -> Option<Vec<Result<Aim, String>>> {
        let queries = asked.into_iter().map(|one| Query::of(one.partition, one.position)).collect();
        self.aims_of(link, known, queries).await
    }

    /// Returns what the target has stored.
    pub(crate) fn stored(&self) -> Arc<dyn StoredMaps> {
        Arc::clone(&self.stored)
    }

    /// Finds the first record that a link wrote at or after a position of its target partition. Blocks.
    pub(crate) fn first_written(
        &self,
        link: &str,
        catalog: &dyn Catalog,
        map: &KnownMap,
        from: Position,
    ) -> Result<FirstWritten, String> {
        let search = Search { translator: self, link, catalog, deadline: Instant::now() + FIRST_WITHIN };
        match search.find(map, Wanted::Source(Offset(from.0)))? {
            Found::Record(_) => match search.find(map, Wanted::Source(Offset(from.0 - 1)))? {
                Found::Before => Ok(FirstWritten::At(Offset(from.0))),
                _ => Ok(FirstWritten::Throughout),
            },
            Found::Next(_) => Ok(FirstWritten::Throughout),
            // The map has begun again, and does not have the records before.
            Found::After(None) if map.record.delivered > 0 => Ok(FirstWritten::BeforeMap),
            Found::After(_) => Ok(FirstWritten::Nowhere),
            Found::Before => {
                let first = search.first(map)?.map(|first| FirstWritten::At(first.target));
                Ok(first.unwrap_or(FirstWritten::BeforeMap))
            }
        }
    }

    /// Returns the position at the source of a position in the target: everything before either is the same. `None` if the map
    /// does not go back so far. Blocks.
    pub(crate) fn source_position(
        &self,
        link: &str,
        catalog: &dyn Catalog,
        map: &KnownMap,
        target: Position,
    ) -> Result<Option<Position>, String> {
        let search = Search { translator: self, link, catalog, deadline: Instant::now() + WITHIN };
        Ok(match search.find(map, Wanted::Source(Offset(target.0)))? {
            Found::Record(offset) | Found::Next(offset) => Some(Position(offset.0)),
            Found::After(Some(_)) => Some(map.record.position),
            Found::After(None) => (end(&map.record) == Some(target)).then_some(map.record.position),
            Found::Before => None,
        })
    }

    async fn aims_of(
        self: Arc<Self>,
        link: Arc<ServedLink>,
        known: Arc<KnownMaps>,
        queries: Vec<Query>,
    ) -> Option<Vec<Result<Aim, String>>> {
        let name = link.settings().name.clone();
        let deadline = Instant::now() + WITHIN;
        let searches = self.group_searches.clone();
        let search = move || {
            let search = Search { translator: &self, link: &name, catalog: &*link.catalog, deadline };
            queries.iter().map(|query| search.aim(&known, query)).collect()
        };
        searches.run(search).await
    }
}

/// Returns the position in the target before which the link has written nothing, as far as its record tells.
fn own_from(record: &PartitionRecord) -> Position {
    let known = record.map.search().filter(|map| map.end().is_some());
    known.map_or(record.target_end, |map| map.oldest_known().target)
}

/// Search in the maps of one link.
struct Search<'a> {
    translator: &'a Translator,
    link: &'a str,
    catalog: &'a dyn Catalog,
    deadline: Instant,
}

impl Search<'_> {
    fn answer(&self, known: &KnownMaps, query: &Query) -> Result<Translation, String> {
        let Some(map) = known.of(query) else { return Ok(query.unknown()) };
        let position = map.record.position;
        let wanted = match query.wanted() {
            Ok(wanted) => wanted,
            Err(time) => return self.first_since(map, query, time),
        };
        if let Wanted::Target(offset) = wanted
            && offset.0 >= position.0
        {
            return Ok(query.answer(map, TranslationState::NotCarried, None));
        }
        Ok(match (self.find(map, wanted)?, wanted) {
            (Found::Record(offset), _) => query.answer(map, TranslationState::Record, Some(offset.0)),
            (Found::Next(offset), _) => query.answer(map, TranslationState::NoRecord, Some(offset.0)),
            (Found::After(end), Wanted::Target(_)) => {
                query.answer(map, TranslationState::NoRecord, end.map(|end| end.0))
            }
            (Found::After(_), Wanted::Source(_)) => query.answer(map, TranslationState::NotCarried, None),
            (Found::Before, _) => query.answer(map, TranslationState::BeforeMap, None),
        })
    }

    /// Finds the first carried record since a time. The target's index of times leads to a marker too, which has the time
    /// of its transaction: so records are read from there on.
    fn first_since(&self, map: &KnownMap, query: &Query, time: i64) -> Result<Translation, String> {
        let target = map.record.target();
        let from = only(self.catalog.positions_at(std::slice::from_ref(&target), time));
        let mut from = from.map_err(|error| error.to_string())?;
        loop {
            self.check_time()?;
            let found = self.translator.stored.first_since(&target, from, time).map_err(|error| error.to_string())?;
            let at = match found {
                FirstSince::At(offset) => offset,
                FirstSince::Nowhere => return Ok(query.answer(map, TranslationState::NotCarried, None)),
                FirstSince::From(position) => Offset(position.0),
            };
            return Ok(match (self.find(map, Wanted::Source(at))?, found) {
                (Found::Record(source), FirstSince::At(_)) => {
                    query.answer_both(map, TranslationState::Record, source, at)
                }
                (Found::Record(source) | Found::Next(source), FirstSince::From(_)) => {
                    query.answer_both(map, TranslationState::Later, source, at)
                }
                (Found::Before, _) => query.answer(map, TranslationState::BeforeMap, None),
                // It is behind what the map knew, or the record of another program.
                _ => {
                    from = Position::after(at);
                    continue;
                }
            });
        }
    }

    fn check_time(&self) -> Result<(), String> {
        match Instant::now() >= self.deadline {
            true => Err("the search took too long; try again with fewer offsets".to_owned()),
            false => Ok(()),
        }
    }

    fn aim(&self, known: &KnownMaps, query: &Query) -> Result<Aim, String> {
        let Some(map) = known.of(query) else { return Ok(Aim::NotCarried) };
        let Ok(Wanted::Target(asked)) = query.wanted() else { return Ok(Aim::NotCarried) };
        let halt = map.record.halt.as_ref().and_then(|halt| HaltReason::of(&halt.reason));
        // Behind these positions are records that the link has not written.
        if matches!(halt, Some(HaltReason::TargetReplaced | HaltReason::SwitchedOver)) {
            return Ok(Aim::NotCarried);
        }
        let carried = map.record.position.0;
        let is_exact = asked.0 <= carried;
        let target = map.record.target();
        let own = own_from(&map.record);
        let at = |position: i64| {
            Aim::At(TargetPosition { partition: target.clone(), position: Position(position), is_exact, own })
        };
        // A position is that of the next record: nothing before it is missing where everything before it is carried.
        Ok(match self.find(map, Wanted::Target(Offset(asked.0.min(carried))))? {
            Found::Record(offset) | Found::Next(offset) => at(offset.0),
            Found::After(Some(end)) => at(end.0),
            Found::After(None) => Aim::Empty { target: target.clone(), is_exact, own },
            Found::Before => Aim::BeforeMap,
        })
    }

    fn find(&self, map: &KnownMap, wanted: Wanted) -> Result<Found, String> {
        // A map that has not begun says nothing of the records that an earlier version carried.
        let Some(part) = map.record.map.search() else { return Ok(Found::Before) };
        let mut step = part.find(wanted);
        for _ in 0..BLOCKS_MAX {
            let at = match step {
                Step::Found(found) => return Ok(found),
                Step::Read(at) => at,
            };
            self.check_time()?;
            let Some(block) = self.block(map, at)? else { return Ok(Found::Before) };
            step = block.block.search().find(wanted);
        }
        Err(format!("{}: the blocks of its map are damaged", map.key))
    }

    /// Returns the first range of a map that has every record of its link; `None` if it has not.
    fn first(&self, map: &KnownMap) -> Result<Option<MapRange>, String> {
        let count = |part: MapPart<'_>| part.ranges().map(|range| range.count).sum::<u64>();
        let Some(part) = map.record.map.search() else { return Ok(None) };
        let mut records = count(part);
        let mut first = part.ranges().next();
        let mut before = part.previous();
        loop {
            let Some(at) = before else { return Ok(first.filter(|_| records == map.record.delivered)) };
            self.check_time()?;
            let Some(block) = self.block(map, at)? else { return Ok(None) };
            let part = block.block.search();
            records += count(part);
            first = part.ranges().next();
            before = part.previous();
        }
    }

    /// Returns a block of a partition's map; `None` if it was deleted, or is another one because the topic was.
    fn block(&self, map: &KnownMap, at: BlockRef) -> Result<Option<Arc<KnownBlock>>, String> {
        let place = BlockPlace { link: self.link.to_owned(), lane: at.lane, offset: at.offset };
        let key = state::partition_key(&map.source_cluster, &map.key);
        let fits = |known: &Arc<KnownBlock>| known.key == key && known.block.search().start() == at.start;
        if let Some(known) = self.translator.blocks.lock().get(&place).filter(fits) {
            return Ok(Some(known));
        }
        let read = self.translator.stored.blocks(self.link, at.lane, at.offset);
        let read = read.map_err(|error| error.to_string())?;
        let mut blocks = self.translator.blocks.lock();
        for stored in read {
            blocks.add(BlockPlace { offset: stored.offset, ..place.clone() }, stored);
        }
        Ok(blocks.get(&place).filter(fits))
    }
}
