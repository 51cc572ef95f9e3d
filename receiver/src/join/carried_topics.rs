//! What a link's state says as a whole, gathered while its lanes open: which topics it already carries.
//!
//! An initial position is recorded only after every state partition of the link was read and none knows
//! the topic; until then nobody can tell a new topic from one that another lane carries. And a position is orphaned
//! only where no lane was offered its partition, which changes lanes with its class.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::ids::LaneId;

use wire::partition::Partition;

/// The topics of one link, shared by its lanes for one session.
#[derive(Debug)]
pub struct Knowledge {
    lanes: u16,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    read: BTreeSet<LaneId>,
    topics: HashSet<Arc<str>>,
    offered: HashSet<Partition>,
    all_offered: BTreeSet<LaneId>,
}

impl Knowledge {
    /// Nothing read yet, of a link with `lanes` lanes.
    pub fn new(lanes: u16) -> Self {
        Self { lanes, inner: Mutex::default() }
    }

    /// The state of `lane` was read and carries these topics.
    pub fn handle_lane_read<'a>(&self, lane: LaneId, topics: impl Iterator<Item = &'a Arc<str>>) {
        let mut inner = self.lock();
        inner.topics.extend(topics.cloned());
        inner.read.insert(lane);
    }

    /// Whether the link carries `topic` in any lane; `None` until all lanes were read.
    pub fn carries(&self, topic: &str) -> Option<bool> {
        let inner = self.lock();
        (inner.read.len() >= usize::from(self.lanes)).then(|| inner.topics.contains(topic))
    }

    /// The sender offers a partition to one of the lanes.
    pub fn handle_offered(&self, key: Partition) {
        self.lock().offered.insert(key);
    }

    /// The sender has offered `lane` all it has for it. Returns whether that was the last lane.
    pub fn handle_all_offered(&self, lane: LaneId) -> bool {
        let mut inner = self.lock();
        inner.all_offered.insert(lane) && inner.all_offered.len() >= usize::from(self.lanes)
    }

    /// Whether every lane was offered all the sender has for it.
    pub fn is_all_offered(&self) -> bool {
        self.lock().all_offered.len() >= usize::from(self.lanes)
    }

    /// Takes from `keys` those that were offered to any lane.
    pub fn keep_orphans(&self, keys: &mut HashSet<Partition>) {
        let inner = self.lock();
        keys.retain(|key| !inner.offered.contains(key));
    }

    /// Whether all lanes were read.
    pub fn is_complete(&self) -> bool {
        self.lock().read.len() >= usize::from(self.lanes)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_new_until_every_lane_was_read() {
        let knowledge = Knowledge::new(2);
        let topics: [Arc<str>; 1] = ["orders".into()];
        knowledge.handle_lane_read(LaneId(0), topics.iter());
        knowledge.handle_lane_read(LaneId(0), [].iter());
        assert_eq!(knowledge.carries("payments"), None);
        knowledge.handle_lane_read(LaneId(1), [].iter());
        assert_eq!(knowledge.carries("payments"), Some(false));
        assert_eq!(knowledge.carries("orders"), Some(true));
    }

    #[test]
    fn a_partition_that_another_lane_is_offered_is_nobodys_orphan() {
        let knowledge = Knowledge::new(2);
        let key = |topic: &str| Partition { topic: topic.into(), partition: 0 };
        knowledge.handle_offered(key("payments"));
        assert!(!knowledge.handle_all_offered(LaneId(0)) && !knowledge.is_all_offered());
        assert!(knowledge.handle_all_offered(LaneId(1)) && knowledge.is_all_offered());
        assert!(!knowledge.handle_all_offered(LaneId(1)), "said once");
        let mut stored = HashSet::from([key("orders"), key("payments")]);
        knowledge.keep_orphans(&mut stored);
        assert_eq!(stored, HashSet::from([key("orders")]));
    }
}
