//! Topics that a link already carries, collected from the state of all its lanes while they open.
//!
//! An initial position is recorded only after every state partition of the link was read and none contains the topic:
//! until then a new topic looks like one that another lane carries. And a position is orphaned only where no lane was
//! offered its partition, because a partition changes lanes with its class.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use service::lock::Lock;
use wire::ids::LaneId;
use wire::partition::Partition;

use crate::target::state::HaltRecord;

/// The topics of one link, shared by its lanes for one session.
#[derive(Debug)]
pub struct CarriedTopics {
    lanes: u16,
    inner: Lock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Lanes that the sender has asked to open; an honest one asks for all of them before its first offer.
    requested: BTreeSet<LaneId>,
    read: BTreeSet<LaneId>,
    topics: HashSet<Arc<str>>,
    switched_over: HashMap<Arc<str>, SwitchedOver>,
    /// Topics of which a partition has joined in this session.
    joined: HashSet<Arc<str>>,
    offered: HashSet<Partition>,
    all_offered: BTreeSet<LaneId>,
}

/// Topic that was switched over alone.
#[derive(Debug)]
struct SwitchedOver {
    halt: HaltRecord,
    /// Partitions that are halted so.
    partitions: HashSet<i32>,
}

impl CarriedTopics {
    /// Starts with no lane read, of a link with `lanes` lanes.
    pub fn new(lanes: u16) -> Self {
        Self { lanes, inner: Lock::default() }
    }

    /// Notes that the sender asks to open `lane`.
    pub fn handle_requested(&self, lane: LaneId) {
        self.inner.lock().requested.insert(lane);
    }

    /// Returns whether every lane was read that the sender has asked to open: no others will be.
    pub fn are_requested_read(&self) -> bool {
        let inner = self.inner.lock();
        inner.requested.is_subset(&inner.read)
    }

    /// Notes that the state of `lane` was read and contains these topics.
    pub fn handle_lane_read<'a>(&self, lane: LaneId, topics: impl Iterator<Item = &'a Arc<str>>) {
        let mut inner = self.inner.lock();
        inner.topics.extend(topics.cloned());
        inner.read.insert(lane);
    }

    /// Returns whether the link carries `topic` in any lane; `None` until all lanes were read.
    pub fn carries(&self, topic: &str) -> Option<bool> {
        let inner = self.inner.lock();
        (inner.read.len() >= usize::from(self.lanes)).then(|| inner.topics.contains(topic))
    }

    /// Notes that a topic is switched over: no partition of it begins any more, and the link does not write its target.
    pub(crate) fn handle_switched_over(&self, topic: &Arc<str>, halt: &HaltRecord) {
        let mut inner = self.inner.lock();
        let new = || SwitchedOver { halt: halt.clone(), partitions: HashSet::new() };
        inner.switched_over.entry(Arc::clone(topic)).or_insert_with(new);
        inner.joined.remove(topic);
    }

    /// Notes that a partition is halted because its topic is switched over.
    pub(crate) fn handle_switched_partition(&self, key: &Partition, halt: &HaltRecord) {
        self.handle_switched_over(&key.topic, halt);
        if let Some(over) = self.inner.lock().switched_over.get_mut(&key.topic) {
            over.partitions.insert(key.partition);
        }
    }

    /// Notes that an operator has taken a partition back. With the last one the whole topic is carried again.
    pub(crate) fn handle_taken_back(&self, key: &Partition) {
        let mut inner = self.inner.lock();
        if let Some(over) = inner.switched_over.get_mut(&key.topic)
            && over.partitions.remove(&key.partition)
            && over.partitions.is_empty()
        {
            inner.switched_over.remove(&key.topic);
        }
    }

    /// Returns the halt of a partition whose topic is switched over, if the partition `is_new`, without a position, or halted
    /// so. Of new ones it is known once every lane was read.
    pub(crate) fn switched_over(&self, key: &Partition, is_new: bool) -> Option<HaltRecord> {
        let inner = self.inner.lock();
        let over = inner.switched_over.get(&key.topic)?;
        (is_new || over.partitions.contains(&key.partition)).then(|| over.halt.clone())
    }

    /// Returns whether the target of `topic` belongs to its applications.
    pub(crate) fn is_switched_over(&self, topic: &str) -> bool {
        self.inner.lock().switched_over.contains_key(topic)
    }

    pub fn handle_offered(&self, key: Partition) {
        self.inner.lock().offered.insert(key);
    }

    /// Notes that a partition of `topic` has joined: the link writes its target topic.
    pub(crate) fn handle_joined(&self, topic: &Arc<str>) {
        let mut inner = self.inner.lock();
        if !inner.joined.contains(topic) {
            inner.joined.insert(Arc::clone(topic));
        }
    }

    /// Returns whether the link writes the target of `topic` in this session.
    pub(crate) fn is_joined(&self, topic: &str) -> bool {
        self.inner.lock().joined.contains(topic)
    }

    /// Forgets the offers of topics that no longer exist at the source.
    pub(crate) fn handle_gone(&self, topics: &HashSet<Arc<str>>) {
        let mut inner = self.inner.lock();
        inner.offered.retain(|key| !topics.contains(&key.topic));
        inner.joined.retain(|topic| !topics.contains(topic));
    }

    /// Notes that no lane has a position of `topic` any more.
    pub fn forget(&self, topic: &str) {
        let mut inner = self.inner.lock();
        inner.topics.remove(topic);
        inner.switched_over.remove(topic);
        inner.joined.remove(topic);
        inner.offered.retain(|key| *key.topic != *topic);
    }

    /// Notes that the sender has offered `lane` all its partitions. Returns whether that was the last lane.
    pub fn handle_all_offered(&self, lane: LaneId) -> bool {
        let mut inner = self.inner.lock();
        inner.all_offered.insert(lane) && inner.all_offered.len() >= usize::from(self.lanes)
    }

    /// Returns whether every lane was offered all its partitions.
    pub fn is_all_offered(&self) -> bool {
        self.inner.lock().all_offered.len() >= usize::from(self.lanes)
    }

    /// Removes from `keys` the partitions that were offered to any lane.
    pub fn keep_orphans(&self, keys: &mut HashSet<Partition>) {
        let inner = self.inner.lock();
        keys.retain(|key| !inner.offered.contains(key));
    }

    pub fn is_complete(&self) -> bool {
        self.inner.lock().read.len() >= usize::from(self.lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_topic_is_new_until_every_lane_was_read() {
        let carried_topics = CarriedTopics::new(2);
        let topics: [Arc<str>; 1] = ["orders".into()];
        carried_topics.handle_lane_read(LaneId(0), topics.iter());
        carried_topics.handle_lane_read(LaneId(0), [].iter());
        assert_eq!(carried_topics.carries("payments"), None);
        carried_topics.handle_lane_read(LaneId(1), [].iter());
        assert_eq!(carried_topics.carries("payments"), Some(false));
        assert_eq!(carried_topics.carries("orders"), Some(true));
    }

    #[test]
    fn lanes_that_no_sender_opens_delay_no_offer() {
        let carried_topics = CarriedTopics::new(3);
        (0..2).for_each(|lane| carried_topics.handle_requested(LaneId(lane)));
        carried_topics.handle_lane_read(LaneId(0), [].iter());
        assert!(!carried_topics.are_requested_read());
        carried_topics.handle_lane_read(LaneId(1), [].iter());
        assert!(carried_topics.are_requested_read() && !carried_topics.is_complete());
    }

    #[test]
    fn a_partition_offered_to_another_lane_is_no_orphan() {
        let carried_topics = CarriedTopics::new(2);
        let key = |topic: &str| Partition { topic: topic.into(), partition: 0 };
        carried_topics.handle_offered(key("payments"));
        assert!(!carried_topics.handle_all_offered(LaneId(0)) && !carried_topics.is_all_offered());
        assert!(carried_topics.handle_all_offered(LaneId(1)) && carried_topics.is_all_offered());
        assert!(!carried_topics.handle_all_offered(LaneId(1)), "reported once");
        let mut stored = HashSet::from([key("orders"), key("payments")]);
        carried_topics.keep_orphans(&mut stored);
        assert_eq!(stored, HashSet::from([key("orders")]));
        carried_topics.handle_gone(&HashSet::from(["payments".into()]));
        assert!(carried_topics.inner.lock().offered.is_empty(), "what is gone is forgotten");
    }
}
