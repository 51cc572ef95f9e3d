//! State of a lane whose source cluster was rebuilt, after an operator has accepted the new one.
//!
//! Positions in the old cluster mean nothing in the new one, even where a topic has the same name. So each is kept with a
//! halt, `topic-recreated`: nothing of the topic is carried until an operator or a policy says from where. The new cluster
//! takes the place of the old one in the transaction that opens the lane.

use wire::halt::HaltReason;
use wire::ids::LaneId;

use super::terms::Terms;
use crate::target::StateEntry;
use crate::target::map::PartitionMap;
use crate::target::state::{self, HaltRecord, JumpRecord, LaneState, PartitionRecord};

/// Puts the clusters of `terms` in the place of those in `state`. Returns the entries to write; none if they are the same.
pub(super) fn accept(lane: LaneId, terms: &Terms, state: &mut LaneState) -> Vec<StateEntry> {
    let Some(stored) = state.lane.clone() else { return Vec::new() };
    let old = &stored.source_cluster;
    let new = &terms.source_cluster;
    let mut entries = Vec::new();
    if old != new {
        let halt = HaltRecord::new(HaltReason::TopicRecreated, format!("source cluster was {old}, is {new}"));
        let accept = |record: &mut PartitionRecord| {
            record.halt = Some(halt.clone());
            record.leader_epoch = -1;
            record.map = PartitionMap::beginning(record.position);
        };
        let gone = std::mem::take(&mut state.gone);
        entries.extend(gone.keys().map(|topic| StateEntry::new(state::gone_key(old, topic), None)));
        for (key, record) in &mut state.partitions {
            accept(record);
            entries.push(StateEntry::new(state::partition_key(old, key), None));
            entries.push(StateEntry::new(state::moved_key(old, key), None));
            entries.push(StateEntry::new(state::partition_key(new, key), Some(state::encode(record))));
        }
        for (key, moved) in &mut state.moved {
            accept(&mut moved.record);
            entries.push(StateEntry::new(state::partition_key(old, key), None));
            entries.push(StateEntry::new(state::moved_key(old, key), None));
            entries.push(StateEntry::new(state::moved_key(new, key), Some(state::encode(moved))));
        }
    }
    let changes = [("source", old, new), ("target", &stored.target_cluster, &terms.target_cluster)];
    for (what, old, new) in changes.into_iter().filter(|(_, old, new)| old != new) {
        tracing::warn!(%lane, old, new, "accepting another {what} cluster");
        // One entry of the log of jumps says it for all lanes.
        if lane == LaneId(0) {
            let jump = jump(terms, state, format!("{what} cluster {new} in place of {old}"));
            entries.push(StateEntry::new(state::jump_key(jump.number), Some(state::encode(&jump))));
            state.jumps.insert(jump.number, jump);
        }
    }
    entries
}

fn jump(terms: &Terms, state: &LaneState, accepted: String) -> JumpRecord {
    JumpRecord {
        number: state.jumps.last_key_value().map_or(0, |(number, _)| number + 1),
        asked: terms.accepts.as_ref().map_or(0, |accepted| accepted.at),
        sender: terms.sender.clone(),
        topic: "*".to_owned(),
        partition: -1,
        from: -1,
        to: -1,
        accepted,
        reason: "links.accept_cluster".to_owned(),
        halt: None,
    }
}
