//! One transaction of a lane: offers recorded, records appended, positions stored, all or nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wire::control::Control;
use wire::error::PeerMisbehaved;
use wire::frame::{RecordRef, Run, Step};
use wire::halt::HaltReason;
use wire::ids::{LaneId, Position, Slot};

use super::claims::Claimed;
use super::handover::Moving;
use super::rejected_record::Suspicion;
use super::{Current, Destination, Lane, LaneError, Open, OpenSlot, Pending};
use crate::join::{Answer, Offered};
use crate::lane::memory::Lease;
use crate::target::state::{self, HaltRecord, JumpRecord, LaneRecord, PartitionRecord};
use crate::target::{Appended, Delivered, LaneTarget, TargetError};
use wire::partition::Partition;

/// Records of one transaction that may be waited for one by one: a few milliseconds each, well within any
/// transaction's time.
const ALONE_MAX: u32 = 256;

/// What one transaction brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Records appended.
    pub records: u64,
    /// Bytes of keys, values and headers appended.
    pub bytes: u64,
}

/// A transaction in the making.
#[derive(Default)]
pub(super) struct Draft {
    begun: bool,
    committed: Committed,
    holes: u64,
    replayed: u64,
    runs_dropped: u64,
    /// Partition records as they will be once this commits.
    pub(super) changed: HashMap<Partition, PartitionRecord>,
    /// Partitions that change lanes.
    pub(super) moving: Moving,
    /// What topics' state says of their origins once this commits, and who waits for it.
    claimed: Claimed,
    /// Offers whose initial position this transaction stores.
    opened: Vec<Offered>,
    /// Halts lifted and positions moved by these offers.
    pub(super) jumps: Vec<JumpRecord>,
    /// Offers that are refused, once this transaction has proved that the lane is ours.
    pub(super) refused: Vec<(Offered, HaltRecord)>,
    /// Slots whose halt this transaction stores: the sender's wish, or what the target refuses.
    halted: Vec<(Slot, HaltRecord)>,
    /// Those of them that the sender wished.
    wished: Vec<(Slot, HaltRecord)>,
    /// Slots that records were appended to.
    written: BTreeSet<Slot>,
    /// Appended since reports were last waited for.
    undrained: u64,
    /// Records waited for by themselves.
    alone: u32,
    /// What reports said so far.
    delivered: Delivered,
    /// Whether this transaction stores that every matching partition was offered.
    pub(super) filter_complete: bool,
    /// Where the slots of completed frames stand.
    ends: Vec<(Slot, Position)>,
    /// Decoded frames, whose memory is in use until the transaction ends.
    leases: Vec<Arc<Lease>>,
}

impl<T: LaneTarget> Lane<T> {
    /// Runs one transaction over whatever has arrived, up to the size this target is known to bear.
    ///
    /// # Errors
    /// [`LaneError::Target`]: the outcome is unknown, [`Lane::recover`] decides. [`LaneError::Peer`]: the
    /// sender broke the protocol, nothing was appended, the lane must be closed.
    pub fn step(&mut self) -> Result<Committed, LaneError> {
        let mut draft = Draft::default();
        match self.run(&mut draft) {
            Ok(()) => Ok(self.settle(draft)),
            Err(error) => {
                self.target.discard();
                self.size.handle_failure();
                if let Some(open) = &mut self.open {
                    let written = std::mem::take(&mut draft.written);
                    open.abandon(draft);
                    open.suspect(&error, written);
                }
                Err(error)
            }
        }
    }

    /// The target took `took` for the transaction just committed.
    pub fn handle_duration(&mut self, committed: Committed, took: Duration) {
        self.size.handle_success(committed.bytes, took);
    }

    fn run(&mut self, draft: &mut Draft) -> Result<(), LaneError> {
        self.take_claims(draft)?;
        self.take_moves(draft)?;
        self.take_offers(draft)?;
        while self.ensure_current(draft)? && self.append_current(draft)? {}
        let keep_alive = self.open.as_ref().is_some_and(|open| open.keep_alive);
        if draft.filter_complete || keep_alive {
            self.ensure_begun(draft)?;
        }
        if !draft.begun {
            return Ok(());
        }
        self.write_state(draft)?;
        self.drain(draft)?;
        Ok(self.target.commit()?)
    }

    /// Waits for reports. A log that puts records where this link had written before is not the log it wrote
    /// to: nothing of the transaction is committed then.
    fn drain(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        let delivered = self.target.drain()?;
        let Some(open) = &self.open else { return Ok(()) };
        for Appended { partition, first, .. } in &delivered.appended {
            let slot = open.joined.get(partition).and_then(|slot| open.slots.get(slot));
            let end = slot.map_or(Position(0), |slot| open.partitions[&slot.key].target_end);
            if (0..end.0).contains(&first.0) {
                return Err(TargetError::Replaced { partition: partition.clone(), end, found: *first });
            }
        }
        draft.undrained = 0;
        draft.delivered.appended.extend(delivered.appended);
        draft.delivered.timestamps_altered = delivered.timestamps_altered;
        Ok(())
    }

    pub(super) fn ensure_begun(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        if !draft.begun {
            self.target.begin()?;
            draft.begun = true;
        }
        Ok(())
    }

    fn take_claims(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        let taken = self.open.as_mut().is_some_and(|open| open.claims.take(&mut draft.claimed));
        if taken { self.ensure_begun(draft) } else { Ok(()) }
    }

    fn take_offers(&mut self, draft: &mut Draft) -> Result<(), LaneError> {
        while let Some(offered) = self.next_offer(draft)? {
            let Some(open) = self.open.as_mut() else { break };
            let key = offered.key();
            let carried = open.knowledge.carries(&key.topic);
            match offered.answer(open.partitions.get(&key), &open.record, open.terms.filter_hash, carried) {
                // Its clusters are others than when it first joined: stored before it is read on.
                Answer::Resume if open.claims.claim(&offered, &mut draft.claimed) => {
                    draft.opened.push(*offered);
                    self.ensure_begun(draft)?;
                }
                Answer::Resume => self.replies.extend(open.join(self.id, &offered)),
                Answer::Halt(halt) => {
                    draft.refused.push((*offered, halt.clone()));
                    self.ensure_begun(draft)?;
                    self.keep(draft, &key, halt);
                }
                Answer::Begin(record) => {
                    open.claims.claim(&offered, &mut draft.claimed);
                    draft.jumps.extend(open.jump(&offered, &record, draft.jumps.len() as u64));
                    draft.changed.insert(key, *record);
                    draft.opened.push(*offered);
                    self.ensure_begun(draft)?;
                }
                Answer::Wait => {
                    open.offers.push_front(Pending::Offer(offered));
                    break;
                }
            }
        }
        Ok(())
    }

    /// The sender has halted a partition.
    pub(super) fn take_wish(&mut self, draft: &mut Draft, slot: Slot, halt: HaltRecord) -> Result<(), TargetError> {
        draft.wished.push((slot, halt.clone()));
        self.ensure_begun(draft)?;
        let key = self.open.as_ref().and_then(|open| open.slots.get(&slot)).map(|slot| slot.key.clone());
        if let Some(key) = key {
            self.keep(draft, &key, halt.clone());
            draft.halted.push((slot, halt));
        }
        Ok(())
    }

    /// A halt that is to stand is stored with the position, if there is one.
    fn keep(&self, draft: &mut Draft, key: &Partition, halt: HaltRecord) {
        let stored = self.open.as_ref().and_then(|open| open.partitions.get(key));
        if halt.is_kept() && stored.is_some_and(|stored| stored.halt.as_ref() != Some(&halt)) {
            self.changed(draft, key).halt = Some(halt);
        }
    }

    /// Decodes the next frame if none is under way. False: there is none, or no room for it.
    fn ensure_current(&mut self, draft: &mut Draft) -> Result<bool, LaneError> {
        let Some(open) = self.open.as_mut() else { return Ok(false) };
        if open.current.is_none() {
            let Some(frame) = open.inbox.peek() else { return Ok(false) };
            if !self.size.allows(draft.committed.records, draft.committed.bytes) {
                return Ok(false);
            }
            // How much memory it takes once decoded, as it says of itself.
            let raw = frame.header().raw_len as u64;
            let lease = match self.memory.take(raw) {
                Some(lease) => lease,
                None if draft.leases.is_empty() => self.memory.take_first(raw),
                None => return Ok(false),
            };
            let frame = frame.decode().map_err(PeerMisbehaved::Bytes)?;
            open.current = Some(Current::new(frame, lease));
        }
        if let Some(current) = &open.current {
            draft.leases.push(Arc::clone(&current.lease));
        }
        Ok(true)
    }

    /// Appends from the frame under way. False: the transaction is full before the frame's end.
    fn append_current(&mut self, draft: &mut Draft) -> Result<bool, LaneError> {
        let Some(mut current) = self.open.as_mut().and_then(|open| open.current.take()) else { return Ok(true) };
        let whole = self.append_steps(draft, &mut current)?;
        if let Some(open) = self.open.as_mut() {
            if whole {
                draft.ends.append(&mut current.ends);
                open.inbox.advance();
            } else {
                open.current = Some(current);
            }
        }
        Ok(whole)
    }

    fn append_steps(&mut self, draft: &mut Draft, current: &mut Current) -> Result<bool, LaneError> {
        loop {
            let mut cursor = current.cursor;
            match current.frame.next(&mut cursor) {
                None => return Ok(true),
                Some(Step::Run(run)) => {
                    current.destination = self.begin_run(draft, run)?;
                    draft.runs_dropped += u64::from(current.destination.is_none());
                }
                Some(Step::Record(_, record)) => {
                    let full = !self.size.allows(draft.committed.records, draft.committed.bytes);
                    if full || draft.alone >= ALONE_MAX || self.must_wait(draft, current.destination.as_ref()) {
                        return Ok(false);
                    }
                    if let Some(destination) = &current.destination
                        && !self.append(draft, destination, &record, current.frame.body())?
                    {
                        current.destination = None;
                    }
                }
                Some(Step::RunEnd(run)) => {
                    if let Some(destination) = current.destination.take() {
                        self.end_run(draft, &destination, run)?;
                    }
                    current.ends.push((run.slot, run.next));
                }
            }
            current.cursor = cursor;
        }
    }

    /// Whether records for `destination` may not be in this transaction, while it is looked for who cannot be written.
    fn must_wait(&self, draft: &Draft, destination: Option<&Destination>) -> bool {
        let (Some(open), Some(destination)) = (&self.open, destination) else { return false };
        open.unwritable.must_wait(destination.slot, &draft.written)
    }

    /// Where the records of a run go; `None` if its slot is closed.
    fn begin_run(&self, draft: &Draft, run: &Run) -> Result<Option<Destination>, PeerMisbehaved> {
        let slots = self.open.as_ref().map(|open| &open.slots);
        let slot = slots.and_then(|slots| slots.get(&run.slot)).ok_or(PeerMisbehaved::UnknownSlot(run.slot))?;
        if slot.closed || draft.halted.iter().any(|(halted, _)| *halted == run.slot) {
            return Ok(None);
        }
        if slot.from != run.from {
            return Err(PeerMisbehaved::PositionGap { slot: run.slot, expected: slot.from, found: run.from });
        }
        let suspected = slot.suspicion.is_any();
        Ok(Some(Destination { slot: run.slot, key: slot.key.clone(), target: slot.target.clone(), suspected }))
    }

    /// False: the partition halts here.
    fn append(
        &mut self,
        draft: &mut Draft,
        destination: &Destination,
        record: &RecordRef<'_>,
        body: &Bytes,
    ) -> Result<bool, LaneError> {
        let position = Position(record.offset.0);
        let changed = self.changed(draft, &destination.key);
        if position < changed.position {
            // A replay: this record was committed by the transaction whose outcome was unknown.
            draft.replayed += 1;
            return Ok(true);
        }
        if destination.suspected && self.halt_before(draft, destination, position)? {
            return Ok(false);
        }
        let changed = self.changed(draft, &destination.key);
        let holes = (position.0 - changed.position.0) as u64;
        changed.holes += holes;
        changed.position = Position::after(record.offset);
        changed.delivered += 1;
        draft.holes += holes;
        draft.committed.records += 1;
        draft.committed.bytes += record.raw_len() as u64;
        self.ensure_begun(draft)?;
        draft.written.insert(destination.slot);
        if destination.suspected {
            self.append_carefully(draft, destination, record, body)?;
        } else {
            self.target.produce(&destination.target, record, body)?;
        }
        Ok(true)
    }

    /// Whether the record at `position` is the one that the target refuses, or lies behind it. Then the
    /// partition's position is that one, and its halt is stored with it.
    fn halt_before(
        &mut self,
        draft: &mut Draft,
        destination: &Destination,
        position: Position,
    ) -> Result<bool, TargetError> {
        let slot = self.open.as_ref().and_then(|open| open.slots.get(&destination.slot));
        let Some(culprit) = slot.and_then(|slot| slot.suspicion.culprit(position)).cloned() else { return Ok(false) };
        self.ensure_begun(draft)?;
        let changed = self.changed(draft, &destination.key);
        let holes = u64::try_from(culprit.at.0 - changed.position.0).unwrap_or(0);
        changed.holes += holes;
        changed.position = changed.position.max(culprit.at);
        changed.halt = Some(culprit.halt.clone());
        draft.holes += holes;
        draft.halted.push((destination.slot, culprit.halt));
        Ok(true)
    }

    /// As few records at once as the partition's suspicion says.
    fn append_carefully(
        &mut self,
        draft: &mut Draft,
        destination: &Destination,
        record: &RecordRef<'_>,
        body: &Bytes,
    ) -> Result<(), TargetError> {
        let slot = self.open.as_ref().and_then(|open| open.slots.get(&destination.slot));
        let at_once = slot.map_or(u64::MAX, |slot| slot.suspicion.at_once(record.offset));
        let bytes = record.raw_len() as u64;
        if draft.undrained > 0 && draft.undrained + bytes > at_once {
            self.drain(draft)?;
        }
        self.target.produce(&destination.target, record, body)?;
        draft.undrained += bytes;
        if at_once == 0 {
            self.drain(draft)?;
            draft.alone += 1;
        }
        if let Some(slot) = self.open.as_mut().and_then(|open| open.slots.get_mut(&destination.slot)) {
            slot.suspicion.handle_appended(record.offset, bytes);
        }
        Ok(())
    }

    /// The run's last positions may hold no record: markers, aborted or compacted offsets.
    fn end_run(&mut self, draft: &mut Draft, destination: &Destination, run: &Run) -> Result<(), LaneError> {
        let changed = self.changed(draft, &destination.key);
        if run.next > changed.position {
            let holes = (run.next.0 - changed.position.0) as u64;
            changed.holes += holes;
            changed.position = run.next;
            draft.holes += holes;
            self.ensure_begun(draft)?;
        }
        // A run without records knows no leader epoch, and must not unlearn the last record's (KIP-320).
        if run.count > 0 {
            self.changed(draft, &destination.key).leader_epoch = run.leader_epoch;
        }
        if let Some(slot) = self.open.as_mut().and_then(|open| open.slots.get_mut(&run.slot)) {
            slot.from = run.next;
        }
        Ok(())
    }

    fn changed<'d>(&self, draft: &'d mut Draft, key: &Partition) -> &'d mut PartitionRecord {
        draft.changed.entry(key.clone()).or_insert_with(|| {
            let stored = self.open.as_ref().and_then(|open| open.partitions.get(key));
            stored.expect("a slot joins only once its partition's record is stored").clone()
        })
    }

    fn write_state(&mut self, draft: &Draft) -> Result<(), TargetError> {
        let Some(open) = self.open.as_ref() else { return Ok(()) };
        for (key, record) in &draft.changed {
            let key = state::partition_key(&open.terms.source_cluster, key);
            self.target.write_state(&key, Some(&state::encode(record)))?;
        }
        for (key, moved) in &draft.moving.moved {
            let key = state::moved_key(&open.terms.source_cluster, key);
            self.target.write_state(&key, Some(&state::encode(moved)))?;
        }
        for (key, origin) in draft.claimed.entries() {
            self.target.write_state(&key, Some(&state::encode(origin)))?;
        }
        for jump in &draft.jumps {
            self.target.write_state(&state::jump_key(jump.number), Some(&state::encode(jump)))?;
        }
        // A refusal is decided by what is stored, which another owner may have changed since it was read:
        // only one who can still write the lane's record may say it, else the partition would stay
        // halted for no reason that is left.
        let refuses = !draft.refused.is_empty() || draft.moving.refuses();
        if draft.filter_complete || refuses || !draft.wished.is_empty() || open.keep_alive {
            let complete = draft.filter_complete.then_some(open.terms.filter_hash);
            let record = LaneRecord { filter_hash: complete.or(open.record.filter_hash), ..open.record.clone() };
            self.target.write_state(&state::lane_key(), Some(&state::encode(&record)))?;
        }
        Ok(())
    }

    /// The transaction is committed: what it changed is now what is stored.
    fn settle(&mut self, draft: Draft) -> Committed {
        let Some(open) = self.open.as_mut() else { return draft.committed };
        self.counts.records += draft.committed.records;
        self.counts.bytes += draft.committed.bytes;
        self.counts.transactions += u64::from(draft.begun);
        self.counts.holes += draft.holes;
        self.counts.replayed += draft.replayed;
        self.counts.runs_dropped += draft.runs_dropped;
        self.counts.timestamps_altered += draft.delivered.timestamps_altered;
        self.counts.jumps += draft.jumps.len() as u64;
        open.keep_alive = false;
        if draft.filter_complete {
            open.record.filter_hash = Some(open.terms.filter_hash);
        }
        open.claims.settle(draft.claimed);
        open.unwritable.handle_committed(&draft.written);
        open.partitions.extend(draft.changed);
        for (slot, next) in draft.ends {
            if let Some(slot) = open.slots.get_mut(&slot) {
                slot.from_committed = next;
            }
        }
        open.note_ends(&draft.delivered);
        draft.jumps.into_iter().for_each(|jump| open.remember(jump));
        for offered in &draft.opened {
            self.replies.extend(open.join(self.id, offered));
        }
        if let Some(sequence) = open.inbox.commit() {
            self.replies.push_back(Control::Ack { lane: self.id, epoch: open.epoch, sequence, timing: None });
        }
        let mut halts = Vec::new();
        for (slot, halt) in draft.halted {
            if let Some(state) = open.slots.get_mut(&slot) {
                state.closed = true;
                let key = state.key.clone();
                halts.push((slot, open.position(&key), halt));
            }
        }
        halts.extend(draft.refused.into_iter().map(|(at, halt)| (at.slot(), open.position(&at.key()), halt)));
        for (slot, position, halt) in halts {
            self.halt(slot, position, halt);
        }
        self.settle_moves(draft.moving);
        draft.committed
    }
}

impl Open {
    /// A transaction failed: remembers where it would have led, and takes back the offers it carried.
    fn abandon(&mut self, draft: Draft) {
        let gone = draft.moving.moved.keys().map(|key| (key.clone(), Position(-1)));
        let changed = draft.changed.into_iter().map(|(key, record)| (key, record.position));
        self.unknown = Some(changed.chain(gone).collect());
        self.abandon_moves(draft.moving);
        self.claims.abandon(draft.claimed);
        let last = draft.filter_complete.then_some(Pending::Last);
        for offered in draft.opened.iter().filter(|offered| offered.partition.jump.is_some()) {
            // A jump may accept a target that ends earlier: what is stored is all that is known of it now.
            if let Some(record) = self.partitions.get_mut(&offered.key()) {
                record.target_end = Position(0);
            }
        }
        let refused = draft.refused.into_iter().map(|(offered, _)| offered);
        let offers = draft.opened.into_iter().chain(refused).map(|offered| Pending::Offer(Box::new(offered)));
        let wished = draft.wished.into_iter().map(|(slot, halt)| Pending::Halted(slot, halt));
        self.offers = wished.chain(offers).chain(last).chain(std::mem::take(&mut self.offers)).collect();
    }

    /// What the failure of a transaction that wrote `written` says of one partition, if it does.
    fn suspect(&mut self, error: &LaneError, written: BTreeSet<Slot>) {
        let slot = match error {
            LaneError::Target(TargetError::Rejected(rejected)) => self.joined.get(&rejected.partition).copied(),
            LaneError::Target(TargetError::Replaced { partition, .. }) => self.joined.get(partition).copied(),
            LaneError::Target(TargetError::Unwritable(_)) => self.unwritable.handle_refused(written),
            _ => return,
        };
        let Some(slot) = slot.and_then(|slot| self.slots.get_mut(&slot)) else { return };
        let stored = self.partitions.get(&slot.key).map_or(Position(-1), |record| record.position);
        match error {
            LaneError::Target(TargetError::Rejected(rejected)) => slot.suspicion.handle_rejected(rejected, stored),
            LaneError::Target(TargetError::Unwritable(_)) => {
                slot.suspicion.halt_at(stored, HaltRecord::new(HaltReason::TargetUnauthorized, error.to_string()));
            }
            other => slot.suspicion.halt_at(stored, HaltRecord::new(HaltReason::TargetReplaced, other.to_string())),
        }
    }

    /// What is remembered of the jump that an offer asks for.
    pub(super) fn jump(&self, offered: &Offered, record: &PartitionRecord, before: u64) -> Option<JumpRecord> {
        let jump = offered.partition.jump.as_ref()?;
        let key = offered.key();
        let next = self.jumps.last_key_value().map_or(0, |(number, _)| number + 1);
        Some(JumpRecord {
            number: next + before,
            asked: jump.asked,
            sender: self.terms.sender.clone(),
            topic: key.topic.to_string(),
            partition: key.partition,
            from: self.position(&key).0,
            to: record.position.0,
            accepted: state::accepted(jump.accepts).to_owned(),
            reason: jump.reason.clone(),
            halt: self.partitions.get(&key).and_then(|stored| stored.halt.clone()),
        })
    }

    fn join(&mut self, lane: LaneId, offered: &Offered) -> Option<Control> {
        let key = offered.key();
        let record = self.partitions.get(&key)?;
        let target = offered.target.as_ref().ok()?.partition.clone();
        let (slot, position) = (offered.slot(), record.position);
        let (epoch, leader_epoch) = (self.epoch, record.leader_epoch);
        self.joined.insert(target.clone(), slot);
        let state = OpenSlot {
            key,
            target,
            from: position,
            from_committed: position,
            closed: false,
            suspicion: Suspicion::default(),
        };
        self.slots.insert(slot, state);
        Some(Control::PartitionOpen { lane, epoch, slot, position, leader_epoch })
    }

    fn note_ends(&mut self, delivered: &Delivered) {
        for Appended { partition, last, .. } in &delivered.appended {
            let slot = self.joined.get(partition).and_then(|slot| self.slots.get(slot));
            if let Some(record) = slot.and_then(|slot| self.partitions.get_mut(&slot.key)) {
                record.target_end = record.target_end.max(Position::after(*last));
            }
        }
    }
}
