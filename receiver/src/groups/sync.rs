//! Decisions about groups: which offsets to translate, which to commit, and which to leave to another client. Sans-IO.
//!
//! An offset goes through a round: it is *due*, it is translated into an aim, and where the target has another offset than
//! the aim, that is committed, unless another client has committed there or the group has members.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka::groups::{CommitError, GroupOffset};
use wire::control::{CommittedOffset, GroupOffsets};
use wire::ids::Position;
use wire::partition::Partition;

use super::ledger::Ledger;
use crate::target::{StateEntry, TargetPartition};
use crate::translate::aim::{Aim, SourcePosition, TargetPosition};

/// Interval at which offsets that need nothing are compared with the target.
const CHECK: Duration = Duration::from_secs(60);
/// Interval between two looks whether the link has come further.
const CARRIED_STEP: Duration = Duration::from_millis(500);
/// Interval between two commits for an offset that the link has not carried.
const BEHIND: Duration = Duration::from_secs(5);
/// Interval between two questions to lanes that do not answer.
const LANES: Duration = Duration::from_millis(500);
/// Interval between two looks whether the members of a group have left.
const MEMBERS: Duration = Duration::from_secs(5);
/// Interval between two looks whether the link carries a partition, or has a map that goes back further.
const UNKNOWN: Duration = Duration::from_secs(10);
/// Age at which an offset is committed again although it is the same: the target deletes offsets of groups without members,
/// by default after 7 days.
const RENEW: Duration = Duration::from_secs(6 * 3600);
/// Wait after a failure, doubled with each further one.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Memory of an offset besides its texts.
const OFFSET_BYTES: usize = 256;

wire::words! {
    /// State of a group's offset in the target.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum OffsetState {
        /// It was not looked at yet.
        Pending = "pending",
        /// The target has the translated offset.
        Synced = "synced",
        /// The link has not carried everything before it; the target has the offset up to which the link has.
        Behind = "behind",
        /// The offset map does not go back so far.
        BeforeMap = "before-map",
        /// The link has not carried the partition.
        NotCarried = "not-carried",
        /// The group has members in the target, which commit for themselves.
        HasMembers = "has-members",
        /// Another client has committed in the target.
        TakenOver = "taken-over",
        /// The target refuses the offset, or does not answer.
        Failed = "failed",
    }
}

/// Place of a group's next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Position at the source.
    Source(Position),
    /// Position in the target: the group goes back, and has read nothing behind what was brought.
    Target(Position),
}

/// Where a partition goes back to.
#[derive(Debug)]
pub(crate) struct ReturnsTo {
    pub(crate) partition: TargetPartition,
    /// Positions from and up to which both logs have the same records.
    pub(crate) since: Position,
    pub(crate) common: Position,
}

/// Offset of a group at the source.
#[derive(Debug)]
struct Offset {
    place: Place,
    metadata: Arc<str>,
    state: OffsetState,
    /// Translation of the present position.
    aim: Option<TargetPosition>,
    due: Instant,
    /// Time of the last commit that the target has answered, or of the first look that found it.
    committed: Option<Instant>,
    failures: u32,
}

/// What the target has of a group.
#[derive(Debug, Clone, Default)]
pub(crate) struct TargetGroup {
    pub(crate) has_members: bool,
    pub(crate) committed: HashMap<TargetPartition, GroupOffset>,
}

/// Commit to be made: the source partition, and the offset in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) source: Partition,
    pub(crate) offset: GroupOffset,
}

/// Offsets of a link's groups.
#[derive(Debug)]
pub(crate) struct GroupSync {
    groups: BTreeMap<Arc<str>, BTreeMap<Partition, Offset>>,
    ledger: Ledger,
    /// Partitions of the source that go back to the log from which a promoted link brought them.
    returning: HashMap<Partition, ReturnsTo>,
    bytes: usize,
    bytes_max: usize,
    /// Offsets that had no room.
    refused: usize,
    /// Error of the last failure, while there is one.
    failure: Option<String>,
    /// Arrival of the newest complete reading, and of the newest one that a round has dealt with.
    arrived: Option<Instant>,
    covered: Option<Instant>,
}

impl GroupSync {
    /// Makes a state without groups, which takes at most so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            groups: BTreeMap::new(),
            ledger: Ledger::default(),
            returning: HashMap::new(),
            bytes: 0,
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            refused: 0,
            failure: None,
            arrived: None,
            covered: None,
        }
    }

    /// Takes offsets of the source that are new or have changed. What has no room is left out.
    pub(crate) fn handle_offsets(&mut self, groups: Vec<GroupOffsets>, last: bool, now: Instant) {
        self.handle_all(groups, Place::Source, now);
        if last {
            self.arrived = Some(now);
        }
    }

    /// Takes offsets of groups that go back, as positions in the target.
    pub(crate) fn handle_back(&mut self, groups: Vec<GroupOffsets>, now: Instant) {
        self.handle_all(groups, Place::Target, now);
    }

    fn handle_all(&mut self, groups: Vec<GroupOffsets>, place: fn(Position) -> Place, now: Instant) {
        for GroupOffsets { group, topic, offsets } in groups {
            let group: Arc<str> = group.into();
            let topic: Arc<str> = topic.into();
            for CommittedOffset { partition, offset, metadata } in offsets {
                let at = Partition { topic: Arc::clone(&topic), partition };
                let told = (offset.0 >= 0).then(|| Told { place: place(offset), metadata });
                self.handle_offset(&group, at, told, now);
            }
        }
    }

    /// Takes an offset; `None` if there is none any more.
    fn handle_offset(&mut self, group: &Arc<str>, at: Partition, told: Option<Told>, now: Instant) {
        let names = OFFSET_BYTES + group.len() + at.topic.len();
        let known = self.groups.get_mut(group).and_then(|offsets| offsets.get_mut(&at));
        let before = known.as_ref().map_or(0, |known| names + known.metadata.len());
        let Some(Told { place, metadata }) = told else {
            if let Some(offsets) = self.groups.get_mut(group) {
                offsets.remove(&at);
                if offsets.is_empty() {
                    self.groups.remove(group);
                }
            }
            self.bytes -= before;
            return;
        };
        let after = names + metadata.len();
        if self.bytes - before + after > self.bytes_max {
            self.refused += 1;
            return;
        }
        self.bytes = self.bytes - before + after;
        let metadata: Arc<str> = metadata.into();
        match known {
            Some(known) => {
                known.place = place;
                known.metadata = metadata;
                known.aim = None;
                // Those that another client has, or that fail, keep their pace.
                if !matches!(known.state, OffsetState::TakenOver | OffsetState::HasMembers | OffsetState::Failed) {
                    known.due = now;
                }
            }
            None => {
                let state = OffsetState::Pending;
                let new = Offset { place, metadata, state, aim: None, due: now, committed: None, failures: 0 };
                self.groups.entry(Arc::clone(group)).or_default().insert(at, new);
            }
        }
    }

    /// Takes a partition that goes back.
    pub(crate) fn handle_returning(&mut self, source: Partition, to: ReturnsTo) {
        self.returning.insert(source, to);
    }

    /// Takes the stored ledger.
    pub(crate) fn set_ledger(&mut self, ledger: Ledger) {
        self.ledger = ledger;
    }

    /// Makes everything due: the link has carried what it ever will.
    pub(crate) fn begin_last_round(&mut self, now: Instant) {
        for offset in self.groups.values_mut().flat_map(BTreeMap::values_mut) {
            offset.due = now;
            offset.committed = None;
        }
    }

    /// Returns each offset of a group: its partition at the source, its state, and where it goes in the target.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = (&str, &Partition, OffsetState, Option<&TargetPosition>)> {
        self.groups.iter().flat_map(|(group, offsets)| {
            offsets.iter().map(|(at, offset)| (&**group, at, offset.state, offset.aim.as_ref()))
        })
    }

    /// Returns the time of the next round; `None` without offsets.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.groups.values().flat_map(BTreeMap::values).map(|offset| offset.due).min()
    }

    /// Returns the positions to translate in this round, each once. It ends with [`GroupSync::end_round`].
    pub(crate) fn poll_positions(&self, now: Instant) -> Vec<SourcePosition> {
        let due = self.groups.values().flatten().filter(|(_, offset)| offset.due <= now);
        let positions = due.map(|(at, offset)| offset.asked(at));
        positions.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Takes the translations of positions.
    pub(crate) fn handle_aims(&mut self, aims: &HashMap<SourcePosition, Result<Aim, String>>, now: Instant) {
        let mut failure = None;
        let Self { groups, returning, .. } = self;
        for (at, offset) in groups.values_mut().flatten().filter(|(_, offset)| offset.due <= now) {
            let aim = aims.get(&offset.asked(at)).map(|aim| offset.back(aim, returning.get(at)));
            offset.aim = None;
            match aim {
                Some(Ok(Aim::At(aim))) if !aim.is_exact && offset.committed.is_some_and(|at| now < at + BEHIND) => {
                    offset.set(OffsetState::Behind, now + CARRIED_STEP);
                }
                Some(Ok(Aim::At(aim))) => offset.aim = Some(aim),
                Some(Ok(Aim::BeforeMap)) => offset.set(OffsetState::BeforeMap, now + UNKNOWN),
                Some(Ok(Aim::NotCarried)) => offset.set(OffsetState::NotCarried, now + UNKNOWN),
                // The end of the target partition was not read.
                Some(Ok(Aim::Empty { .. })) => offset.set(OffsetState::Behind, now + CARRIED_STEP),
                Some(Err(error)) => {
                    offset.fail(now);
                    failure.get_or_insert(error);
                }
                // It is newer than the request.
                None => {}
            }
        }
        if failure.is_some() {
            self.failure = failure;
        }
    }

    /// Returns the groups that the target is asked about in this round.
    pub(crate) fn candidates(&self, now: Instant) -> Vec<String> {
        let has_aim = |offset: &Offset| offset.due <= now && offset.aim.is_some();
        let candidates = self.groups.iter().filter(|(_, offsets)| offsets.values().any(has_aim));
        candidates.map(|(group, _)| group.to_string()).collect()
    }

    /// Decides about a group. The ledger has to be stored before the commits are made.
    pub(crate) fn decide(&mut self, group: &str, target: &TargetGroup, now: Instant) -> Vec<Commit> {
        let name = self.groups.get_key_value(group).map(|(name, _)| Arc::clone(name));
        let Some(name) = name else { return Vec::new() };
        let Some(offsets) = self.groups.get_mut(&name) else { return Vec::new() };
        let mut commits = Vec::new();
        for (source, offset) in offsets.iter_mut().filter(|(_, offset)| offset.due <= now) {
            let Some(aim) = offset.aim.clone() else { continue };
            let current = target.committed.get(&aim.partition);
            let known = self.ledger.get(group, &aim.partition);
            let may_replace = current.is_none_or(|current| match known {
                Some(known) => !known.taken_over && known.ours.contains(&current.position),
                // It was here before the promotion, and has read nothing here since.
                None => self.returning.get(source).is_some_and(|to| to.may_replace(current.position, &aim)),
            });
            if !may_replace {
                if known.is_none_or(|known| !known.taken_over) {
                    self.ledger.take_over(&name, &aim.partition);
                }
                offset.set(OffsetState::TakenOver, now + CHECK);
                continue;
            }
            if target.has_members {
                offset.set(OffsetState::HasMembers, now + MEMBERS);
                continue;
            }
            let is_same = current.is_some_and(|one| one.position == aim.position && one.metadata == *offset.metadata);
            let committed = *offset.committed.get_or_insert(now);
            if is_same && now.duration_since(committed) < RENEW {
                offset.note_aim_reached(now);
                continue;
            }
            let before = current.map(|current| current.position);
            if !self.ledger.intend(&name, &aim.partition, before, aim.position) {
                offset.fail(now);
                self.failure = Some("too many groups: the link has carried offsets of 200,000 partitions".to_owned());
                continue;
            }
            let metadata = offset.metadata.to_string();
            let offset = GroupOffset { partition: aim.partition, position: aim.position, metadata };
            commits.push(Commit { source: source.clone(), offset });
        }
        commits
    }

    /// Returns the entries of the ledger to store now.
    pub(crate) fn take_ledger_changes(&mut self) -> Vec<StateEntry> {
        self.ledger.take_changes()
    }

    /// Takes the outcome of a commit.
    pub(crate) fn handle_outcome(
        &mut self,
        group: &str,
        commit: &Commit,
        outcome: Result<(), CommitError>,
        now: Instant,
    ) {
        let Commit { source, offset: GroupOffset { partition, position, .. } } = commit;
        if outcome.is_ok() {
            self.ledger.confirm(group, partition, *position);
        }
        let offsets = self.groups.get_mut(group);
        let Some(offset) = offsets.and_then(|offsets| offsets.get_mut(source)) else { return };
        match outcome {
            Ok(()) => {
                offset.committed = Some(now);
                // Otherwise the source has moved on meanwhile, and the offset is due again.
                if offset.aim.as_ref().is_some_and(|aim| aim.position == *position) {
                    offset.note_aim_reached(now);
                }
            }
            Err(CommitError::HasMembers) => offset.set(OffsetState::HasMembers, now + MEMBERS),
            Err(CommitError::Kafka(error)) => {
                offset.fail(now);
                self.failure = Some(error.to_string());
            }
        }
    }

    /// Notes that a group could not be asked about or committed for, so that its offsets are due later.
    pub(crate) fn handle_failure(&mut self, group: &str, reason: &str, now: Instant) {
        let offsets = self.groups.get_mut(group).into_iter().flat_map(BTreeMap::values_mut);
        offsets.filter(|offset| offset.due <= now && offset.aim.is_some()).for_each(|offset| offset.fail(now));
        self.failure = Some(reason.to_owned());
    }

    /// Notes that a request of the round failed as a whole.
    pub(crate) fn handle_failed_round(&mut self, reason: &str, now: Instant) {
        let offsets = self.groups.values_mut().flat_map(BTreeMap::values_mut);
        offsets.filter(|offset| offset.due <= now).for_each(|offset| offset.fail(now));
        self.failure = Some(reason.to_owned());
    }

    /// Lets what is due be due again later: the lanes do not answer now.
    pub(crate) fn postpone(&mut self, now: Instant) {
        let offsets = self.groups.values_mut().flat_map(BTreeMap::values_mut);
        offsets.filter(|offset| offset.due <= now).for_each(|offset| offset.due = now + LANES);
    }

    /// Returns the arrival of the reading that the round which begins now covers.
    pub(crate) fn arrived(&self) -> Option<Instant> {
        self.arrived
    }

    /// Ends a round. If it was complete, it has covered the reading which arrived at `arrived`.
    pub(crate) fn end_round(&mut self, arrived: Option<Instant>) {
        let any = |state| self.groups.values().flat_map(BTreeMap::values).any(|offset| offset.state == state);
        if !any(OffsetState::Failed) {
            self.failure = None;
            self.covered = self.covered.max(arrived);
        }
    }

    /// Arrival of the newest reading that was dealt with.
    pub(crate) fn covered(&self) -> Option<Instant> {
        self.covered
    }

    /// Returns each group with the number of its offsets in each state.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&str, BTreeMap<OffsetState, u64>)> {
        self.groups.iter().map(|(group, offsets)| {
            let mut states = BTreeMap::new();
            for offset in offsets.values() {
                *states.entry(offset.state).or_default() += 1;
            }
            (&**group, states)
        })
    }

    /// Returns problems, in sentences.
    pub(crate) fn trouble(&self) -> Vec<String> {
        let limit = self.bytes_max >> 10;
        let refused = self.refused;
        let no_room = (refused > 0).then(|| {
            format!("groups: {refused} offsets had no room in {limit} KiB, the limit of this link: raise `memory` of the receiver")
        });
        no_room.into_iter().chain(self.failure.iter().map(|failure| format!("groups: {failure}"))).collect()
    }

    /// Bytes of the offsets.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl ReturnsTo {
    /// Returns whether a group that this link has never committed for may be moved from there: it was there before the
    /// promotion, and all that it has not read was brought. What the sender says counts only before the link's own records.
    fn may_replace(&self, current: Position, aim: &TargetPosition) -> bool {
        self.partition == aim.partition && self.since <= current && current <= self.common.min(aim.own)
    }
}

/// What the sender says of an offset.
struct Told {
    place: Place,
    metadata: String,
}

impl Offset {
    /// Returns the position to translate. Of an offset that goes back, only whether the link carries the partition counts.
    fn asked(&self, at: &Partition) -> SourcePosition {
        let position = match self.place {
            Place::Source(position) => position,
            Place::Target(_) => Position(i64::MAX),
        };
        SourcePosition { partition: at.clone(), position }
    }

    /// Returns the aim of the offset, by the translation of [`Offset::asked`]: that of one that goes back is known.
    fn back(&self, translated: &Result<Aim, String>, to: Option<&ReturnsTo>) -> Result<Aim, String> {
        let Place::Target(position) = self.place else { return translated.clone() };
        match (translated, to) {
            (Ok(Aim::NotCarried) | Err(_), _) => translated.clone(),
            (Ok(Aim::At(at)), Some(to)) if position <= to.common.min(at.own) && at.partition == to.partition => {
                Ok(Aim::At(TargetPosition { position, is_exact: true, ..at.clone() }))
            }
            _ => Ok(Aim::NotCarried),
        }
    }

    fn set(&mut self, state: OffsetState, due: Instant) {
        self.state = state;
        self.due = due;
        self.failures = 0;
    }

    /// Notes that the target has the aim.
    fn note_aim_reached(&mut self, now: Instant) {
        match self.aim.as_ref().is_some_and(|aim| aim.is_exact) {
            true => self.set(OffsetState::Synced, now + CHECK),
            false => self.set(OffsetState::Behind, now + CARRIED_STEP),
        }
    }

    fn fail(&mut self, now: Instant) {
        self.state = OffsetState::Failed;
        self.due = now + (RETRY * 2u32.saturating_pow(self.failures)).min(RETRY_MAX);
        self.failures = (self.failures + 1).min(8);
    }
}
