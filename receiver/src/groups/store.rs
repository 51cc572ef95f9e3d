//! Topic that keeps the ledger of a link: `__causeway.<link>.groups`, compacted, with one partition.
//!
//! It is written by a transactional producer with an id of the link: a receiver that has lost the link is fenced, and must
//! not commit what it cannot store.

use std::time::Duration;

use kafka::catalog::Catalog;
use service::log_limit::LogLimit;
use wire::ids::Offset;
use wire::origin;

use super::ledger::{GroupKey, Ledger};
use crate::link::own_topic::{create, described};
use crate::target::custody::WriterId;
use crate::target::{Extent, StateAccess, StateEntry, Target, TargetError, TargetPartition, TargetWriter};
use crate::writer::Writers;

/// Time for the producer to be initialised: an earlier transaction may have to end first.
const FENCE_WITHIN: Duration = Duration::from_secs(20);
/// Settings of the topic. Its loss costs nothing but that present offsets look like those of another client.
const CONFIGS: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("compression.type", "producer"),
    ("min.cleanable.dirty.ratio", "0.1"),
    ("segment.bytes", "16777216"),
    ("unclean.leader.election.enable", "false"),
];

/// Returns the topic of a link's groups.
pub(crate) fn topic(link: &str) -> String {
    format!("__causeway.{link}.groups")
}

/// Store of one link's ledger.
pub(crate) trait GroupStore: Send {
    /// Stores entries. Error: the store must be opened again.
    fn write(&mut self, entries: &[StateEntry]) -> Result<(), TargetError>;
}

/// Stores of all links. Calls block.
pub(crate) trait GroupStores: Send + Sync {
    /// Fences every earlier store of the link, and reads its ledger.
    fn open(&self, link: &str) -> Result<(Box<dyn GroupStore>, Ledger), TargetError>;
}

impl<T: Target> GroupStores for Writers<T> {
    fn open(&self, link: &str) -> Result<(Box<dyn GroupStore>, Ledger), TargetError> {
        let mut store = WriterStore { writer: self.spare_writer()?, at: TargetPartition::new(topic(link), 0) };
        store.writer.fence(&WriterId::named(format!("causeway.{link}.groups")), FENCE_WITHIN)?;
        // What is read reaches to a record that this producer has committed after it fenced the others.
        let barrier = StateEntry::new(origin::encode(&GroupKey::Barrier), None);
        let end = store.commit(&[barrier])?;
        let stored = self.states()?.read(&store.at, Extent::Through(end))?;
        let refused = |reason: String| TargetError::Groups { topic: topic(link), reason };
        let ledger = Ledger::fold(&stored).map_err(|error| refused(format!("a record of groups {error}")))?;
        Ok((Box::new(store), ledger))
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
            || TargetError::Groups { topic: self.at.topic.to_string(), reason: "no delivery report".into() };
        end.ok_or_else(unreported)
    }
}

impl<W: TargetWriter> GroupStore for WriterStore<W> {
    fn write(&mut self, entries: &[StateEntry]) -> Result<(), TargetError> {
        self.commit(entries).map(drop)
    }
}

/// Makes sure that the topic of a link exists.
pub(crate) fn prepare(catalog: &dyn Catalog, link: &str, replication: Option<i32>) -> Result<(), TargetError> {
    let name = topic(link);
    if described(catalog, std::slice::from_ref(&name))?.is_some() {
        return Ok(());
    }
    tracing::info!(topic = name, "creating the link's topic of groups");
    Ok(create(catalog, &name, 1, replication, CONFIGS)?)
}

/// Log of problems with groups: some lines of each kind.
#[derive(Default)]
pub(crate) struct GroupLog {
    lines: LogLimit,
    last: Option<String>,
}

impl GroupLog {
    /// Logs a problem, unless it is the last one again.
    pub(crate) fn warn(&mut self, link: &str, problem: &str) {
        if self.last.as_deref() == Some(problem) {
            return;
        }
        self.last = Some(problem.to_owned());
        if let Some(left_out) = self.lines.poll(std::time::Instant::now()) {
            tracing::warn!(link, problem, left_out, "offsets of consumer groups cannot be committed now");
        }
    }

    pub(crate) fn clear(&mut self) {
        self.last = None;
    }
}
