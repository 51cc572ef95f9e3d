//! The stored state of an open lane as of its last commit, and the terms that it was opened with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wire::ids::{Epoch, LaneId, Position};
use wire::partition::Partition;

use super::terms::Terms;
use crate::join::carried_topics::CarriedTopics;
use crate::join::{Answer, Offered};
use crate::target::state::{self, JUMPS_KEPT, JumpRecord, LaneRecord, PartitionRecord};

/// The stored state of one open lane.
pub(super) struct Stored {
    pub(super) lane: LaneId,
    pub(super) epoch: Epoch,
    pub(super) terms: Arc<Terms>,
    pub(super) carried_topics: Arc<CarriedTopics>,
    pub(super) record: LaneRecord,
    pub(super) partitions: HashMap<Partition, PartitionRecord>,
    /// Time at which each partition's record was written when the lane was opened, in ms since the Unix epoch.
    pub(super) written: HashMap<Partition, i64>,
    pub(super) jumps: Arc<BTreeMap<u64, JumpRecord>>,
}

impl Stored {
    /// Returns the stored position of a partition; −1 if none is stored.
    pub(super) fn position(&self, key: &Partition) -> Position {
        self.partitions.get(key).map_or(Position(-1), |record| record.position)
    }

    /// Decides whether an offered partition may join.
    pub(super) fn answer(&self, offered: &Offered) -> Answer {
        let key = offered.key();
        let carried = self.carried_topics.carries(&key.topic);
        // Also before the halt of one that has a position is committed.
        let is_new = !self.partitions.contains_key(&key);
        let is_lifted = !is_new && offered.partition.jump.is_some() && !offered.is_carried_only();
        let is_known = carried.is_some() || !is_new;
        if let Some(halt) = self.carried_topics.switched_over(&key, is_new).filter(|_| is_known && !is_lifted) {
            return Answer::Halt(halt);
        }
        offered.answer(self.partitions.get(&key), &self.record, self.terms.filter_hash, carried)
    }

    /// Returns the log entry of the jump that an offer requests; `earlier` jumps are stored before it.
    pub(super) fn jump(&self, offered: &Offered, to: Position, earlier: usize) -> Option<JumpRecord> {
        let jump = offered.logged_jump()?;
        let key = offered.key();
        Some(JumpRecord {
            number: self.next_jump() + earlier as u64,
            asked: jump.asked,
            sender: self.terms.sender.clone(),
            topic: key.topic.to_string(),
            partition: key.partition,
            from: self.position(&key).0,
            to: to.0,
            accepted: state::accepted(jump.accepts).to_owned(),
            reason: jump.reason.clone(),
            halt: self.partitions.get(&key).and_then(|stored| stored.halt.clone()),
        })
    }

    /// Returns the number of the lane's next jump.
    pub(super) fn next_jump(&self) -> u64 {
        self.jumps.last_key_value().map_or(0, |(number, _)| number + 1)
    }

    /// Adds a committed jump, and drops the oldest beyond [`JUMPS_KEPT`].
    pub(super) fn remember(&mut self, jump: JumpRecord) {
        let jumps = Arc::make_mut(&mut self.jumps);
        jumps.insert(jump.number, jump);
        while jumps.len() as u64 > JUMPS_KEPT {
            jumps.pop_first();
        }
    }
}
