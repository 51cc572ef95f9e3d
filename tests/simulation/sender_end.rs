//! The sender's end of a link: the work of the session and of the lanes' threads, around the product's lanes.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sender::Assignment;
use sender::Classes;
use sender::Deletions;
use sender::Dispatcher;
use sender::LanePartitions;
use sender::Rounds;
use sender::Router;
use sender::config::Start;
use sender::{Halt, ResumeAction};
use sender::{Lane, LaneError, Packing};
use sender::{LookUp, look_up};
use sender::{Policies, Policy, Rule};
use service::bell::Bell;
use service::topics::{TopicFilter, TopicPattern};
use wire::control::{Control, CreditTerms, LaneClosedReason};
use wire::error::PeerMisbehaved;
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId};
use wire::lanes::ClassTable;
use wire::partition::Partition;

use crate::dice::Dice;
use crate::scenario::Scenario;
use crate::source::{SharedSource, SimReader, topics};

/// Time before a lane that another receiver took is opened again; a minute in the product.
const SUPERSEDED_HOLD: Duration = Duration::from_secs(3);

/// Sender process with its lanes.
pub(crate) struct SenderEnd {
    lanes: Vec<Lane<SimReader>>,
    packing: Packing,
    start: Start,
    source: SharedSource,
    pub(crate) router: Router,
    partitions: LanePartitions,
    rounds: Rounds,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) session: Option<u64>,
    reopen: Vec<Option<Duration>>,
    halted: BTreeSet<Partition>,
    /// Policies of the present session, and the probability, per thousand, that they leave out rejected records.
    policies: Policies,
    skipping: u64,
    dice: Dice,
}

impl SenderEnd {
    pub(crate) fn new(scenario: &Scenario, router: Router, source: &SharedSource, dice: &Dice) -> Self {
        let reader = || SimReader::new(source.clone(), dice.clone());
        let library = || Arc::clone(&source.lock().unwrap().templates.library);
        let lane = |lane| Lane::new(LaneId(lane), reader(), scenario.packing()).with_library(library());
        let lanes = (0..scenario.lanes()).map(lane).collect();
        Self {
            lanes,
            packing: scenario.packing(),
            start: scenario.start,
            source: source.clone(),
            partitions: LanePartitions::new(router.clone()),
            rounds: Rounds::default(),
            router,
            dispatcher: dispatcher(scenario.credit(), scenario.lanes()),
            session: None,
            reopen: vec![None; usize::from(scenario.lanes())],
            halted: BTreeSet::new(),
            policies: Policies::default(),
            skipping: scenario.skipping,
            dice: dice.clone(),
        }
    }

    /// Begins a session: returns the requests to open every lane.
    pub(crate) fn connect(&mut self, session: u64, terms: CreditTerms) -> Vec<Control> {
        self.disconnect();
        self.dispatcher = dispatcher(terms, self.lanes.len() as u16);
        self.session = Some(session);
        let topics = TopicFilter::new(vec![TopicPattern::parse(".*").unwrap()], Vec::new());
        let rule = Rule { topics, policy: vec![Policy::Skip], forget_after: None };
        self.policies = Policies(self.dice.chance(self.skipping).then_some(rule).into_iter().collect());
        (0..self.lanes.len() as u16).map(|lane| Control::OpenLane { lane: LaneId(lane) }).collect()
    }

    /// Ends the session and closes every lane.
    pub(crate) fn disconnect(&mut self) {
        self.session = None;
        self.partitions = LanePartitions::new(self.router.clone());
        self.rounds = Rounds::default();
        self.reopen.fill(None);
        self.halted.clear();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.close().unwrap();
            self.dispatcher.close_lane(LaneId(index as u16));
        }
    }

    /// Handles a message of the receiver. An error means that the receiver contradicts itself: the session must end.
    pub(crate) fn handle(&mut self, message: Control, now: Duration) -> Result<(), LaneError> {
        match message {
            Control::LaneOpen { lane, epoch } => {
                self.partitions.handle_lane_open(lane, epoch)?;
                self.lanes[usize::from(lane.0)].open(epoch, self.packing)?;
                self.dispatcher.close_lane(lane);
            }
            Control::LaneClosed { lane, epoch, reason, .. } if self.partitions.epoch(lane) == Some(epoch) => {
                self.lanes[usize::from(lane.0)].close()?;
                self.dispatcher.close_lane(lane);
                self.partitions.handle_lane_closed(lane)?;
                let hold = if reason == LaneClosedReason::Superseded { SUPERSEDED_HOLD } else { Duration::ZERO };
                self.reopen[usize::from(lane.0)] = Some(now + hold);
            }
            Control::PartitionOpen { lane, epoch, slot, position, leader_epoch } => {
                let Some(at) = self.partitions.handle_partition_open(lane, epoch, slot)? else { return Ok(()) };
                let topic = at.topic.clone();
                let assignment =
                    Assignment { slot, topic, partition: at.partition, position, leader_epoch, is_late: false };
                self.lanes[usize::from(lane.0)].handle_partitions(epoch, &[assignment])?;
            }
            Control::PartitionHalted { lane, epoch, slot, position, reason, .. } => {
                // The sender itself offers a partition again that was out of range: no operator resumes it.
                let stays = reason != HaltReason::OutOfRange.word();
                let halted = self.partitions.handle_partition_halted(lane, epoch, slot, Halt { reason, position })?;
                self.halted.extend(halted.filter(|_| stays));
                self.lanes[usize::from(lane.0)].handle_halted(epoch, slot)?;
            }
            Control::Ack { lane, epoch, sequence, .. } => {
                let lane_of_ack = self.lanes.get_mut(usize::from(lane.0)).ok_or(PeerMisbehaved::UnknownLane(lane))?;
                let freed = lane_of_ack.handle_ack(epoch, sequence)?;
                self.dispatcher.free(lane, freed.credit);
            }
            _ => {}
        }
        Ok(())
    }

    /// Offers a halted partition again, as a policy does: behind what cannot be carried, if that is possible.
    pub(crate) fn skip_halted(&mut self) {
        let Some(at) = self.halted.pop_first() else { return };
        let lift = self.partitions.halt(&at).and_then(|halt| halt.lift(ResumeAction::Skip, 0, "simulated").ok());
        self.partitions.offer_again(&at, lift.flatten());
    }

    /// Returns the present epoch of a lane.
    pub(crate) fn epoch(&self, lane: LaneId) -> Option<Epoch> {
        self.partitions.epoch(lane)
    }

    /// Resumes a halted partition, as an operator does: without the rejected record, or with it, which mostly halts
    /// again.
    pub(crate) fn lift(&mut self, action: ResumeAction) {
        let Some(at) = self.halted.pop_first() else { return };
        let Some(halt) = self.partitions.halt(&at) else { return };
        match halt.lift(action, 0, "simulated").or_else(|_| halt.lift(ResumeAction::Here, 0, "simulated")) {
            Ok(lift) => self.partitions.offer_again(&at, lift),
            Err(reason) => panic!("{at:?}: {reason}"),
        }
    }

    /// Finds new partitions and offers them, and opens lanes that were closed.
    pub(crate) fn offer(&mut self, now: Duration) -> Vec<Control> {
        let mut messages = Vec::new();
        for (lane, reopen) in self.reopen.iter_mut().enumerate() {
            if reopen.take_if(|at| *at <= now).is_some() {
                messages.push(Control::OpenLane { lane: LaneId(lane as u16) });
            }
        }
        if self.session.is_some() {
            let catalog = self.source.lock().unwrap().catalog();
            let topics = topics(&catalog);
            let mut lanes = Vec::new();
            let mut requests = self.rounds.waiting();
            for due in self.partitions.poll_due(&topics) {
                lanes.push((due.lane, due.epoch));
                requests.extend(self.rounds.handle_due(due));
            }
            // Now and then a partition has no leader while it is looked up.
            let leaderless: Vec<_> =
                requests.iter().map(|request| request.candidate.at.clone()).filter(|_| self.dice.chance(150)).collect();
            leaderless.iter().for_each(|at| catalog.set_leader(at, false));
            let announced = HashSet::new();
            let deletions = Deletions::default();
            let terms = LookUp {
                catalog: &catalog,
                topics: &topics,
                start: self.start,
                announced: &announced,
                deletions: &deletions,
                policies: &self.policies,
                promotion: None,
            };
            let found = look_up(&terms, requests);
            leaderless.iter().for_each(|at| catalog.set_leader(at, true));
            messages.extend(found.announcements);
            messages.extend(self.rounds.handle_answers(&lanes, found.answers));
        }
        messages
    }

    /// Packs and sends all that it can, as a lane's thread does.
    pub(crate) fn pump(&mut self, now: Instant) -> (Vec<Control>, Vec<Bytes>) {
        let mut messages = Vec::new();
        let mut frames = Vec::new();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let id = LaneId(index as u16);
            loop {
                if let Some(granted) = self.dispatcher.credit(id, lane.poll_credit_request()) {
                    lane.handle_granted(granted);
                }
                let surplus = lane.fill(now).unwrap();
                self.dispatcher.free(id, surplus);
                messages.extend(std::iter::from_fn(|| lane.poll_halt()));
                if surplus > 0 {
                    continue;
                }
                let has_room = self.dice.chance(700);
                let Some(frame) = has_room.then(|| lane.poll_frame(now)).flatten() else { break };
                self.dispatcher.free(id, frame.surplus);
                frames.push(frame.bytes);
            }
        }
        self.source.lock().unwrap().templates.learn();
        (messages, frames)
    }

    /// Returns the bytes in flight on all lanes; `None` while any lane is closed.
    pub(crate) fn in_flight(&self) -> Option<u64> {
        self.lanes.iter().map(|lane| lane.epoch().map(|_| lane.in_flight_bytes())).sum()
    }
}

fn dispatcher(terms: CreditTerms, lanes: u16) -> Dispatcher {
    let bells = vec![Bell::default(); usize::from(lanes)];
    Dispatcher::new(ClassTable::new(lanes), &Classes::default(), None, u64::MAX, terms, bells)
}
