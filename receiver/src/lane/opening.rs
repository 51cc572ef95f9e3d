//! Opening a lane: it checks first, because a refusal must not have fenced a healthy owner.

use std::collections::HashSet;
use std::sync::Arc;

use wire::close::{Close, CloseCode};
use wire::control::Control;
use wire::ids::Epoch;

use super::barrier;
use super::claims::Claims;
use super::forget::Forgets;
use super::handover::Handovers;
use super::inbox::Inbox;
use super::offers::Offers;
use super::open_lane::{Lane, Open};
use super::rebuilt::{self, Entry};
use super::slots::Slots;
use super::stored::Stored;
use super::terms::{OpenError, Terms};
use super::unauthorized_partition::UnauthorizedPartitionSearch;
use crate::join::carried_topics::CarriedTopics;
use crate::target::state::{self, LaneRecord, LaneState};
use crate::target::{Extent, LaneTarget, StateEntry, TargetError};

impl<T: LaneTarget> Lane<T> {
    /// Takes the lane over: reads and checks its state, fences every earlier owner, reads again what they
    /// may have committed meanwhile, and commits the lane record with the next epoch.
    pub fn open(&mut self, terms: Arc<Terms>, carried_topics: Arc<CarriedTopics>) -> Result<Epoch, OpenError> {
        self.open = None;
        self.parts.target.discard();
        let result = self.take_over(terms, carried_topics);
        if result.is_err() {
            self.parts.target.discard();
        }
        result
    }

    fn take_over(&mut self, terms: Arc<Terms>, carried_topics: Arc<CarriedTopics>) -> Result<Epoch, OpenError> {
        let lane = self.parts.id;
        let before = self.read_checked(&terms)?;
        self.parts.target.fence()?;
        let mut state = self.read_decisive(&terms)?;
        state.ensure_no_older_than(lane, before.epoch())?;
        let record = terms.lane_record(state.lane.as_ref());
        let accepted = rebuilt::accept(lane, &terms, &mut state);
        self.commit_lane_record(&record, &accepted)?;
        let known = state.partitions.keys().chain(state.moved.keys());
        carried_topics.handle_lane_read(lane, known.map(|key| &key.topic));
        let epoch = record.epoch;
        self.parts.messages.clear();
        self.open = Some(Open {
            not_offered: state.partitions.keys().cloned().collect(),
            gone: HashSet::new(),
            orphan_changes: 0,
            forgets: Forgets::default(),
            all_offered: false,
            slots: Slots::default(),
            offers: Offers::default(),
            claims: Claims::stored(state.origins),
            handovers: Handovers::stored(state.moved, record.filter_hash),
            unauthorized: UnauthorizedPartitionSearch::default(),
            inbox: Inbox::default(),
            current: None,
            keep_alive: false,
            unknown: None,
            stored: Stored {
                lane,
                epoch,
                terms,
                carried_topics,
                record,
                partitions: state.partitions,
                jumps: Arc::new(state.jumps),
            },
        });
        self.parts.replies.push_back(Control::LaneOpen { lane, epoch });
        Ok(epoch)
    }

    /// Reads the lane's state and checks that it belongs to this session's link and clusters.
    pub(super) fn read_checked(&mut self, terms: &Terms) -> Result<LaneState, OpenError> {
        let entries = self.parts.target.read_state(Extent::LastStable);
        self.check_state(terms, entries)
    }

    /// Reads the lane's state after the fence, through a record of the lane's own, and checks it likewise.
    pub(super) fn read_decisive(&mut self, terms: &Terms) -> Result<LaneState, OpenError> {
        let entries = barrier::read_through(&mut self.parts.target);
        self.check_state(terms, entries)
    }

    fn check_state(
        &self,
        terms: &Terms,
        entries: Result<Vec<StateEntry>, TargetError>,
    ) -> Result<LaneState, OpenError> {
        let refused = |error: TargetError| Close::new(CloseCode::StateRefused, error.to_string());
        let entries = entries.map_err(|error| match error {
            gone @ TargetError::StateGone(_) => OpenError::Refused(refused(gone)),
            other => other.into(),
        })?;
        // The lane record comes first: it explains why the partitions are of another cluster.
        let stored = LaneState::lane_record(self.parts.id, &entries).map_err(refused)?;
        stored.as_ref().map_or(Ok(()), |lane| terms.check(lane))?;
        // An operator may have accepted another cluster: then the stored positions are still of the old one.
        let source = stored.as_ref().map_or(&terms.source_cluster, |lane| &lane.source_cluster);
        Ok(LaneState::fold(self.parts.id, source, &entries).map_err(refused)?)
    }

    /// Commits the lane's record together with other entries.
    pub(super) fn commit_lane_record(&mut self, record: &LaneRecord, others: &[Entry]) -> Result<(), TargetError> {
        let target = &mut self.parts.target;
        target.begin()?;
        target.write_state(&state::lane_key(), Some(&state::encode(record)))?;
        for (key, value) in others {
            target.write_state(key, value.as_deref())?;
        }
        target.drain()?;
        target.commit()
    }
}
