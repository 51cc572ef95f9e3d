//! Maps of a link's partitions as of now: those of its lanes, or else those that are stored.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use kafka::catalog::{Catalog, described};
use tokio::sync::oneshot;
use wire::ids::LaneId;
use wire::partition::Partition;

use super::StoredMaps;
use super::query::{Query, Side};
use crate::lane::handle::{Command, LaneHandle};
use crate::lane::known_map::{KnownMap, WantedMaps};
use crate::target::state::{self, LaneState};
use crate::target::{TargetError, TargetPartition};

/// Time for which lanes are waited for: they may be busy with a transaction, and longer with an opening.
const LANES_WITHIN: Duration = Duration::from_secs(2);

/// Newest maps of partitions.
#[derive(Debug, Default)]
pub(crate) struct KnownMaps {
    by_source: HashMap<Partition, KnownMap>,
    by_target: HashMap<TargetPartition, Partition>,
}

/// Returns the partitions whose maps are needed.
fn wanted(queries: &[Query]) -> WantedMaps {
    let mut wanted = WantedMaps::default();
    for query in queries {
        match query.side {
            Side::Source => wanted.sources.push(query.asked.partition.clone()),
            Side::Target => wanted.targets.push(query.asked.partition.clone()),
        }
    }
    for partitions in [&mut wanted.sources, &mut wanted.targets] {
        partitions.sort_unstable();
        partitions.dedup();
    }
    wanted
}

impl KnownMaps {
    /// Asks the lanes. `None` if not all of them are open, or they do not answer in time.
    pub(super) async fn of_lanes(lanes: &[LaneHandle], queries: &[Query]) -> Option<Self> {
        Self::wanted(lanes, wanted(queries)).await
    }

    /// Asks the lanes for partitions of the source, which are in order. `None` if not all of them are open, or they do not
    /// answer in time.
    pub(crate) async fn of_sources(lanes: &[LaneHandle], sources: Vec<Partition>) -> Option<Self> {
        Self::wanted(lanes, WantedMaps { sources, targets: Vec::new() }).await
    }

    async fn wanted(lanes: &[LaneHandle], wanted: WantedMaps) -> Option<Self> {
        let wanted = Arc::new(wanted);
        let mut answers = Vec::new();
        for lane in lanes {
            let (answer, answered) = oneshot::channel();
            lane.mailbox.push(Command::Maps { wanted: Arc::clone(&wanted), answer }).ok()?;
            answers.push(answered);
        }
        let mut known = Self::default();
        let gather = async {
            for answered in answers {
                answered.await.ok()?.into_iter().for_each(|map| known.add(map));
            }
            Some(())
        };
        tokio::time::timeout(LANES_WITHIN, gather).await.ok().flatten().filter(|()| !lanes.is_empty())?;
        Some(known)
    }

    /// Reads what is stored of all lanes.
    pub(super) fn stored(stored: &dyn StoredMaps, link: &str, catalog: &dyn Catalog) -> Result<Self, TargetError> {
        let mut known = Self::default();
        let Some(topic) = described(catalog, &[state::topic(link)])? else { return Ok(known) };
        for lane in (0..topic.partitions).filter_map(|lane| u16::try_from(lane).ok()).map(LaneId) {
            let entries = stored.state(link, lane)?;
            let Some(record) = LaneState::lane_record(lane, &entries)? else { continue };
            known.add_state(LaneState::fold(lane, link, &record.source_cluster, &entries)?);
        }
        Ok(known)
    }

    /// Returns the maps in these states of all lanes.
    pub(crate) fn of_states(states: Vec<LaneState>) -> Self {
        let mut known = Self::default();
        states.into_iter().for_each(|state| known.add_state(state));
        known
    }

    fn add_state(&mut self, state: LaneState) {
        let source_cluster = state.lane.map(|lane| lane.source_cluster).unwrap_or_default();
        let moved = state.moved.into_iter().map(|(key, moved)| (key, moved.record, false));
        let present = state.partitions.into_iter().map(|(key, record)| (key, record, true));
        for (key, record, is_present) in present.chain(moved) {
            self.add(KnownMap { source_cluster: source_cluster.clone(), key, record, is_present });
        }
    }

    /// Returns each partition with its newest record.
    pub(crate) fn all(&self) -> impl Iterator<Item = &KnownMap> {
        self.by_source.values()
    }

    /// Returns the target partition of a partition that is carried.
    pub(crate) fn target_of(&self, source: &Partition) -> Option<TargetPartition> {
        self.by_source.get(source).map(|map| map.record.target())
    }

    /// Adds a record, unless a newer one is known: a partition that was handed over has one in each lane that had it, and
    /// that of the last hand-over has the same number of moves as the present one.
    pub(super) fn add(&mut self, map: KnownMap) {
        self.by_target.insert(map.record.target(), map.key.clone());
        match self.by_source.entry(map.key.clone()) {
            Entry::Vacant(place) => drop(place.insert(map)),
            Entry::Occupied(mut place) if place.get().age() < map.age() => drop(place.insert(map)),
            Entry::Occupied(_) => {}
        }
    }

    /// Returns the map of the partition that went to a target partition.
    pub(crate) fn of_target(&self, target: &TargetPartition) -> Option<&KnownMap> {
        self.by_source.get(self.by_target.get(target)?)
    }

    pub(super) fn of(&self, query: &Query) -> Option<&KnownMap> {
        match query.side {
            Side::Source => self.by_source.get(&query.asked.partition),
            Side::Target => self.of_target(&query.asked.partition),
        }
    }
}
