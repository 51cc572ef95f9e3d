//! Search for the records of a partition that the target refuses. Sans-IO.
//!
//! Brokers name a batch, not always its records. Where they name none, the records of a refused batch are appended again
//! one by one, each with its delivery report. If one is refused then, it is found; if all are accepted, the batch was too
//! large, and batches become smaller. What happens at a record that was found is the lane's decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka::Refusal;
use kafka::producer::Rejection;
use wire::halt::HaltReason;
use wire::ids::{Offset, Position};

use crate::target::state::HaltRecord;

/// Attempts to append a record that is refused alone, for a reason that may be temporary.
const DOUBTS: u32 = 3;

#[derive(Debug)]
pub(super) struct RejectedRecordSearch {
    among: Option<Suspects>,
    /// Bytes that may be in flight without a delivery report.
    in_flight_max: u64,
    /// Offset of a record that was refused alone, and how often.
    doubted: Option<(Offset, u32)>,
    /// Records that the target refuses, each with the reason.
    refused: BTreeMap<Offset, Arc<str>>,
    /// Halt because of the topic, or of a record that only the broker may be at fault for: no policy lifts it here.
    topic_halt: Option<Culprit>,
}

/// Records among which one was refused.
#[derive(Debug, Clone, Copy)]
struct Suspects {
    first: Offset,
    last: Offset,
    /// Bytes of those that were appended one by one; `None` once a refused one was found.
    appended: Option<u64>,
}

/// Position at which the partition halts, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Culprit {
    /// The first position that may not be appended.
    pub(super) at: Position,
    pub(super) halt: HaltRecord,
}

impl Default for RejectedRecordSearch {
    fn default() -> Self {
        let refused = BTreeMap::new();
        Self { among: None, in_flight_max: u64::MAX, doubted: None, refused, topic_halt: None }
    }
}

impl RejectedRecordSearch {
    /// Returns whether records of the partition have to be appended with care.
    pub(super) fn is_active(&self) -> bool {
        let halts = self.topic_halt.is_some() || !self.refused.is_empty();
        halts || self.among.is_some() || self.in_flight_max < u64::MAX
    }

    /// Halts the partition at `at`, for a reason that concerns the topic. What it refused before is forgotten.
    pub(super) fn halt_at(&mut self, at: Position, halt: HaltRecord) {
        self.refused.clear();
        self.topic_halt = Some(Culprit { at, halt });
    }

    /// Forgets the records that the target refused: a transaction has failed for another reason, and the target may be asked
    /// again only much later, when it accepts them.
    pub(super) fn handle_other_failure(&mut self) {
        self.refused.clear();
    }

    /// Takes a refusal by the target; `stored` is the partition's position.
    pub(super) fn handle_rejected(&mut self, rejection: &Rejection, stored: Position) {
        let Rejection { refusal, first, last, named, reason, .. } = rejection;
        match refusal {
            Refusal::Unauthorized => self.halt_at(stored, HaltRecord::new(HaltReason::TargetUnauthorized, reason)),
            Refusal::Gone => self.halt_at(stored, HaltRecord::new(HaltReason::TargetReplaced, reason)),
            Refusal::Record if first == last => self.refuse(&[*first], reason),
            Refusal::Record if !named.is_empty() => self.refuse(named, reason),
            Refusal::Doubted if first == last => {
                let before = self.doubted.filter(|(offset, _)| offset == first).map_or(0, |(_, times)| times);
                self.doubted = Some((*first, before + 1));
                if before + 1 >= DOUBTS {
                    // It may be the broker's fault: an operator decides, not a policy.
                    self.topic_halt = Some(Culprit { at: Position(first.0), halt: rejected(*first, reason) });
                } else {
                    self.suspect(*first, *last);
                }
            }
            Refusal::Record | Refusal::Doubted => self.suspect(*first, *last),
        }
    }

    fn suspect(&mut self, first: Offset, last: Offset) {
        self.among = Some(Suspects { first, last, appended: Some(0) });
    }

    fn refuse(&mut self, offsets: &[Offset], reason: &str) {
        let reason: Arc<str> = reason.into();
        self.refused.extend(offsets.iter().map(|offset| (*offset, Arc::clone(&reason))));
        let Some(found) = offsets.last() else { return };
        if let Some(Suspects { first, last, .. }) =
            self.among.filter(|among| (among.first..=among.last).contains(found))
        {
            // Those before it were accepted, and the batch was refused because of it.
            let first = first.max(Offset(found.0 + 1));
            self.among = (first <= last).then_some(Suspects { first, last, appended: None });
        }
    }

    /// Returns why the target refuses the record at `offset`, if it does.
    pub(super) fn refusal(&self, offset: Offset) -> Option<&Arc<str>> {
        self.refused.get(&offset)
    }

    /// Returns whether `offset` is behind all records that are known to be refused: more may be refused from there on.
    pub(super) fn is_behind_refused(&self, offset: Offset) -> bool {
        self.refused.last_key_value().is_some_and(|(last, _)| offset > *last)
    }

    /// Forgets refused records that were left out: the partition's position `stored` is behind them.
    pub(super) fn handle_committed(&mut self, stored: Position) {
        self.refused = self.refused.split_off(&Offset(stored.0));
    }

    /// Returns the halt because of the topic, if it is at `position` or before.
    pub(super) fn topic_halt(&self, position: Position) -> Option<Culprit> {
        self.topic_halt.clone().filter(|culprit| position >= culprit.at)
    }

    /// Returns the halt at `position` or before: because of the topic, or of the first refused record.
    pub(super) fn culprit(&self, position: Position) -> Option<Culprit> {
        let refused = self
            .refused
            .first_key_value()
            .map(|(offset, reason)| Culprit { at: Position(offset.0), halt: rejected(*offset, reason) });
        self.topic_halt(position).or_else(|| refused.filter(|culprit| position >= culprit.at))
    }

    /// Bytes that may be in flight with the record at `offset`; 0 if it has to be alone.
    pub(super) fn in_flight_max(&self, offset: Offset) -> u64 {
        let alone = self.among.is_some_and(|among| (among.first..=among.last).contains(&offset));
        if alone { 0 } else { self.in_flight_max }
    }

    pub(super) fn handle_appended(&mut self, offset: Offset, bytes: u64) {
        let Some(among) = self.among.as_mut().filter(|among| offset >= among.first) else { return };
        among.appended = among.appended.map(|appended| appended + bytes);
        let Suspects { first, last, appended } = *among;
        if offset >= last {
            self.among = None;
            if let Some(appended) = appended.filter(|_| first < last) {
                // Each record was accepted alone: together they were too large.
                self.in_flight_max = (appended / 2).max(1);
            }
        }
    }
}

/// Returns the halt because of a refused record.
pub(super) fn rejected(offset: Offset, reason: &str) -> HaltRecord {
    HaltRecord::new(HaltReason::RecordRejected, format!("{reason}, at source offset {offset}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TargetPartition;

    fn rejected(refusal: Refusal, first: i64, last: i64) -> Rejection {
        let partition = TargetPartition { topic: "t".into(), partition: 0 };
        let named = Vec::new();
        Rejection { partition, refusal, first: Offset(first), last: Offset(last), named, reason: "no".into() }
    }

    /// Offsets up to 30 that have to be appended alone.
    fn alone(search: &RejectedRecordSearch) -> Vec<i64> {
        (0..30).filter(|offset| search.in_flight_max(Offset(*offset)) == 0).collect()
    }

    fn halts_at(search: &RejectedRecordSearch) -> Option<(i64, String)> {
        let culprit = search.culprit(Position(i64::MAX))?;
        Some((culprit.at.0, culprit.halt.reason))
    }

    #[test]
    fn a_record_refused_alone_is_the_culprit() {
        let mut search = RejectedRecordSearch::default();
        search.handle_rejected(&rejected(Refusal::Record, 10, 20), Position(5));
        assert_eq!(halts_at(&search), None);
        assert_eq!((search.in_flight_max(Offset(9)), search.in_flight_max(Offset(21))), (u64::MAX, u64::MAX));
        assert_eq!((search.in_flight_max(Offset(10)), search.in_flight_max(Offset(20))), (0, 0));
        search.handle_rejected(&rejected(Refusal::Record, 15, 15), Position(5));
        assert_eq!(halts_at(&search), Some((15, "record-rejected".to_owned())));
        assert_eq!(search.culprit(Position(14)), None);
    }

    #[test]
    fn a_batch_whose_records_are_all_accepted_was_too_large() {
        let mut search = RejectedRecordSearch::default();
        search.handle_rejected(&rejected(Refusal::Record, 10, 12), Position(10));
        for offset in 10..=12 {
            search.handle_appended(Offset(offset), 100);
        }
        assert_eq!(halts_at(&search), None);
        assert_eq!(search.in_flight_max(Offset(13)), 150);
        assert!(search.is_active());
    }

    #[test]
    fn named_records_are_refused_without_a_search() {
        let mut search = RejectedRecordSearch::default();
        let named = vec![Offset(12), Offset(15)];
        search.handle_rejected(&Rejection { named, ..rejected(Refusal::Record, 10, 20) }, Position(5));
        assert_eq!(halts_at(&search), Some((12, "record-rejected".to_owned())), "without a policy");
        let refused: Vec<_> = (0..30).filter(|offset| search.refusal(Offset(*offset)).is_some()).collect();
        assert_eq!((refused, alone(&search)), (vec![12, 15], vec![]));
        assert!(!search.is_behind_refused(Offset(15)) && search.is_behind_refused(Offset(16)));
        search.handle_committed(Position(13));
        assert!(search.is_active() && search.is_behind_refused(Offset(16)), "the other one was not committed");
        search.handle_committed(Position(16));
        assert!(!search.is_active() && !search.is_behind_refused(Offset(16)));
    }

    #[test]
    fn a_search_continues_behind_the_record_that_it_found() {
        let mut search = RejectedRecordSearch::default();
        search.handle_rejected(&rejected(Refusal::Record, 10, 14), Position(10));
        assert_eq!(alone(&search), [10, 11, 12, 13, 14]);
        search.handle_appended(Offset(10), 100);
        search.handle_rejected(&rejected(Refusal::Record, 11, 11), Position(10));
        assert_eq!(alone(&search), [12, 13, 14], "those before it are known to be good");
        search.handle_committed(Position(12));
        (12..=14).for_each(|offset| search.handle_appended(Offset(offset), 100));
        assert!(!search.is_active(), "the batch was refused because of the record, not of its size");
    }

    #[test]
    fn a_doubted_record_is_tried_three_times_alone() {
        let mut search = RejectedRecordSearch::default();
        search.handle_rejected(&rejected(Refusal::Doubted, 10, 12), Position(10));
        for _ in 0..2 {
            search.handle_rejected(&rejected(Refusal::Doubted, 11, 11), Position(10));
            assert_eq!(halts_at(&search), None);
        }
        search.handle_rejected(&rejected(Refusal::Doubted, 11, 11), Position(10));
        assert_eq!(halts_at(&search), Some((11, "record-rejected".to_owned())));
    }

    #[test]
    fn only_what_is_certain_may_be_left_out() {
        let mut search = RejectedRecordSearch::default();
        for _ in 0..DOUBTS {
            search.handle_rejected(&rejected(Refusal::Doubted, 11, 11), Position(10));
        }
        assert_eq!(search.refusal(Offset(11)), None);
        assert_eq!(search.topic_halt(Position(11)).map(|culprit| culprit.at), Some(Position(11)));
        let mut search = RejectedRecordSearch::default();
        search.handle_rejected(&rejected(Refusal::Record, 12, 12), Position(10));
        search.handle_other_failure();
        assert_eq!(search.refusal(Offset(12)), None, "the target is asked again");
        search.handle_rejected(&rejected(Refusal::Record, 12, 12), Position(10));
        search.halt_at(Position(10), HaltRecord::new(HaltReason::TargetReplaced, "another log"));
        assert_eq!(search.refusal(Offset(12)), None, "the other log did not refuse it");
    }

    #[test]
    fn a_refused_topic_halts_at_the_stored_position() {
        for (refusal, reason) in [(Refusal::Unauthorized, "target-unauthorized"), (Refusal::Gone, "target-replaced")] {
            let mut search = RejectedRecordSearch::default();
            search.handle_rejected(&rejected(refusal, 10, 12), Position(5));
            assert_eq!(halts_at(&search), Some((5, reason.to_owned())));
        }
    }
}
