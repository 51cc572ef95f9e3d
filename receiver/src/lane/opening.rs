//! Opening a lane: it checks first, because a refusal must not have fenced a healthy owner.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

use kafka::{KafkaError, KafkaFault};
use wire::close::{Close, CloseCode};
use wire::control::Control;
use wire::frame::LaneDecoder;
use wire::ids::{Epoch, LaneId};

use super::blocks::Blocks;
use super::claims::Claims;
use super::forget::Forgets;
use super::gone_since::GoneSince;
use super::handover::Handovers;
use super::inbox::Inbox;
use super::left_out;
use super::offers::Offers;
use super::open_lane::{Lane, Open, Parts};
use super::ownership::{Attempt, Secured, custody_entries};
use super::rebuilt;
use super::slots::Slots;
use super::stored::Stored;
use super::terms::{OpenError, Terms};
use super::unauthorized_partition::UnauthorizedPartitionSearch;
use super::waiting_ends::LaneEnds;
use crate::join::carried_topics::CarriedTopics;
use crate::target::custody::{Custody, CustodyRecord};
use crate::target::state::{self, LaneRecord, LaneState, PartitionRecord};
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
        let mut state = self.take(&terms)?;
        let record = terms.lane_record(state.lane.as_ref());
        let accepted = rebuilt::accept(lane, &terms, &mut state);
        self.commit_lane_record(&record, &state.custody, accepted)?;
        for (key, record) in state.partitions.iter().filter(|(_, record)| record.is_switched_over()) {
            record.halt.iter().for_each(|halt| carried_topics.handle_switched_partition(key, halt));
        }
        let known = state.partitions.keys().chain(state.moved.keys());
        carried_topics.handle_lane_read(lane, known.map(|key| &key.topic));
        let epoch = record.epoch;
        self.parts.messages.clear();
        let gone_since = GoneSince::stored(state.gone);
        let marks = gone_since.has_any().then(|| gone_since.message());
        let open = self.open.insert(Open {
            not_offered: state.partitions.keys().cloned().collect(),
            gone: HashSet::new(),
            orphan_changes: 0,
            forgets: Forgets::default(),
            gone_since,
            source_ends: LaneEnds::default(),
            all_offered: false,
            slots: Slots::default(),
            offers: Offers::default(),
            claims: Claims::stored(state.origins),
            handovers: Handovers::stored(state.moved, record.filter_hash),
            unauthorized: UnauthorizedPartitionSearch::default(),
            unwritable: None,
            inbox: Inbox::default(),
            decoder: LaneDecoder::new(terms.state),
            remembered: None,
            current: None,
            keep_alive: false,
            unknown: None,
            unknown_skips: Vec::new(),
            skip_log: HashMap::new(),
            blocks: Blocks::new(terms.map),
            stored: Stored {
                lane,
                epoch,
                terms,
                carried_topics,
                record,
                partitions: state.partitions,
                written: state.written,
                jumps: Arc::new(state.jumps),
            },
        });
        open.find_stored_gaps(&mut self.parts.gaps);
        self.parts.replies.push_back(Control::LaneOpen { lane, epoch });
        self.parts.replies.extend(marks);
        Ok(epoch)
    }

    /// Makes the lane this process's and returns its state, with the checks before any other owner is fenced.
    pub(super) fn take(&mut self, terms: &Terms) -> Result<LaneState, OpenError> {
        let before = self.read_checked(terms)?;
        let lane = self.parts.id;
        self.take_folding(&terms.link, before, |entries| check_state(lane, terms, entries))
    }

    /// Makes the lane this process's. `before` is its state as read before, and `fold` folds and checks it again.
    pub(super) fn take_folding(
        &mut self,
        link: &str,
        before: LaneState,
        fold: impl Fn(Vec<StateEntry>) -> Result<LaneState, OpenError>,
    ) -> Result<LaneState, OpenError> {
        let Parts { id: lane, target, ownership, .. } = &mut self.parts;
        let lane = *lane;
        let fold = |entries| {
            let state = fold(entries)?;
            state.ensure_no_older_than(lane, before.epoch())?;
            Ok(state)
        };
        let state = state::partition(link, lane);
        let mut attempt = Attempt { target: &mut *target, lane, state, suspected: false, fold };
        let secured = ownership.secure(&mut attempt, &before.custody).map_err(gone_is_refused);
        if let Err(OpenError::Target(error)) = secured {
            let state = state::partition(link, lane);
            let others = before.partitions.values().map(PartitionRecord::target);
            // Other lanes wait for the producer.
            target.discard();
            return Err(left_out::explained(target, state, others, error).into());
        }
        match secured? {
            Secured::Owned(state) => Ok(*state),
            Secured::Lost(custody) => Err(taken_meanwhile(lane, &custody).into()),
        }
    }

    /// Reads the lane's state and checks that it belongs to this session's link and clusters.
    pub(super) fn read_checked(&mut self, terms: &Terms) -> Result<LaneState, OpenError> {
        let entries = self.parts.target.read_state(Extent::LastStable);
        check_state(self.parts.id, terms, entries.map_err(|error| gone_is_refused(error.into()))?)
    }

    /// Commits the lane's record together with other entries.
    pub(super) fn commit_lane_record(
        &mut self,
        record: &LaneRecord,
        custody: &Custody,
        others: Vec<StateEntry>,
    ) -> Result<(), TargetError> {
        let mut entries = custody_entries(custody);
        entries.push(StateEntry::new(state::lane_key(), Some(state::encode(record))));
        entries.extend(others);
        self.parts.target.commit_entries(entries).map(drop)
    }
}

fn check_state(lane: LaneId, terms: &Terms, entries: Vec<StateEntry>) -> Result<LaneState, OpenError> {
    let refused = |error: TargetError| Close::new(CloseCode::StateRefused, error.to_string());
    // The lane record comes first: it explains why the partitions are of another cluster.
    let stored = LaneState::lane_record(lane, &entries).map_err(refused)?;
    // An operator may have accepted another cluster: then the stored positions are still of the old one.
    let source = stored.as_ref().map_or(&terms.source_cluster, |stored| &stored.source_cluster);
    let folded = LaneState::fold(lane, &terms.link, source, &entries);
    // Nothing else matters to the sender of a promoted link.
    if let Ok(LaneState { promoted: Some(promoted), .. }) = &folded {
        return Err(promoted.close(&terms.link).into());
    }
    stored.as_ref().map_or(Ok(()), |stored| terms.check(stored))?;
    Ok(folded.map_err(refused)?)
}

/// Folds the state of a lane, of whichever source it is.
pub(crate) fn fold_stored(lane: LaneId, link: &str, entries: &[StateEntry]) -> Result<LaneState, Close> {
    let refused = |error: TargetError| Close::new(CloseCode::StateRefused, error.to_string());
    let stored = LaneState::lane_record(lane, entries).map_err(refused)?;
    let source = stored.as_ref().map_or("", |stored| &stored.source_cluster);
    LaneState::fold(lane, link, source, entries).map_err(refused)
}

pub(super) fn gone_is_refused(error: OpenError) -> OpenError {
    match error {
        OpenError::Target(gone @ TargetError::StateGone(_)) => {
            Close::new(CloseCode::StateRefused, gone.to_string()).into()
        }
        other => other,
    }
}

fn taken_meanwhile(lane: LaneId, custody: &CustodyRecord) -> TargetError {
    let reason = format!("another receiver took it through {} meanwhile", custody.writer.as_str());
    KafkaError { doing: format!("opening of lane {lane}"), reason, fault: KafkaFault::Unavailable }.into()
}
