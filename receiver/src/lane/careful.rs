//! Records of a partition of which the target refused some: appended with care, left out, or the end of the partition.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use wire::frame::RecordRef;
use wire::halt::HaltReason;
use wire::ids::{Offset, Position, Slot};

use super::draft::{Company, Draft};
use super::left_out;
use super::open_lane::{Destination, LaneError, Open, OpenLane};
use super::rejected_record::RejectedRecordSearch;
use super::skipped_records::{LoggedSkips, SkippedRecords};
use super::slots::OpenSlot;
use crate::target::state::HaltRecord;
use crate::target::{LaneTarget, Rejection, TargetError};

impl<T: LaneTarget> OpenLane<'_, T> {
    /// Leaves out the record at `offset` if the target refuses it and the sender's policy permits that. The position moves
    /// behind it with this transaction.
    pub(super) fn skip(
        &mut self,
        draft: &mut Draft,
        destination: &Destination,
        offset: Offset,
    ) -> Result<bool, TargetError> {
        let OpenSlot { search, skips, .. } = self.open.slots.joined(destination.slot);
        if search.topic_halt(Position(offset.0)).is_some() {
            return Ok(false);
        }
        let Some(reason) = search.refusal(offset).cloned() else { return Ok(false) };
        let Some(policy) = skips.clone() else { return Ok(false) };
        self.ensure_begun(draft)?;
        self.advance(draft, destination, Position(offset.0));
        let changed = self.changed(draft, &destination.key);
        changed.position = Position::after(offset);
        changed.skipped = changed.skipped.saturating_add(1);
        draft.counts.skipped += 1;
        let skipped = draft.skipped.entry(destination.slot);
        skipped.or_insert_with(|| SkippedRecords::new(policy, Arc::clone(&reason), offset)).add(offset, &reason);
        Ok(true)
    }

    /// Returns whether the record at `position` is the one that the target refuses, or a later one. Then the
    /// partition's position is that of the refused record, and its halt is stored with it.
    pub(super) fn halt_before(
        &mut self,
        draft: &mut Draft,
        destination: &Destination,
        position: Position,
    ) -> Result<bool, TargetError> {
        let OpenSlot { search, skips, .. } = self.open.slots.joined(destination.slot);
        let culprit = if skips.is_some() { search.topic_halt(position) } else { search.culprit(position) };
        let Some(culprit) = culprit else { return Ok(false) };
        self.ensure_begun(draft)?;
        self.advance(draft, destination, culprit.at);
        self.changed(draft, &destination.key).halt = Some(culprit.halt.clone());
        draft.halted.push((destination.slot, culprit.halt));
        Ok(true)
    }

    /// Appends a record of a partition of which the target refused one: with so few others in flight as the
    /// search for the refused record permits.
    pub(super) fn append_carefully(
        &mut self,
        draft: &mut Draft,
        destination: &Destination,
        record: &RecordRef<'_>,
        body: &Bytes,
    ) -> Result<(), TargetError> {
        let limit = self.open.slots.joined(destination.slot).search.in_flight_max(record.offset);
        let bytes = record.raw_len() as u64;
        if draft.undrained > 0 && draft.undrained + bytes > limit {
            self.drain(draft)?;
        }
        self.parts.target.produce(&destination.target, record, body)?;
        draft.undrained += bytes;
        if limit == 0 {
            self.drain(draft)?;
            draft.alone += 1;
        }
        self.open.slots.joined(destination.slot).search.handle_appended(record.offset, bytes);
        Ok(())
    }

    /// Adds what is left out to the log of jumps: one entry per partition, which grows while its reason stays the same.
    pub(super) fn log_skipped(&mut self, draft: &mut Draft) {
        let mut next = self.open.stored.next_jump() + draft.jumps.len() as u64;
        for (slot, skipped) in std::mem::take(&mut draft.skipped) {
            let Open { slots, stored, skip_log, .. } = &mut *self.open;
            let key = slots.joined(slot).key.clone();
            let known = skip_log.get(&key).filter(|known| stored.jumps.contains_key(&known.number));
            let merged = known.and_then(|known| Some((known.number, known.entry.merged(&skipped)?)));
            let (number, entry) = merged.unwrap_or_else(|| (next, skipped.clone()));
            next += u64::from(number == next);
            draft.jumps.push(entry.jump(stored, &key, number, self.parts.now));
            draft.logged.push(LoggedSkips { slot, key, skipped, number, entry });
        }
    }
}

impl Open {
    /// Notes which partition the failure of a transaction is about, if it is about one; `written` are the slots
    /// of this lane that the transaction wrote.
    pub(super) fn blame(&mut self, error: &LaneError, written: BTreeSet<Slot>, company: Company) {
        if !matches!(error, LaneError::Target(TargetError::Rejected(_))) {
            self.slots.searches().for_each(RejectedRecordSearch::handle_other_failure);
        }
        let LaneError::Target(error) = error else { return };
        self.unwritable = left_out::suspects(error);
        let slot = match error {
            TargetError::Rejected(rejections) => {
                rejections.iter().for_each(|rejection| self.blame_records(rejection));
                None
            }
            TargetError::Replaced { partition, .. } => self.slots.writer_number(partition),
            TargetError::Unauthorized(_) if company == Company::Alone => self.unauthorized.handle_refused(written),
            _ => None,
        };
        let Some(slot) = slot else { return };
        let OpenSlot { key, search, .. } = self.slots.joined(slot);
        let reason = match error {
            TargetError::Unauthorized(_) => HaltReason::TargetUnauthorized,
            _ => HaltReason::TargetReplaced,
        };
        search.halt_at(self.stored.position(key), HaltRecord::new(reason, error.to_string()));
    }

    /// Logs what a committed transaction has left out.
    pub(super) fn complete_skips(&mut self, logged: LoggedSkips) {
        logged.skipped.report(&logged.key);
        self.skip_log.insert(logged.key.clone(), logged);
    }

    fn blame_records(&mut self, rejection: &Rejection) {
        let Some(slot) = self.slots.writer_number(&rejection.partition) else { return };
        let OpenSlot { key, search, .. } = self.slots.joined(slot);
        search.handle_rejected(rejection, self.stored.position(key));
    }
}
