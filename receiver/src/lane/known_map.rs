//! Copies of partition records with their offset maps, for the translation of offsets.

use tokio::sync::oneshot;
use wire::partition::Partition;

use super::open_lane::{Lane, Open};
use crate::target::state::PartitionRecord;
use crate::target::{LaneTarget, TargetPartition};

/// Record of a partition, with its map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownMap {
    pub(crate) source_cluster: String,
    /// Partition of the source.
    pub(crate) key: Partition,
    pub(crate) record: PartitionRecord,
    /// False if the lane has handed the partition over.
    pub(crate) is_present: bool,
}

/// Partitions whose maps are wanted, of either side, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedMaps {
    pub(crate) sources: Vec<Partition>,
    pub(crate) targets: Vec<TargetPartition>,
}

impl KnownMap {
    /// Returns what is higher for the newer of two records.
    pub(crate) fn age(&self) -> (u32, bool) {
        (self.record.moves, self.is_present)
    }
}

impl<T: LaneTarget> Lane<T> {
    /// Answers with the wanted maps that the lane has. There is no answer if it is not open, or its last transaction is not
    /// decided.
    pub(crate) fn answer_maps(&self, wanted: &WantedMaps, answer: oneshot::Sender<Vec<KnownMap>>) {
        if let Some(open) = self.open.as_ref().filter(|_| !self.needs_recovery()) {
            // The request may be over.
            let _ = answer.send(open.known_maps(wanted));
        }
    }
}

impl Open {
    fn known_maps(&self, wanted: &WantedMaps) -> Vec<KnownMap> {
        let Self { stored, handovers, .. } = self;
        let known = |key: &Partition, record: &PartitionRecord, is_present| KnownMap {
            source_cluster: stored.terms.source_cluster.clone(),
            key: key.clone(),
            record: record.clone(),
            is_present,
        };
        let of_source = |key| {
            let moved = || handovers.handed_over.get(key).map(|moved| known(key, &moved.record, false));
            stored.partitions.get(key).map(|record| known(key, record, true)).or_else(moved)
        };
        let mut maps: Vec<_> = wanted.sources.iter().filter_map(of_source).collect();
        if !wanted.targets.is_empty() {
            let is_wanted = |record: &PartitionRecord| wanted.targets.binary_search(&record.target()).is_ok();
            let present = stored.partitions.iter().filter(|(_, record)| is_wanted(record));
            maps.extend(present.map(|(key, record)| known(key, record, true)));
            let moved = handovers.handed_over.iter().filter(|(_, moved)| is_wanted(&moved.record));
            maps.extend(moved.map(|(key, moved)| known(key, &moved.record, false)));
        }
        maps
    }
}
