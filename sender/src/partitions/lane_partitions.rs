//! Partitions of the source, by lane: which must be offered, have joined or are halted. Sans-IO.
//!
//! Discovery finds the topics, the receiver opens lanes and partitions. From both follows which partitions must be
//! offered next, with slots that are never used twice within an epoch.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use wire::error::PeerMisbehaved;
use wire::halt::HaltReason;
use wire::hello::FEATURE_CARRIED_ONLY;
use wire::ids::{Epoch, LaneId, Slot, TopicId};
use wire::partition::Partition;

use crate::partitions::resume::{Halt, HaltLift};
use crate::partitions::router::Router;
use crate::partitions::slots::{HaltedSlot, Slots};
use crate::source::origins::TopicOrigin;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTopic {
    pub name: Arc<str>,
    pub id: TopicId,
    pub partitions: i32,
    pub origin: TopicOrigin,
    /// True if the state topic of another link could not be read, so that the origin may lack that link: the topic
    /// continues if this link has carried it, and waits otherwise.
    pub unsure: bool,
}

/// Partitions of one lane that must be offered now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub lane: LaneId,
    pub epoch: Epoch,
    /// Partitions in order of topic and number.
    pub partitions: Vec<Candidate>,
    /// True in the lane's first round, which is all that its filter matches.
    pub first: bool,
}

/// Partition that must be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub slot: Slot,
    pub at: Partition,
    /// Lift of its halt, if that is requested.
    pub lift: Option<HaltLift>,
}

/// Partition that must not be read further: its topic was deleted or recreated since it joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    pub lane: LaneId,
    pub epoch: Epoch,
    pub slot: Slot,
    pub detail: String,
}

/// Partitions of every lane of a link, as far as this session knows.
#[derive(Debug)]
pub struct LanePartitions {
    lanes: Vec<LaneState>,
    router: Router,
    /// Target cluster, which no topic returns to; `None` while unknown.
    target: Option<String>,
    /// True if the receiver can tell whether the link has carried a topic.
    carries_unsure: bool,
    /// Origin of each topic when it was first offered.
    origins: HashMap<Arc<str>, KnownOrigin>,
}

#[derive(Debug)]
struct KnownOrigin {
    origin: TopicOrigin,
    unsure: bool,
}

#[derive(Debug, Default)]
struct LaneState {
    /// Present epoch; `None` while the lane is closed.
    epoch: Option<Epoch>,
    /// Greatest epoch that the receiver has granted in this session.
    granted: Epoch,
    slots: Slots,
    offered: HashSet<Partition>,
    halted: HashMap<Partition, Halt>,
    /// Halted partitions that were open when the target could not write them any more: they are offered again.
    left_out: HashSet<Partition>,
    /// Lifts to be sent with the next offer.
    lifts: HashMap<Partition, HaltLift>,
    /// First slot after the first round of offers of this epoch; `None` until that round is due.
    late_from: Option<Slot>,
}

impl LanePartitions {
    pub fn new(router: Router) -> Self {
        let lanes = (0..router.lanes()).map(|_| LaneState::default()).collect();
        Self { lanes, router, target: None, carries_unsure: false, origins: HashMap::new() }
    }

    /// Excludes topics that have passed the cluster `target`.
    #[must_use]
    pub fn towards(self, target: &str) -> Self {
        Self { target: Some(target.to_owned()), ..self }
    }

    /// Offers topics of which the source does not tell whether another link writes them, if the receiver agreed to the
    /// feature. Otherwise they wait here.
    #[must_use]
    pub fn with_features(self, features: u64) -> Self {
        Self { carries_unsure: features & FEATURE_CARRIED_ONLY != 0, ..self }
    }

    /// Returns an offered topic that now has another origin than when it was offered, or whose origin is sure now. It
    /// requires a new session.
    pub fn poll_rerouted<'t>(&self, topics: &'t [SourceTopic]) -> Option<&'t SourceTopic> {
        let differs =
            |known: &KnownOrigin, topic: &SourceTopic| known.origin != topic.origin || known.unsure && !topic.unsure;
        topics.iter().find(|topic| self.origins.get(&topic.name).is_some_and(|known| differs(known, topic)))
    }

    /// Returns whether a topic may be offered in this session.
    fn may_offer(&self, topic: &SourceTopic) -> bool {
        let may = !topic.unsure || self.carries_unsure;
        may && topic.origin.not_carried_reason(self.target.as_deref()).is_none()
    }

    /// Handles that the receiver opened a lane: all its partitions must be offered again.
    pub fn handle_lane_open(&mut self, lane: LaneId, epoch: Epoch) -> Result<(), PeerMisbehaved> {
        let state = self.lanes.get_mut(usize::from(lane.0)).ok_or(PeerMisbehaved::UnknownLane(lane))?;
        if state.epoch.is_some() || epoch <= state.granted {
            return Err(PeerMisbehaved::LaneOpen { lane, current: state.granted, found: epoch });
        }
        *state = LaneState { epoch: Some(epoch), granted: epoch, ..LaneState::default() };
        Ok(())
    }

    pub fn handle_lane_closed(&mut self, lane: LaneId) -> Result<(), PeerMisbehaved> {
        let state = self.lanes.get_mut(usize::from(lane.0)).ok_or(PeerMisbehaved::UnknownLane(lane))?;
        *state = LaneState { granted: state.granted, ..LaneState::default() };
        Ok(())
    }

    /// Returns the discovered partitions that were not offered yet in their lane's epoch. A lane's first round is due
    /// even if it is empty: it tells the receiver that all were offered.
    pub fn poll_due(&mut self, topics: &[SourceTopic]) -> Vec<Due> {
        self.forget_vanished(topics);
        let mut new: Vec<Vec<Candidate>> = vec![Vec::new(); self.lanes.len()];
        let offered: Vec<_> = topics.iter().filter(|topic| self.may_offer(topic)).collect();
        for topic in offered {
            for partition in 0..topic.partitions {
                let index = usize::from(self.router.lane(&topic.name, partition).0);
                let lane = &mut self.lanes[index];
                let partition = Partition { topic: Arc::clone(&topic.name), partition };
                if lane.epoch.is_some() && lane.offered.insert(partition.clone()) {
                    let slot = lane.slots.offer(partition.clone(), topic.id);
                    let lift = lane.lifts.remove(&partition);
                    new[index].push(Candidate { slot, at: partition, lift });
                    let known = || KnownOrigin { origin: topic.origin.clone(), unsure: topic.unsure };
                    self.origins.entry(Arc::clone(&topic.name)).or_insert_with(known);
                }
            }
        }
        let mut due = Vec::new();
        for (index, (lane, partitions)) in self.lanes.iter_mut().zip(new).enumerate() {
            let Some(epoch) = lane.epoch else { continue };
            if !partitions.is_empty() || lane.late_from.is_none() {
                let first = lane.late_from.is_none();
                lane.late_from.get_or_insert_with(|| lane.slots.next());
                due.push(Due { lane: LaneId(index as u16), epoch, partitions, first });
            }
        }
        due
    }

    /// Forgets the offers of partitions that vanished before they were opened, so that they can be offered again.
    fn forget_vanished(&mut self, topics: &[SourceTopic]) {
        let partitions: HashMap<_, _> = topics.iter().map(|topic| (&topic.name, topic.partitions)).collect();
        let exists = |at: &Partition| partitions.get(&at.topic).is_some_and(|&count| at.partition < count);
        for lane in &mut self.lanes {
            let LaneState { slots, offered, .. } = lane;
            offered.retain(|at| exists(at) || slots.open_slot(at).is_some());
        }
    }

    /// Returns the state of a lane at `epoch`; `None` if a message for that epoch is outdated.
    fn at(&mut self, lane: LaneId, epoch: Epoch) -> Result<Option<&mut LaneState>, PeerMisbehaved> {
        let state = self.lanes.get_mut(usize::from(lane.0)).ok_or(PeerMisbehaved::UnknownLane(lane))?;
        if epoch > state.granted {
            return Err(PeerMisbehaved::EpochFromFuture { current: state.granted, found: epoch });
        }
        Ok(Some(state).filter(|state| state.epoch == Some(epoch)))
    }

    /// Handles that the receiver opened a slot. Returns `None` if the message is outdated.
    pub fn handle_partition_open(
        &mut self,
        lane: LaneId,
        epoch: Epoch,
        slot: Slot,
    ) -> Result<Option<&Partition>, PeerMisbehaved> {
        let Some(lane) = self.at(lane, epoch)? else { return Ok(None) };
        let partition = lane.slots.open(slot)?;
        lane.halted.remove(partition);
        Ok(Some(partition))
    }

    /// Handles that the receiver halted a slot, by itself or on request. Returns the partition; `None` if the message is
    /// outdated, or changes nothing.
    pub fn handle_partition_halted(
        &mut self,
        lane: LaneId,
        epoch: Epoch,
        slot: Slot,
        halt: Halt,
    ) -> Result<Option<Partition>, PeerMisbehaved> {
        let Some(lane) = self.at(lane, epoch)? else { return Ok(None) };
        let reason = HaltReason::of(&halt.reason);
        let HaltedSlot { at, was_open } = lane.slots.halt(slot, reason == Some(HaltReason::TargetUnavailable))?;
        let partition = &at;
        let is_second = matches!(reason, Some(HaltReason::JumpRefused | HaltReason::TargetUnavailable));
        if is_second && lane.slots.open_slot(partition).is_some() {
            // It was offered twice, because it had vanished from the source's answers: the first offer counts.
            return Ok(None);
        }
        if was_open && reason == Some(HaltReason::TargetUnavailable) {
            lane.left_out.insert(partition.clone());
        }
        if reason == Some(HaltReason::OutOfRange) {
            // The next offer states the log's bounds, from which the receiver sees what happened to the position.
            lane.offered.remove(partition);
        }
        match lane.halted.get_mut(partition) {
            // The reason of the halt remains; only the position is new.
            Some(known) if reason == Some(HaltReason::JumpRefused) => {
                known.position = halt.position;
            }
            _ => drop(lane.halted.insert(partition.clone(), halt)),
        }
        Ok(Some(at))
    }

    /// Returns whether a slot was offered after the first round of its lane's epoch.
    pub fn is_late(&self, lane: LaneId, slot: Slot) -> bool {
        let late_from = self.lanes.get(usize::from(lane.0)).and_then(|lane| lane.late_from);
        late_from.is_some_and(|late_from| slot >= late_from)
    }

    pub fn halt(&self, at: &Partition) -> Option<&Halt> {
        self.lanes[usize::from(self.lane(at).0)].halted.get(at)
    }

    /// Returns the halted partitions that `covers`, with their halts.
    pub fn halted(&self, covers: impl Fn(&Partition, &Halt) -> bool) -> Vec<(Partition, Halt)> {
        let halted = self.lanes.iter().flat_map(|lane| &lane.halted);
        halted.filter(|(at, halt)| covers(at, halt)).map(|(at, halt)| (at.clone(), halt.clone())).collect()
    }

    /// Makes a halted partition due again, with a `lift` if its halt is to be lifted.
    pub fn offer_again(&mut self, at: &Partition, lift: Option<HaltLift>) {
        let index = usize::from(self.lane(at).0);
        let lane = &mut self.lanes[index];
        lane.offered.remove(at);
        lane.left_out.remove(at);
        lane.lifts.extend(lift.map(|lift| (at.clone(), lift)));
    }

    /// Returns whether a partition was left out after it had joined, and was not offered again yet.
    pub fn is_left_out(&self, at: &Partition) -> bool {
        self.lanes[usize::from(self.lane(at).0)].left_out.contains(at)
    }

    /// Makes a partition due that was left out, unless it was offered again meanwhile.
    pub fn offer_left_out(&mut self, at: &Partition) {
        if self.is_left_out(at) {
            self.offer_again(at, None);
        }
    }

    /// Returns partitions that are read and whose topic was recreated. Halted partitions of such topics are offered
    /// again, so that the receiver can state the new halt.
    pub fn poll_recreated(&mut self, topics: &[SourceTopic]) -> Vec<Outdated> {
        let ids: HashMap<_, _> = topics.iter().map(|topic| (&topic.name, topic.id)).collect();
        let mut found = Vec::new();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let LaneState { epoch: Some(epoch), slots, halted, offered: known, .. } = lane else { continue };
            for (slot, offered, is_open) in slots.all_mut() {
                let id = ids.get(&offered.at.topic).copied().unwrap_or(TopicId::UNKNOWN);
                if !id.differs(offered.topic_id) {
                    continue;
                }
                let detail = format!("source topic id was {}, is {id}", offered.topic_id);
                // Each is returned once. An offer without an answer is compared again when it is answered.
                if is_open {
                    offered.topic_id = id;
                    found.push(Outdated { lane: LaneId(number as u16), epoch: *epoch, slot, detail });
                } else if halted.contains_key(&offered.at) {
                    offered.topic_id = id;
                    known.remove(&offered.at);
                }
            }
        }
        found
    }

    /// Returns whether a listed topic goes to the target.
    pub fn carries(&self, topic: &SourceTopic) -> bool {
        topic.origin.not_carried_reason(self.target.as_deref()).is_none()
    }

    /// Returns the topics that were offered, each with its number of partitions.
    pub fn offered_topics(&self) -> BTreeMap<Arc<str>, u32> {
        let partitions: HashSet<_> = self.lanes.iter().flat_map(|lane| lane.slots.partitions()).collect();
        let mut topics = BTreeMap::new();
        for at in partitions {
            *topics.entry(Arc::clone(&at.topic)).or_default() += 1;
        }
        topics
    }

    /// Forgets the halts of topics that are gone. Returns the slots that are still read.
    pub fn handle_gone(&mut self, topics: &HashSet<Arc<str>>) -> Vec<Outdated> {
        let mut read = Vec::new();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.halted.retain(|at, _| !topics.contains(&at.topic));
            lane.lifts.retain(|at, _| !topics.contains(&at.topic));
            let Some(epoch) = lane.epoch else { continue };
            let of_topics = lane.slots.all_open().filter(|(at, _)| topics.contains(&at.topic));
            let detail = "the source's topic was deleted, or is hidden from this sender".to_owned();
            let fault = |(_, slot)| Outdated { lane: LaneId(number as u16), epoch, slot, detail: detail.clone() };
            read.extend(of_topics.map(fault));
        }
        read
    }

    pub fn lane(&self, at: &Partition) -> LaneId {
        self.router.lane(&at.topic, at.partition)
    }

    pub fn partition(&self, lane: LaneId, epoch: Epoch, slot: Slot) -> Option<&Partition> {
        let lane = self.lanes.get(usize::from(lane.0)).filter(|lane| lane.epoch == Some(epoch))?;
        lane.slots.get(slot).map(|offered| &offered.at)
    }

    /// Returns where a partition is read; `None` if it is not.
    pub fn open_slot(&self, at: &Partition) -> Option<(LaneId, Epoch, Slot)> {
        let number = self.lane(at);
        let lane = self.lanes.get(usize::from(number.0))?;
        Some((number, lane.epoch?, lane.slots.open_slot(at)?))
    }

    pub fn epoch(&self, lane: LaneId) -> Option<Epoch> {
        self.lanes.get(usize::from(lane.0)).and_then(|lane| lane.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partitions::resume::ResumeAction;
    use wire::ids::Position;

    fn topic(name: &str, partitions: i32) -> SourceTopic {
        SourceTopic { name: name.into(), id: TopicId([1; 16]), partitions, origin: TopicOrigin::Own, unsure: false }
    }

    fn brought(name: &str, cluster: &str) -> SourceTopic {
        let clusters = [cluster.to_owned()].into();
        SourceTopic { origin: TopicOrigin::Mirrored { link: "l".into(), clusters, forward: true }, ..topic(name, 1) }
    }

    #[test]
    fn no_topic_returns_and_a_new_origin_ends_the_session() {
        let mut partitions = LanePartitions::new(Router::plain(1)).towards("fra");
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        let due = partitions.poll_due(&[topic("own", 1), brought("from-fra", "fra"), brought("from-ams", "ams")]);
        let offered: Vec<_> = due[0].partitions.iter().map(|candidate| &*candidate.at.topic).collect();
        assert_eq!(offered, ["own", "from-ams"]);
        assert_eq!(
            partitions.poll_rerouted(&[topic("own", 1), brought("from-fra", "sin"), brought("new", "ams")]),
            None
        );
        assert_eq!(partitions.poll_rerouted(&[brought("own", "ams")]), Some(&brought("own", "ams")));
        assert_eq!(partitions.poll_rerouted(&[brought("from-ams", "fra")]), Some(&brought("from-ams", "fra")));
    }

    #[test]
    fn an_unsure_topic_is_offered_if_the_receiver_can_tell() {
        let unsure = SourceTopic { unsure: true, ..topic("orders", 1) };
        let mut partitions = LanePartitions::new(Router::plain(1));
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        assert!(partitions.poll_due(std::slice::from_ref(&unsure))[0].partitions.is_empty(), "an older receiver");
        let mut partitions = LanePartitions::new(Router::plain(1)).with_features(FEATURE_CARRIED_ONLY);
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        assert_eq!(partitions.poll_due(std::slice::from_ref(&unsure))[0].partitions.len(), 1);
        assert_eq!(partitions.poll_rerouted(&[unsure]), None);
        assert_eq!(partitions.poll_rerouted(&[topic("orders", 1)]), Some(&topic("orders", 1)));
    }

    #[test]
    fn each_partition_is_offered_once_per_epoch() {
        let mut partitions = LanePartitions::new(Router::plain(2));
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        partitions.handle_lane_open(LaneId(1), Epoch(1)).unwrap();
        let due = partitions.poll_due(&[topic("orders", 4)]);
        assert_eq!(due.iter().map(|due| due.partitions.len()).sum::<usize>(), 4);
        assert!(due.iter().all(|due| due.first));
        assert!(partitions.poll_due(&[topic("orders", 4)]).is_empty());
        let due = partitions.poll_due(&[topic("orders", 5)]);
        assert_eq!((due.len(), due[0].first), (1, false));
        assert_eq!(due[0].partitions[0].slot, Slot(2), "slots continue");
        assert_eq!([1, 2].map(|slot| partitions.is_late(due[0].lane, Slot(slot))), [false, true]);
        assert_eq!(due[0].partitions[0].at.partition, 4);
    }

    #[test]
    fn a_lane_without_partitions_still_completes_its_first_round() {
        let mut partitions = LanePartitions::new(Router::plain(2));
        partitions.handle_lane_open(LaneId(1), Epoch(3)).unwrap();
        let due = partitions.poll_due(&[]);
        assert_eq!(due, [Due { lane: LaneId(1), epoch: Epoch(3), partitions: vec![], first: true }]);
        assert!(partitions.poll_due(&[]).is_empty());
    }

    #[test]
    fn a_reopened_lane_is_offered_everything_again() {
        let mut partitions = LanePartitions::new(Router::plain(1));
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        partitions.poll_due(&[topic("orders", 3)]);
        partitions.handle_lane_closed(LaneId(0)).unwrap();
        assert!(partitions.poll_due(&[topic("orders", 3)]).is_empty(), "closed lanes are offered nothing");
        partitions.handle_lane_open(LaneId(0), Epoch(2)).unwrap();
        let due = partitions.poll_due(&[topic("orders", 3)]);
        assert_eq!(due[0].partitions.len(), 3);
        assert!(partitions.partition(LaneId(0), Epoch(1), Slot(0)).is_none(), "slots of an older epoch mean nothing");
        assert_eq!(partitions.partition(LaneId(0), Epoch(2), Slot(0)), Some(&due[0].partitions[0].at));
        assert_eq!(partitions.handle_partition_open(LaneId(0), Epoch(1), Slot(0)), Ok(None));
        assert!(partitions.handle_partition_open(LaneId(0), Epoch(2), Slot(0)).unwrap().is_some());
        assert!(partitions.handle_partition_open(LaneId(0), Epoch(2), Slot(0)).is_err(), "open already");
    }

    #[test]
    fn a_receiver_that_contradicts_itself_is_caught() {
        let mut partitions = LanePartitions::new(Router::plain(1));
        let lane = LaneId(0);
        partitions.handle_lane_open(lane, Epoch(2)).unwrap();
        partitions.poll_due(&[topic("orders", 1)]);
        for epoch in [Epoch(2), Epoch(3)] {
            assert!(partitions.handle_lane_open(lane, epoch).is_err(), "it is open");
        }
        partitions.handle_lane_closed(lane).unwrap();
        assert!(partitions.handle_lane_open(lane, Epoch(2)).is_err(), "an epoch is granted once");
        assert!(partitions.handle_lane_open(LaneId(1), Epoch(3)).is_err(), "there is no such lane");
        partitions.handle_lane_open(lane, Epoch(3)).unwrap();
        partitions.poll_due(&[topic("orders", 1)]);
        assert!(partitions.handle_partition_open(lane, Epoch(4), Slot(0)).is_err(), "an epoch of the future");
        partitions.handle_partition_open(lane, Epoch(3), Slot(0)).unwrap();
        partitions.handle_partition_halted(lane, Epoch(3), Slot(0), halt("corrupt")).unwrap();
        let closed = PeerMisbehaved::SlotClosed(Slot(0));
        assert_eq!(partitions.handle_partition_open(lane, Epoch(3), Slot(0)), Err(closed));
        assert_eq!(partitions.handle_partition_halted(lane, Epoch(3), Slot(0), halt("corrupt")), Err(closed));
    }

    fn halt(reason: &str) -> Halt {
        Halt { reason: reason.to_owned(), position: Position(7) }
    }

    #[test]
    fn a_lifted_partition_is_offered_under_another_slot() {
        let mut partitions = LanePartitions::new(Router::plain(1));
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        let at = partitions.poll_due(&[topic("orders", 1)])[0].partitions[0].at.clone();
        partitions.handle_partition_open(LaneId(0), Epoch(1), Slot(0)).unwrap();
        partitions.handle_partition_halted(LaneId(0), Epoch(1), Slot(0), halt("record-rejected")).unwrap();
        assert!(partitions.poll_due(&[topic("orders", 1)]).is_empty(), "it stays halted by itself");
        let lift = partitions.halt(&at).unwrap().lift(ResumeAction::Skip, 1, "test").unwrap();
        partitions.offer_again(&at, lift.clone());
        let due = partitions.poll_due(&[topic("orders", 1)]);
        assert_eq!(due[0].partitions, [Candidate { slot: Slot(1), at: at.clone(), lift }]);
        partitions.handle_partition_open(LaneId(0), Epoch(1), Slot(1)).unwrap();
        assert_eq!(partitions.halt(&at), None);
    }

    #[test]
    fn a_refused_jump_says_the_position_and_not_the_reason() {
        let mut partitions = LanePartitions::new(Router::plain(1));
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        let at = partitions.poll_due(&[topic("orders", 1)])[0].partitions[0].at.clone();
        partitions.handle_partition_halted(LaneId(0), Epoch(1), Slot(0), halt("record-rejected")).unwrap();
        let refused = Halt { reason: "jump-refused".to_owned(), position: Position(9) };
        partitions.offer_again(&at, None);
        partitions.poll_due(&[topic("orders", 1)]);
        partitions.handle_partition_halted(LaneId(0), Epoch(1), Slot(1), refused).unwrap();
        assert_eq!(partitions.halt(&at), Some(&Halt { reason: "record-rejected".to_owned(), position: Position(9) }));
    }

    #[test]
    fn refusing_a_second_offer_halts_no_open_partition() {
        let mut partitions = LanePartitions::new(Router::plain(1));
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        let at = partitions.poll_due(&[topic("orders", 1)])[0].partitions[0].at.clone();
        partitions.poll_due(&[]);
        assert_eq!(partitions.poll_due(&[topic("orders", 1)])[0].partitions[0].slot, Slot(1), "it had vanished");
        partitions.handle_partition_open(LaneId(0), Epoch(1), Slot(0)).unwrap();
        partitions.handle_partition_halted(LaneId(0), Epoch(1), Slot(1), halt("jump-refused")).unwrap();
        assert_eq!(partitions.halt(&at), None);
    }

    #[test]
    fn partition_left_out_after_it_joined_is_offered_again_once() {
        let mut partitions = LanePartitions::new(Router::plain(1));
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        let at = partitions.poll_due(&[topic("orders", 1)])[0].partitions[0].at.clone();
        let halted = |partitions: &mut LanePartitions, slot| {
            partitions.handle_partition_halted(LaneId(0), Epoch(1), Slot(slot), halt("target-unavailable")).unwrap();
            partitions.is_left_out(&at)
        };
        assert!(!halted(&mut partitions, 0), "its offer waits at the receiver");
        partitions.handle_partition_open(LaneId(0), Epoch(1), Slot(0)).unwrap();
        assert!(halted(&mut partitions, 0));
        assert!(partitions.poll_due(&[topic("orders", 1)]).is_empty(), "not before the wait is over");
        partitions.offer_left_out(&at);
        assert_eq!(partitions.poll_due(&[topic("orders", 1)])[0].partitions[0].slot, Slot(1));
        assert!(!halted(&mut partitions, 1));
        partitions.offer_left_out(&at);
        assert!(partitions.poll_due(&[topic("orders", 1)]).is_empty());
    }

    #[test]
    fn a_position_outside_the_log_is_looked_at_again_immediately() {
        let mut partitions = LanePartitions::new(Router::plain(1));
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        partitions.poll_due(&[topic("orders", 1)]);
        partitions.handle_partition_open(LaneId(0), Epoch(1), Slot(0)).unwrap();
        partitions.handle_partition_halted(LaneId(0), Epoch(1), Slot(0), halt("out-of-range")).unwrap();
        assert_eq!(partitions.poll_due(&[topic("orders", 1)])[0].partitions[0].slot, Slot(1));
    }

    #[test]
    fn a_deleted_topic_is_not_read_and_keeps_no_halt() {
        let mut partitions = LanePartitions::new(Router::plain(1));
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        partitions.poll_due(&[topic("orders", 2), topic("stays", 1)]);
        partitions.handle_partition_open(LaneId(0), Epoch(1), Slot(0)).unwrap();
        partitions.handle_partition_halted(LaneId(0), Epoch(1), Slot(1), halt("corrupt")).unwrap();
        assert_eq!(partitions.offered_topics(), [("orders".into(), 2), ("stays".into(), 1)].into());
        let read = partitions.handle_gone(&["orders".into()].into());
        assert_eq!(read.iter().map(|one| one.slot).collect::<Vec<_>>(), [Slot(0)]);
        assert!(partitions.halted(|_, _| true).is_empty());
        partitions.handle_partition_halted(LaneId(0), Epoch(1), Slot(0), halt("source-gone")).unwrap();
        assert!(partitions.poll_due(&[topic("stays", 1)]).is_empty());
        assert_eq!(partitions.poll_due(&[topic("orders", 2)])[0].partitions.len(), 2, "it is back");
    }

    #[test]
    fn a_topic_recreated_during_its_offer_is_noticed_later() {
        let again = [SourceTopic { id: TopicId([2; 16]), ..topic("orders", 1) }];
        let mut partitions = LanePartitions::new(Router::plain(1));
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        partitions.poll_due(&[topic("orders", 1)]);
        assert!(partitions.poll_recreated(&again).is_empty(), "nothing is read");
        partitions.handle_partition_open(LaneId(0), Epoch(1), Slot(0)).unwrap();
        assert_eq!(partitions.poll_recreated(&again).len(), 1);
        assert!(partitions.poll_recreated(&again).is_empty());
    }

    #[test]
    fn a_recreated_topic_is_noticed_once_read_or_halted() {
        let again = SourceTopic { id: TopicId([2; 16]), ..topic("orders", 2) };
        let mut partitions = LanePartitions::new(Router::plain(1));
        partitions.handle_lane_open(LaneId(0), Epoch(1)).unwrap();
        partitions.poll_due(&[topic("orders", 2)]);
        partitions.handle_partition_open(LaneId(0), Epoch(1), Slot(0)).unwrap();
        partitions.handle_partition_halted(LaneId(0), Epoch(1), Slot(1), halt("source-gone")).unwrap();
        assert!(partitions.poll_recreated(&[topic("orders", 2)]).is_empty());
        assert!(partitions.poll_recreated(&[]).is_empty(), "gone is not made again");
        let found = partitions.poll_recreated(std::slice::from_ref(&again));
        assert_eq!(found.iter().map(|found| found.slot).collect::<Vec<_>>(), [Slot(0)]);
        let due = partitions.poll_due(std::slice::from_ref(&again));
        assert_eq!((due[0].partitions.len(), due[0].partitions[0].at.partition), (1, 1), "the halted one is offered");
        assert!(partitions.poll_recreated(&[again]).is_empty());
    }
}
