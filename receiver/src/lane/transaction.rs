//! A transaction of a lane: offers recorded, records appended, positions stored, all or nothing.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use wire::control::Control;
use wire::error::PeerMisbehaved;
use wire::frame::{Frame, RecordRef, Run, Step};
use wire::halt::HaltReason;
use wire::ids::{LaneId, Offset, Position, Slot};
use wire::partition::Partition;

use super::draft::{Committed, Draft};
use super::handover::{Handovers, LaneMessage, Released};
use super::inbox::Decoded;
use super::map::GAPS_MAX;
use super::offers::Pending;
use super::open_lane::{Counts, Current, Destination, LaneError, Open, OpenLane};
use super::slots::OpenSlot;
use crate::join::{Answer, Offered, origin_unknown};
use crate::target::state::{self, HaltRecord, LaneRecord, PartitionRecord};
use crate::target::{Delivered, LaneTarget, TargetError};

/// Records of one transaction that may be drained one by one: each takes a few milliseconds, so that all
/// together stay well within the transaction timeout.
const ALONE_MAX: u32 = 256;

impl<T: LaneTarget> OpenLane<'_, T> {
    pub(super) fn run(&mut self, draft: &mut Draft) -> Result<(), LaneError> {
        if self.open.claims.take(&mut draft.claimed) {
            self.ensure_begun(draft)?;
        }
        self.take_forgets(draft)?;
        self.take_marks(draft)?;
        self.take_source_ends(draft)?;
        self.take_handovers(draft)?;
        self.take_offers(draft)?;
        while self.ensure_current(draft)? && self.append_current(draft)? {}
        if draft.filter_complete || self.open.keep_alive {
            self.ensure_begun(draft)?;
        }
        if !draft.begun {
            return Ok(());
        }
        // Every transaction that may be committed has an entry in the state partition, acknowledged before the commit: a
        // later reading of that partition waits for its outcome, also where the transaction cannot be ended.
        self.log_skipped(draft);
        self.write_maps(draft)?;
        Ok(self.write_state(draft)?)
    }

    pub(super) fn ensure_begun(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        if !draft.begun {
            self.parts.target.begin()?;
            draft.begun = true;
        }
        Ok(())
    }

    fn take_handovers(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        let Open { handovers, stored, slots, .. } = &mut *self.open;
        let released = draft.handovers.begin(handovers, stored, slots, &mut self.parts.messages);
        released.into_iter().for_each(|released| self.open.queue(released));
        for (key, record) in &draft.handovers.accepted {
            draft.changed.insert(key.clone(), record.clone());
        }
        draft.jumps.append(&mut draft.handovers.jumps);
        if draft.handovers.needs_commit() { self.ensure_begun(draft) } else { Ok(()) }
    }

    fn take_offers(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        while let Some(pending) = self.open.offers.take_ready(&self.open.stored) {
            match pending {
                Pending::Offer(offered) => {
                    if let Some(waits) = self.take_offer(draft, offered)? {
                        self.open.offers.0.push_front(Pending::Offer(waits));
                        break;
                    }
                }
                Pending::Refused(offered, halt) => self.refuse(draft, *offered, halt)?,
                Pending::Halted(slot, halt) => self.take_halt(draft, slot, halt)?,
                Pending::SwitchedOver(key, halt) => self.take_switched_over(draft, &key, halt)?,
                Pending::Last => self.take_last(draft),
            }
        }
        Ok(())
    }

    /// Decides an offer. Returns it if it has to wait until every lane was read.
    fn take_offer(&mut self, draft: &mut Draft, offered: Box<Offered>) -> Result<Option<Box<Offered>>, TargetError> {
        let key = offered.key();
        if let Some(moved) = draft.handovers.handed_over.get(&key) {
            // It must not be read here from the commit that hands it over.
            let detail = format!("{key} is offered to lane {} too", moved.to);
            self.refuse(draft, *offered, HaltRecord::new(HaltReason::TargetTaken, detail))?;
            return Ok(None);
        }
        let Open { handovers, stored, claims, .. } = &mut *self.open;
        if let Some(request) = handovers.defer(stored, &offered) {
            self.parts.messages.push_back(request);
            return Ok(None);
        }
        if let Some(halt) = Handovers::outdated(stored, &offered) {
            self.refuse(draft, *offered, halt)?;
            return Ok(None);
        }
        match stored.answer(&offered) {
            // The sender may lack a part of the clusters passed: only those that are stored can be trusted.
            Answer::Resume if offered.is_carried_only() && !claims.has(&offered) => {
                let halt = origin_unknown(&key.topic);
                self.refuse(draft, *offered, halt)?;
            }
            // Its clusters have changed since it first joined: they are stored before it is read.
            Answer::Resume if claims.claim(&offered, &mut draft.claimed) => {
                draft.opened.push(*offered);
                self.ensure_begun(draft)?;
            }
            Answer::Resume => self.join(&offered),
            Answer::Halt(halt) => {
                self.keep(draft, &key, &halt);
                self.refuse(draft, *offered, halt)?;
            }
            Answer::Begin(record) => {
                claims.claim(&offered, &mut draft.claimed);
                draft.jumps.extend(stored.jump(&offered, record.position, draft.jumps.len()));
                draft.changed.insert(key, *record);
                draft.opened.push(*offered);
                self.ensure_begun(draft)?;
            }
            Answer::Wait => return Ok(Some(offered)),
        }
        Ok(None)
    }

    fn refuse(&mut self, draft: &mut Draft, offered: Offered, halt: HaltRecord) -> Result<(), TargetError> {
        draft.refused.push((offered, halt));
        self.ensure_begun(draft)
    }

    pub(super) fn take_halt(&mut self, draft: &mut Draft, slot: Slot, halt: HaltRecord) -> Result<(), TargetError> {
        let key = self.open.slots.joined(slot).key.clone();
        self.keep(draft, &key, &halt);
        draft.halted.push((slot, halt.clone()));
        draft.sender_halts.push((slot, halt));
        self.ensure_begun(draft)
    }

    /// Stores a halt that lasts with the position, if there is one.
    pub(super) fn keep(&self, draft: &mut Draft, key: &Partition, halt: &HaltRecord) {
        let stored = self.open.stored.partitions.get(key);
        if halt.is_kept() && stored.is_some_and(|stored| stored.halt.as_ref() != Some(halt)) {
            self.changed(draft, key).halt = Some(halt.clone());
        }
    }

    fn take_last(&mut self, draft: &mut Draft) {
        let open = &mut *self.open;
        if open.handovers.holds_last() {
            return;
        }
        let stored = &open.stored;
        draft.filter_complete |= stored.record.filter_hash != Some(stored.terms.filter_hash);
        if stored.carried_topics.handle_all_offered(stored.lane) {
            let lanes = (0..stored.terms.classes.lanes()).map(LaneId);
            self.parts.messages.extend(lanes.map(|lane| (lane, LaneMessage::AllOffered)));
        } else if stored.carried_topics.is_all_offered() {
            open.find_orphans();
        }
    }

    /// Takes the next frame if none is being appended. False: there is none, or no room for it.
    fn ensure_current(&mut self, draft: &mut Draft) -> Result<bool, LaneError> {
        if let Some(current) = &self.open.current {
            draft.leases.push(Arc::clone(&current.lease));
            return Ok(true);
        }
        if self.open.inbox.peek().is_none() || !self.parts.room.allows(draft.counts.records, draft.counts.bytes) {
            return Ok(false);
        }
        let next = self.next_frame(draft).and_then(|next| {
            if let Some(next) = &next {
                self.check_runs(draft, &next.frame)?;
            }
            Ok(next)
        });
        // The records before it are committed first: other lanes may have parts in this transaction.
        if next.is_err() && draft.begun {
            return Ok(false);
        }
        let Some(Decoded { frame, lease }) = next? else { return Ok(false) };
        draft.leases.push(Arc::clone(&lease));
        self.open.current =
            Some(Current { frame, cursor: Default::default(), ends: Vec::new(), lease, destination: None });
        Ok(true)
    }

    /// Returns the next frame decoded; `None` if it has no room in memory. Frames are decoded in their order, each once if
    /// others may refer to it: a replay finds it decoded.
    fn next_frame(&mut self, draft: &Draft) -> Result<Option<Decoded>, PeerMisbehaved> {
        let Open { inbox, decoder, remembered, stored, .. } = &mut *self.open;
        if let Some(decoded) = inbox.decoded() {
            return Ok(Some(decoded));
        }
        let Some(frame) = inbox.peek() else { return Ok(None) };
        let memory = &self.parts.memory;
        let raw = frame.header().raw_len as u64;
        let has_state = frame.header().has_state();
        let room = match has_state {
            true => memory.take_kept(inbox.kept(), raw, stored.terms.classes.lanes()),
            false => memory.take(raw),
        };
        let lease = match room {
            Some(lease) => lease,
            None if draft.leases.is_empty() => memory.take_first(raw),
            None => return Ok(None),
        };
        let decoded = Decoded { frame: Arc::new(decoder.decode(frame)?), lease: Arc::new(lease) };
        if has_state {
            // The bounds of all lanes leave half of the memory to decoded frames.
            remembered.get_or_insert_with(|| memory.take_first(decoder.bytes() as u64));
            inbox.keep(decoded.clone());
        }
        Ok(Some(decoded))
    }

    /// Appends from the present frame. False: the transaction is full before the frame's end.
    fn append_current(&mut self, draft: &mut Draft) -> Result<bool, LaneError> {
        let Some(mut current) = self.open.current.take() else { return Ok(true) };
        let whole = self.append_steps(draft, &mut current)?;
        if whole {
            draft.ends.append(&mut current.ends);
            self.open.inbox.advance();
        } else {
            self.open.current = Some(current);
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
                    draft.counts.runs_dropped += u64::from(current.destination.is_none());
                }
                Some(Step::Record(_, record)) => {
                    if self.is_full(draft, current.destination.as_ref(), record.offset) {
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

    /// Returns whether the record at `offset` for `destination` has to wait for the next transaction.
    fn is_full(&self, draft: &Draft, destination: Option<&Destination>, offset: Offset) -> bool {
        let unauthorized = &self.open.unauthorized;
        // What is known to be refused is left out before more is found: each refusal costs a transaction, and the other
        // partitions must not wait for all of them.
        let may_be_refused = |slot| {
            let search = self.open.slots.get(slot).map(|slot| &slot.search);
            draft.skipped.contains_key(&slot) && search.is_some_and(|search| search.is_behind_refused(offset))
        };
        !self.parts.room.allows(draft.counts.records, draft.counts.bytes)
            || draft.alone >= ALONE_MAX
            || draft.is_gapped
            || (draft.begun && self.parts.target.is_slow())
            || destination.is_some_and(|destination| {
                unauthorized.must_wait(destination.slot, &draft.written) || may_be_refused(destination.slot)
            })
    }

    /// Refuses a frame whose runs do not continue their partitions, before any record of it is appended.
    fn check_runs(&self, draft: &Draft, frame: &Frame) -> Result<(), PeerMisbehaved> {
        let mut reached = HashMap::new();
        for run in frame.runs() {
            let slot = self.open.slots.get(run.slot).ok_or(PeerMisbehaved::UnknownSlot(run.slot))?;
            if slot.closed || draft.halted.iter().any(|(halted, _)| *halted == run.slot) {
                continue;
            }
            let expected = reached.insert(run.slot, run.next).unwrap_or(slot.from);
            if expected != run.from {
                return Err(PeerMisbehaved::PositionGap { slot: run.slot, expected, found: run.from });
            }
        }
        Ok(())
    }

    /// Returns the destination of a run's records; `None` if its slot is closed.
    fn begin_run(&self, draft: &Draft, run: &Run) -> Result<Option<Destination>, PeerMisbehaved> {
        let slot = self.open.slots.get(run.slot).ok_or(PeerMisbehaved::UnknownSlot(run.slot))?;
        if slot.closed || draft.halted.iter().any(|(halted, _)| *halted == run.slot) {
            return Ok(None);
        }
        if slot.from != run.from {
            return Err(PeerMisbehaved::PositionGap { slot: run.slot, expected: slot.from, found: run.from });
        }
        let suspected = slot.search.is_active();
        Ok(Some(Destination { slot: run.slot, key: slot.key.clone(), target: slot.target.clone(), suspected }))
    }

    /// Appends one record. False: the partition halts here.
    fn append(
        &mut self,
        draft: &mut Draft,
        destination: &Destination,
        record: &RecordRef<'_>,
        body: &Bytes,
    ) -> Result<bool, LaneError> {
        let position = Position(record.offset.0);
        if position < self.changed(draft, &destination.key).position {
            // A replay: the transaction whose outcome was unknown has committed this record.
            draft.counts.replayed += 1;
            return Ok(true);
        }
        if destination.suspected {
            if self.skip(draft, destination, record.offset)? {
                return Ok(true);
            }
            if self.halt_before(draft, destination, position)? {
                return Ok(false);
            }
        }
        self.advance(draft, destination, position);
        let changed = self.changed(draft, &destination.key);
        changed.position = Position::after(record.offset);
        changed.delivered += 1;
        draft.is_gapped |= changed.map.append(record.offset) >= GAPS_MAX;
        draft.counts.records += 1;
        draft.counts.bytes += record.raw_len() as u64;
        // The client takes 0 for "now", so that 1 is written.
        draft.counts.timestamps_altered += u64::from(record.timestamp == 0);
        self.ensure_begun(draft)?;
        draft.written.insert(destination.slot);
        if destination.suspected {
            self.append_carefully(draft, destination, record, body)?;
        } else {
            self.parts.target.produce(&destination.target, record, body)?;
        }
        Ok(true)
    }

    /// Moves a partition's position forward to `to`, over offsets that hold no record.
    pub(super) fn advance(&self, draft: &mut Draft, destination: &Destination, to: Position) {
        let changed = self.changed(draft, &destination.key);
        let holes = u64::try_from(to.0 - changed.position.0).unwrap_or(0);
        changed.holes = changed.holes.saturating_add(holes);
        changed.position = changed.position.max(to);
        draft.counts.holes = draft.counts.holes.saturating_add(holes);
    }

    /// Ends a run, whose last positions may hold no record: markers, aborted or compacted offsets.
    fn end_run(&mut self, draft: &mut Draft, destination: &Destination, run: &Run) -> Result<(), LaneError> {
        if run.next > self.changed(draft, &destination.key).position {
            self.advance(draft, destination, run.next);
            self.ensure_begun(draft)?;
        }
        // A run without records has no leader epoch, and must not erase that of the last record (KIP-320).
        if run.count > 0 {
            self.changed(draft, &destination.key).leader_epoch = run.leader_epoch;
        }
        self.open.slots.joined(run.slot).from = run.next;
        Ok(())
    }

    pub(super) fn changed<'d>(&self, draft: &'d mut Draft, key: &Partition) -> &'d mut PartitionRecord {
        draft.changed.get_or_insert_with(key, || {
            let stored = self.open.stored.partitions.get(key);
            let mut record = stored.expect("a slot joins only once its partition's record is stored").clone();
            record.map.begin(record.position);
            record
        })
    }

    /// Waits for delivery reports. A log that appends records below the end that this link has written is
    /// another log; nothing of the transaction is committed then.
    pub(super) fn drain(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        let delivered = self.parts.target.drain()?;
        for appended in &delivered.appended {
            let slot = self.open.slots.writer(&appended.partition);
            let end = slot.map_or(Position(0), |slot| self.open.stored.partitions[&slot.key].target_end);
            let found = appended.offsets.first();
            if (0..end.0).contains(&found.0) {
                let partition = appended.partition.clone();
                return Err(TargetError::Replaced { partition, end, found });
            }
        }
        draft.undrained = 0;
        draft.delivered.appended.extend(delivered.appended);
        draft.delivered.blocks.extend(&delivered.blocks);
        Ok(())
    }

    fn write_state(&mut self, draft: &Draft) -> Result<(), TargetError> {
        self.write_forgotten(draft)?;
        self.write_marks(draft)?;
        self.write_source_ends(draft)?;
        let target = &mut self.parts.target;
        let stored = &self.open.stored;
        let source = &stored.terms.source_cluster;
        for (key, record) in draft.changed.iter() {
            target.write_state(&state::partition_key(source, key), Some(&state::encode(record)))?;
        }
        for (key, moved) in &draft.handovers.handed_over {
            target.write_state(&state::moved_key(source, key), Some(&state::encode(moved)))?;
        }
        for (key, origin) in draft.claimed.entries() {
            target.write_state(&key, Some(&state::encode(origin)))?;
        }
        for jump in &draft.jumps {
            target.write_state(&state::jump_key(jump.number), Some(&state::encode(jump)))?;
        }
        // A refusal follows from the stored state, which another owner may have changed since it was read. Only
        // an owner that can still write the lane's record may refuse; otherwise a halt could outlast its reason.
        let refuses = !draft.refused.is_empty() || draft.handovers.refuses() || !draft.sender_halts.is_empty();
        if draft.filter_complete || refuses || self.open.keep_alive {
            let complete = draft.filter_complete.then_some(stored.terms.filter_hash);
            let record = LaneRecord { filter_hash: complete.or(stored.record.filter_hash), ..stored.record.clone() };
            target.write_state(&state::lane_key(), Some(&state::encode(&record)))?;
        }
        Ok(())
    }

    /// Applies a committed transaction: its changes are now the stored state, and its answers are sent.
    pub(super) fn complete(&mut self, draft: Draft) -> Committed {
        let committed = Counts {
            transactions: u64::from(draft.begun),
            jumps: draft.jumps.len() as u64,
            moves: draft.handovers.handed_over.len() as u64,
            ..draft.counts
        };
        self.parts.counts = self.parts.counts + committed;
        let open = &mut *self.open;
        open.find_gaps(&draft, &mut self.parts.gaps);
        open.keep_alive = false;
        if draft.filter_complete {
            open.stored.record.filter_hash = Some(open.stored.terms.filter_hash);
        }
        open.claims.complete(draft.claimed);
        open.unauthorized.handle_committed(&draft.written);
        open.stored.partitions.extend(draft.changed.into_records());
        for (slot, next) in draft.ends {
            open.slots.joined(slot).from_committed = next;
        }
        for logged in draft.logged {
            let OpenSlot { key, search, .. } = open.slots.joined(logged.slot);
            search.handle_committed(open.stored.position(key));
            open.complete_skips(logged);
        }
        open.note_ends(&draft.delivered);
        open.complete_blocks(draft.blocks, draft.delivered.blocks);
        draft.jumps.into_iter().for_each(|jump| open.stored.remember(jump));
        for offered in &draft.opened {
            if offered.partition.jump.is_some() {
                self.open.stored.carried_topics.handle_taken_back(&offered.key());
            }
            self.join(offered);
        }
        let open = &mut *self.open;
        if let Some(sequence) = open.inbox.commit() {
            let ack = Control::Ack { lane: self.parts.id, epoch: open.stored.epoch, sequence, timing: None };
            self.parts.replies.push_back(ack);
        }
        for (slot, halt) in draft.halted {
            let state = self.open.slots.joined(slot);
            state.closed = true;
            let position = self.open.stored.position(&state.key);
            self.halt(slot, position, halt);
        }
        for (offered, halt) in draft.refused {
            self.halt(offered.slot(), self.open.stored.position(&offered.key()), halt);
        }
        let open = &mut *self.open;
        open.complete_forgotten(draft.forgotten);
        self.complete_marks(draft.marks);
        let open = &mut *self.open;
        let any_left = draft.handovers.any_left();
        let released = draft.handovers.complete(&mut open.handovers, &mut open.stored, &mut self.parts.messages);
        if any_left {
            open.keep_stored_orphans();
        }
        released.into_iter().for_each(|released| open.queue(released));
        Committed { records: draft.counts.records, bytes: draft.counts.bytes }
    }

    /// Opens the slot of an accepted offer, whose position is stored.
    fn join(&mut self, offered: &Offered) {
        let key = offered.key();
        let open = &mut *self.open;
        let record = open.stored.partitions.get(&key).expect("an offer is accepted with a stored position");
        let target = offered.target_partition().expect("an offer is accepted with its target").clone();
        let slot = offered.slot();
        let position = record.position;
        let leader_epoch = record.leader_epoch;
        let lane = self.parts.id;
        let epoch = open.stored.epoch;
        let written = open.stored.written.get(&key);
        self.parts.replies.extend(written.map(|&at| Control::StoredAt { lane, epoch, slot, at }));
        open.slots.join(offered, target, position);
        open.stored.carried_topics.handle_joined(&key.topic);
        self.parts.replies.push_back(Control::PartitionOpen { lane, epoch, slot, position, leader_epoch });
    }
}

impl Open {
    pub(super) fn queue(&mut self, released: Released) {
        self.offers.0.extend(released.offered.map(Pending::Offer));
        self.offers.0.extend(released.last.then_some(Pending::Last));
    }

    /// Takes back a failed transaction: keeps the positions that it would have stored, and queues its offers again.
    pub(super) fn abandon(&mut self, draft: Draft) {
        let gone = draft.handovers.handed_over.keys().map(|key| (key.clone(), Position(-1)));
        let changed = draft.changed.into_records().into_iter().map(|(key, record)| (key, record.position));
        self.unknown = Some(changed.chain(gone).chain(draft.forgotten.positions()).collect());
        self.unknown_skips = draft.logged;
        draft.forgotten.abandon(&mut self.forgets);
        self.gone_since.abandon(draft.marks);
        self.source_ends.abandon(draft.source_ends);
        draft.handovers.abandon(&mut self.handovers);
        self.claims.abandon(draft.claimed);
        let last = draft.filter_complete.then_some(Pending::Last);
        for offered in draft.opened.iter().filter(|offered| offered.partition.jump.is_some()) {
            // A jump may accept a target that ends earlier, so that the end known so far does not count.
            if let Some(record) = self.stored.partitions.get_mut(&offered.key()) {
                record.target_end = Position(0);
            }
        }
        let refused = draft.refused.into_iter().map(|(offered, _)| offered);
        let offers = draft.opened.into_iter().chain(refused).map(|offered| Pending::Offer(Box::new(offered)));
        let halts = draft.sender_halts.into_iter().map(|(slot, halt)| Pending::Halted(slot, halt));
        let waiting = std::mem::take(&mut self.offers.0);
        self.offers.0 = halts.chain(offers).chain(last).chain(waiting).collect();
    }

    /// Moves the known ends of target logs forward by what was delivered.
    fn note_ends(&mut self, delivered: &Delivered) {
        for appended in &delivered.appended {
            let Some(slot) = self.slots.writer(&appended.partition) else { continue };
            if let Some(record) = self.stored.partitions.get_mut(&slot.key) {
                record.target_end = record.target_end.max(Position::after(appended.offsets.last()));
            }
        }
    }
}
