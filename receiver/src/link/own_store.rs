//! Topics that keep what a link remembers of its own work in the target: compacted, with one partition.
//!
//! Each is written by a transactional producer with an id of the link: a receiver that has lost the link is fenced, and must
//! not do what it cannot store.

use std::time::Duration;

use kafka::catalog::{Catalog, create, described};
use wire::ids::Offset;

use crate::target::custody::WriterId;
use crate::target::{Extent, StateAccess, StateEntry, Target, TargetError, TargetPartition, TargetWriter};
use crate::writer::Writers;

/// Time for the producer to be initialised: an earlier transaction may have to end first.
const FENCE_WITHIN: Duration = Duration::from_secs(20);
/// Settings of such a topic.
const CONFIGS: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("compression.type", "producer"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("segment.bytes", "16777216"),
    ("unclean.leader.election.enable", "false"),
];

/// Open store of one topic.
pub(crate) trait OwnStore: Send {
    /// Returns whether the target's credentials have changed since the store was opened, so that it should be opened again.
    fn is_outdated(&self) -> bool {
        false
    }
    /// Stores entries. Error: the store must be opened again.
    fn write(&mut self, entries: &[StateEntry]) -> Result<(), TargetError>;
}

/// Stores of all links. Calls block.
pub(crate) trait OwnStores: Send + Sync {
    /// Fences every earlier store of a topic `__causeway.<link>.<kind>`, and reads it. `barrier` is a tombstone that no entry
    /// has the key of.
    fn open(&self, topic: &str, barrier: &StateEntry) -> Result<(Box<dyn OwnStore>, Vec<StateEntry>), TargetError>;
}

impl<T: Target> OwnStores for Writers<T> {
    fn open(&self, topic: &str, barrier: &StateEntry) -> Result<(Box<dyn OwnStore>, Vec<StateEntry>), TargetError> {
        let mut store = WriterStore { writer: self.spare_writer()?, at: TargetPartition::new(topic, 0) };
        store.writer.fence(&WriterId::named(topic.trim_start_matches('_').to_owned()), FENCE_WITHIN)?;
        // What is read reaches to a record that this producer has committed after it fenced the others.
        let end = store.commit(std::slice::from_ref(barrier))?;
        let stored = self.states()?.read(&store.at, Extent::Through(end))?;
        Ok((Box::new(store), stored))
    }
}

struct WriterStore<W> {
    writer: W,
    at: TargetPartition,
}

impl<W: TargetWriter> WriterStore<W> {
    /// Commits entries in a transaction. Returns the offset of the last.
    fn commit(&mut self, entries: &[StateEntry]) -> Result<Offset, TargetError> {
        self.writer.begin()?;
        for StateEntry { key, value, .. } in entries {
            self.writer.write_state(&self.at, key, value.as_deref())?;
        }
        let reports = self.writer.drain()?;
        self.writer.commit()?;
        let end = reports.iter().find(|report| report.partition == self.at).map(|report| report.offsets.last());
        let unreported =
            || TargetError::OwnTopic { topic: self.at.topic.to_string(), reason: "no delivery report".into() };
        end.ok_or_else(unreported)
    }
}

impl<W: TargetWriter> OwnStore for WriterStore<W> {
    fn is_outdated(&self) -> bool {
        self.writer.is_outdated()
    }

    fn write(&mut self, entries: &[StateEntry]) -> Result<(), TargetError> {
        self.commit(entries).map(drop)
    }
}

/// Makes sure that such a topic exists.
pub(crate) fn prepare(catalog: &dyn Catalog, topic: &str, replication: Option<i32>) -> Result<(), TargetError> {
    let name = topic.to_owned();
    if described(catalog, std::slice::from_ref(&name))?.is_some() {
        return Ok(());
    }
    tracing::info!(topic = name, "creating a topic of the link");
    Ok(create(catalog, &name, 1, replication, CONFIGS)?)
}
