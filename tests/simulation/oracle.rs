//! The promise, checked after every step against the transactions that the target has committed.
//!
//! A transaction is committed when the coordinator decides it: its records and its positions count together, although
//! readers of some partitions see them later. They see them in the order of the log, so that what is decided later must
//! have the higher offset.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use receiver::custody::CustodyRecord;
use receiver::state::{self, JumpRecord, LaneState};
use receiver::{Gap, StateEntry};
use sender::config::Start;
use wire::control::Control;
use wire::frame::Frame;
use wire::ids::{Epoch, LaneId, Position, Sequence, Slot};

use crate::bugs::Bug;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::logs::{Committed, Entry, Logs, Place};
use crate::offset_map::{self, Truth};
use crate::payload::Payload;
use crate::source::{Log, Source, Tp};
use crate::way_back;

type FrameId = (LaneId, Epoch, Sequence);
type SlotId = (LaneId, Epoch, Slot);

/// Observations of the target so far.
pub(crate) struct Oracle {
    start: Start,
    /// Last stable offset of each target log.
    stable: BTreeMap<Place, usize>,
    /// Offset of the last committed record of each target log.
    last: BTreeMap<Place, usize>,
    /// Gaps that lanes have passed on.
    gaps: BTreeMap<Place, Vec<(usize, usize)>>,
    /// Offset of the last committed entry of each state key.
    last_of_key: BTreeMap<(Place, Arc<[u8]>), usize>,
    partitions: BTreeMap<Tp, Seen>,
    /// Where the records of each partition are.
    truths: BTreeMap<Tp, Truth>,
    /// Partitions that appeared after every lane had completed its first round of offers.
    late: BTreeSet<Tp>,
    lanes_complete: BTreeSet<LaneId>,
    /// Stored epoch of each lane.
    owners: BTreeMap<LaneId, Epoch>,
    /// Stored custody of each lane.
    custodies: BTreeMap<LaneId, CustodyRecord>,
    epochs: BTreeSet<(LaneId, Epoch)>,
    /// Partition of each slot that a sender ever offered.
    slots: BTreeMap<SlotId, Tp>,
    /// Ends of the runs of every frame.
    frames: BTreeMap<FrameId, Vec<(SlotId, Position)>>,
    /// Slots whose partition was halted: their acks are not checked.
    closed: BTreeSet<SlotId>,
    /// Stored jumps whose position was not read yet.
    jumps: BTreeMap<Tp, VecDeque<JumpRecord>>,
    /// A receiver has said that the link is promoted.
    promoted: bool,
    /// Number of halts that were resumed.
    pub(crate) lifted: u64,
    /// Number of records that were skipped.
    pub(crate) skipped: u64,
    pub(crate) records_sent: u64,
    pub(crate) records_seen: u64,
}

struct Seen {
    /// Stored position of the partition.
    stored: i64,
    /// Source position after the last record seen.
    reached: i64,
    /// Stored reason of its halt.
    halt: Option<String>,
    /// Offsets of skipped records.
    skipped: BTreeSet<i64>,
    /// Stored number of them, and of the offsets between them that an operator skipped.
    skipped_count: u64,
    /// Number of times that it has changed lanes.
    moves: u32,
}

impl Seen {
    /// Handles a stored position of a partition that has changed lanes `moves` times. Only the newest owner may store
    /// it, and it must begin at the last position of the owner before it.
    fn move_to(&mut self, moves: u32, stored: i64) -> Result<(), String> {
        if moves < self.moves {
            return Err(format!("stores it, which handed it over {} moves ago", self.moves - moves));
        }
        if moves > self.moves && stored != self.stored {
            return Err(format!("took it at {stored}, its position was {}", self.stored));
        }
        self.moves = moves;
        Ok(())
    }

    /// Handles a jump of a partition that was not halted: the policy left out rejected records before the position
    /// `stored`. Returns their number, which must be the one that is stored.
    fn skip_rejected(&mut self, jump: Option<JumpRecord>, stored: i64, count: u64, log: &Log) -> Result<u64, String> {
        let is_rejected = |offset: &i64| log.at(*offset).and_then(|record| record.halts()) == Some("record-rejected");
        let rejected = || (self.stored..stored).filter(is_rejected);
        let found = jump.as_ref().map_or_else(BTreeSet::new, |_| rejected().collect());
        let expected = found.first().zip(found.last());
        // One entry of the log grows: it may begin at a record that was left out before.
        let is_logged = jump.as_ref().zip(expected).is_some_and(|(jump, (first, last))| {
            jump.to == last + 1 && (jump.from == *first || self.skipped.contains(&jump.from))
        });
        if !is_logged && (jump.is_some() || expected.is_some()) {
            return Err(format!("{found:?} are rejected up to {stored}, but the log of jumps has {jump:?}"));
        }
        let skipped = found.len() as u64;
        if count != self.skipped_count + skipped {
            return Err(format!(
                "{skipped} records are left out, but their number went from {} to {count}",
                self.skipped_count
            ));
        }
        self.skipped.extend(found);
        Ok(skipped)
    }
}

impl Oracle {
    pub(crate) fn new(start: Start) -> Self {
        Self {
            start,
            stable: BTreeMap::new(),
            last: BTreeMap::new(),
            gaps: BTreeMap::new(),
            last_of_key: BTreeMap::new(),
            partitions: BTreeMap::new(),
            truths: BTreeMap::new(),
            late: BTreeSet::new(),
            lanes_complete: BTreeSet::new(),
            owners: BTreeMap::new(),
            custodies: BTreeMap::new(),
            epochs: BTreeSet::new(),
            slots: BTreeMap::new(),
            frames: BTreeMap::new(),
            closed: BTreeSet::new(),
            jumps: BTreeMap::new(),
            promoted: false,
            lifted: 0,
            skipped: 0,
            records_sent: 0,
            records_seen: 0,
        }
    }

    /// Handles a new partition at the source of a link with this number of lanes.
    pub(crate) fn note_partition(&mut self, tp: Tp, lanes: u16) {
        if self.lanes_complete.len() == usize::from(lanes) {
            self.late.insert(tp);
        }
    }

    /// Handles a message of a sender, which may offer partitions.
    pub(crate) fn note_message(&mut self, message: &Control) {
        if let Control::Offer { lane, epoch, partitions, .. } = message {
            for at in partitions {
                self.slots.insert((*lane, *epoch, at.slot), (at.topic.as_str().into(), at.partition));
            }
        }
    }

    /// Handles a frame that a sender sends.
    pub(crate) fn note_frame(&mut self, frame: &Frame) {
        let head = frame.header().head;
        self.records_sent += u64::from(frame.header().record_count);
        let ends = frame.runs().iter().map(|run| ((head.lane, head.epoch, run.slot), run.next)).collect();
        self.frames.insert((head.lane, head.epoch, head.sequence), ends);
    }

    /// Checks a message of a receiver to its sender, which must already be true at the target.
    pub(crate) fn check_reply(&mut self, reply: &Control) -> Result<(), String> {
        match reply {
            Control::LaneOpen { lane, epoch } if !self.epochs.insert((*lane, *epoch)) => {
                Err(format!("lane {lane}: epoch {epoch} was granted twice"))
            }
            Control::Ack { lane, epoch, sequence, .. } => {
                let ends =
                    self.frames.get(&(*lane, *epoch, *sequence)).ok_or("an ack of a frame that was never sent")?;
                let behind = ends.iter().find(|(slot, next)| self.is_behind(slot, *next));
                behind.map_or(Ok(()), |(slot, next)| {
                    let tp = self.slots.get(slot);
                    Err(format!("frame {sequence} of lane {lane} is acked, but {tp:?} is not stored up to {next}"))
                })
            }
            Control::PartitionOpen { lane, epoch, slot, position, .. } => {
                let tp = self.slots.get(&(*lane, *epoch, *slot));
                // A receiver that was fenced and has not noticed may send this: nothing that it receives is committed.
                let owned = self.owners.get(lane) == Some(epoch);
                if let Some(halt) = tp.filter(|_| owned).and_then(|tp| self.halt_of(tp)) {
                    return Err(format!("{tp:?} is to be read, but its halt is stored: {halt}"));
                }
                match self.is_behind(&(*lane, *epoch, *slot), *position) {
                    true => {
                        Err(format!("slot {slot} of lane {lane} is to be read from {position}, which is not stored"))
                    }
                    false => Ok(()),
                }
            }
            Control::PartitionHalted { lane, epoch, slot, reason, detail, .. } => {
                let tp = self.slots.get(&(*lane, *epoch, *slot)).ok_or("a halt of a slot that was never offered")?;
                let stored = self.halt_of(tp);
                let tp = tp.clone();
                match reason.as_str() {
                    "record-rejected" | "record-too-large" | "retention-overtook" if stored.is_none() => {
                        Err(format!("{tp:?} is reported as halted, which is not stored"))
                    }
                    // Requested twice, or offered with an old position.
                    "record-rejected" | "record-too-large" | "retention-overtook" | "out-of-range" | "jump-refused" => {
                        self.closed.insert((*lane, *epoch, *slot));
                        Ok(())
                    }
                    _ => Err(format!("{tp:?} halted: {reason}: {detail}")),
                }
            }
            _ => Ok(()),
        }
    }

    /// Checks whether the stored position of a partition that is not halted is less than `position`.
    fn is_behind(&self, slot: &SlotId, position: Position) -> bool {
        let Some(tp) = self.slots.get(slot).filter(|tp| self.halt_of(tp).is_none()) else { return false };
        !self.closed.contains(slot) && self.partitions.get(tp).is_none_or(|seen| seen.stored < position.0)
    }

    fn halt_of(&self, tp: &Tp) -> Option<&str> {
        self.partitions.get(tp)?.halt.as_deref()
    }

    /// Checks whether the halt of any partition is stored.
    pub(crate) fn any_halted(&self) -> bool {
        self.partitions.values().any(|seen| seen.halt.is_some())
    }

    /// Checks everything that was committed since the last call.
    pub(crate) fn check(&mut self, source: &Source, cluster: &mut Cluster) -> Result<(), String> {
        for place in cluster.logs.places() {
            let to = cluster.logs.last_stable(place);
            let from = self.stable.get(place).copied().unwrap_or(0);
            if to < from {
                return Err(format!("{place:?}: the last stable offset went back from {from} to {to}"));
            }
            if to > from {
                self.stable.insert(place.clone(), to);
            }
        }
        cluster.take_decided().iter().try_for_each(|transaction| self.take_transaction(transaction, source))?;
        std::mem::take(&mut cluster.gaps).into_iter().try_for_each(|gap| self.take_gap(&gap, &cluster.logs))
    }

    /// Checks that no record of the link is in a gap: it would pass for another program's.
    fn take_gap(&mut self, gap: &Gap, logs: &Logs) -> Result<(), String> {
        let place = Place::Data(gap.target.topic.clone(), gap.target.partition);
        let from = gap.from.0 as usize;
        let to = gap.to.0 as usize;
        let ours = logs.committed_at(&place, from, to, |entry| matches!(entry, Entry::Record(_)));
        self.gaps.entry(place).or_default().push((from, to));
        if ours.is_empty() { Ok(()) } else { Err(format!("{gap:?} has records of the link, at {ours:?}")) }
    }

    /// Returns a place where another program may write: one that the link has written.
    pub(crate) fn written(&self, dice: &Dice) -> Option<Place> {
        let data = || self.last.keys().filter(|place| matches!(place, Place::Data(..)));
        data().nth(dice.below(data().count().max(1) as u64) as usize).cloned()
    }

    /// Checks that every record of another program before the link's last one is in a gap. Returns their number, and that
    /// of the offsets in gaps.
    pub(crate) fn check_gaps(&self, logs: &Logs) -> Result<(usize, usize), String> {
        let mut foreign = 0;
        for (place, last) in self.last.iter().filter(|(place, _)| matches!(place, Place::Data(..))) {
            let gaps = self.gaps.get(place).map_or(&[][..], Vec::as_slice);
            for at in logs.committed_at(place, 0, *last, |entry| matches!(entry, Entry::Foreign)) {
                foreign += 1;
                if !gaps.iter().any(|(from, to)| (*from..*to).contains(&at)) {
                    return Err(format!("{place:?}: the record of another program at {at} is in no gap: {gaps:?}"));
                }
            }
        }
        Ok((foreign, self.gaps.values().flatten().map(|(from, to)| to - from).sum()))
    }

    fn take_transaction(&mut self, transaction: &[Committed], source: &Source) -> Result<(), String> {
        transaction.iter().try_for_each(|committed| self.check_order(committed))?;
        let mut touched: BTreeMap<Tp, Vec<(&Payload, usize)>> = BTreeMap::new();
        let mut states = Vec::new();
        for Committed { place, entry, offset } in transaction {
            match (place, entry) {
                (Place::Data(topic, partition), Entry::Record(record)) => {
                    let tp = (topic.trim_start_matches("copy.").into(), *partition);
                    touched.entry(tp).or_default().push((record, *offset));
                }
                (Place::State(lane), Entry::State(key, Some(value))) => {
                    self.take_jump(LaneId(*lane), key, value)?;
                    states.push((LaneId(*lane), key, value));
                }
                _ => {}
            }
        }
        for (lane, key, value) in states {
            if let Some(tp) = self.take_state(lane, key, value, source)? {
                touched.entry(tp).or_default();
            }
        }
        if let Some(tp) = touched.keys().next().filter(|_| self.promoted) {
            return Err(format!("{tp:?} is carried, but the link is promoted"));
        }
        touched.into_iter().try_for_each(|(tp, records)| self.judge(&tp, &records, source))
    }

    /// Takes the final states of all lanes, which a receiver states once it has promoted the link: with every position, as
    /// it stays.
    pub(crate) fn handle_promoted(&mut self, lanes: &[LaneState]) -> Result<(), String> {
        self.promoted = true;
        let mut stated: BTreeMap<Tp, (u32, bool, i64)> = BTreeMap::new();
        for lane in lanes {
            let present = lane.partitions.iter().map(|(at, record)| (at, record, true));
            let moved = lane.moved.iter().map(|(at, moved)| (at, &moved.record, false));
            for (at, record, is_present) in present.chain(moved) {
                let found = (record.moves, is_present, record.position.0);
                let known = stated.entry((at.topic.clone(), at.partition)).or_insert(found);
                *known = found.max(*known);
            }
        }
        // One that was handed over before it began, and that no lane has accepted, has no position yet.
        stated.retain(|tp, (_, is_present, _)| *is_present || self.partitions.contains_key(tp));
        let stated: BTreeMap<_, _> = stated.into_iter().map(|(tp, (_, _, position))| (tp, position)).collect();
        let stored: BTreeMap<_, _> = self.partitions.iter().map(|(tp, seen)| (tp.clone(), seen.stored)).collect();
        if stated == stored { Ok(()) } else { Err(format!("positions {stated:?} are stated, {stored:?} are stored")) }
    }

    /// Checks where the way back begins.
    pub(crate) fn check_way_back(
        &self,
        states: &[LaneState],
        ends: impl Fn(&str, i32) -> i64,
        bug: Option<Bug>,
    ) -> Result<(), String> {
        way_back::check(&self.truths, states, ends, bug)
    }

    pub(crate) fn is_promoted(&self) -> bool {
        self.promoted
    }

    /// Checks that readers see what is committed now after what was committed before.
    fn check_order(&mut self, Committed { place, offset, entry }: &Committed) -> Result<(), String> {
        let before = match entry {
            Entry::Record(_) => self.last.insert(place.clone(), *offset),
            Entry::State(key, Some(_)) => self.last_of_key.insert((place.clone(), key.clone()), *offset),
            Entry::State(_, None) | Entry::Marker | Entry::Foreign => None,
        };
        match before.filter(|before| before > offset) {
            Some(before) => Err(format!("{place:?}: offset {offset} was committed after {before}")),
            None => Ok(()),
        }
    }

    /// Reads a jump, which is stored with the position that it leads to.
    fn take_jump(&mut self, lane: LaneId, key: &[u8], value: &[u8]) -> Result<(), String> {
        let entry = StateEntry::new(key.to_vec(), Some(value.to_vec()));
        let state = LaneState::fold(lane, "sim", "source", &[entry]).map_err(|error| error.to_string())?;
        for jump in state.jumps.into_values() {
            let tp = (jump.topic.as_str().into(), jump.partition);
            self.jumps.entry(tp).or_default().push_back(jump);
        }
        Ok(())
    }

    /// Handles a stored custody: its number grows with each change.
    fn take_custody(&mut self, lane: LaneId, custody: CustodyRecord) -> Result<(), String> {
        let before = self.custodies.insert(lane, custody.clone());
        match before.filter(|before| *before != custody && before.number >= custody.number) {
            Some(before) => Err(format!("lane {lane}: the stored custody went back from {before:?} to {custody:?}")),
            None => Ok(()),
        }
    }

    fn take_state(&mut self, lane: LaneId, key: &[u8], value: &[u8], source: &Source) -> Result<Option<Tp>, String> {
        let entry = StateEntry::new(key.to_vec(), Some(value.to_vec()));
        let state = LaneState::fold(lane, "sim", "source", &[entry]).map_err(|error| error.to_string())?;
        if key == state::custody_key() {
            self.take_custody(lane, state.custody.present)?;
        }
        if let Some(record) = state.lane {
            let before = self.owners.insert(lane, record.epoch);
            if before.is_some_and(|before| before > record.epoch) {
                return Err(format!("lane {lane}: the stored epoch went back from {before:?} to {}", record.epoch));
            }
            if record.filter_hash.is_some() {
                self.lanes_complete.insert(lane);
            }
        }
        let Some((key, record)) = state.partitions.into_iter().next() else { return Ok(None) };
        let tp = (key.topic, key.partition);
        let stored = record.position.0;
        let Some(seen) = self.partitions.get_mut(&tp) else {
            let log = &source.logs[&tp];
            let from_the_start = self.start == Start::Earliest || self.late.contains(&tp);
            // Retention may have deleted records since the sender read the start of the log.
            if from_the_start && !(log.origin()..=log.kept_from).contains(&stored) {
                return Err(format!("{tp:?} begins at {stored}, its log at {}", log.kept_from));
            }
            let moves = record.moves;
            let begun = Seen { stored, reached: stored, halt: None, skipped: BTreeSet::new(), skipped_count: 0, moves };
            self.partitions.insert(tp.clone(), begun);
            self.truths.insert(tp.clone(), Truth::beginning(stored));
            return Ok(Some(tp));
        };
        seen.move_to(record.moves, stored).map_err(|broken| format!("{tp:?}: lane {lane} {broken}"))?;
        if seen.halt.is_none() {
            let jump = self.jumps.get_mut(&tp).and_then(VecDeque::pop_front);
            let found = seen.skip_rejected(jump, stored, record.skipped, &source.logs[&tp]);
            self.skipped += found.map_err(|broken| format!("{tp:?}: {broken}"))?;
        }
        seen.skipped_count = record.skipped;
        let halt = record.halt.map(|halt| halt.reason);
        if seen.halt.is_some() && halt.is_none() {
            let jump = self.jumps.get_mut(&tp).and_then(VecDeque::pop_front);
            let jump = jump.ok_or_else(|| format!("{tp:?}: its halt ended without a jump"))?;
            if (jump.from, jump.to) != (seen.stored, stored) {
                return Err(format!(
                    "{tp:?} moved from {} to {stored}, but the log of jumps has {jump:?}",
                    seen.stored
                ));
            }
            self.lifted += 1;
            let log = &source.logs[&tp];
            let skipped = (jump.from..jump.to).filter(|&offset| log.at(offset).is_some());
            for offset in skipped {
                if offset >= log.kept_from && log.at(offset).and_then(|record| record.halts()).is_none() {
                    return Err(format!("{tp:?}: a valid record at {offset} was skipped"));
                }
                seen.skipped.insert(offset);
                self.skipped += 1;
            }
        } else if seen.halt.is_some() && stored != seen.stored {
            return Err(format!("{tp:?} moved to {stored} while it was halted at {}", seen.stored));
        }
        if let Some(halt) = &halt {
            let log = &source.logs[&tp];
            let found = log.at(stored).and_then(|record| record.halts());
            let overtaken = halt == "retention-overtook" && stored < log.kept_from;
            if !overtaken && found != Some(halt.as_str()) {
                return Err(format!("{tp:?} is halted as {halt} at {stored}, where the reason would be {found:?}"));
            }
        }
        seen.halt = halt;
        if stored < seen.stored {
            return Err(format!("{tp:?}: the stored position went back from {} to {stored}", seen.stored));
        }
        seen.stored = stored;
        Ok(Some(tp))
    }

    /// Checks that the records of a transaction are the source's next ones, and that the stored position is the one after
    /// them.
    fn judge(&mut self, tp: &Tp, records: &[(&Payload, usize)], source: &Source) -> Result<(), String> {
        let Some(seen) = self.partitions.get_mut(tp) else {
            return Err(format!("{tp:?}: {} records and no position stored", records.len()));
        };
        let log = &source.logs[tp];
        for &(found, target) in records {
            let wanted = |offset: &i64| !seen.skipped.contains(offset);
            let expected = (seen.reached..log.end()).filter(wanted).find_map(|offset| Some((offset, log.at(offset)?)));
            match expected {
                Some((offset, payload)) if **payload == *found => {
                    seen.reached = offset + 1;
                    self.truths.entry(tp.clone()).or_default().add(offset, target as i64);
                }
                other => return Err(unexpected(tp, found, other, seen.reached)),
            }
            self.records_seen += 1;
        }
        let reached = seen.reached;
        let stored = seen.stored;
        let missed = (reached..stored).find(|offset| log.at(*offset).is_some() && !seen.skipped.contains(offset));
        match missed {
            _ if stored < reached => Err(format!("{tp:?}: stored {stored}, but records up to {reached} are committed")),
            _ if stored > log.end() => Err(format!("{tp:?}: stored {stored} beyond the log's end at {}", log.end())),
            Some(offset) => Err(format!("{tp:?}: stored {stored}, but the record at {offset} is missing")),
            None => Ok(()),
        }
    }

    /// Checks the stored offset maps.
    pub(crate) fn check_maps(&self, logs: &Logs, lanes: u16) -> Result<(), String> {
        offset_map::check(&self.truths, logs, lanes)
    }

    /// Returns a partition that the link has not delivered in full, if there is one.
    pub(crate) fn missing(&self, source: &Source) -> Option<String> {
        source.logs.iter().filter(|(tp, _)| self.halt_of(tp).is_none()).find_map(|(tp, log)| {
            let stored = self.partitions.get(tp).map(|seen| seen.stored);
            (stored != Some(log.end()))
                .then(|| format!("{tp:?} is stored at {stored:?}, its log ends at {}", log.end()))
        })
    }
}

fn unexpected(tp: &Tp, found: &Payload, expected: Option<(i64, &Arc<Payload>)>, reached: i64) -> String {
    let number = |payload: &Payload| payload.key.as_ref().map(|key| u64::from_be_bytes(key[..].try_into().unwrap()));
    let poison = found.halts().map_or_else(String::new, |reason| format!(" ({reason})"));
    let expected = expected.map(|(offset, payload)| (offset, number(payload)));
    format!(
        "{tp:?} at {reached}: record {:?}{poison} is committed, expected was (offset, record) {expected:?}",
        number(found)
    )
}
