//! Hand-over of partitions between lanes, because their class changed.
//!
//! Every partition begins in its lane of the default class, its home, and is handed over from lane to lane like a
//! token: exactly one lane has it, or is the one that it was handed to. To a lane, a partition is in one of these
//! states (`Place`); arrows to the right are commits of this lane:
//!
//! ```text
//!             offer of it here                            the record arrives
//!   Unknown ──────────────────▶ requested ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─┐
//!      │  (the offer is deferred, the lane on the trail gets a request)        │ accepted
//!      │ request, and this lane is its home: begin                             ▼
//!      └─────────────────────────────────────────▶ HandedOver(to) ◀──────── Here
//!                                                       │           request
//!                                   request by another: │ forwarded to `to`
//! ```
//!
//! The lane that has a partition stores `moved { to, count + 1 }` with its whole record, and does not have it any
//! longer. Only the lane `to` may accept it, and does so where its own state has no such count: that the record was
//! committed stays true, and that this lane has not accepted it yet is proved by its commit, which a fenced lane
//! cannot make. So neither a crash between the two commits nor a receiver with an old state can put a partition
//! into two lanes. A lane that is offered a partition which it does not have requests it along the trail of such
//! records, which begins at home.

use std::collections::{BTreeMap, HashMap, VecDeque};

use wire::halt::HaltReason;
use wire::ids::{LaneId, Slot};
use wire::partition::Partition;

use super::slots::Slots;
use super::stored::Stored;
use crate::join::{Answer, Offered};
use crate::target::state::{HaltRecord, JumpRecord, LaneRecord, MovedRecord, PartitionRecord};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneMessage {
    Request(Box<HandoverRequest>),
    HandedOver(Partition, Box<PartitionRecord>),
    /// A requested partition may not join the link.
    Refused(Partition, HaltRecord),
    AllOffered,
}

/// A lane's request for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverRequest {
    /// The offer that the requesting lane has deferred.
    pub offered: Offered,
    pub to: LaneId,
    /// The filter hash that this lane has stored, which tells whether the topic is newly matched.
    pub filter_hash: Option<u64>,
    /// The record by which the addressed lane was handed the partition.
    pub handed: Option<PartitionRecord>,
}

/// Hand-overs of one open lane.
#[derive(Debug, Default)]
pub(super) struct Handovers {
    pub(super) handed_over: HashMap<Partition, MovedRecord>,
    /// Filter hash that was stored when the lane was opened.
    filter_before: Option<u64>,
    /// Requests of other lanes. They are repeated whenever a lane is opened; one of each counts.
    requests: BTreeMap<(Partition, LaneId), HandoverRequest>,
    /// Records handed to this lane, the newest of each partition.
    received: BTreeMap<Partition, PartitionRecord>,
    /// Offers that wait for a partition which this lane has requested.
    deferred: BTreeMap<Partition, Box<Offered>>,
    /// The last offer of a discovery waits for the deferred ones.
    last_waits: bool,
}

/// Hand-overs of one transaction.
#[derive(Debug, Default)]
pub(super) struct HandoverDraft {
    pub(super) handed_over: HashMap<Partition, MovedRecord>,
    /// Partitions that were handed to this lane and are accepted.
    pub(super) accepted: HashMap<Partition, PartitionRecord>,
    /// Jumps of partitions that begin here and are handed over immediately.
    pub(super) jumps: Vec<JumpRecord>,
    answered: Vec<HandoverRequest>,
    refused: Vec<(HandoverRequest, HaltRecord)>,
}

/// Place of a requested partition, as this lane knows it.
enum Place {
    /// The lane has it, or was handed it by the record that came with the request.
    Here(PartitionRecord),
    HandedOver(MovedRecord),
    Unknown,
}

/// Offers that a message releases, to be queued again.
#[derive(Default)]
pub(super) struct Released {
    pub(super) offered: Option<Box<Offered>>,
    /// The last offer of the discovery need not wait any longer.
    pub(super) last: bool,
}

impl Handovers {
    pub(super) fn stored(handed_over: HashMap<Partition, MovedRecord>, filter_before: Option<u64>) -> Self {
        Self { handed_over, filter_before, ..Self::default() }
    }

    pub(super) fn add_request(&mut self, request: HandoverRequest) {
        self.requests.insert((request.offered.key(), request.to), request);
    }

    /// Keeps the record with the higher count: an older one would be found outdated, and the partition would
    /// wait until it is requested again.
    pub(super) fn receive(&mut self, key: Partition, record: PartitionRecord) {
        if self.received.get(&key).is_none_or(|known| known.moves < record.moves) {
            self.received.insert(key, record);
        }
    }

    /// Returns whether a deferred offer uses `slot`.
    pub(super) fn defers(&self, slot: Slot) -> bool {
        self.deferred.values().any(|offered| offered.slot() == slot)
    }

    pub(super) fn has_deferred(&self, key: &Partition) -> bool {
        self.deferred.contains_key(key)
    }

    /// Returns whether a partition of `topic` is being handed over.
    pub(super) fn concern(&self, topic: &str) -> bool {
        let requested = self.requests.keys().map(|(key, _)| key);
        requested.chain(self.received.keys()).chain(self.deferred.keys()).any(|key| *key.topic == *topic)
    }

    /// Defers an offer whose partition is in another lane, and returns the request for that lane. `None`: the
    /// partition is here, or begins here.
    pub(super) fn defer(&mut self, stored: &Stored, offered: &Offered) -> Option<(LaneId, LaneMessage)> {
        let request = self.request(stored, offered)?;
        self.deferred.insert(offered.key(), Box::new(Offered { was_deferred: true, ..offered.clone() }));
        Some(request)
    }

    /// Returns the requests for all deferred offers, to be sent again.
    pub(super) fn open_requests(&self, stored: &Stored) -> Vec<(LaneId, LaneMessage)> {
        self.deferred.values().filter_map(|offered| self.request(stored, offered)).collect()
    }

    pub(super) fn release(&mut self, key: &Partition) -> Released {
        let Some(offered) = self.deferred.remove(key) else { return Released::default() };
        let last = self.deferred.is_empty() && std::mem::take(&mut self.last_waits);
        Released { offered: Some(offered), last }
    }

    /// Removes a deferred offer whose partition has arrived: it can be decided.
    fn release_arrived(&mut self, key: &Partition) -> Released {
        let mut released = self.release(key);
        if let Some(offered) = &mut released.offered {
            // The partition has begun with a jump that expected no position.
            let is_carried_only = offered.is_carried_only();
            offered.partition.jump.take_if(|jump| jump.expected.0 < 0 && !is_carried_only);
        }
        released
    }

    /// Returns whether the last offer of a discovery has to wait for deferred ones.
    pub(super) fn holds_last(&mut self) -> bool {
        self.last_waits |= !self.deferred.is_empty();
        self.last_waits
    }

    /// Returns a halt for a deferred offer that is out of date: the lane that had the partition continued after
    /// both clusters were asked, and their answers would look like a loss. The sender offers it again.
    pub(super) fn outdated(stored: &Stored, offered: &Offered) -> Option<HaltRecord> {
        let record = stored.partitions.get(&offered.key())?;
        let target_behind = offered.target.as_ref().is_ok_and(|target| target.end < record.target_end);
        let source_behind = offered.partition.log_end < record.position;
        let detail = "it was offered before its former lane stopped reading it; the sender will offer it again";
        let outdated = offered.was_deferred && (target_behind || source_behind);
        outdated.then(|| HaltRecord::new(HaltReason::OutOfRange, detail))
    }

    /// Returns whether a transaction would hand over or accept a partition now.
    pub(super) fn has_work(&self, stored: &Stored) -> bool {
        let ready = |request: &HandoverRequest| {
            let key = request.offered.key();
            request.handed.is_some()
                || self.count(stored, &key).is_some()
                || stored.carried_topics.carries(&key.topic).is_some()
        };
        !self.received.is_empty() || self.requests.values().any(ready)
    }

    /// Returns how often a partition has changed lanes, as far as this lane's state knows it.
    fn count(&self, stored: &Stored, key: &Partition) -> Option<u32> {
        let here = stored.partitions.get(key).map(|record| record.moves);
        here.max(self.handed_over.get(key).map(|moved| moved.record.moves))
    }

    /// Returns the request for an offered partition; `None` if this lane has it or is the one where it begins.
    fn request(&self, stored: &Stored, offered: &Offered) -> Option<(LaneId, LaneMessage)> {
        let key = offered.key();
        if stored.partitions.contains_key(&key) {
            return None;
        }
        let moved = self.handed_over.get(&key);
        let asked = moved.map_or_else(|| stored.terms.home(&key), |moved| moved.to);
        let request = HandoverRequest {
            offered: offered.clone(),
            to: stored.lane,
            filter_hash: stored.record.filter_hash,
            handed: moved.map(|moved| moved.record.clone()),
        };
        (asked != stored.lane).then(|| (asked, LaneMessage::Request(Box::new(request))))
    }

    /// Decides where a partition that is in no lane begins; it begins in its home and is handed over immediately.
    fn begin_partition(&self, stored: &Stored, request: &HandoverRequest) -> Answer {
        let key = request.offered.key();
        if stored.terms.home(&key) != stored.lane {
            let detail = format!("lane {} never had {key}", stored.lane);
            return Answer::Halt(HaltRecord::new(HaltReason::JumpRefused, detail));
        }
        if let Some(halt) = stored.carried_topics.switched_over(&key, true) {
            return Answer::Halt(halt);
        }
        // A lane that was appended just now has stored no filter; this lane had one before its own offers.
        let filter_hash = request.filter_hash.or(self.filter_before);
        let record = LaneRecord { filter_hash, ..stored.record.clone() };
        request.offered.answer(None, &record, stored.terms.filter_hash, stored.carried_topics.carries(&key.topic))
    }
}

impl HandoverDraft {
    /// Accepts the partitions that were handed to this lane, and hands over those that other lanes request.
    /// Returns the deferred offers that this releases without a commit.
    pub(super) fn begin(
        &mut self,
        handovers: &mut Handovers,
        stored: &Stored,
        slots: &Slots,
        messages: &mut VecDeque<(LaneId, LaneMessage)>,
    ) -> Vec<Released> {
        let mut released = Vec::new();
        for (key, record) in std::mem::take(&mut handovers.received) {
            if handovers.count(stored, &key).is_some_and(|known| known >= record.moves) {
                // It was accepted before; this lane's own record is newer.
                released.push(handovers.release_arrived(&key));
            } else {
                self.accepted.insert(key, record);
            }
        }
        for request in std::mem::take(&mut handovers.requests).into_values() {
            self.answer(handovers, stored, slots, messages, request);
        }
        released
    }

    fn answer(
        &mut self,
        handovers: &mut Handovers,
        stored: &Stored,
        slots: &Slots,
        messages: &mut VecDeque<(LaneId, LaneMessage)>,
        request: HandoverRequest,
    ) {
        let key = request.offered.key();
        let to = request.to;
        // A hand-over to another lane counts only once it is committed.
        let leaves = self.handed_over.get(&key).is_some_and(|moved| moved.to != to);
        if leaves || self.accepted.contains_key(&key) {
            return handovers.add_request(request);
        }
        let record = match self.place(handovers, stored, &request) {
            Place::Here(_) if slots.has(&key) => {
                let detail = format!("lane {} carries {key}, which is offered to lane {to} too", stored.lane);
                return self.refused.push((request, HaltRecord::new(HaltReason::TargetTaken, detail)));
            }
            Place::Here(record) => record,
            Place::HandedOver(moved) if moved.to == to => return self.answered.push(request),
            Place::HandedOver(moved) => {
                let forwarded = HandoverRequest { handed: Some(moved.record), ..request };
                return messages.push_back((moved.to, LaneMessage::Request(Box::new(forwarded))));
            }
            Place::Unknown => match handovers.begin_partition(stored, &request) {
                Answer::Begin(record) => {
                    self.jumps.extend(stored.jump(&request.offered, record.position, self.jumps.len()));
                    *record
                }
                Answer::Halt(halt) => return self.refused.push((request, halt)),
                Answer::Wait | Answer::Resume => return handovers.add_request(request),
            },
        };
        let record = PartitionRecord { moves: record.moves + 1, ..record };
        self.handed_over.insert(key, MovedRecord { to, record });
        self.answered.push(request);
    }

    /// Finds a requested partition: of all records that this lane knows, the one with the highest count counts.
    fn place(&self, handovers: &Handovers, stored: &Stored, request: &HandoverRequest) -> Place {
        let key = request.offered.key();
        let gone = self.handed_over.get(&key).or_else(|| handovers.handed_over.get(&key));
        let here = stored.partitions.get(&key);
        let here = here.filter(|here| gone.is_none_or(|gone| gone.record.moves < here.moves));
        let known = here.map(|here| here.moves).max(gone.map(|gone| gone.record.moves));
        let handed = request.handed.as_ref().filter(|handed| known.is_none_or(|known| known < handed.moves));
        match (handed.or(here), gone) {
            (Some(record), _) => Place::Here(record.clone()),
            (None, Some(gone)) => Place::HandedOver(gone.clone()),
            (None, None) => Place::Unknown,
        }
    }

    /// Applies the committed hand-overs, and sends the answers. Returns the offers that can be decided now.
    pub(super) fn complete(
        self,
        handovers: &mut Handovers,
        stored: &mut Stored,
        messages: &mut VecDeque<(LaneId, LaneMessage)>,
    ) -> Vec<Released> {
        for (key, moved) in self.handed_over {
            let position = moved.record.position;
            tracing::info!(lane = %stored.lane, partition = %key, to = %moved.to, %position, "partition handed over");
            stored.partitions.remove(&key);
            handovers.handed_over.insert(key, moved);
        }
        let mut released = Vec::new();
        for key in self.accepted.keys() {
            handovers.handed_over.remove(key);
            released.push(handovers.release_arrived(key));
        }
        for request in self.answered {
            let key = request.offered.key();
            if let Some(moved) = handovers.handed_over.get(&key).filter(|moved| moved.to == request.to) {
                messages.push_back((request.to, LaneMessage::HandedOver(key, Box::new(moved.record.clone()))));
            }
        }
        for (request, halt) in self.refused {
            messages.push_back((request.to, LaneMessage::Refused(request.offered.key(), halt)));
        }
        released
    }

    /// Queues everything again after a transaction whose outcome is unknown: the stored state decides.
    pub(super) fn abandon(self, handovers: &mut Handovers) {
        self.accepted.into_iter().for_each(|(key, record)| handovers.receive(key, record));
        let refused = self.refused.into_iter().map(|(request, _)| request);
        self.answered.into_iter().chain(refused).for_each(|request| handovers.add_request(request));
    }

    /// Returns whether the transaction writes or refuses anything because of hand-overs.
    pub(super) fn needs_commit(&self) -> bool {
        !self.handed_over.is_empty() || !self.accepted.is_empty() || !self.refused.is_empty()
    }

    /// Returns whether it hands over a partition.
    pub(super) fn any_left(&self) -> bool {
        !self.handed_over.is_empty()
    }

    /// Returns whether it refuses a request, which only the lane's present owner may do.
    pub(super) fn refuses(&self) -> bool {
        !self.refused.is_empty()
    }
}
