//! Course of a promotion: which lanes are to be promoted next, and with which record. Sans-IO.
//!
//! Lane 0 is first: what is stored there is the intent, which every later attempt and every other receiver finds. So all
//! lanes get the same record, and a promotion that ended halfway is finished by asking again.

use std::collections::BTreeMap;

use wire::ids::LaneId;

use crate::target::promoted::PromotedRecord;
use crate::target::state::LaneState;

/// Promotion in progress.
#[derive(Debug)]
pub struct Course {
    record: Option<PromotedRecord>,
    /// Number of lanes, once lane 0 has stated it.
    lanes: Option<u16>,
    promoted: BTreeMap<LaneId, LaneState>,
}

impl Course {
    /// Begins a promotion for which `record` is asked; `None` only finishes one that is stored.
    pub fn new(record: Option<PromotedRecord>) -> Self {
        Self { record, lanes: None, promoted: BTreeMap::new() }
    }

    /// Record to store: that of lane 0 once it is known.
    pub fn record(&self) -> Option<&PromotedRecord> {
        self.record.as_ref()
    }

    /// Returns the lanes that are to be promoted now, in any order.
    pub fn next(&self) -> Vec<LaneId> {
        let lanes = self.lanes.unwrap_or(1);
        (0..lanes).map(LaneId).filter(|lane| !self.promoted.contains_key(lane)).collect()
    }

    /// Takes the state of a lane that is promoted. That of lane 0 has to come first, with the number of the link's lanes:
    /// as many as the state topic has partitions.
    pub fn handle(&mut self, lane: LaneId, state: LaneState, partitions: u16) {
        if lane == LaneId(0) {
            self.record.clone_from(&state.promoted);
            // Lanes of classes are stored in lane 0 before they have partitions.
            let stored = state.lane.as_ref().and_then(|lane| lane.table().ok()).map_or(1, |table| table.lanes());
            self.lanes = Some(partitions.max(stored));
        }
        self.promoted.insert(lane, state);
    }

    /// Returns the final states of all lanes, once every lane is promoted.
    pub fn finish(self) -> Result<Vec<LaneState>, Self> {
        let is_complete = self.lanes.is_some() && self.next().is_empty();
        if is_complete { Ok(self.promoted.into_values().collect()) } else { Err(self) }
    }

    /// Number of lanes, once it is known.
    pub fn lanes(&self) -> Option<u16> {
        self.lanes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(by: &str) -> PromotedRecord {
        PromotedRecord::first(7, by.to_owned(), String::new())
    }

    fn state(by: &str) -> LaneState {
        LaneState { promoted: Some(asked(by)), ..LaneState::default() }
    }

    #[test]
    fn the_intent_is_in_lane_0_before_any_other_lane_is_asked() {
        let mut course = Course::new(Some(asked("ann")));
        assert_eq!(course.next(), [LaneId(0)]);
        course.handle(LaneId(0), state("ann"), 3);
        assert_eq!(course.next(), [LaneId(1), LaneId(2)]);
        course.handle(LaneId(2), state("ann"), 3);
        let mut course = course.finish().expect_err("lane 1 is missing");
        assert_eq!(course.next(), [LaneId(1)]);
        course.handle(LaneId(1), state("ann"), 3);
        assert_eq!(course.finish().expect("complete").len(), 3);
    }

    #[test]
    fn a_promotion_asked_again_keeps_the_record_of_the_first() {
        let mut course = Course::new(Some(asked("bob")));
        course.handle(LaneId(0), state("ann"), 2);
        assert_eq!(course.record().unwrap().by, "ann");
    }

    #[test]
    fn lanes_of_classes_that_have_no_partition_yet_are_promoted_too() {
        let classes = vec![("default".to_owned(), 0, 1), ("bulk".to_owned(), 2, 4)];
        let lane = crate::target::state::LaneRecord {
            link: "l".into(),
            lanes: 2,
            lane_hash: "h".into(),
            epoch: wire::ids::Epoch(1),
            source_cluster: "fra".into(),
            target_cluster: "sin".into(),
            filter_hash: None,
            sender: "s".into(),
            classes,
        };
        let mut course = Course::new(Some(asked("ann")));
        course.handle(LaneId(0), LaneState { lane: Some(lane), ..state("ann") }, 2);
        assert_eq!(course.next().len(), 4);
    }
}
