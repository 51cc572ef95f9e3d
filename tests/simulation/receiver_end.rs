//! The receiver's end of a link: the work of the session and of the lanes' threads, around the product's lanes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use receiver::custody::{Holder, WriterId};
use receiver::promoted::PromotedRecord;
use receiver::state::{HaltRecord, LaneState, PartitionRecord};
use receiver::{
    CarriedTopics, Committed, Company, Counts, Course, DecodeMemory, Draft, ForgetStep, ForgetTopic, Lane, LaneError,
    LaneMessage, Member, Offered, OfferedTarget, OpenError, Prepared, RecoverError, SharedLane, SharedWriter, Target,
    TargetError, TargetPartition, Terms, TransactionRoom, TransactionSize,
};
use testkit::topic_id;
use tokio::sync::oneshot;
use wire::close::CloseCode;
use wire::control::{Control, LaneClosedReason, OfferedPartition};
use wire::frame::IntactFrame;
use wire::ids::{LaneId, Position};

use crate::bugs::{Bug, Bugged, relabelled};
use crate::cluster::SharedCluster;
use crate::dice::Dice;
use crate::logs::Place;
use crate::process::{Process, SharedProcess};
use crate::scenario::Scenario;
use crate::target::{SimTarget, SimWriter};

/// Beginning of the reason why a session must end, if its sender broke the protocol.
pub(crate) const PEER: &str = "the peer: ";

/// Receiver process with its lanes.
pub(crate) struct ReceiverEnd {
    lanes: Vec<Owned>,
    writers: Vec<Arc<SharedWriter<SimWriter>>>,
    clients: SimTarget,
    scenario: Scenario,
    /// Number of the process, and of the lanes that it has had.
    number: u64,
    made: u64,
    size: TransactionSize,
    terms: Arc<Terms>,
    carried_topics: Arc<CarriedTopics>,
    /// Policy of each topic whose rejected records are left out in this session.
    skips: BTreeMap<String, Arc<str>>,
    cluster: SharedCluster,
    pub(crate) memory: Arc<DecodeMemory>,
    pub(crate) process: SharedProcess,
    pub(crate) session: Option<u64>,
    bug: Option<Bug>,
    /// Promotion that was asked for, and is not complete.
    course: Option<Course>,
    /// Final states of the lanes, once the link is promoted.
    pub(crate) promoted: Option<Vec<LaneState>>,
    /// True if a lane was refused because the link is promoted.
    pub(crate) refused: bool,
    measures: bool,
    dice: Dice,
    /// Messages between lanes that are not delivered yet.
    messages: VecDeque<(LaneId, LaneMessage)>,
    pub(crate) recoveries: u64,
}

struct Owned {
    lane: Lane<Bugged>,
    /// Place of the lane's writer among those of the process.
    writer: usize,
    bug: Option<Bug>,
    /// Sender has requested the lane, and it is not open yet.
    wanted: bool,
    /// Session of the lane has ended: it commits its frames up to the first gap, then closes.
    closing: bool,
    /// Reason why the session must end.
    misbehaved: Option<String>,
}

/// What a round has done with a lane.
enum Looked {
    Opened,
    /// It may have a part in a transaction.
    Due,
    Done,
}

impl Member for Owned {
    fn prepare(&mut self, room: TransactionRoom) -> Option<Prepared> {
        match self.lane.prepare(room) {
            Prepared { draft, result: Err(LaneError::Peer(misbehaved)) } if !draft.has_begun() => {
                self.lane.close(LaneClosedReason::SessionEnded, &misbehaved.to_string());
                self.misbehaved = Some(misbehaved.to_string());
                None
            }
            prepared => Some(prepared),
        }
    }

    fn await_delivery(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        self.lane.await_delivery(draft)?;
        if self.bug == Some(Bug::AckBeforeCommit) {
            self.lane.complete(std::mem::take(draft));
        }
        Ok(())
    }

    fn complete(&mut self, draft: Draft) -> Committed {
        let committed = self.lane.complete(draft);
        self.lane.target_mut().inner.end_part();
        committed
    }

    fn fail(&mut self, draft: Draft, error: &LaneError, company: Company) {
        if self.bug == Some(Bug::OthersCompleted) && company == Company::Shared {
            self.complete(draft);
        } else {
            self.lane.fail(draft, error, company);
        }
    }
}

/// Returns the limit of the transactions of a new process.
fn size(scenario: &Scenario) -> TransactionSize {
    let mut size = TransactionSize::new(Duration::from_millis(200));
    (0..scenario.size_halved).for_each(|_| size.handle_failure());
    size
}

impl ReceiverEnd {
    pub(crate) fn new(scenario: &Scenario, cluster: &SharedCluster, dice: &Dice, number: u64) -> Self {
        let memory = DecodeMemory::new(scenario.decode_memory());
        let process = SharedProcess::default();
        process.lock().unwrap().failing = scenario.failing;
        let clients = SimTarget::new(cluster.clone(), process.clone(), dice.clone());
        let instance = if scenario.twins { number % 2 } else { number };
        let writer = |name: &str| {
            SharedWriter::new(WriterId::of_writer(&format!("r{instance}"), name), clients.writer().unwrap())
        };
        let writers: Vec<_> = ["bulk", "careful"].into_iter().map(writer).collect();
        let mut end = Self {
            lanes: Vec::new(),
            size: size(scenario),
            writers,
            clients,
            scenario: scenario.clone(),
            number,
            made: 0,
            terms: Arc::new(scenario.terms()),
            carried_topics: Arc::new(CarriedTopics::new(scenario.lanes())),
            skips: BTreeMap::new(),
            cluster: cluster.clone(),
            memory,
            process,
            session: None,
            bug: scenario.bug,
            course: None,
            promoted: None,
            refused: false,
            measures: scenario.measures,
            dice: dice.clone(),
            messages: VecDeque::new(),
            recoveries: 0,
        };
        end.lanes = (0..scenario.lanes()).map(|id| end.new_lane(LaneId(id))).collect();
        end
    }

    fn new_lane(&mut self, id: LaneId) -> Owned {
        self.made += 1;
        let holder = Holder(u128::from(self.number) << 64 | u128::from(self.made));
        let bug = self.scenario.bug;
        let target = SharedLane::new(&self.writers[0], self.clients.states().unwrap(), "sim", id);
        let target = Bugged::new(target, self.clients.clone(), id, bug, holder);
        let lane = Lane::new(id, holder, target, self.memory.clone());
        Owned { lane, writer: 0, bug, wanted: false, closing: false, misbehaved: None }
    }

    /// Begins to serve the link again, while its former lanes still commit what they have.
    fn renew(&mut self) {
        for id in 0..self.scenario.lanes() {
            let lane = self.new_lane(LaneId(id));
            let former = std::mem::replace(&mut self.lanes[usize::from(id)], lane);
            self.lanes.push(Owned { wanted: false, closing: true, ..former });
        }
    }

    /// Begins a session, which ends an earlier one.
    pub(crate) fn accept(&mut self, session: u64) {
        if self.dice.chance(self.scenario.renewing) {
            self.renew();
        }
        let present = usize::from(self.scenario.lanes());
        for owned in &mut self.lanes[..present] {
            owned.lane.close(LaneClosedReason::SessionEnded, "replaced");
            owned.wanted = false;
            owned.closing = false;
            while owned.lane.poll_reply().is_some() {}
            while owned.lane.poll_lane_message().is_some() {}
        }
        self.messages.clear();
        self.skips.clear();
        self.carried_topics = Arc::new(CarriedTopics::new(self.scenario.lanes()));
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

    /// Begins to promote the link, without a session from now on.
    pub(crate) fn promote(&mut self, now: Duration) {
        self.disconnect();
        let at = now.as_millis() as i64;
        self.course
            .get_or_insert_with(|| Course::new(Some(PromotedRecord::first(at, "simulated".into(), String::new()))));
    }

    pub(crate) fn is_promoting(&self) -> bool {
        self.course.is_some()
    }

    /// Promotes the lanes whose turn it is, once they have committed what they have.
    fn pursue_promotion(&mut self) -> Result<(), String> {
        let lanes = usize::from(self.scenario.lanes());
        let missed = self.bug == Some(Bug::LaneNotPromoted) && lanes > 1;
        for LaneId(id) in self.course.as_ref().map(Course::next).unwrap_or_default() {
            let Owned { lane, .. } = &mut self.lanes[usize::from(id)];
            if lane.has_work() || lane.needs_recovery() || self.dice.chance(300) {
                continue;
            }
            let Some(course) = &mut self.course else { break };
            if missed && usize::from(id) == lanes - 1 {
                course.handle(LaneId(id), LaneState::default(), lanes as u16);
                continue;
            }
            lane.target_mut().inner.end_part();
            match lane.promote("sim", course.record()) {
                Ok(state) => course.handle(LaneId(id), state, lanes as u16),
                Err(OpenError::Target(_)) => {}
                Err(refused) => return Err(refused.to_string()),
            }
        }
        match self.course.take().map(Course::finish) {
            Some(Ok(states)) if !self.process.lock().unwrap().dead => self.promoted = Some(states),
            Some(Err(course)) => self.course = Some(course),
            _ => {}
        }
        Ok(())
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
        if self.scenario.turning > 0 && self.dice.chance(self.scenario.turning) {
            self.clients.change_credentials();
            self.writers.iter().for_each(|writer| writer.renew());
        }
        let mut opened = false;
        let mut due = Vec::new();
        for index in 0..self.lanes.len() {
            if self.dice.chance(300) {
                continue;
            }
            self.change_writer(index);
            match self.look_after(index)? {
                Looked::Opened => opened = true,
                Looked::Due => due.push(index),
                Looked::Done => {}
            }
            if self.process.lock().unwrap().dead {
                return Ok(Vec::new());
            }
            self.collect(index, &mut replies);
        }
        self.pursue_promotion()?;
        let lanes = usize::from(self.scenario.lanes());
        for writer in 0..self.writers.len() {
            self.write(writer, &due)?;
            if self.process.lock().unwrap().dead {
                return Ok(Vec::new());
            }
        }
        due.into_iter().for_each(|index| self.collect(index, &mut replies));
        let mut places = 0..;
        self.lanes.retain(|owned| places.next().is_some_and(|place| place < lanes) || owned.closing);
        if opened && self.carried_topics.is_complete() {
            self.lanes.iter_mut().for_each(|owned| owned.lane.handle_all_lanes_read());
        }
        Ok(replies)
    }

    fn collect(&mut self, index: usize, replies: &mut Vec<Control>) {
        let lane = &mut self.lanes[index].lane;
        self.cluster.lock().unwrap().gaps.extend(lane.take_gaps().into_parts().0);
        if index >= usize::from(self.scenario.lanes()) {
            // Its session has ended.
            while lane.poll_reply().is_some() {}
            while lane.poll_lane_message().is_some() {}
            return;
        }
        replies.extend(std::iter::from_fn(|| lane.poll_reply()));
        let messages = std::iter::from_fn(|| lane.poll_lane_message());
        self.messages.extend(messages.filter(|_| self.session.is_some()));
    }

    /// Moves a lane to the other writer, sometimes.
    fn change_writer(&mut self, index: usize) {
        if self.dice.chance(self.scenario.homing) {
            let owned = &mut self.lanes[index];
            owned.writer = 1 - owned.writer;
            let writer = &self.writers[owned.writer];
            if self.bug == Some(Bug::MovedWithoutBid) && !owned.lane.needs_recovery() {
                owned.lane.target_mut().inner.move_to(writer);
                owned.lane.target_mut().grant();
                return;
            }
            owned.lane.doubt();
            owned.lane.target_mut().inner.move_to(writer);
        }
    }

    /// Opens or recovers a lane, or has it write a transaction of its own.
    fn look_after(&mut self, index: usize) -> Result<Looked, String> {
        let Owned { lane, bug, wanted, closing, .. } = &mut self.lanes[index];
        if *closing && !lane.has_work() && !lane.needs_recovery() {
            lane.close(LaneClosedReason::SessionEnded, "lost");
            *closing = false;
        }
        if self.dice.chance(5) {
            lane.keep_alive();
        }
        lane.target_mut().inner.end_part();
        if *wanted {
            match lane.open(Arc::clone(&self.terms), Arc::clone(&self.carried_topics)) {
                Ok(_) => {
                    *wanted = false;
                    return Ok(Looked::Opened);
                }
                Err(OpenError::Target(_)) => {}
                Err(OpenError::Refused(close)) if close.code == CloseCode::Promoted => {
                    *wanted = false;
                    self.refused = true;
                }
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
            if lane.target_mut().inner.is_granted() {
                if lane.is_careful() || self.dice.chance(200) {
                    let writer = self.lanes[index].writer;
                    return self.write(writer, &[index]).map(|()| Looked::Done);
                }
                return Ok(Looked::Due);
            }
            if *bug == Some(Bug::GrantKept) {
                lane.target_mut().grant();
            } else {
                lane.doubt();
            }
        }
        Ok(Looked::Done)
    }

    /// Runs one transaction of a writer over its lanes among those that are due.
    fn write(&mut self, writer: usize, due: &[usize]) -> Result<(), String> {
        let group = self.writers[writer].group();
        let lanes = self.lanes.iter_mut().enumerate();
        // The lanes before may have failed the writer, and a pause may have ended the session of this one.
        let lanes: Vec<_> = lanes
            .filter(|(index, owned)| due.contains(index) && owned.writer == writer)
            .map(|(_, owned)| owned)
            .filter_map(|owned| owned.lane.target_mut().inner.is_granted().then_some(owned))
            .collect();
        match receiver::write(lanes.into_iter(), self.size.room(), || group.commit()) {
            Ok(written) if self.measures => {
                self.size.handle_success(written.bytes, Duration::from_millis(self.dice.below(50)));
            }
            Ok(_) => {}
            Err(failed) => match failed.error {
                LaneError::Peer(misbehaved) => return Err(format!("{PEER}{misbehaved}")),
                LaneError::Target(TargetError::Rejected(_)) => {}
                LaneError::Target(_) => self.size.handle_failure(),
            },
        }
        match self.lanes.iter_mut().find_map(|owned| owned.misbehaved.take()) {
            Some(misbehaved) => Err(format!("{PEER}{misbehaved}")),
            None => Ok(()),
        }
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
        Offered { partition, target: Ok(target), skips_refused, returning: None, room: None, was_deferred: false }
    }
}

impl Drop for ReceiverEnd {
    /// Makes the process dead, so that it makes no further calls.
    fn drop(&mut self) {
        *self.process.lock().unwrap() = Process { dead: true, ..Process::default() };
    }
}
