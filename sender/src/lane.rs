//! One lane at the sender: records in, frames out, packed late.
//!
//! A lane holds no socket, spawns no task and reads no clock; what it reads from is an argument. A frame
//! is closed when the transport can take it, not before: while the link is idle a record leaves after the
//! linger, while it is full frames grow to their maximum. Driving contract: whenever the bell rang or
//! [`Lane::next_timeout`] has come, answer [`Lane::poll_credit_request`], call [`Lane::fill`], then
//! [`Lane::poll_frame`] as long as the transport has room, then [`Lane::poll_halt`].
//!
//! Invariants: a partition's runs on the wire are contiguous, from the position the receiver stated;
//! no byte is read without credit for the frame it will be in; nothing is kept here after it was sent, because
//! the source is the buffer, and what is under way the transport's.

pub mod activity;
pub(crate) mod pool;
pub mod progress;
pub mod thread;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka::KafkaError;
use wire::compress::Codec;
use wire::control::Control;
use wire::frame::{FrameBuilder, FrameHead};
use wire::halt::HaltReason;
use wire::hello::{FEATURE_LZ4, FEATURE_ZSTD};
use wire::ids::{Epoch, LaneId, Offset, Position, Sequence, Slot};
use wire::limits::{RECORD_BYTES_MAX, RUN_BYTES_MAX, frame_charge};

use crate::source::{Assignment, Event, LaneReader, PartitionFault};

/// How long positions without records may wait for records to ride with.
const POSITIONS_WAIT: Duration = Duration::from_secs(1);

/// How a lane packs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packing {
    /// How frames are compressed.
    pub codec: Codec,
    /// Raw bytes at which a frame is full, where the rate does not ask for smaller ones.
    pub frame_bytes: u64,
    /// How long a record may wait for company while the transport is idle.
    pub linger: Duration,
    /// The most credit one frame may ask for; a larger record halts its partition.
    pub credit_max: u64,
}

impl Packing {
    /// The same with a codec that the receiver understands, as it said in its welcome.
    pub fn agreed(self, features: u64) -> Self {
        let needed = match self.codec {
            Codec::None => 0,
            Codec::Lz4 => FEATURE_LZ4,
            Codec::Zstd(_) => FEATURE_ZSTD,
        };
        if features & needed == needed { self } else { Self { codec: Codec::None, ..self } }
    }

    /// The same within a session's credit: a frame fits a lane's reserve, so that an idle lane needs nothing
    /// of the pool, and no record asks for more than can ever be granted.
    pub fn within(self, request_max: u64, reserve: u64) -> Self {
        Self { frame_bytes: self.frame_bytes.min(reserve), credit_max: self.credit_max.min(request_max), ..self }
    }
}

/// A frame ready for the transport.
#[derive(Debug)]
pub struct OutFrame {
    /// Its bytes.
    pub bytes: Bytes,
    /// Records inside.
    pub records: usize,
    /// Uncompressed size.
    pub raw_bytes: u64,
    /// Granted credit that it does not need.
    pub surplus: u64,
    /// Its number.
    pub sequence: Sequence,
    /// When its first record was packed, and that record's timestamp in ms since the Unix epoch, −1 for none;
    /// `None` for a frame of positions.
    pub first_record: Option<(Instant, i64)>,
}

/// What an ack freed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Credit that is free again.
    pub credit: u64,
    /// Uncompressed bytes of the frames.
    pub raw_bytes: u64,
    /// Partitions and the positions they are known to be committed up to, for reports only: a sender
    /// resumes from what the receiver states, never from acks.
    pub positions: Vec<(Slot, Position)>,
}

/// One lane of one link.
pub struct Lane<R> {
    id: LaneId,
    reader: R,
    packing: Packing,
    /// Raw bytes that the rate of the moment has room for, however few a session allows.
    rate_bytes: u64,
    /// Raw bytes at which a frame is full: the lesser of both.
    frame_bytes: u64,
    open: Option<Open>,
    /// What this end has halted, each with the first sequence that is sent after its records.
    halts: VecDeque<(Sequence, Control)>,
}

struct Open {
    epoch: Epoch,
    builder: FrameBuilder,
    /// How far each slot was read.
    reading: HashMap<Slot, Reading>,
    sequence: Sequence,
    in_flight: VecDeque<InFlight>,
    credit: CreditState,
    /// When the oldest record in the open frame was packed, and its timestamp.
    first_record: Option<(Instant, i64)>,
    /// When the oldest bare position in the open frame was packed.
    first_position: Option<Instant>,
    /// Set once the next event has no room in the open frame.
    full: bool,
    /// Set while draining: no more is read.
    draining: bool,
}

/// How far a partition was read.
struct Reading {
    /// The next position to be packed.
    next: Position,
    /// The leader epoch of the last record; −1 if unknown.
    leader_epoch: i32,
}

/// Why packing came to a stop.
enum Stop {
    /// Nothing is waiting, the frame is full, or it wants other credit; so much credit is given back.
    Surplus(u64),
    /// This partition cannot go on; the values for people.
    Halt(Slot, HaltReason, String),
}

struct InFlight {
    sequence: Sequence,
    charge: u64,
    raw_bytes: u64,
    positions: Vec<(Slot, Position)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CreditState {
    /// The lane wants this much; the shell has not asked yet.
    Wanted(u64),
    /// Asked for.
    Asked,
    /// Granted for the open frame.
    Granted(u64),
}

impl<R: LaneReader> Lane<R> {
    /// A closed lane.
    pub fn new(id: LaneId, reader: R, packing: Packing) -> Self {
        Self {
            id,
            reader,
            packing,
            rate_bytes: u64::MAX,
            frame_bytes: packing.frame_bytes,
            open: None,
            halts: VecDeque::new(),
        }
    }

    /// The receiver has opened the lane. Everything of an earlier epoch is forgotten.
    pub fn open(&mut self, epoch: Epoch, packing: Packing) -> Result<(), KafkaError> {
        self.close()?;
        self.packing = packing;
        self.set_frame_bytes(self.rate_bytes);
        self.open = Some(Open {
            epoch,
            builder: FrameBuilder::new(),
            reading: HashMap::new(),
            sequence: Sequence(0),
            in_flight: VecDeque::new(),
            credit: CreditState::Wanted(self.frame_bytes),
            first_record: None,
            first_position: None,
            full: false,
            draining: false,
        });
        Ok(())
    }

    /// Frames are full at so many raw bytes from now on, or at fewer where the session has it so. What the open
    /// frame holds already stays in it.
    pub fn set_frame_bytes(&mut self, bytes: u64) {
        self.rate_bytes = bytes;
        self.frame_bytes = bytes.min(self.packing.frame_bytes);
    }

    /// Forgets the epoch and stops reading its partitions.
    pub fn close(&mut self) -> Result<(), KafkaError> {
        self.halts.clear();
        let Some(open) = self.open.take() else { return Ok(()) };
        let slots: Vec<_> = open.reading.into_keys().collect();
        self.reader.unassign(&slots)
    }

    /// Partitions whose stored position the receiver has stated: reads them from there.
    pub fn handle_partitions(&mut self, epoch: Epoch, assignments: &[Assignment]) -> Result<(), KafkaError> {
        let Some(open) = self.open.as_mut().filter(|open| open.epoch == epoch) else { return Ok(()) };
        for assignment in assignments {
            let reading = Reading { next: assignment.position, leader_epoch: assignment.leader_epoch };
            let earlier = open.reading.insert(assignment.slot, reading);
            assert!(earlier.is_none(), "slot {} is used once per epoch", assignment.slot);
        }
        self.reader.assign(assignments)
    }

    /// The receiver has halted a partition. What this end was about to say of the same slot is late: the
    /// partition may go on under another one.
    pub fn handle_halted(&mut self, epoch: Epoch, slot: Slot) -> Result<(), KafkaError> {
        let Some(open) = self.open.as_mut().filter(|open| open.epoch == epoch) else { return Ok(()) };
        self.halts
            .retain(|(_, halt)| !matches!(halt, Control::PartitionHalted { slot: halted, .. } if *halted == slot));
        match open.reading.remove(&slot) {
            Some(_) => self.reader.unassign(&[slot]),
            None => Ok(()),
        }
    }

    /// Something beside the reading of it says that a partition cannot go on.
    pub fn handle_fault(
        &mut self,
        epoch: Epoch,
        slot: Slot,
        why: HaltReason,
        detail: String,
    ) -> Result<(), KafkaError> {
        match self.open.as_ref().filter(|open| open.epoch == epoch) {
            Some(_) => self.halt(slot, why, detail),
            None => Ok(()),
        }
    }

    /// Frames up to `sequence` are committed. Acks of another epoch free nothing.
    pub fn handle_ack(&mut self, epoch: Epoch, sequence: Sequence) -> Freed {
        let mut freed = Freed::default();
        let Some(open) = self.open.as_mut().filter(|open| open.epoch == epoch) else { return freed };
        while open.in_flight.front().is_some_and(|frame| frame.sequence <= sequence) {
            if let Some(frame) = open.in_flight.pop_front() {
                freed.credit += frame.charge;
                freed.raw_bytes += frame.raw_bytes;
                freed.positions.extend(frame.positions);
            }
        }
        freed
    }

    /// Credit that the shell shall ask for; once.
    pub fn poll_credit_request(&mut self) -> Option<u64> {
        let open = self.open.as_mut()?;
        let CreditState::Wanted(bytes) = open.credit else { return None };
        open.credit = CreditState::Asked;
        Some(bytes)
    }

    /// The credit asked for was granted.
    pub fn handle_granted(&mut self, bytes: u64) {
        if let Some(open) = &mut self.open {
            open.credit = CreditState::Granted(bytes);
        }
    }

    /// Reads no more; what is packed still leaves.
    pub fn drain(&mut self) {
        if let Some(open) = &mut self.open {
            open.draining = true;
        }
    }

    /// Whether everything read was sent and acked.
    pub fn is_drained(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.builder.is_empty() && open.in_flight.is_empty())
    }

    /// Packs what is waiting, as far as the frame and its credit reach. Returns the credit that is to be
    /// given back, if another amount is now wanted.
    pub fn fill(&mut self, now: Instant) -> Result<u64, KafkaError> {
        loop {
            match self.pack(now) {
                Stop::Surplus(bytes) => return Ok(bytes),
                // The others go on: the reader does not ring again for what it has shown already.
                Stop::Halt(slot, reason, detail) => self.halt(slot, reason, detail)?,
            }
        }
    }

    fn pack(&mut self, now: Instant) -> Stop {
        let Some(open) = self.open.as_mut().filter(|open| !open.draining) else { return Stop::Surplus(0) };
        let CreditState::Granted(granted) = open.credit else { return Stop::Surplus(0) };
        while let Some(event) = self.reader.peek() {
            match event {
                Event::Record { slot, leader_epoch, record } => {
                    let Some(reading) = open.reading.get_mut(&slot) else {
                        self.reader.advance();
                        continue;
                    };
                    if (0..reading.leader_epoch).contains(&leader_epoch) {
                        let detail = went_back(record.offset, reading.leader_epoch, leader_epoch);
                        return Stop::Halt(slot, HaltReason::TopicRecreated, detail);
                    }
                    let needed = (open.builder.raw_len() + record.raw_len()) as u64;
                    let alone = open.builder.is_empty();
                    if needed > granted || (!alone && needed > self.frame_bytes) {
                        if !alone {
                            open.full = true;
                            return Stop::Surplus(0);
                        }
                        if needed > self.packing.credit_max || record.raw_len() > RECORD_BYTES_MAX {
                            let limit = self.packing.credit_max.min(RECORD_BYTES_MAX as u64);
                            let (next, at) = (reading.next, Position(record.offset.0));
                            let stop = too_large(slot, at, needed, limit);
                            if at > next {
                                // So that the stored position is the record's, and skipping one skips it.
                                open.builder.advance(slot, next, at);
                                open.first_position.get_or_insert(now);
                            }
                            return stop;
                        }
                        // A record larger than a frame travels alone, on credit of its own size.
                        open.credit = CreditState::Wanted(needed);
                        return Stop::Surplus(granted);
                    }
                    if Position(record.offset.0) >= reading.next {
                        open.builder.push(slot, reading.next, leader_epoch, &record);
                        reading.next = Position::after(record.offset);
                        reading.leader_epoch = reading.leader_epoch.max(leader_epoch);
                        open.first_record.get_or_insert((now, record.timestamp));
                    }
                }
                Event::End { slot, position } => {
                    if let Some(reading) = open.reading.get_mut(&slot).filter(|reading| position > reading.next) {
                        let needed = (open.builder.raw_len() + RUN_BYTES_MAX) as u64;
                        if needed > granted && open.builder.positions().all(|(other, _)| other != slot) {
                            open.full = true;
                            return Stop::Surplus(0);
                        }
                        open.builder.advance(slot, reading.next, position);
                        reading.next = position;
                        open.first_position.get_or_insert(now);
                    }
                }
                Event::Fault { slot, fault } => {
                    self.reader.advance();
                    return Stop::Halt(slot, halt_reason(&fault), fault.to_string());
                }
            }
            self.reader.advance();
        }
        if open.builder.is_empty() && granted > self.frame_bytes {
            // The large record that this was for is gone with its partition, or frames are smaller by now; idle lanes
            // keep no more than a frame.
            open.credit = CreditState::Granted(self.frame_bytes);
            return Stop::Surplus(granted - self.frame_bytes);
        }
        Stop::Surplus(0)
    }

    /// The open frame, if it is due: the transport has room now.
    pub fn poll_frame(&mut self, now: Instant) -> Option<OutFrame> {
        let due = self.frame_due()?;
        let open = self.open.as_mut().filter(|_| now >= due)?;
        let CreditState::Granted(granted) = open.credit else { return None };
        let head = FrameHead { lane: self.id, epoch: open.epoch, sequence: open.sequence };
        let positions = open.builder.positions().collect();
        let (records, raw_bytes) = (open.builder.record_count(), open.builder.raw_len() as u64);
        let bytes = open.builder.finish(head, self.packing.codec);
        let charge = frame_charge(bytes.len());
        assert!(charge <= granted, "a frame of {charge} on credit of {granted}");
        let (sequence, first_record) = (open.sequence, open.first_record.take());
        open.in_flight.push_back(InFlight { sequence, charge, raw_bytes, positions });
        open.sequence = sequence.next();
        open.credit = CreditState::Wanted(self.frame_bytes);
        open.first_position = None;
        open.full = false;
        Some(OutFrame { bytes, records, raw_bytes, surplus: granted - charge, sequence, first_record })
    }

    /// When to call [`Lane::poll_frame`] again even if nothing else happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.frame_due()
    }

    /// The next control message about a partition that this end has halted: once all that was read of it
    /// before is acked. Control overtakes frames, and the receiver drops what it has not yet committed of
    /// a halted partition.
    pub fn poll_halt(&mut self) -> Option<Control> {
        let open = self.open.as_ref()?;
        let unacked = open.in_flight.front().map_or(open.sequence, |frame| frame.sequence);
        self.halts.front().filter(|(after, _)| *after <= unacked)?;
        self.halts.pop_front().map(|(_, halt)| halt)
    }

    /// The epoch, while open.
    pub fn epoch(&self) -> Option<Epoch> {
        self.open.as_ref().map(|open| open.epoch)
    }

    /// The size of the open frame before compression.
    pub fn open_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.builder.raw_len() as u64)
    }

    /// Whether it can do nothing for want of credit.
    pub fn lacks_credit(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !matches!(open.credit, CreditState::Granted(_)))
    }

    /// Credit of the frames in flight; the open frame's is not in it.
    pub fn in_flight_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.in_flight.iter().map(|frame| frame.charge).sum())
    }

    fn frame_due(&self) -> Option<Instant> {
        let open = self.open.as_ref().filter(|open| !open.builder.is_empty())?;
        let (record, position) = (open.first_record.map(|(at, _)| at), open.first_position);
        let first = record.or(position)?;
        // Full means that the next record may not fit; a quarter of a frame is no record's usual size.
        if open.full || open.draining || open.builder.raw_len() as u64 >= self.frame_bytes / 4 * 3 {
            return Some(first);
        }
        let by_record = record.map(|first| first + self.packing.linger);
        let by_position = position.map(|first| first + POSITIONS_WAIT);
        by_record.into_iter().chain(by_position).min()
    }

    fn halt(&mut self, slot: Slot, reason: HaltReason, detail: String) -> Result<(), KafkaError> {
        let Some(open) = self.open.as_mut().filter(|open| open.reading.contains_key(&slot)) else { return Ok(()) };
        open.reading.remove(&slot);
        let (lane, epoch) = (self.id, open.epoch);
        let after = if open.builder.is_empty() { open.sequence } else { open.sequence.next() };
        let (position, reason) = (Position(-1), reason.word().to_owned());
        let halt = Control::PartitionHalted { lane, epoch, slot, position, reason, detail };
        self.halts.push_back((after, halt));
        self.reader.unassign(&[slot])
    }
}

fn too_large(slot: Slot, at: Position, needed: u64, limit: u64) -> Stop {
    let detail = format!(
        "record at offset {at} needs {needed} bytes of credit, the limit is {limit}: raise `memory` at the end where it is lower"
    );
    Stop::Halt(slot, HaltReason::RecordTooLarge, detail)
}

fn went_back(offset: Offset, before: i32, now: i32) -> String {
    format!("record at offset {offset} has leader epoch {now}, one before it {before}: it is another log")
}

fn halt_reason(fault: &PartitionFault) -> HaltReason {
    match fault {
        PartitionFault::OutOfRange { .. } => HaltReason::OutOfRange,
        PartitionFault::Truncated(_) => HaltReason::Truncated,
        PartitionFault::Corrupt(_) => HaltReason::Corrupt,
        PartitionFault::Gone(_) => HaltReason::SourceGone,
        PartitionFault::Unauthorized(_) => HaltReason::SourceUnauthorized,
        PartitionFault::Other(_) => HaltReason::SourceFailed,
    }
}

#[cfg(test)]
mod tests;
