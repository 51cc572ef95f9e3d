//! Partitions that change lanes, because their class did. Every partition begins in its lane of the default class,
//! its home, and is handed on from lane to lane like a token: exactly one lane has it, or is the one it was
//! handed to.
//!
//! The lane that has it stores `moved { to, count + 1 }` with all that is known of the partition, and has
//! it no longer. Only the lane it was handed to may take it up, and does so where its own state knows of no such
//! count: that the record was committed is true for ever, and that this lane has not taken it up yet is proved by the
//! commit, which a lane that was fenced cannot make. So neither a crash between the two nor a receiver with old
//! knowledge can make it be in two lanes. A lane that is offered a partition it has not got asks for it along the
//! trail of such records, which begins at home.

use std::collections::{BTreeMap, HashMap, HashSet};

use wire::halt::HaltReason;
use wire::ids::{LaneId, Slot};

use super::transaction::Draft;
use super::{Lane, Open, Pending};
use crate::join::{Answer, Offered};
use crate::target::state::{HaltRecord, LaneRecord, MovedRecord, PartitionRecord};
use crate::target::{LaneTarget, TargetError};
use wire::partition::Partition;

/// What one lane of a link tells another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Errand {
    /// Hand a partition over.
    Fetch(Box<Fetch>),
    /// It was handed over, and that is stored.
    Passed(Partition, Box<PartitionRecord>),
    /// It may not join the link.
    Refused(Partition, HaltRecord),
    /// Every lane was offered all there is.
    AllOffered,
}

/// A wish to have a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// How it was offered.
    pub offered: Offered,
    /// The lane that it was offered to.
    pub to: LaneId,
    /// The filter that this lane has stored: whether its topic is newly matched.
    pub filter_hash: Option<u64>,
    /// The record by which the lane that is asked was handed the partition.
    pub passed: Option<PartitionRecord>,
}

/// What a lane knows of partitions on their way.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Those it has handed over, as stored.
    pub(super) moved: HashMap<Partition, MovedRecord>,
    /// The filter hash that was stored when the lane was opened.
    filter_before: Option<u64>,
    /// Wishes of other lanes. They are repeated as often as any lane is opened: one of each counts.
    fetches: BTreeMap<(Partition, LaneId), Fetch>,
    /// What was handed to this lane, as it was handed last.
    passed: BTreeMap<Partition, PartitionRecord>,
    /// Offers of partitions that this lane has asked for.
    pub(super) away: BTreeMap<Partition, Box<Offered>>,
    /// The slots of all that were ever put aside.
    aside: HashSet<Slot>,
    /// The last offer of a discovery waits for them.
    last_waits: bool,
}

/// What one transaction does about them.
#[derive(Debug, Default)]
pub(super) struct Moving {
    /// Handed over.
    pub(super) moved: HashMap<Partition, MovedRecord>,
    /// Handed to this lane and taken up.
    accepted: Vec<(Partition, PartitionRecord)>,
    /// Wishes that it answers.
    fetches: Vec<Fetch>,
    /// Partitions that may not join.
    refused: Vec<(Fetch, HaltRecord)>,
}

/// What a lane knows of a partition that it is asked for.
enum Found {
    /// It has it, or was handed it by the record that came with the question.
    Here(PartitionRecord),
    /// It has handed it over.
    Gone(MovedRecord),
    Nowhere,
}

impl<T: LaneTarget> Lane<T> {
    /// Another lane of this session wants or gives something.
    pub fn handle_errand(&mut self, errand: Errand) {
        let Some(open) = self.open.as_mut() else { return };
        match errand {
            Errand::Fetch(fetch) => open.moves.wait(*fetch),
            Errand::Passed(key, record) => open.moves.pass(key, *record),
            Errand::AllOffered => open.judge_orphans(),
            Errand::Refused(key, halt) => {
                if let Some(offered) = open.moves.away.remove(&key) {
                    open.offers.push_back(Pending::Refused(offered, halt));
                    open.release_last();
                }
            }
        }
    }

    /// The next errand, and the lane it is for. Errands may get lost: see [`Lane::handle_known`].
    pub fn poll_errand(&mut self) -> Option<(LaneId, Errand)> {
        self.errands.pop_front()
    }

    /// Every lane of the session was read, or one was opened again: asks anew for what has not come.
    pub fn handle_known(&mut self) {
        let Some(open) = self.open.as_ref() else { return };
        for offered in open.moves.away.values() {
            if let Some(errand) = open.fetch(self.id, offered) {
                self.errands.push_back(errand);
            }
        }
    }

    /// Puts an offer aside whose partition another lane has. False: it is here, or would begin here.
    fn is_elsewhere(&mut self, offered: &Offered) -> bool {
        let Some(open) = self.open.as_mut() else { return false };
        let Some(errand) = open.fetch(self.id, offered) else { return false };
        open.moves.aside.insert(offered.slot());
        open.moves.away.insert(offered.key(), Box::new(offered.clone()));
        self.errands.push_back(errand);
        true
    }

    /// The next offer that can be decided here; what else waits before it is done.
    pub(super) fn next_offer(&mut self, draft: &mut Draft) -> Result<Option<Box<Offered>>, TargetError> {
        loop {
            let Some(open) = self.open.as_mut() else { return Ok(None) };
            match open.ready_offer(self.id).and_then(|index| open.offers.remove(index)) {
                None => return Ok(None),
                Some(Pending::Offer(offered)) => {
                    if let Some(moved) = draft.moving.moved.get(&offered.key()) {
                        // Offered to two lanes. It must not be read here from the commit that hands it over.
                        let detail = format!("{} is offered to lane {} too", offered.key(), moved.to);
                        draft.refused.push((*offered, HaltRecord::new(HaltReason::TargetTaken, detail)));
                        continue;
                    }
                    if self.is_elsewhere(&offered) {
                        continue;
                    }
                    match self.open.as_ref().and_then(|open| open.outdated(&offered)) {
                        None => return Ok(Some(offered)),
                        Some(halt) => {
                            draft.refused.push((*offered, halt));
                            self.ensure_begun(draft)?;
                        }
                    }
                }
                Some(Pending::Refused(offered, halt)) => {
                    draft.refused.push((*offered, halt));
                    self.ensure_begun(draft)?;
                }
                Some(Pending::Halted(slot, halt)) => self.take_wish(draft, slot, halt)?,
                Some(Pending::Last) => {
                    if !open.holds_last() {
                        if open.knowledge.handle_all_offered(self.id) {
                            let lanes = (0..open.terms.classes.lanes()).map(LaneId);
                            self.errands.extend(lanes.map(|lane| (lane, Errand::AllOffered)));
                        } else if open.knowledge.is_all_offered() {
                            open.judge_orphans();
                        }
                        draft.filter_complete |= open.record.filter_hash != Some(open.terms.filter_hash);
                    }
                }
            }
        }
    }

    /// Takes up what was handed to this lane, and hands over what others ask for.
    pub(super) fn take_moves(&mut self, draft: &mut Draft) -> Result<(), TargetError> {
        let Some(open) = self.open.as_mut() else { return Ok(()) };
        let passed = std::mem::take(&mut open.moves.passed);
        for (key, record) in passed {
            if open.count(&key).is_some_and(|known| known >= record.moves) {
                // Taken up before: what became of it since, this lane knows best.
                open.release(&key);
            } else if !draft.changed.contains_key(&key) {
                draft.changed.insert(key.clone(), record.clone());
                draft.moving.accepted.push((key, record));
            }
        }
        let fetches = std::mem::take(&mut open.moves.fetches);
        for fetch in fetches.into_values() {
            self.take_fetch(draft, fetch);
        }
        let Moving { moved, accepted, refused, .. } = &draft.moving;
        let any = !moved.is_empty() || !accepted.is_empty() || !refused.is_empty();
        if any { self.ensure_begun(draft) } else { Ok(()) }
    }

    fn take_fetch(&mut self, draft: &mut Draft, fetch: Fetch) {
        let Some(open) = self.open.as_mut() else { return };
        let (key, to) = (fetch.offered.key(), fetch.to);
        // That it goes to another lane is no proof before it is committed.
        let leaves = draft.moving.moved.get(&key).is_some_and(|moved| moved.to != to);
        if leaves || draft.changed.contains_key(&key) {
            return open.moves.wait(fetch);
        }
        let record = match open.find(&fetch, &draft.moving) {
            Found::Here(_) if open.is_read(&key) => {
                let detail = format!("lane {} carries {key}, which is offered to lane {to} too", self.id);
                return draft.moving.refused.push((fetch, HaltRecord::new(HaltReason::TargetTaken, detail)));
            }
            Found::Here(record) => record,
            Found::Gone(moved) if moved.to == to => return draft.moving.fetches.push(fetch),
            Found::Gone(moved) => {
                let next = Fetch { passed: Some(moved.record), ..fetch };
                return self.errands.push_back((moved.to, Errand::Fetch(Box::new(next))));
            }
            Found::Nowhere => match open.begin(self.id, &fetch) {
                Answer::Begin(record) => {
                    draft.jumps.extend(open.jump(&fetch.offered, &record, draft.jumps.len() as u64));
                    *record
                }
                Answer::Halt(halt) => return draft.moving.refused.push((fetch, halt)),
                Answer::Wait | Answer::Resume => return open.moves.wait(fetch),
            },
        };
        let record = PartitionRecord { moves: record.moves + 1, ..record };
        draft.moving.moved.insert(key, MovedRecord { to, record });
        draft.moving.fetches.push(fetch);
    }

    /// The transaction is committed: what was asked for is on its way.
    pub(super) fn settle_moves(&mut self, moving: Moving) {
        let Some(open) = self.open.as_mut() else { return };
        self.counts.moves += moving.moved.len() as u64;
        for (key, moved) in moving.moved {
            tracing::info!(lane = %self.id, partition = %key, to = %moved.to, position = %moved.record.position, "partition handed over");
            open.partitions.remove(&key);
            open.not_offered.remove(&key);
            open.moves.moved.insert(key, moved);
        }
        for (key, _) in &moving.accepted {
            open.moves.moved.remove(key);
            open.release(key);
        }
        for fetch in moving.fetches {
            let key = fetch.offered.key();
            if let Some(moved) = open.moves.moved.get(&key).filter(|moved| moved.to == fetch.to) {
                let passed = Errand::Passed(key, Box::new(moved.record.clone()));
                self.errands.push_back((fetch.to, passed));
            }
        }
        let refused = moving.refused.into_iter();
        let refused = refused.map(|(fetch, halt)| (fetch.to, Errand::Refused(fetch.offered.key(), halt)));
        self.errands.extend(refused);
    }
}

impl Open {
    /// How often a partition has changed lanes, as far as this lane's state knows it.
    fn count(&self, key: &Partition) -> Option<u32> {
        let here = self.partitions.get(key).map(|record| record.moves);
        here.max(self.moves.moved.get(key).map(|moved| moved.record.moves))
    }

    /// Whom this lane has to ask for a partition; `None` if it has it, or is the one where it begins.
    fn fetch(&self, lane: LaneId, offered: &Offered) -> Option<(LaneId, Errand)> {
        let key = offered.key();
        if self.partitions.contains_key(&key) {
            return None;
        }
        let (asked, passed) = match self.moves.moved.get(&key) {
            Some(moved) => (moved.to, Some(moved.record.clone())),
            None => (self.terms.home(&key), None),
        };
        let offered = offered.clone();
        let fetch = Fetch { offered, to: lane, filter_hash: self.record.filter_hash, passed };
        (asked != lane).then(|| (asked, Errand::Fetch(Box::new(fetch))))
    }

    fn find(&self, fetch: &Fetch, moving: &Moving) -> Found {
        let key = fetch.offered.key();
        let gone = moving.moved.get(&key).or_else(|| self.moves.moved.get(&key));
        let here = self.partitions.get(&key).filter(|here| gone.is_none_or(|gone| gone.record.moves < here.moves));
        let known = here.map(|here| here.moves).max(gone.map(|gone| gone.record.moves));
        let passed = fetch.passed.as_ref().filter(|passed| known.is_none_or(|known| known < passed.moves));
        match (passed.or(here), gone) {
            (Some(record), _) => Found::Here(record.clone()),
            (None, Some(gone)) => Found::Gone(gone.clone()),
            (None, None) => Found::Nowhere,
        }
    }

    /// A partition that no lane has begins in its home, to be handed on at once.
    fn begin(&self, lane: LaneId, fetch: &Fetch) -> Answer {
        let key = fetch.offered.key();
        if self.terms.home(&key) != lane {
            return Answer::Halt(HaltRecord::new(HaltReason::JumpRefused, format!("lane {lane} never had {key}")));
        }
        // A lane that has just been appended knows no filter; this one does, from before its own offers.
        let filter_hash = fetch.filter_hash.or(self.moves.filter_before);
        let record = LaneRecord { filter_hash, ..self.record.clone() };
        fetch.offered.answer(None, &record, self.terms.filter_hash, self.knowledge.carries(&key.topic))
    }

    /// Whether a partition joined this lane in this epoch: frames of it may still be under way, though it was halted.
    fn is_read(&self, key: &Partition) -> bool {
        self.slots.values().any(|slot| slot.key == *key)
    }

    /// Whether a transaction would do something about moves now.
    pub(super) fn has_ready_move(&self) -> bool {
        let ready = |fetch: &Fetch| {
            let key = fetch.offered.key();
            fetch.passed.is_some() || self.count(&key).is_some() || self.knowledge.carries(&key.topic).is_some()
        };
        !self.moves.passed.is_empty() || self.moves.fetches.values().any(ready)
    }

    /// An offer that was put aside can be decided.
    fn release(&mut self, key: &Partition) {
        let Some(mut offered) = self.moves.away.remove(key) else { return };
        // A jump from nowhere was what it began with.
        offered.partition.jump.take_if(|jump| jump.expected.0 < 0);
        self.offers.push_back(Pending::Offer(offered));
        self.release_last();
    }

    /// Where the lane that had a partition went on after both clusters were asked about it, they are to be asked
    /// again: what they said then would look like a loss.
    fn outdated(&self, offered: &Offered) -> Option<HaltRecord> {
        let record = self.partitions.get(&offered.key()).filter(|_| self.moves.aside.contains(&offered.slot()))?;
        let target = offered.target.as_ref().is_ok_and(|target| target.end < record.target_end);
        let detail = "it was offered before the lane that had it stood still; it is looked at again";
        (target || offered.partition.log_end < record.position).then(|| HaltRecord::new(HaltReason::OutOfRange, detail))
    }

    fn release_last(&mut self) {
        if self.moves.away.is_empty() && std::mem::take(&mut self.moves.last_waits) {
            self.offers.push_back(Pending::Last);
        }
    }

    /// Whether the last offer of a discovery has to wait, because one before it is put aside.
    fn holds_last(&mut self) -> bool {
        self.moves.last_waits |= !self.moves.away.is_empty();
        self.moves.last_waits
    }

    /// A transaction's outcome is unknown: everything is decided anew by what turns out to be stored.
    pub(super) fn abandon_moves(&mut self, moving: Moving) {
        moving.accepted.into_iter().for_each(|(key, record)| self.moves.pass(key, record));
        let refused = moving.refused.into_iter().map(|(fetch, _)| fetch);
        moving.fetches.into_iter().chain(refused).for_each(|fetch| self.moves.wait(fetch));
    }
}

impl Moves {
    pub(super) fn stored(moved: HashMap<Partition, MovedRecord>, filter_before: Option<u64>) -> Self {
        Self { moved, filter_before, ..Self::default() }
    }

    fn wait(&mut self, fetch: Fetch) {
        self.fetches.insert((fetch.offered.key(), fetch.to), fetch);
    }

    /// An older record must not take the place of a newer one: it would be found outdated, and the partition
    /// would wait for somebody to ask again.
    fn pass(&mut self, key: Partition, record: PartitionRecord) {
        let known = self.passed.get(&key).map(|known| known.moves);
        if known.is_none_or(|known| known < record.moves) {
            self.passed.insert(key, record);
        }
    }
}

impl Moving {
    /// Whether it says something that only the lane's owner may say.
    pub(super) fn refuses(&self) -> bool {
        !self.refused.is_empty()
    }
}
