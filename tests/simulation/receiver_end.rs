//! The receiver's end of a link: the work of the session and of the lanes' threads, around the product's lanes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use receiver::custody::Holder;
use receiver::state::{HaltRecord, PartitionRecord};
use receiver::{
    CarriedTopics, Counts, DecodeMemory, ForgetStep, ForgetTopic, Lane, LaneError, LaneMessage, Offered, OfferedTarget,
    OpenError, RecoverError, TargetPartition, Terms, TransactionSize,
};
use testkit::topic_id;
use tokio::sync::oneshot;
use wire::control::{Control, LaneClosedReason, OfferedPartition};
use wire::frame::IntactFrame;
use wire::ids::{LaneId, Position};

use crate::bugs::{Bug, Bugged, relabelled};
use crate::cluster::SharedCluster;
use crate::dice::Dice;
use crate::logs::Place;
use crate::process::{Process, SharedProcess};
use crate::scenario::Scenario;
use crate::target::SimTarget;

/// Beginning of the reason why a session must end, if its sender broke the protocol.
pub(crate) const PEER: &str = "the peer: ";

/// Receiver process with its lanes.
pub(crate) struct ReceiverEnd {
    lanes: Vec<Owned>,
    terms: Arc<Terms>,
    carried_topics: Arc<CarriedTopics>,
    /// Policy of each topic whose rejected records are left out in this session.
    skips: BTreeMap<String, Arc<str>>,
    cluster: SharedCluster,
    pub(crate) memory: Arc<DecodeMemory>,
    pub(crate) process: SharedProcess,
    pub(crate) session: Option<u64>,
    bug: Option<Bug>,
    measures: bool,
    dice: Dice,
    /// Messages between lanes that are not delivered yet.
    messages: VecDeque<(LaneId, LaneMessage)>,
    pub(crate) recoveries: u64,
}

struct Owned {
    lane: Lane<Bugged>,
    /// Sender has requested the lane, and it is not open yet.
    wanted: bool,
    /// Session of the lane has ended: it commits its frames up to the first gap, then closes.
    closing: bool,
}

impl ReceiverEnd {
    pub(crate) fn new(scenario: &Scenario, cluster: &SharedCluster, dice: &Dice, number: u64) -> Self {
        let memory = DecodeMemory::new(scenario.decode_memory);
        let process = SharedProcess::default();
        process.lock().unwrap().failing = scenario.failing;
        let lane = |id| {
            let target = SimTarget::new(id, cluster.clone(), process.clone(), dice.clone());
            let mut size = TransactionSize::new(Duration::from_millis(200));
            (0..scenario.size_halved).for_each(|_| size.handle_failure());
            let lane = Lane::new(
                id,
                Holder(u128::from(number)),
                Bugged::new(target, id, scenario.bug, number),
                memory.clone(),
                size,
            );
            Owned { lane, wanted: false, closing: false }
        };
        Self {
            lanes: (0..scenario.lanes()).map(|id| lane(LaneId(id))).collect(),
            terms: Arc::new(scenario.terms()),
            carried_topics: Arc::new(CarriedTopics::new(scenario.lanes())),
            skips: BTreeMap::new(),
            cluster: cluster.clone(),
            memory,
            process,
            session: None,
            bug: scenario.bug,
            measures: scenario.measures,
            dice: dice.clone(),
            messages: VecDeque::new(),
            recoveries: 0,
        }
    }

    /// Begins a session, which ends an earlier one.
    pub(crate) fn accept(&mut self, session: u64) {
        for owned in &mut self.lanes {
            owned.lane.close(LaneClosedReason::SessionEnded, "replaced");
            owned.wanted = false;
            owned.closing = false;
            while owned.lane.poll_reply().is_some() {}
            while owned.lane.poll_lane_message().is_some() {}
        }
        self.messages.clear();
        self.skips.clear();
        self.carried_topics = Arc::new(CarriedTopics::new(self.lanes.len() as u16));
        self.session = Some(session);
    }

    /// Ends the session. Frames up to the first gap are still committed.
    pub(crate) fn disconnect(&mut self) {
        self.session = None;
        self.messages.clear();
        for owned in &mut self.lanes {
            owned.wanted = false;
            owned.closing = true;
        }
    }

    pub(crate) fn handle(&mut self, message: Control) -> Result<(), String> {
        match message {
            Control::OpenLane { lane } => self.lanes[usize::from(lane.0)].wanted = true,
            Control::SkipRefused { topic, policy } => drop(self.skips.insert(topic, policy.into())),
            Control::Offer { lane, epoch, partitions, last } => {
                for partition in partitions {
                    let offered = self.look_up(partition);
                    let lane = self.lanes[usize::from(lane.0)].lane.at_granted(epoch).map_err(|e| e.to_string())?;
                    lane.map_or(Ok(()), |mut lane| lane.handle_offer(offered)).map_err(|e| e.to_string())?;
                }
                if let Some(mut lane) = self.lanes[usize::from(lane.0)].lane.at(epoch).filter(|_| last) {
                    lane.handle_last_offer();
                }
            }
            Control::PartitionHalted { lane, epoch, slot, reason, detail, .. } => {
                let halt = HaltRecord { reason, detail };
                let lane = self.lanes[usize::from(lane.0)].lane.at_granted(epoch).map_err(|e| e.to_string())?;
                lane.map_or(Ok(()), |mut lane| lane.handle_halted(slot, halt)).map_err(|e| e.to_string())?;
            }
            Control::TopicsGone { topics } => {
                let topics = topics.into_iter().map(Arc::from).collect();
                for Owned { lane, .. } in &mut self.lanes {
                    if let Some(mut lane) = lane.epoch().and_then(|epoch| lane.at(epoch)) {
                        lane.handle_topics_gone(&topics);
                    }
                }
            }
            Control::Forget { topic, asked, reason } => {
                for step in [ForgetStep::Handovers, ForgetStep::Positions] {
                    for Owned { lane, .. } in &mut self.lanes {
                        let (done, _) = oneshot::channel();
                        let reason = reason.clone();
                        lane.handle_forget(ForgetTopic { topic: topic.as_str().into(), step, asked, reason, done });
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn handle_frame(&mut self, frame: Bytes) -> Result<(), String> {
        let checked = |frame: Bytes| IntactFrame::check(frame).map_err(|error| error.to_string());
        let mut intact = checked(frame.clone())?;
        let owned = &mut self.lanes[usize::from(intact.header().head.lane.0)];
        if let (Some(Bug::NoEpochCheck), Some(epoch)) = (self.bug, owned.lane.epoch().filter(|_| !owned.closing)) {
            intact = checked(relabelled(&frame, epoch))?;
        }
        owned.lane.handle_frame(intact).map_err(|error| error.to_string())
    }

    /// Returns whether any lane is to be opened or recovered.
    pub(crate) fn seeks_a_lane(&self) -> bool {
        self.lanes.iter().any(|owned| owned.wanted || owned.lane.needs_recovery())
    }

    /// Runs one step of every lane that has work. Returns the messages to the sender.
    pub(crate) fn pump(&mut self) -> Result<Vec<Control>, String> {
        let mut replies = Vec::new();
        self.deliver_lane_messages();
        let mut opened = false;
        for owned in &mut self.lanes {
            if self.dice.chance(300) {
                continue;
            }
            let lane = &mut owned.lane;
            if owned.closing && !lane.has_work() && !lane.needs_recovery() {
                lane.close(LaneClosedReason::SessionEnded, "lost");
                owned.closing = false;
            }
            if self.dice.chance(5) {
                lane.keep_alive();
            }
            if owned.wanted {
                match lane.open(Arc::clone(&self.terms), Arc::clone(&self.carried_topics)) {
                    Ok(_) => (owned.wanted, opened) = (false, true),
                    Err(OpenError::Target(_)) => {}
                    Err(refused) => return Err(refused.to_string()),
                }
            } else if lane.needs_recovery() {
                self.recoveries += 1;
                match lane.recover() {
                    Ok(()) | Err(RecoverError::Target(_)) => {}
                    Err(error @ (RecoverError::Superseded { .. } | RecoverError::Taken { .. })) => {
                        lane.close(LaneClosedReason::Superseded, &error.to_string());
                    }
                    Err(error) => return Err(error.to_string()),
                }
            } else if lane.has_work() {
                match lane.step() {
                    Ok(committed) if self.measures => {
                        lane.handle_duration(committed, Duration::from_millis(self.dice.below(50)));
                    }
                    Ok(_) | Err(LaneError::Target(_)) => {}
                    Err(LaneError::Peer(misbehaved)) => {
                        lane.close(LaneClosedReason::SessionEnded, &misbehaved.to_string());
                        return Err(format!("{PEER}{misbehaved}"));
                    }
                }
            }
            if self.process.lock().unwrap().dead {
                return Ok(Vec::new());
            }
            replies.extend(std::iter::from_fn(|| lane.poll_reply()));
            let messages = std::iter::from_fn(|| lane.poll_lane_message());
            self.messages.extend(messages.filter(|_| self.session.is_some()));
        }
        if opened && self.carried_topics.is_complete() {
            self.lanes.iter_mut().for_each(|owned| owned.lane.handle_all_lanes_read());
        }
        Ok(replies)
    }

    /// Delivers messages between lanes, some of them later.
    fn deliver_lane_messages(&mut self) {
        while let Some((to, message)) = self.messages.pop_front() {
            if self.bug == Some(Bug::JoinsBeforeMoved)
                && let LaneMessage::Request(request) = &message
                && let Some((key, record)) =
                    self.lanes[usize::from(to.0)].lane.positions().find(|(key, _)| **key == request.offered.key())
            {
                let record = PartitionRecord { moves: record.moves + 1, ..record.clone() };
                self.messages.push_back((request.to, LaneMessage::HandedOver(key.clone(), Box::new(record))));
            }
            self.lanes[usize::from(to.0)].lane.handle_lane_message(message);
            if self.dice.chance(300) {
                return;
            }
        }
    }

    /// Returns the bytes of the frames that wait in all lanes.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.lanes.iter().map(|owned| owned.lane.held_bytes()).sum()
    }

    /// Adds the counts of the lanes of this process.
    pub(crate) fn add_counts(&self, total: &mut Counts) {
        for counts in self.lanes.iter().map(|owned| owned.lane.counts()) {
            total.recoveries += counts.recoveries;
            total.replayed += counts.replayed;
            total.holes += counts.holes;
            total.frames_dropped += counts.frames_dropped;
            total.runs_dropped += counts.runs_dropped;
            total.halts += counts.halts;
            total.moves += counts.moves;
            total.escapes += counts.escapes;
            total.skipped += counts.skipped;
        }
    }

    fn look_up(&self, partition: OfferedPartition) -> Offered {
        let topic: Arc<str> = format!("copy.{}", partition.topic).into();
        let place = Place::Data(topic.clone(), partition.partition);
        let mut cluster = self.cluster.lock().unwrap();
        cluster.logs.create(place.clone());
        let target = OfferedTarget {
            topic_id: topic_id(&topic),
            end: Position(cluster.logs.high_watermark(&place) as i64),
            partition: TargetPartition { topic, partition: partition.partition },
            clusters: [self.terms.source_cluster.clone()].into(),
        };
        let skips_refused = self.skips.get(&partition.topic).cloned();
        Offered { partition, target: Ok(target), skips_refused, room: None }
    }
}

impl Drop for ReceiverEnd {
    /// Makes the process dead, so that it makes no further calls.
    fn drop(&mut self) {
        *self.process.lock().unwrap() = Process { dead: true, ..Process::default() };
    }
}
