//! One transaction of a lane: offers recorded, records appended, positions stored, all or nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wire::control::Control;
use wire::error::{DecodeError, PeerMisbehaved};
use wire::frame::{Frame, FrameHeader, RecordRef, Run, Step};
use wire::ids::{LaneId, Position, Slot};

use super::{Current, Destination, Lane, LaneError, Open, OpenSlot, Pending};
use crate::join::{Answer, Offered};
use crate::memory::Lease;
use crate::state::{self, HaltRecord, LaneRecord, PartitionKey, PartitionRecord};
use crate::target::{Delivered, LaneTarget, TargetError};

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
struct Draft {
    begun: bool,
    committed: Committed,
    holes: u64,
    replayed: u64,
    runs_dropped: u64,
    /// Partition records as they will be once this commits.
    changed: HashMap<PartitionKey, PartitionRecord>,
    /// Offers whose initial position this transaction stores.
    opened: Vec<Offered>,
    /// Offers that are refused, once this transaction has proved that the lane is ours.
    refused: Vec<(Offered, HaltRecord)>,
    /// Whether this transaction stores that every matching partition was offered.
    filter_complete: bool,
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
            Ok(delivered) => Ok(self.settle(draft, &delivered)),
            Err(error) => {
                self.target.discard();
                self.size.handle_failure();
                if let Some(open) = &mut self.open {
                    open.abandon(draft);
                }
                self.halt_rejected(&error);
                Err(error)
            }
        }
    }

    /// The target took `took` for the transaction just committed.
    pub fn handle_duration(&mut self, committed: Committed, took: Duration) {
        self.size.handle_success(committed.bytes, took);
    }

    fn run(&mut self, draft: &mut Draft) -> Result<Delivered, LaneError> {
        self.take_offers(draft)?;
        while self.ensure_current(draft)? && self.append_current(draft)? {}
        let keep_alive = self.open.as_ref().is_some_and(|open| open.keep_alive);
        if draft.filter_complete || keep_alive {
            self.ensure_begun(draft)?;
        }
        if !draft.begun {
            return Ok(Delivered::default());
        }
        self.write_state(draft)?;
        let delivered = self.target.drain()?;
        self.target.commit()?;
        Ok(delivered)
    }

    fn ensure_begun(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        if !draft.begun {
            self.target.begin()?;
            draft.begun = true;
        }
        Ok(())
    }

    fn take_offers(&mut self, draft: &mut Draft) -> Result<(), LaneError> {
        while let Some(open) = self.open.as_mut().filter(|open| open.has_ready_offer()) {
            let Some(pending) = open.offers.pop_front() else { break };
            let Pending::Offer(offered) = pending else {
                draft.filter_complete |= open.record.filter_hash != Some(open.terms.filter_hash);
                continue;
            };
            let key = offered.key();
            let carried = open.knowledge.carries(&key.topic);
            match offered.answer(open.partitions.get(&key), &open.record, open.terms.filter_hash, carried) {
                Answer::Resume => self.replies.extend(open.join(self.id, &offered)),
                Answer::Halt(halt) => {
                    draft.refused.push((*offered, halt));
                    self.ensure_begun(draft)?;
                }
                Answer::Begin(record) => {
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

    /// Decodes the next frame if none is under way. False: there is none, or no room for it.
    fn ensure_current(&mut self, draft: &mut Draft) -> Result<bool, LaneError> {
        let Some(open) = self.open.as_mut() else { return Ok(false) };
        if open.current.is_none() {
            let Some((_, bytes)) = open.inbox.peek() else { return Ok(false) };
            if !self.size.allows(draft.committed.records, draft.committed.bytes) {
                return Ok(false);
            }
            let raw = raw_len(bytes).map_err(PeerMisbehaved::Bytes)?;
            let lease = match self.memory.take(raw) {
                Some(lease) => lease,
                None if draft.leases.is_empty() => self.memory.take_first(raw),
                None => return Ok(false),
            };
            let frame = Frame::decode(bytes.clone()).map_err(PeerMisbehaved::Bytes)?;
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
                    current.destination = self.begin_run(run)?;
                    draft.runs_dropped += u64::from(current.destination.is_none());
                }
                Some(Step::Record(_, record)) => {
                    if !self.size.allows(draft.committed.records, draft.committed.bytes) {
                        return Ok(false);
                    }
                    if let Some(destination) = &current.destination {
                        self.append(draft, destination, &record, current.frame.body())?;
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

    /// Where the records of a run go; `None` if its slot is closed.
    fn begin_run(&self, run: &Run) -> Result<Option<Destination>, PeerMisbehaved> {
        let slots = self.open.as_ref().map(|open| &open.slots);
        let slot = slots.and_then(|slots| slots.get(&run.slot)).ok_or(PeerMisbehaved::UnknownSlot(run.slot))?;
        if slot.closed {
            return Ok(None);
        }
        if slot.from != run.from {
            return Err(PeerMisbehaved::PositionGap { slot: run.slot, expected: slot.from, found: run.from });
        }
        Ok(Some(Destination { key: slot.key.clone(), target: slot.target.clone() }))
    }

    fn append(
        &mut self,
        draft: &mut Draft,
        destination: &Destination,
        record: &RecordRef<'_>,
        body: &Bytes,
    ) -> Result<(), LaneError> {
        let position = Position(record.offset.0);
        let changed = self.changed(draft, &destination.key);
        if position < changed.position {
            // A replay: this record was committed by the transaction whose outcome was unknown.
            draft.replayed += 1;
            return Ok(());
        }
        let holes = (position.0 - changed.position.0) as u64;
        changed.holes += holes;
        changed.position = Position::after(record.offset);
        changed.delivered += 1;
        draft.holes += holes;
        draft.committed.records += 1;
        draft.committed.bytes += record.raw_len() as u64;
        self.ensure_begun(draft)?;
        Ok(self.target.produce(&destination.target, record, body)?)
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

    fn changed<'d>(&self, draft: &'d mut Draft, key: &PartitionKey) -> &'d mut PartitionRecord {
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
        // A refusal is decided by what is stored, which another owner may have changed since it was read:
        // only one who can still write the lane's record may say it, else the partition would stay
        // halted for no reason that is left.
        if draft.filter_complete || !draft.refused.is_empty() || open.keep_alive {
            let complete = draft.filter_complete.then_some(open.terms.filter_hash);
            let record = LaneRecord { filter_hash: complete.or(open.record.filter_hash), ..open.record.clone() };
            self.target.write_state(&state::lane_key(), Some(&state::encode(&record)))?;
        }
        Ok(())
    }

    /// The transaction is committed: what it changed is now what is stored.
    fn settle(&mut self, draft: Draft, delivered: &Delivered) -> Committed {
        let Some(open) = self.open.as_mut() else { return draft.committed };
        self.counts.records += draft.committed.records;
        self.counts.bytes += draft.committed.bytes;
        self.counts.transactions += u64::from(draft.begun);
        self.counts.holes += draft.holes;
        self.counts.replayed += draft.replayed;
        self.counts.runs_dropped += draft.runs_dropped;
        self.counts.timestamps_altered += delivered.timestamps_altered;
        open.keep_alive = false;
        if draft.filter_complete {
            open.record.filter_hash = Some(open.terms.filter_hash);
        }
        open.partitions.extend(draft.changed);
        for (slot, next) in draft.ends {
            if let Some(slot) = open.slots.get_mut(&slot) {
                slot.from_committed = next;
            }
        }
        open.note_ends(delivered);
        for offered in &draft.opened {
            self.replies.extend(open.join(self.id, offered));
        }
        if let Some(sequence) = open.inbox.commit() {
            self.replies.push_back(Control::Ack { lane: self.id, epoch: open.epoch, sequence });
        }
        for (offered, halt) in draft.refused {
            self.halt(offered.slot(), &halt.reason, halt.detail);
        }
        draft.committed
    }

    /// A record that the target refuses for good halts its partition at the last committed position; the
    /// lane's other partitions go on.
    fn halt_rejected(&mut self, error: &LaneError) {
        let LaneError::Target(TargetError::Rejected { partition, reason }) = error else { return };
        let slot = self.open.as_mut().and_then(|open| {
            let slot = *open.joined.get(partition)?;
            open.slots.get_mut(&slot)?.closed = true;
            Some(slot)
        });
        if let Some(slot) = slot {
            self.halt(slot, "record-rejected", reason.clone());
        }
    }
}

/// How much memory a frame takes once decoded, as it says of itself.
fn raw_len(frame: &Bytes) -> Result<u64, DecodeError> {
    let header = frame.first_chunk().ok_or(DecodeError::Truncated { missing: 1 })?;
    Ok(FrameHeader::peek(header)?.raw_len as u64)
}

impl Open {
    /// A transaction failed: remembers where it would have led, and takes back the offers it carried.
    fn abandon(&mut self, draft: Draft) {
        self.unknown = Some(draft.changed.into_iter().map(|(key, record)| (key, record.position)).collect());
        let last = draft.filter_complete.then_some(Pending::Last);
        let refused = draft.refused.into_iter().map(|(offered, _)| offered);
        let offers =
            draft.opened.into_iter().chain(refused).map(|offered| Pending::Offer(Box::new(offered))).chain(last);
        self.offers = offers.chain(std::mem::take(&mut self.offers)).collect();
    }

    fn join(&mut self, lane: LaneId, offered: &Offered) -> Option<Control> {
        let key = offered.key();
        let record = self.partitions.get(&key)?;
        let target = offered.target.as_ref().ok()?.partition.clone();
        let (slot, position) = (offered.slot(), record.position);
        let (epoch, leader_epoch) = (self.epoch, record.leader_epoch);
        self.joined.insert(target.clone(), slot);
        let state = OpenSlot { key, target, from: position, from_committed: position, closed: false };
        self.slots.insert(slot, state);
        Some(Control::PartitionOpen { lane, epoch, slot, position, leader_epoch })
    }

    fn note_ends(&mut self, delivered: &Delivered) {
        for (partition, offset) in &delivered.ends {
            let slot = self.joined.get(partition).and_then(|slot| self.slots.get(slot));
            if let Some(record) = slot.and_then(|slot| self.partitions.get_mut(&slot.key)) {
                record.target_end = record.target_end.max(Position::after(*offset));
            }
        }
    }
}
