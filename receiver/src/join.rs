//! Whether an offered partition may join its lane, and from which position. Pure decisions: everything
//! they depend on is an argument.

use std::sync::Arc;

use wire::control::OfferedPartition;
use wire::ids::{Position, Slot, TopicId};

use crate::state::{HaltRecord, LaneRecord, PartitionKey, PartitionRecord};
use crate::target::TargetPartition;

/// An offered partition after its target was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// What the sender said.
    pub partition: OfferedPartition,
    /// What the target cluster says.
    pub target: Result<OfferedTarget, HaltRecord>,
}

/// The target side of an offered partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedTarget {
    /// Where its records would go.
    pub partition: TargetPartition,
    /// The target topic's incarnation.
    pub topic_id: TopicId,
    /// The target partition's high watermark.
    pub end: Position,
}

/// How an offer is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its position is stored: read on from there.
    Resume,
    /// Never carried before: store this record, then read.
    Begin(Box<PartitionRecord>),
    /// It may not join.
    Halt(HaltRecord),
    /// Undecided until every lane of the link was read.
    Wait,
}

impl Offered {
    /// The partition's name in the state.
    pub fn key(&self) -> PartitionKey {
        PartitionKey { topic: Arc::from(self.partition.topic.as_str()), partition: self.partition.partition }
    }

    /// The slot asked for.
    pub fn slot(&self) -> Slot {
        self.partition.slot
    }

    /// Decides, given what is stored of the partition and its lane. `carried` says whether any lane of
    /// the link carries the topic; `None` if not all were read yet.
    pub fn answer(
        &self,
        stored: Option<&PartitionRecord>,
        lane: &LaneRecord,
        filter_hash: u64,
        carried: Option<bool>,
    ) -> Answer {
        let target = match &self.target {
            Ok(target) => target,
            Err(halt) => return Answer::Halt(halt.clone()),
        };
        if self.partition.jump.is_some() {
            return halt("jump-unsupported", "this version does not move stored positions".to_owned());
        }
        match stored {
            Some(stored) => self.resume(stored, target),
            None => match carried {
                None => Answer::Wait,
                Some(carried) => self.begin(lane, filter_hash, carried, target),
            },
        }
    }

    fn resume(&self, stored: &PartitionRecord, target: &OfferedTarget) -> Answer {
        let offered = &self.partition;
        if let Some(stored_halt) = &stored.halt {
            return Answer::Halt(stored_halt.clone());
        }
        if differ(stored.topic_id, offered.topic_id) {
            let detail = format!("source topic id was {}, is {}", stored.topic_id, offered.topic_id);
            return halt("topic-recreated", detail);
        }
        if differ(stored.target_topic_id, target.topic_id) || stored.target_topic != *target.partition.topic {
            let detail = format!(
                "target was {} (id {}), is {} (id {})",
                stored.target_topic, stored.target_topic_id, target.partition.topic, target.topic_id
            );
            return halt("target-replaced", detail);
        }
        if target.end < stored.target_end {
            let detail = format!("target log ends at {}, this link wrote up to {}", target.end, stored.target_end);
            return halt("target-replaced", detail);
        }
        if offered.log_start > stored.position {
            let detail = format!("source log starts at {}, next wanted is {}", offered.log_start, stored.position);
            return halt("retention-overtook", detail);
        }
        if offered.log_end < stored.position {
            let detail = format!("source log ends at {}, next wanted is {}", offered.log_end, stored.position);
            return halt("truncated", detail);
        }
        Answer::Resume
    }

    fn begin(&self, lane: &LaneRecord, filter_hash: u64, carried: bool, target: &OfferedTarget) -> Answer {
        let offered = &self.partition;
        if target.end > Position(0) {
            let detail = format!(
                "{}-{} holds records up to {} that this link did not write",
                target.partition.topic, target.partition.partition, target.end
            );
            return halt("target-not-empty", detail);
        }
        // A partition of a topic that was matched before began after the link did: all of it is wanted.
        // Only a first start, or a topic newly matched by a changed filter, follows the `start` policy.
        let position = match lane.filter_hash {
            None => offered.start,
            Some(stored) if stored == filter_hash || carried => offered.log_start,
            Some(_) => offered.start,
        };
        Answer::Begin(Box::new(PartitionRecord {
            topic_id: offered.topic_id,
            position,
            leader_epoch: -1,
            target_topic: target.partition.topic.to_string(),
            target_topic_id: target.topic_id,
            target_partition: target.partition.partition,
            target_end: Position(0),
            delivered: 0,
            skipped: 0,
            holes: 0,
            halt: None,
            moves: 0,
        }))
    }
}

fn differ(stored: TopicId, found: TopicId) -> bool {
    stored != found && stored != TopicId::UNKNOWN && found != TopicId::UNKNOWN
}

fn halt(reason: &str, detail: String) -> Answer {
    Answer::Halt(HaltRecord { reason: reason.to_owned(), detail })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ids::Epoch;

    const FILTER: u64 = 7;

    fn offered() -> Offered {
        Offered {
            partition: OfferedPartition {
                slot: Slot(0),
                topic: "orders".to_owned(),
                partition: 3,
                topic_id: TopicId([1; 16]),
                partitions: 4,
                log_start: Position(10),
                log_end: Position(100),
                start: Position(100),
                jump: None,
            },
            target: Ok(OfferedTarget {
                partition: TargetPartition { topic: "fra.orders".into(), partition: 3 },
                topic_id: TopicId([2; 16]),
                end: Position(0),
            }),
        }
    }

    fn lane(filter_hash: Option<u64>) -> LaneRecord {
        LaneRecord {
            link: "l".into(),
            lanes: 1,
            lane_hash: "h".into(),
            epoch: Epoch(1),
            source_cluster: "s".into(),
            target_cluster: "t".into(),
            filter_hash,
            sender: "a".into(),
            classes: vec![],
        }
    }

    fn begun(offered: &Offered, filter_hash: Option<u64>, carried: bool) -> PartitionRecord {
        match offered.answer(None, &lane(filter_hash), FILTER, Some(carried)) {
            Answer::Begin(record) => *record,
            other => panic!("{other:?}"),
        }
    }

    fn halted(answer: Answer) -> String {
        match answer {
            Answer::Halt(halt) => halt.reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_start_policy_is_followed_on_a_first_start_and_for_newly_matched_topics_only() {
        let offered = offered();
        assert_eq!(begun(&offered, None, false).position, Position(100), "first start");
        assert_eq!(
            begun(&offered, Some(FILTER), false).position,
            Position(10),
            "same filter: a new topic or partition"
        );
        assert_eq!(begun(&offered, Some(FILTER + 1), true).position, Position(10), "carried already: a new partition");
        assert_eq!(begun(&offered, Some(FILTER + 1), false).position, Position(100), "newly matched");
    }

    #[test]
    fn no_initial_position_is_decided_before_all_lanes_were_read() {
        assert_eq!(offered().answer(None, &lane(None), FILTER, None), Answer::Wait);
    }

    #[test]
    fn a_foreign_target_is_left_alone() {
        let mut offered = offered();
        offered.target.as_mut().expect("there").end = Position(1);
        assert_eq!(halted(offered.answer(None, &lane(None), FILTER, Some(false))), "target-not-empty");
    }

    #[test]
    fn what_no_longer_fits_the_stored_position_halts() {
        let stored =
            PartitionRecord { position: Position(50), target_end: Position(40), ..begun(&offered(), None, false) };
        let answer = |change: &dyn Fn(&mut Offered)| {
            let mut offered = offered();
            offered.target.as_mut().expect("there").end = Position(40);
            change(&mut offered);
            offered.answer(Some(&stored), &lane(Some(FILTER)), FILTER, None)
        };
        assert_eq!(answer(&|_| ()), Answer::Resume);
        assert_eq!(halted(answer(&|o| o.partition.topic_id = TopicId([9; 16]))), "topic-recreated");
        assert_eq!(halted(answer(&|o| o.partition.log_start = Position(51))), "retention-overtook");
        assert_eq!(halted(answer(&|o| o.partition.log_end = Position(49))), "truncated");
        let replace = |o: &mut Offered| o.target.as_mut().expect("there").topic_id = TopicId([9; 16]);
        assert_eq!(halted(answer(&replace)), "target-replaced");
        let truncate = |o: &mut Offered| o.target.as_mut().expect("there").end = Position(39);
        assert_eq!(halted(answer(&truncate)), "target-replaced");
    }
}
