//! Search for the record of a partition that the target refuses. Sans-IO.
//!
//! Brokers name a batch, not always a record. So the records of a refused batch are appended again one by one, each
//! with its delivery report; the one that is refused then is the culprit, and the partition halts there. If all are
//! accepted, the batch was too large, and batches become smaller.

use kafka::Refusal;
use kafka::producer::Rejection;
use wire::halt::HaltReason;
use wire::ids::{Offset, Position};

use crate::target::state::HaltRecord;

/// Attempts to append a record that is refused alone, for a reason that may be temporary.
const DOUBTS: u32 = 3;

#[derive(Debug)]
pub(super) struct RejectedRecordSearch {
    /// First and last offset of the records among which one was refused.
    among: Option<(Offset, Offset)>,
    /// Bytes of these records that were appended one by one.
    appended: u64,
    /// Bytes that may be in flight without a delivery report.
    in_flight_max: u64,
    /// Offset of a record that was refused alone, and how often.
    doubted: Option<(Offset, u32)>,
    culprit: Option<Culprit>,
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
        Self { among: None, appended: 0, in_flight_max: u64::MAX, doubted: None, culprit: None }
    }
}

impl RejectedRecordSearch {
    /// Returns whether records of the partition have to be appended with care.
    pub(super) fn is_active(&self) -> bool {
        self.culprit.is_some() || self.among.is_some() || self.in_flight_max < u64::MAX
    }

    /// Halts the partition at `at`.
    pub(super) fn halt_at(&mut self, at: Position, halt: HaltRecord) {
        self.culprit = Some(Culprit { at, halt });
    }

    /// Takes a refusal by the target; `stored` is the partition's position.
    pub(super) fn handle_rejected(&mut self, rejection: &Rejection, stored: Position) {
        let Rejection { refusal, first, last, reason, .. } = rejection;
        let halt = |why| HaltRecord::new(why, format!("{reason}, at source offset {first}"));
        match refusal {
            Refusal::Unauthorized => self.halt_at(stored, HaltRecord::new(HaltReason::TargetUnauthorized, reason)),
            Refusal::Gone => self.halt_at(stored, HaltRecord::new(HaltReason::TargetReplaced, reason)),
            Refusal::Record if first == last => self.halt_at(Position(first.0), halt(HaltReason::RecordRejected)),
            Refusal::Doubted if first == last => {
                let before = self.doubted.filter(|(offset, _)| offset == first).map_or(0, |(_, times)| times);
                self.doubted = Some((*first, before + 1));
                if before + 1 >= DOUBTS {
                    self.halt_at(Position(first.0), halt(HaltReason::RecordRejected));
                }
                self.suspect(*first, *last);
            }
            Refusal::Record | Refusal::Doubted => self.suspect(*first, *last),
        }
    }

    fn suspect(&mut self, first: Offset, last: Offset) {
        self.among = Some((first, last));
        self.appended = 0;
    }

    /// Returns the refused record, if the one at `position` is that or a later one.
    pub(super) fn culprit(&self, position: Position) -> Option<&Culprit> {
        self.culprit.as_ref().filter(|culprit| position >= culprit.at)
    }

    /// Bytes that may be in flight with the record at `offset`; 0 if it has to be alone.
    pub(super) fn in_flight_max(&self, offset: Offset) -> u64 {
        let alone = self.among.is_some_and(|(first, last)| (first..=last).contains(&offset));
        if alone { 0 } else { self.in_flight_max }
    }

    pub(super) fn handle_appended(&mut self, offset: Offset, bytes: u64) {
        let Some((first, last)) = self.among.filter(|(first, _)| offset >= *first) else { return };
        self.appended += bytes;
        if offset >= last {
            self.among = None;
            if first < last {
                // Each record was accepted alone: together they were too large.
                self.in_flight_max = (self.appended / 2).max(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TargetPartition;

    fn rejected(refusal: Refusal, first: i64, last: i64) -> Rejection {
        let partition = TargetPartition { topic: "t".into(), partition: 0 };
        Rejection { partition, refusal, first: Offset(first), last: Offset(last), reason: "no".into() }
    }

    fn halts_at(search: &RejectedRecordSearch) -> Option<(i64, String)> {
        let culprit = search.culprit(Position(i64::MAX))?;
        Some((culprit.at.0, culprit.halt.reason.clone()))
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
    fn a_refused_topic_halts_at_the_stored_position() {
        for (refusal, reason) in [(Refusal::Unauthorized, "target-unauthorized"), (Refusal::Gone, "target-replaced")] {
            let mut search = RejectedRecordSearch::default();
            search.handle_rejected(&rejected(refusal, 10, 12), Position(5));
            assert_eq!(halts_at(&search), Some((5, reason.to_owned())));
        }
    }
}
