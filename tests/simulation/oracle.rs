//! The promise, checked after every step against what a `read_committed` reader of the target sees.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use receiver::StateEntry;
use receiver::state::{JumpRecord, LaneState};
use sender::config::Start;
use wire::control::Control;
use wire::frame::Frame;
use wire::ids::{Epoch, LaneId, Position, Sequence, Slot};

use crate::cluster::{Cluster, Entry, Place};
use crate::payload::Payload;
use crate::source::{Source, Tp};

type FrameId = (LaneId, Epoch, Sequence);
type SlotId = (LaneId, Epoch, Slot);

/// Observations of the target so far.
pub(crate) struct Oracle {
    start: Start,
    /// Offset up to which each target log was read.
    seen: BTreeMap<Place, usize>,
    partitions: BTreeMap<Tp, Seen>,
    /// Partitions that appeared after every lane had completed its first round of offers.
    late: BTreeSet<Tp>,
    lanes_complete: BTreeSet<LaneId>,
    /// Stored epoch of each lane.
    owners: BTreeMap<LaneId, Epoch>,
    epochs: BTreeSet<(LaneId, Epoch)>,
    /// Partition of each slot that a sender ever offered.
    slots: BTreeMap<SlotId, Tp>,
    /// Ends of the runs of every frame.
    frames: BTreeMap<FrameId, Vec<(SlotId, Position)>>,
    /// Slots whose partition was halted: their acks are not checked.
    closed: BTreeSet<SlotId>,
    /// Stored jumps whose position was not read yet.
    jumps: BTreeMap<Tp, VecDeque<JumpRecord>>,
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
    /// Offset up to which the target's log was compared.
    judged: usize,
    /// Stored reason of its halt.
    halt: Option<String>,
    /// Offsets of skipped records.
    skipped: BTreeSet<i64>,
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
}

impl Oracle {
    pub(crate) fn new(start: Start) -> Self {
        Self {
            start,
            seen: BTreeMap::new(),
            partitions: BTreeMap::new(),
            late: BTreeSet::new(),
            lanes_complete: BTreeSet::new(),
            owners: BTreeMap::new(),
            epochs: BTreeSet::new(),
            slots: BTreeMap::new(),
            frames: BTreeMap::new(),
            closed: BTreeSet::new(),
            jumps: BTreeMap::new(),
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
    pub(crate) fn check(&mut self, source: &Source, cluster: &Cluster) -> Result<(), String> {
        let mut touched = BTreeSet::new();
        for place in cluster.places() {
            let from = self.seen.get(place).copied().unwrap_or(0);
            let to = cluster.last_stable(place);
            if to < from {
                return Err(format!("{place:?}: the last stable offset went back from {from} to {to}"));
            }
            if to == from {
                continue;
            }
            self.seen.insert(place.clone(), to);
            match place {
                Place::Data(topic, partition) => {
                    touched.insert((topic.trim_start_matches("copy.").into(), *partition));
                }
                Place::State(lane) => {
                    for entry in cluster.committed(place, from, to) {
                        if let Entry::State(key, Some(value)) = entry {
                            self.take_jump(LaneId(*lane), key, value)?;
                        }
                    }
                    for entry in cluster.committed(place, from, to) {
                        if let Entry::State(key, Some(value)) = entry {
                            touched.extend(self.take_state(LaneId(*lane), key, value, source)?);
                        }
                    }
                }
            }
        }
        // Records and positions become visible together, so they are compared after both were read.
        for tp in touched {
            self.judge(&tp, source, cluster)?;
        }
        Ok(())
    }

    /// Reads a jump, which is stored with the position that it leads to.
    fn take_jump(&mut self, lane: LaneId, key: &[u8], value: &[u8]) -> Result<(), String> {
        let entry = StateEntry { key: key.to_vec(), value: Some(value.to_vec()) };
        let state = LaneState::fold(lane, "sim", "source", &[entry]).map_err(|error| error.to_string())?;
        for jump in state.jumps.into_values() {
            let tp = (jump.topic.as_str().into(), jump.partition);
            self.jumps.entry(tp).or_default().push_back(jump);
        }
        Ok(())
    }

    fn take_state(&mut self, lane: LaneId, key: &[u8], value: &[u8], source: &Source) -> Result<Option<Tp>, String> {
        let entry = StateEntry { key: key.to_vec(), value: Some(value.to_vec()) };
        let state = LaneState::fold(lane, "sim", "source", &[entry]).map_err(|error| error.to_string())?;
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
            let begun = Seen { stored, reached: stored, judged: 0, halt: None, skipped: BTreeSet::new(), moves };
            self.partitions.insert(tp.clone(), begun);
            return Ok(Some(tp));
        };
        seen.move_to(record.moves, stored).map_err(|broken| format!("{tp:?}: lane {lane} {broken}"))?;
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

    /// Checks that the visible records are the source's next ones, and that the stored position is the one after them.
    fn judge(&mut self, tp: &Tp, source: &Source, cluster: &Cluster) -> Result<(), String> {
        let place = Place::Data(format!("copy.{}", tp.0).into(), tp.1);
        let to = self.seen.get(&place).copied().unwrap_or(0);
        let Some(seen) = self.partitions.get_mut(tp) else {
            let visible = cluster.committed(&place, 0, to).count();
            return if visible == 0 {
                Ok(())
            } else {
                Err(format!("{tp:?}: {visible} records and no position stored"))
            };
        };
        let log = &source.logs[tp];
        for entry in cluster.committed(&place, seen.judged, to) {
            let Entry::Record(found) = entry else { continue };
            let wanted = |offset: &i64| !seen.skipped.contains(offset);
            let expected = (seen.reached..log.end()).filter(wanted).find_map(|offset| Some((offset, log.at(offset)?)));
            match expected {
                Some((offset, payload)) if payload == found => seen.reached = offset + 1,
                other => return Err(unexpected(tp, found, other, seen.reached)),
            }
            self.records_seen += 1;
        }
        seen.judged = to;
        let reached = seen.reached;
        let stored = seen.stored;
        let missed = (reached..stored).find(|offset| log.at(*offset).is_some() && !seen.skipped.contains(offset));
        match missed {
            _ if stored < reached => Err(format!("{tp:?}: stored {stored}, but records up to {reached} are visible")),
            _ if stored > log.end() => Err(format!("{tp:?}: stored {stored} beyond the log's end at {}", log.end())),
            Some(offset) => Err(format!("{tp:?}: stored {stored}, but the record at {offset} is missing")),
            None => Ok(()),
        }
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
        "{tp:?} at {reached}: record {:?}{poison} is visible, expected was (offset, record) {expected:?}",
        number(found)
    )
}
