//! Groups of a link, for status and metrics.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use service::lock::Lock;
use service::status::Tally;

use super::sync::{GroupSync, OffsetState};

/// Groups of the present session, or of the last one that had some.
#[derive(Debug, Default)]
pub(crate) struct GroupBoard(Lock<Option<Arc<Lock<GroupSync>>>>);

/// Consumer groups of a link.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupsStatus {
    /// Number of groups whose offsets the sender has sent; `null` if it has sent none.
    pub groups: Option<usize>,
    /// Number of their offsets by state; see [consumer groups](../groups.md#states).
    pub offsets: Tally,
    /// Time since the newest reading of the source arrived that is committed as far as possible, in seconds; `null` before.
    pub age_seconds: Option<f64>,
}

/// Consumer group in the target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupStatus {
    /// Name of the link.
    pub link: String,
    /// Name of the group.
    pub group: String,
    /// Number of its offsets by state.
    pub offsets: Tally,
}

impl GroupBoard {
    pub(crate) fn set(&self, sync: &Arc<Lock<GroupSync>>) {
        *self.0.lock() = Some(Arc::clone(sync));
    }

    /// Returns the groups themselves.
    pub(crate) fn sync(&self) -> Option<Arc<Lock<GroupSync>>> {
        self.0.lock().clone()
    }

    fn read<R>(&self, read: impl FnOnce(&GroupSync) -> R) -> Option<R> {
        let sync = self.0.lock().clone()?;
        let sync = sync.lock();
        Some(read(&sync))
    }

    pub(crate) fn status(&self) -> GroupsStatus {
        let read = |sync: &GroupSync| {
            let mut offsets = Tally::default();
            OffsetState::ALL.iter().for_each(|state| offsets.add_many(state.word(), 0));
            let mut groups = 0;
            for (_, states) in sync.states() {
                groups += 1;
                add_states(&mut offsets, states);
            }
            let age_seconds = sync.covered().map(|at| Instant::now().duration_since(at).as_secs_f64());
            GroupsStatus { groups: Some(groups), offsets, age_seconds }
        };
        self.read(read).unwrap_or_default()
    }

    /// Returns the names of the groups of which the link has committed offsets.
    pub(crate) fn committed(&self) -> HashSet<String> {
        let is_committed = |(_, states): &(&str, BTreeMap<OffsetState, u64>)| {
            [OffsetState::Synced, OffsetState::Behind]
                .iter()
                .any(|state| states.get(state).is_some_and(|count| *count > 0))
        };
        let read = |sync: &GroupSync| sync.states().filter(is_committed).map(|(group, _)| group.to_owned()).collect();
        self.read(read).unwrap_or_default()
    }

    /// Returns each group.
    pub(crate) fn groups(&self, link: &str) -> Vec<GroupStatus> {
        let status = |(group, states): (&str, BTreeMap<OffsetState, u64>)| {
            let mut offsets = Tally::default();
            add_states(&mut offsets, states);
            GroupStatus { link: link.to_owned(), group: group.to_owned(), offsets }
        };
        self.read(|sync| sync.states().map(status).collect()).unwrap_or_default()
    }

    /// Returns problems, in sentences.
    pub(crate) fn trouble(&self) -> Vec<String> {
        self.read(GroupSync::trouble).unwrap_or_default()
    }
}

fn add_states(offsets: &mut Tally, states: BTreeMap<OffsetState, u64>) {
    states.into_iter().for_each(|(state, count)| offsets.add_many(state.word(), count));
}
