//! Which partitions of the source belong to which lane, and how far each has joined. Sans-IO.
//!
//! Discovery says what exists, the receiver says which lanes and partitions are open; the roster says what
//! is to be offered next, with slots that are never used twice within an epoch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use wire::ids::{Epoch, LaneId, Slot, TopicId};

use crate::router;

/// One partition of the source that the filter matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourcePartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
}

/// A topic of the source that the filter matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its incarnation.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
}

/// Partitions of one lane that are to be offered now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The lane.
    pub lane: LaneId,
    /// Its present epoch.
    pub epoch: Epoch,
    /// With the slots they will have, in order of topic and partition.
    pub partitions: Vec<(Slot, SourcePartition)>,
}

/// The lanes of a link, as far as this session knows.
#[derive(Debug)]
pub struct Roster {
    lanes: Vec<LaneRoster>,
}

#[derive(Debug, Default)]
struct LaneRoster {
    epoch: Option<Epoch>,
    slots: HashMap<Slot, SourcePartition>,
    opened: HashSet<Slot>,
    offered: HashSet<SourcePartition>,
    /// Whether the first complete round of offers was made in this epoch.
    complete: bool,
}

impl Roster {
    /// No lane is open yet.
    pub fn new(lanes: u16) -> Self {
        Self { lanes: (0..lanes).map(|_| LaneRoster::default()).collect() }
    }

    /// The receiver opened a lane: all its partitions are to be offered (again).
    pub fn handle_lane_open(&mut self, lane: LaneId, epoch: Epoch) {
        if let Some(roster) = self.lanes.get_mut(usize::from(lane.0)) {
            *roster = LaneRoster { epoch: Some(epoch), ..LaneRoster::default() };
        }
    }

    /// The lane is closed.
    pub fn handle_lane_closed(&mut self, lane: LaneId) {
        if let Some(roster) = self.lanes.get_mut(usize::from(lane.0)) {
            *roster = LaneRoster::default();
        }
    }

    /// Everything discovered that was not offered yet in its lane's epoch. A lane's first round is due
    /// even if it is empty: it completes the lane's record.
    pub fn poll_due(&mut self, topics: &[SourceTopic]) -> Vec<Due> {
        let count = self.lanes.len() as u16;
        let mut new: Vec<Vec<(Slot, SourcePartition)>> = vec![Vec::new(); self.lanes.len()];
        for topic in topics {
            for partition in 0..topic.partitions {
                let lane = router::lane(&topic.name, partition, count);
                let roster = &mut self.lanes[usize::from(lane.0)];
                let partition = SourcePartition { topic: Arc::clone(&topic.name), partition };
                if roster.epoch.is_some() && roster.offered.insert(partition.clone()) {
                    let slot = Slot(roster.slots.len() as u32);
                    roster.slots.insert(slot, partition.clone());
                    new[usize::from(lane.0)].push((slot, partition));
                }
            }
        }
        let mut due = Vec::new();
        for (index, (roster, partitions)) in self.lanes.iter_mut().zip(new).enumerate() {
            let Some(epoch) = roster.epoch else { continue };
            if !partitions.is_empty() || !roster.complete {
                roster.complete = true;
                due.push(Due { lane: LaneId(index as u16), epoch, partitions });
            }
        }
        due
    }

    /// The receiver opened a slot. `None` if that means nothing (any more): an older epoch, a slot that was
    /// not offered, or one that is open already.
    pub fn handle_partition_open(&mut self, lane: LaneId, epoch: Epoch, slot: Slot) -> Option<&SourcePartition> {
        let roster = self.lanes.get_mut(usize::from(lane.0)).filter(|roster| roster.epoch == Some(epoch))?;
        let partition = roster.slots.get(&slot)?;
        roster.opened.insert(slot).then_some(partition)
    }

    /// The partition behind a slot of the present epoch.
    pub fn partition(&self, lane: LaneId, epoch: Epoch, slot: Slot) -> Option<&SourcePartition> {
        let roster = self.lanes.get(usize::from(lane.0)).filter(|roster| roster.epoch == Some(epoch))?;
        roster.slots.get(&slot)
    }

    /// The epoch of a lane, while it is open.
    pub fn epoch(&self, lane: LaneId) -> Option<Epoch> {
        self.lanes.get(usize::from(lane.0)).and_then(|roster| roster.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str, partitions: i32) -> SourceTopic {
        SourceTopic { name: name.into(), id: TopicId([1; 16]), partitions }
    }

    #[test]
    fn every_partition_is_offered_once_per_epoch_and_a_new_one_when_it_appears() {
        let mut roster = Roster::new(2);
        roster.handle_lane_open(LaneId(0), Epoch(1));
        roster.handle_lane_open(LaneId(1), Epoch(1));
        let due = roster.poll_due(&[topic("orders", 4)]);
        assert_eq!(due.iter().map(|due| due.partitions.len()).sum::<usize>(), 4);
        assert!(roster.poll_due(&[topic("orders", 4)]).is_empty());
        let due = roster.poll_due(&[topic("orders", 5)]);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].partitions[0].0, Slot(2), "slots go on");
        assert_eq!(due[0].partitions[0].1.partition, 4);
    }

    #[test]
    fn a_lane_without_partitions_still_completes_its_first_round() {
        let mut roster = Roster::new(2);
        roster.handle_lane_open(LaneId(1), Epoch(3));
        let due = roster.poll_due(&[]);
        assert_eq!(due, [Due { lane: LaneId(1), epoch: Epoch(3), partitions: vec![] }]);
        assert!(roster.poll_due(&[]).is_empty());
    }

    #[test]
    fn a_reopened_lane_is_offered_everything_again() {
        let mut roster = Roster::new(1);
        roster.handle_lane_open(LaneId(0), Epoch(1));
        roster.poll_due(&[topic("orders", 3)]);
        roster.handle_lane_closed(LaneId(0));
        assert!(roster.poll_due(&[topic("orders", 3)]).is_empty(), "closed lanes are offered nothing");
        roster.handle_lane_open(LaneId(0), Epoch(2));
        let due = roster.poll_due(&[topic("orders", 3)]);
        assert_eq!(due[0].partitions.len(), 3);
        assert!(roster.partition(LaneId(0), Epoch(1), Slot(0)).is_none(), "slots of an older epoch mean nothing");
        assert_eq!(roster.partition(LaneId(0), Epoch(2), Slot(0)), Some(&due[0].partitions[0].1));
        assert!(roster.handle_partition_open(LaneId(0), Epoch(1), Slot(0)).is_none());
        assert!(roster.handle_partition_open(LaneId(0), Epoch(2), Slot(0)).is_some());
        assert!(roster.handle_partition_open(LaneId(0), Epoch(2), Slot(0)).is_none(), "open already");
    }
}
