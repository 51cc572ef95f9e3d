//! Decides whether an offered partition may join its lane, and from which position. Pure decisions: everything
//! that they depend on is an argument.

mod admission;
mod announcements;
pub(crate) mod carried_topics;
pub(crate) mod creation;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod returns;
pub(crate) mod targets;

use std::sync::Arc;

use wire::control::{Accepts, Jump, OfferedPartition};
use wire::halt::HaltReason;
use wire::ids::{Position, Slot, TopicId};
use wire::origin::Origin;

use crate::join::returns::Returning;
use crate::link::announced::Room;
use crate::target::TargetPartition;
use crate::target::map::PartitionMap;
use crate::target::state::{HaltRecord, LaneRecord, PartitionRecord};
use wire::partition::Partition;

/// An offered partition, with its target looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The offer as the sender made it.
    pub partition: OfferedPartition,
    /// The target of its records, or the halt that the target requires.
    pub target: Result<OfferedTarget, HaltRecord>,
    /// Policy of the sender that leaves out records which the target refuses; without one, the partition halts.
    pub skips_refused: Option<Arc<str>>,
    /// Where the partition begins if a promoted link brought it to the source.
    pub returning: Option<Returning>,
    /// Memory of the offer, in use until it is answered.
    pub room: Option<Room>,
    /// The offer had to wait for a partition that another lane had when the clusters were asked.
    pub was_deferred: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedTarget {
    /// Partition that its records would go to.
    pub partition: TargetPartition,
    pub topic_id: TopicId,
    /// High watermark of the target partition.
    pub end: Position,
    /// Kafka's ids of the clusters that the topic has passed, the oldest first, the source last.
    pub clusters: Arc<[String]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The position is stored: read from there.
    Resume,
    /// The partition was never carried, or its position moves: store this record, then read.
    Begin(Box<PartitionRecord>),
    Halt(HaltRecord),
    /// No answer is possible until every lane of the link was read.
    Wait,
}

/// Beginning of the reason of a jump that no operator has asked for.
const POLICY: &str = "policy:";

impl Offered {
    pub fn key(&self) -> Partition {
        Partition { topic: Arc::from(self.partition.topic.as_str()), partition: self.partition.partition }
    }

    pub fn slot(&self) -> Slot {
        self.partition.slot
    }

    /// Returns whether the link may carry the topic at all. The number of such partitions is bounded.
    pub fn is_admitted(&self) -> bool {
        use HaltReason::{ReturnsToOrigin, TargetRefused, TopicUnauthorized};
        let halt = self.target.as_ref().err().and_then(|halt| HaltReason::of(&halt.reason));
        !matches!(halt, Some(ReturnsToOrigin | TargetRefused | TopicUnauthorized))
    }

    /// Returns whether the partition may join only if the link has carried it.
    pub fn is_carried_only(&self) -> bool {
        is_carried_only(&self.partition)
    }

    /// Returns the jump with which the partition begins, for the log of jumps.
    pub fn logged_jump(&self) -> Option<Jump> {
        let target = self.target.as_ref().ok();
        let returning = || self.returning.as_ref().zip(target).and_then(|(returning, target)| returning.jump(target));
        self.partition.jump.clone().or_else(returning)
    }

    pub fn target_partition(&self) -> Option<&TargetPartition> {
        self.target.as_ref().ok().map(|target| &target.partition)
    }

    /// Origin that the state must have for the topic before a record of it is written.
    pub fn origin(&self) -> Option<Origin> {
        let target = self.target.as_ref().ok()?;
        Some(Origin {
            target_topic: target.partition.topic.to_string(),
            target_topic_id: target.topic_id,
            clusters: target.clusters.to_vec(),
        })
    }

    /// Decides by the stored records of the partition and its lane. `carried` says whether any lane of
    /// the link carries the topic; it is `None` until all were read.
    pub fn answer(
        &self,
        stored: Option<&PartitionRecord>,
        lane: &LaneRecord,
        filter_hash: u64,
        carried: Option<bool>,
    ) -> Answer {
        if let Some(stored) = stored {
            return match &self.partition.jump {
                Some(jump) if !self.is_carried_only() => self.jump(stored, jump),
                _ => self.resume(stored),
            };
        }
        if self.is_carried_only() {
            return Answer::Halt(origin_unknown(&self.partition.topic));
        }
        let target = match &self.target {
            Ok(target) => target,
            Err(halt) => return Answer::Halt(halt.clone()),
        };
        match (&self.partition.jump, carried) {
            (Some(jump), _) if jump.expected.0 >= 0 => {
                jump_refused(format!("it is to be moved from {}, but no position is stored", jump.expected))
            }
            (_, None) => Answer::Wait,
            (jump, Some(carried)) => self.begin(lane, filter_hash, carried, target, jump.as_ref()),
        }
    }

    /// Decides whether the partition may continue from its stored position.
    fn resume(&self, stored: &PartitionRecord) -> Answer {
        let offered = &self.partition;
        // Also where the source's topic is made again: its applications write to the target's.
        if let Some(halt) = stored.halt.as_ref().filter(|_| stored.is_switched_over()) {
            return Answer::Halt(halt.clone());
        }
        // Before the stored halt, which was about a log that does not exist any more.
        if stored.topic_id.differs(offered.topic_id) {
            return self.recreated(stored);
        }
        if let Some(halt) = &stored.halt {
            return Answer::Halt(halt.clone());
        }
        if let Err(halt) = self.check_target(stored) {
            return Answer::Halt(halt);
        }
        if offered.log_start > stored.position {
            let detail = format!("source log starts at {}, next wanted is {}", offered.log_start, stored.position);
            return halt(HaltReason::RetentionOvertook, detail);
        }
        if offered.log_end < stored.position {
            let detail = format!("source log ends at {}, next wanted is {}", offered.log_end, stored.position);
            return halt(HaltReason::Truncated, detail);
        }
        Answer::Resume
    }

    /// Decides about a jump: the sender lifts a halt and states the next position. The first rule that applies
    /// answers it.
    fn jump(&self, stored: &PartitionRecord, jump: &Jump) -> Answer {
        let offered = &self.partition;
        // A policy has lifted another halt, which the switch-over has replaced meanwhile.
        if let Some(halt) =
            stored.halt.as_ref().filter(|_| stored.is_switched_over() && jump.reason.starts_with(POLICY))
        {
            return Answer::Halt(halt.clone());
        }
        let recreated = stored.topic_id.differs(offered.topic_id);
        let same_topic = !recreated && stored.topic_id != TopicId::UNKNOWN && offered.topic_id != TopicId::UNKNOWN;
        let accepts_new = jump.accepts == Accepts::NewIncarnation;
        let accepts_target = jump.accepts == Accepts::Target;
        // −1 means the position where it began.
        let arrived = jump.to == stored.position || (jump.expected.0 < 0 && jump.to.0 < 0);
        let applied_before = arrived && stored.halt.is_none() && !recreated && self.check_target(stored).is_ok();
        // A target is adopted at the stored position even if the source has no record there any more: that is a
        // halt of its own, with its own remedies.
        let adopted_in_place = accepts_target && jump.to == stored.position;
        let rules: [(bool, &dyn Fn() -> Answer); 5] = [
            // A transaction whose outcome was unknown then has applied it.
            (applied_before, &|| Answer::Resume),
            (stored.position != jump.expected, &|| {
                jump_refused(format!("it is to be moved from {}, but is at {}", jump.expected, stored.position))
            }),
            (recreated && !accepts_new, &|| self.recreated(stored)),
            // A broker that lags behind said that the topic was new: its start is not a new log's.
            (accepts_new && same_topic && jump.to < stored.position, &|| {
                jump_refused(format!(
                    "the source's topic is the one that was carried, id {}: continue in it from {}",
                    stored.topic_id, stored.position
                ))
            }),
            (!adopted_in_place && !has(offered, jump.to), &|| not_in_log(offered, jump)),
        ];
        if let Some((_, answer)) = rules.iter().find(|(applies, _)| *applies) {
            return answer();
        }
        let mut record = PartitionRecord { position: jump.to, halt: None, ..stored.clone() };
        if recreated || jump.to < stored.position {
            record.map = PartitionMap::beginning(jump.to);
        }
        let fits = match &self.target {
            Ok(target) if accepts_target => {
                record.write_to(target);
                Ok(())
            }
            _ => self.check_target(stored),
        };
        if let Err(halt) = fits {
            return Answer::Halt(halt);
        }
        if recreated {
            record.topic_id = offered.topic_id;
            record.leader_epoch = -1;
        } else if jump.to != stored.position {
            record.leader_epoch = -1;
            let skipped = u64::try_from(jump.to.0.saturating_sub(stored.position.0)).unwrap_or(0);
            record.skipped = record.skipped.saturating_add(skipped);
        }
        Answer::Begin(Box::new(record))
    }

    fn recreated(&self, stored: &PartitionRecord) -> Answer {
        let detail = format!("source topic id was {}, is {}", stored.topic_id, self.partition.topic_id);
        halt(HaltReason::TopicRecreated, detail)
    }

    /// Checks that the target is the one that this link wrote to, with every record that it wrote.
    fn check_target(&self, stored: &PartitionRecord) -> Result<(), HaltRecord> {
        let target = self.target.as_ref().map_err(HaltRecord::clone)?;
        if stored.target_topic_id.differs(target.topic_id) || stored.target_topic != *target.partition.topic {
            let detail = format!(
                "target was {} (id {}), is {} (id {})",
                stored.target_topic, stored.target_topic_id, target.partition.topic, target.topic_id
            );
            return Err(HaltRecord::new(HaltReason::TargetReplaced, detail));
        }
        if target.end < stored.target_end {
            let detail = format!("target log ends at {}, this link wrote up to {}", target.end, stored.target_end);
            return Err(HaltRecord::new(HaltReason::TargetReplaced, detail));
        }
        Ok(())
    }

    /// Checks that the target is empty, or is the log from which a promoted link brought the records.
    fn check_unwritten(&self, lane: &LaneRecord, target: &OfferedTarget) -> Result<(), HaltRecord> {
        match &self.returning {
            Some(returning) => returning.check(target, &lane.target_cluster),
            None if target.end > Position(0) => {
                let detail =
                    format!("{} holds records up to {} that this link did not write", target.partition, target.end);
                Err(HaltRecord::new(HaltReason::TargetNotEmpty, detail))
            }
            None => Ok(()),
        }
    }

    fn begin(
        &self,
        lane: &LaneRecord,
        filter_hash: u64,
        carried: bool,
        target: &OfferedTarget,
        jump: Option<&Jump>,
    ) -> Answer {
        let offered = &self.partition;
        let jump_to = jump.filter(|jump| jump.to.0 >= 0);
        if jump.is_none_or(|jump| jump.accepts != Accepts::Target)
            && let Err(refused) = self.check_unwritten(lane, target)
        {
            return Answer::Halt(refused);
        }
        if let Some(jump) = jump_to.filter(|jump| !has(offered, jump.to)) {
            return not_in_log(offered, jump);
        }
        let returns_at = self.returning.as_ref().map(|returning| returning.begins);
        if let Some(begins) = returns_at.filter(|begins| jump_to.is_none() && !has(offered, *begins)) {
            let OfferedPartition { log_start, log_end, .. } = offered;
            let detail = format!("source log goes from {log_start} to {log_end}, next wanted is {begins}");
            let reason = if begins < *log_start { HaltReason::RetentionOvertook } else { HaltReason::Truncated };
            return halt(reason, detail);
        }
        // A new partition of a topic that was matched before is carried from its start.
        // Only a first start, or a topic newly matched by a changed filter, follows the `start` policy.
        let by_policy = match lane.filter_hash {
            Some(stored) if stored == filter_hash || carried => offered.log_start,
            _ => offered.start,
        };
        let position = jump_to.map(|jump| jump.to).or(returns_at).unwrap_or(by_policy);
        Answer::Begin(Box::new(PartitionRecord {
            topic_id: offered.topic_id,
            position,
            leader_epoch: -1,
            target_topic: target.partition.topic.to_string(),
            target_topic_id: target.topic_id,
            target_partition: target.partition.partition,
            // In an adopted target, the present records count as written.
            target_end: target.end,
            delivered: 0,
            skipped: 0,
            holes: 0,
            halt: None,
            moves: 0,
            map: PartitionMap::beginning(position),
        }))
    }
}

/// Returns whether an offer may join only if the link has carried the partition.
pub(crate) fn is_carried_only(offered: &OfferedPartition) -> bool {
    offered.jump.as_ref().is_some_and(|jump| jump.accepts == Accepts::CarriedOnly)
}

/// Returns the halt of a topic of which neither this link nor the sender knows whether another link writes it.
pub(crate) fn origin_unknown(topic: &str) -> HaltRecord {
    let detail = format!(
        "this link has not carried {topic}, and the sender cannot read at the source whether another link writes it there"
    );
    HaltRecord::new(HaltReason::OriginUnknown, detail)
}

fn halt(reason: HaltReason, detail: String) -> Answer {
    Answer::Halt(HaltRecord::new(reason, detail))
}

/// Returns whether a position lies in the source's log or at its end.
fn has(offered: &OfferedPartition, position: Position) -> bool {
    (offered.log_start..=offered.log_end).contains(&position)
}

fn not_in_log(offered: &OfferedPartition, jump: &Jump) -> Answer {
    jump_refused(format!(
        "{} is not in the source's log, which begins at {} and ends at {}",
        jump.to, offered.log_start, offered.log_end
    ))
}

fn jump_refused(detail: String) -> Answer {
    halt(HaltReason::JumpRefused, detail)
}

impl PartitionRecord {
    /// Makes `target` the one that the records go to, without regard to its contents.
    fn write_to(&mut self, target: &OfferedTarget) {
        self.target_topic = target.partition.topic.to_string();
        self.target_topic_id = target.topic_id;
        self.target_partition = target.partition.partition;
        self.target_end = target.end;
        self.map = PartitionMap::beginning(self.position);
    }
}

#[cfg(test)]
mod tests;
