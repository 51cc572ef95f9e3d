//! Which partitions of the source belong to which lane, and how far each has joined. Sans-IO.
//!
//! Discovery says what exists, the receiver says which lanes and partitions are open; the roster says what
//! is to be offered next, with slots that are never used twice within an epoch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use wire::partition::Partition;

use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Slot, TopicId};

use crate::partitions::resume::{Halt, Lift};
use crate::partitions::router::Router;
use crate::source::origins::Passage;

/// A topic of the source that the filter matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its incarnation.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
    /// How it came here.
    pub passage: Passage,
}

/// Partitions of one lane that are to be offered now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The lane.
    pub lane: LaneId,
    /// Its present epoch.
    pub epoch: Epoch,
    /// In order of topic and partition.
    pub partitions: Vec<Candidate>,
}

/// A partition that is to be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The slot it will have.
    pub slot: Slot,
    /// Which.
    pub at: Partition,
    /// Its halt is to be lifted.
    pub lift: Option<Lift>,
}

/// A partition that must not be read on: its topic is another incarnation than the one that joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recreated {
    /// Its lane.
    pub lane: LaneId,
    /// The lane's present epoch.
    pub epoch: Epoch,
    /// Its slot.
    pub slot: Slot,
    /// Both topic ids, in words.
    pub detail: String,
}

/// The lanes of a link, as far as this session knows.
#[derive(Debug)]
pub struct Roster {
    lanes: Vec<LaneRoster>,
    router: Router,
    /// The cluster that nothing goes back to; `None` for any.
    target: Option<String>,
    /// How each topic that was offered had come here by then.
    passages: HashMap<Arc<str>, Passage>,
}

#[derive(Debug, Default)]
struct LaneRoster {
    epoch: Option<Epoch>,
    slots: HashMap<Slot, Offered>,
    opened: HashSet<Slot>,
    offered: HashSet<Partition>,
    halted: HashMap<Partition, Halt>,
    /// To be lifted with the next offer.
    lifts: HashMap<Partition, Lift>,
    /// Whether the first complete round of offers was made in this epoch.
    complete: bool,
}

/// What was offered under a slot.
#[derive(Debug)]
struct Offered {
    at: Partition,
    topic_id: TopicId,
}

impl Roster {
    /// No lane is open yet.
    pub fn new(router: Router) -> Self {
        let lanes = (0..router.lanes()).map(|_| LaneRoster::default()).collect();
        Self { lanes, router, target: None, passages: HashMap::new() }
    }

    /// Offers nothing that has passed the cluster `target`.
    #[must_use]
    pub fn towards(self, target: &str) -> Self {
        Self { target: Some(target.to_owned()), ..self }
    }

    /// A topic that was offered and by now came here another way than it was offered with: the session must
    /// begin anew, with what is known now.
    pub fn poll_rerouted<'t>(&self, topics: &'t [SourceTopic]) -> Option<&'t SourceTopic> {
        topics.iter().find(|topic| self.passages.get(&topic.name).is_some_and(|passage| *passage != topic.passage))
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
        self.forget_vanished(topics);
        let mut new: Vec<Vec<Candidate>> = vec![Vec::new(); self.lanes.len()];
        for topic in topics.iter().filter(|topic| topic.passage.withheld(self.target.as_deref()).is_none()) {
            for partition in 0..topic.partitions {
                let lane = self.router.lane(&topic.name, partition);
                let roster = &mut self.lanes[usize::from(lane.0)];
                let partition = Partition { topic: Arc::clone(&topic.name), partition };
                if roster.epoch.is_some() && roster.offered.insert(partition.clone()) {
                    let slot = Slot(roster.slots.len() as u32);
                    roster.slots.insert(slot, Offered { at: partition.clone(), topic_id: topic.id });
                    let lift = roster.lifts.remove(&partition);
                    new[usize::from(lane.0)].push(Candidate { slot, at: partition, lift });
                    self.passages.entry(Arc::clone(&topic.name)).or_insert_with(|| topic.passage.clone());
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

    /// A partition that vanished before it was opened is offered again should it come back.
    fn forget_vanished(&mut self, topics: &[SourceTopic]) {
        let partitions: HashMap<_, _> = topics.iter().map(|topic| (&topic.name, topic.partitions)).collect();
        let exists = |at: &Partition| partitions.get(&at.topic).is_some_and(|&count| at.partition < count);
        for roster in &mut self.lanes {
            let open: HashSet<_> =
                roster.opened.iter().filter_map(|slot| roster.slots.get(slot)).map(|slot| &slot.at).collect();
            roster.offered.retain(|at| exists(at) || open.contains(at));
        }
    }

    /// The receiver opened a slot. `None` if that means nothing (any more): an older epoch, a slot that was
    /// not offered, or one that is open already.
    pub fn handle_partition_open(&mut self, lane: LaneId, epoch: Epoch, slot: Slot) -> Option<&Partition> {
        let roster = self.lanes.get_mut(usize::from(lane.0)).filter(|roster| roster.epoch == Some(epoch))?;
        let partition = &roster.slots.get(&slot)?.at;
        roster.halted.remove(partition);
        roster.opened.insert(slot).then_some(partition)
    }

    /// The receiver halted a slot, by itself or as this end wished. Returns the partition, if the slot means
    /// anything.
    pub fn handle_partition_halted(
        &mut self,
        lane: LaneId,
        epoch: Epoch,
        slot: Slot,
        halt: Halt,
    ) -> Option<&Partition> {
        let roster = self.lanes.get_mut(usize::from(lane.0)).filter(|roster| roster.epoch == Some(epoch))?;
        let partition = &roster.slots.get(&slot)?.at;
        roster.opened.remove(&slot);
        if HaltReason::of(&halt.reason) == Some(HaltReason::JumpRefused) {
            let same = |other: &Slot| roster.slots.get(other).is_some_and(|other| other.at == *partition);
            if roster.opened.iter().any(same) {
                // It was offered twice, for it had vanished from the source's answers: the first one stands.
                return None;
            }
        }
        if HaltReason::of(&halt.reason) == Some(HaltReason::OutOfRange) {
            // The log's ends say what became of the position: the next offer brings them.
            roster.offered.remove(partition);
        }
        match roster.halted.get_mut(partition) {
            // What it is halted for stands; where, is news.
            Some(stands) if HaltReason::of(&halt.reason) == Some(HaltReason::JumpRefused) => {
                stands.position = halt.position;
            }
            _ => drop(roster.halted.insert(partition.clone(), halt)),
        }
        Some(partition)
    }

    /// A partition's halt.
    pub fn halt(&self, at: &Partition) -> Option<&Halt> {
        self.lanes[usize::from(self.lane(at).0)].halted.get(at)
    }

    /// Offers a halted partition again, to have its halt lifted if there is a `lift`.
    pub fn offer_again(&mut self, at: &Partition, lift: Option<Lift>) {
        let lane = usize::from(self.lane(at).0);
        let roster = &mut self.lanes[lane];
        roster.offered.remove(at);
        roster.lifts.extend(lift.map(|lift| (at.clone(), lift)));
    }

    /// Compares topics with what joined: partitions being read whose topic was made again; those that are
    /// halted are offered again, so that the receiver can say so.
    pub fn poll_recreated(&mut self, topics: &[SourceTopic]) -> Vec<Recreated> {
        let ids: HashMap<_, _> = topics.iter().map(|topic| (&topic.name, topic.id)).collect();
        let mut found = Vec::new();
        for (number, roster) in self.lanes.iter_mut().enumerate() {
            let Some(epoch) = roster.epoch else { continue };
            for (&slot, offered) in &mut roster.slots {
                let id = ids.get(&offered.at.topic).copied().unwrap_or(TopicId::UNKNOWN);
                if id == offered.topic_id || id == TopicId::UNKNOWN || offered.topic_id == TopicId::UNKNOWN {
                    continue;
                }
                let detail = format!("source topic id was {}, is {id}", offered.topic_id);
                // Said once; of an offer that is not answered yet, when it is.
                if roster.opened.contains(&slot) {
                    offered.topic_id = id;
                    found.push(Recreated { lane: LaneId(number as u16), epoch, slot, detail });
                } else if roster.halted.contains_key(&offered.at) {
                    offered.topic_id = id;
                    roster.offered.remove(&offered.at);
                }
            }
        }
        found
    }

    /// The lane that carries a partition.
    pub fn lane(&self, at: &Partition) -> LaneId {
        self.router.lane(&at.topic, at.partition)
    }

    /// The partition behind a slot of the present epoch.
    pub fn partition(&self, lane: LaneId, epoch: Epoch, slot: Slot) -> Option<&Partition> {
        let roster = self.lanes.get(usize::from(lane.0)).filter(|roster| roster.epoch == Some(epoch))?;
        roster.slots.get(&slot).map(|offered| &offered.at)
    }

    /// The epoch of a lane, while it is open.
    pub fn epoch(&self, lane: LaneId) -> Option<Epoch> {
        self.lanes.get(usize::from(lane.0)).and_then(|roster| roster.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partitions::resume::Wish;
    use wire::ids::Position;

    fn topic(name: &str, partitions: i32) -> SourceTopic {
        SourceTopic { name: name.into(), id: TopicId([1; 16]), partitions, passage: Passage::Own }
    }

    fn brought(name: &str, cluster: &str) -> SourceTopic {
        let clusters = [cluster.to_owned()].into();
        SourceTopic { passage: Passage::Brought { link: "l".into(), clusters, forward: true }, ..topic(name, 1) }
    }

    #[test]
    fn nothing_goes_back_and_a_topic_that_turns_out_to_be_brought_ends_what_was_begun() {
        let mut roster = Roster::new(Router::plain(1)).towards("fra");
        roster.handle_lane_open(LaneId(0), Epoch(1));
        let due = roster.poll_due(&[topic("own", 1), brought("from-fra", "fra"), brought("from-ams", "ams")]);
        let offered: Vec<_> = due[0].partitions.iter().map(|candidate| &*candidate.at.topic).collect();
        assert_eq!(offered, ["own", "from-ams"]);
        assert_eq!(roster.poll_rerouted(&[topic("own", 1), brought("from-fra", "sin"), brought("new", "ams")]), None);
        assert_eq!(roster.poll_rerouted(&[brought("own", "ams")]), Some(&brought("own", "ams")));
        assert_eq!(roster.poll_rerouted(&[brought("from-ams", "fra")]), Some(&brought("from-ams", "fra")));
    }

    #[test]
    fn every_partition_is_offered_once_per_epoch_and_a_new_one_when_it_appears() {
        let mut roster = Roster::new(Router::plain(2));
        roster.handle_lane_open(LaneId(0), Epoch(1));
        roster.handle_lane_open(LaneId(1), Epoch(1));
        let due = roster.poll_due(&[topic("orders", 4)]);
        assert_eq!(due.iter().map(|due| due.partitions.len()).sum::<usize>(), 4);
        assert!(roster.poll_due(&[topic("orders", 4)]).is_empty());
        let due = roster.poll_due(&[topic("orders", 5)]);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].partitions[0].slot, Slot(2), "slots go on");
        assert_eq!(due[0].partitions[0].at.partition, 4);
    }

    #[test]
    fn a_lane_without_partitions_still_completes_its_first_round() {
        let mut roster = Roster::new(Router::plain(2));
        roster.handle_lane_open(LaneId(1), Epoch(3));
        let due = roster.poll_due(&[]);
        assert_eq!(due, [Due { lane: LaneId(1), epoch: Epoch(3), partitions: vec![] }]);
        assert!(roster.poll_due(&[]).is_empty());
    }

    #[test]
    fn a_reopened_lane_is_offered_everything_again() {
        let mut roster = Roster::new(Router::plain(1));
        roster.handle_lane_open(LaneId(0), Epoch(1));
        roster.poll_due(&[topic("orders", 3)]);
        roster.handle_lane_closed(LaneId(0));
        assert!(roster.poll_due(&[topic("orders", 3)]).is_empty(), "closed lanes are offered nothing");
        roster.handle_lane_open(LaneId(0), Epoch(2));
        let due = roster.poll_due(&[topic("orders", 3)]);
        assert_eq!(due[0].partitions.len(), 3);
        assert!(roster.partition(LaneId(0), Epoch(1), Slot(0)).is_none(), "slots of an older epoch mean nothing");
        assert_eq!(roster.partition(LaneId(0), Epoch(2), Slot(0)), Some(&due[0].partitions[0].at));
        assert!(roster.handle_partition_open(LaneId(0), Epoch(1), Slot(0)).is_none());
        assert!(roster.handle_partition_open(LaneId(0), Epoch(2), Slot(0)).is_some());
        assert!(roster.handle_partition_open(LaneId(0), Epoch(2), Slot(0)).is_none(), "open already");
    }

    fn halt(reason: &str) -> Halt {
        Halt { reason: reason.to_owned(), position: Position(7) }
    }

    #[test]
    fn a_halted_partition_is_offered_again_under_another_slot_when_it_is_to_be_lifted() {
        let mut roster = Roster::new(Router::plain(1));
        roster.handle_lane_open(LaneId(0), Epoch(1));
        let at = roster.poll_due(&[topic("orders", 1)])[0].partitions[0].at.clone();
        roster.handle_partition_open(LaneId(0), Epoch(1), Slot(0));
        roster.handle_partition_halted(LaneId(0), Epoch(1), Slot(0), halt("record-rejected"));
        assert!(roster.poll_due(&[topic("orders", 1)]).is_empty(), "it stays halted by itself");
        let lift = roster.halt(&at).unwrap().lift(Wish::Skip, 1, "test").unwrap();
        roster.offer_again(&at, lift.clone());
        let due = roster.poll_due(&[topic("orders", 1)]);
        assert_eq!(due[0].partitions, [Candidate { slot: Slot(1), at: at.clone(), lift }]);
        roster.handle_partition_open(LaneId(0), Epoch(1), Slot(1));
        assert_eq!(roster.halt(&at), None);
    }

    #[test]
    fn a_refused_jump_says_where_the_partition_stands_and_not_why() {
        let mut roster = Roster::new(Router::plain(1));
        roster.handle_lane_open(LaneId(0), Epoch(1));
        let at = roster.poll_due(&[topic("orders", 1)])[0].partitions[0].at.clone();
        roster.handle_partition_halted(LaneId(0), Epoch(1), Slot(0), halt("record-rejected"));
        let refused = Halt { reason: "jump-refused".to_owned(), position: Position(9) };
        roster.handle_partition_halted(LaneId(0), Epoch(1), Slot(0), refused);
        assert_eq!(roster.halt(&at), Some(&Halt { reason: "record-rejected".to_owned(), position: Position(9) }));
    }

    #[test]
    fn a_partition_that_is_open_is_not_halted_by_the_refusal_of_a_second_offer() {
        let mut roster = Roster::new(Router::plain(1));
        roster.handle_lane_open(LaneId(0), Epoch(1));
        let at = roster.poll_due(&[topic("orders", 1)])[0].partitions[0].at.clone();
        roster.poll_due(&[]);
        assert_eq!(roster.poll_due(&[topic("orders", 1)])[0].partitions[0].slot, Slot(1), "it had vanished");
        roster.handle_partition_open(LaneId(0), Epoch(1), Slot(0));
        roster.handle_partition_halted(LaneId(0), Epoch(1), Slot(1), halt("jump-refused"));
        assert_eq!(roster.halt(&at), None);
    }

    #[test]
    fn a_position_that_is_not_in_the_log_is_looked_at_again_at_once() {
        let mut roster = Roster::new(Router::plain(1));
        roster.handle_lane_open(LaneId(0), Epoch(1));
        roster.poll_due(&[topic("orders", 1)]);
        roster.handle_partition_open(LaneId(0), Epoch(1), Slot(0));
        roster.handle_partition_halted(LaneId(0), Epoch(1), Slot(0), halt("out-of-range"));
        assert_eq!(roster.poll_due(&[topic("orders", 1)])[0].partitions[0].slot, Slot(1));
    }

    #[test]
    fn a_topic_made_again_between_its_offer_and_the_answer_is_noticed_with_the_answer() {
        let again = [SourceTopic { id: TopicId([2; 16]), ..topic("orders", 1) }];
        let mut roster = Roster::new(Router::plain(1));
        roster.handle_lane_open(LaneId(0), Epoch(1));
        roster.poll_due(&[topic("orders", 1)]);
        assert!(roster.poll_recreated(&again).is_empty(), "nothing is read");
        roster.handle_partition_open(LaneId(0), Epoch(1), Slot(0));
        assert_eq!(roster.poll_recreated(&again).len(), 1);
        assert!(roster.poll_recreated(&again).is_empty());
    }

    #[test]
    fn a_topic_made_again_is_noticed_once_whether_its_partitions_are_read_or_halted() {
        let again = SourceTopic { id: TopicId([2; 16]), ..topic("orders", 2) };
        let mut roster = Roster::new(Router::plain(1));
        roster.handle_lane_open(LaneId(0), Epoch(1));
        roster.poll_due(&[topic("orders", 2)]);
        roster.handle_partition_open(LaneId(0), Epoch(1), Slot(0));
        roster.handle_partition_halted(LaneId(0), Epoch(1), Slot(1), halt("source-gone"));
        assert!(roster.poll_recreated(&[topic("orders", 2)]).is_empty());
        assert!(roster.poll_recreated(&[]).is_empty(), "gone is not made again");
        let found = roster.poll_recreated(std::slice::from_ref(&again));
        assert_eq!(found.iter().map(|found| found.slot).collect::<Vec<_>>(), [Slot(0)]);
        let due = roster.poll_due(std::slice::from_ref(&again));
        assert_eq!((due[0].partitions.len(), due[0].partitions[0].at.partition), (1, 1), "the halted one is offered");
        assert!(roster.poll_recreated(&[again]).is_empty());
    }
}
