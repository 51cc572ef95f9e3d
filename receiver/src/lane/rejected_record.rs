//! What the target's refusals have taught about one partition, so that the record to blame is found exactly.
//! Sans-IO.
//!
//! Brokers name a batch, not always a record. So the records of a batch that was refused are appended again
//! one by one, each waited for; the one that is refused then is the culprit, and the partition halts there.
//! If none is, the batch was too large, and batches become smaller.

use kafka::Refusal;
use wire::halt::HaltReason;
use wire::ids::{Offset, Position};

use crate::target::Rejected;
use crate::target::state::HaltRecord;

/// How often a record that is refused by itself, for a reason that might pass, is tried.
const DOUBTS: u32 = 3;

/// One partition's.
#[derive(Debug)]
pub(super) struct Suspicion {
    /// The first and the last of the records among which one was refused.
    among: Option<(Offset, Offset)>,
    /// Bytes of those that were appended one by one.
    appended: u64,
    /// The most that is appended without waiting.
    at_once: u64,
    /// A record that was refused by itself, and how often.
    doubted: Option<(Offset, u32)>,
    culprit: Option<Culprit>,
}

/// Where the partition is to halt, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Culprit {
    /// Nothing from here on may be appended.
    pub(super) at: Position,
    /// As it is to be stored.
    pub(super) halt: HaltRecord,
}

impl Default for Suspicion {
    fn default() -> Self {
        Self { among: None, appended: 0, at_once: u64::MAX, doubted: None, culprit: None }
    }
}

impl Suspicion {
    /// Whether there is anything to be careful about.
    pub(super) fn is_any(&self) -> bool {
        self.culprit.is_some() || self.among.is_some() || self.at_once < u64::MAX
    }

    /// Nothing may be appended from `at` on, whatever the record.
    pub(super) fn halt_at(&mut self, at: Position, halt: HaltRecord) {
        self.culprit = Some(Culprit { at, halt });
    }

    /// The target refused records; `stored` is the partition's position.
    pub(super) fn handle_rejected(&mut self, rejected: &Rejected, stored: Position) {
        let Rejected { refusal, offsets: (first, last), reason, .. } = rejected;
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

    /// The record to blame, if the one at `position` is that or lies behind it.
    pub(super) fn culprit(&self, position: Position) -> Option<&Culprit> {
        self.culprit.as_ref().filter(|culprit| position >= culprit.at)
    }

    /// How many bytes may be under way once the record at `offset` is; 0 if it is to be by itself.
    pub(super) fn at_once(&self, offset: Offset) -> u64 {
        let alone = self.among.is_some_and(|(first, last)| (first..=last).contains(&offset));
        if alone { 0 } else { self.at_once }
    }

    /// A record was appended and, if it had to be by itself, taken.
    pub(super) fn handle_appended(&mut self, offset: Offset, bytes: u64) {
        let Some((first, last)) = self.among.filter(|(first, _)| offset >= *first) else { return };
        self.appended += bytes;
        if offset >= last {
            self.among = None;
            if first < last {
                // Each of them alone was taken: together they were too much.
                self.at_once = (self.appended / 2).max(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TargetPartition;

    fn rejected(refusal: Refusal, first: i64, last: i64) -> Rejected {
        let partition = TargetPartition { topic: "t".into(), partition: 0 };
        Rejected { partition, refusal, offsets: (Offset(first), Offset(last)), reason: "no".into() }
    }

    fn halts_at(suspicion: &Suspicion) -> Option<(i64, String)> {
        let culprit = suspicion.culprit(Position(i64::MAX))?;
        Some((culprit.at.0, culprit.halt.reason.clone()))
    }

    #[test]
    fn a_record_that_is_named_or_refused_alone_is_the_culprit_and_those_before_it_are_not() {
        let mut suspicion = Suspicion::default();
        suspicion.handle_rejected(&rejected(Refusal::Record, 10, 20), Position(5));
        assert_eq!(halts_at(&suspicion), None);
        assert_eq!((suspicion.at_once(Offset(9)), suspicion.at_once(Offset(21))), (u64::MAX, u64::MAX));
        assert_eq!((suspicion.at_once(Offset(10)), suspicion.at_once(Offset(20))), (0, 0));
        suspicion.handle_rejected(&rejected(Refusal::Record, 15, 15), Position(5));
        assert_eq!(halts_at(&suspicion), Some((15, "record-rejected".to_owned())));
        assert_eq!(suspicion.culprit(Position(14)), None);
    }

    #[test]
    fn a_batch_of_which_every_record_is_taken_was_too_large() {
        let mut suspicion = Suspicion::default();
        suspicion.handle_rejected(&rejected(Refusal::Record, 10, 12), Position(10));
        for offset in 10..=12 {
            suspicion.handle_appended(Offset(offset), 100);
        }
        assert_eq!(halts_at(&suspicion), None);
        assert_eq!(suspicion.at_once(Offset(13)), 150);
        assert!(suspicion.is_any());
    }

    #[test]
    fn a_doubted_record_is_tried_three_times_by_itself() {
        let mut suspicion = Suspicion::default();
        suspicion.handle_rejected(&rejected(Refusal::Doubted, 10, 12), Position(10));
        for _ in 0..2 {
            suspicion.handle_rejected(&rejected(Refusal::Doubted, 11, 11), Position(10));
            assert_eq!(halts_at(&suspicion), None);
        }
        suspicion.handle_rejected(&rejected(Refusal::Doubted, 11, 11), Position(10));
        assert_eq!(halts_at(&suspicion), Some((11, "record-rejected".to_owned())));
    }

    #[test]
    fn a_topic_that_is_refused_halts_at_the_stored_position() {
        for (refusal, reason) in [(Refusal::Unauthorized, "target-unauthorized"), (Refusal::Gone, "target-replaced")] {
            let mut suspicion = Suspicion::default();
            suspicion.handle_rejected(&rejected(refusal, 10, 12), Position(5));
            assert_eq!(halts_at(&suspicion), Some((5, reason.to_owned())));
        }
    }
}
