//! Lane at the sender: records in, frames out, packed late.
//!
//! A lane holds no socket, spawns no task and reads no clock; its time and its reader are arguments. A frame is closed
//! when the transport can take it, not before: while the link is idle a record leaves after the linger, while it is
//! busy full frames grow to their maximum. Driving contract: whenever the bell wakes or [`Lane::next_timeout`] has come,
//! answer [`Lane::poll_credit_request`], call [`Lane::fill`], then [`Lane::poll_frame`] as long as the transport has
//! room, then [`Lane::poll_halt`].
//!
//! Invariants: a partition's runs on the wire are contiguous, from the position the receiver stated; no byte is read
//! without credit for the frame it will be in; nothing is kept here after it was sent, because the source is the
//! buffer, and the transport keeps the frames in flight.

pub(crate) mod activity;
pub(crate) mod compression;
pub(crate) mod latency;
mod packing;
pub(crate) mod pool;
pub(crate) mod progress;
pub(crate) mod thread;
pub(crate) mod topic_meter;

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka::KafkaError;
use shape::Library;
use wire::compress::{Codec, id};
use wire::control::Control;
use wire::error::PeerMisbehaved;
use wire::frame::{FrameBuilder, FrameHead, FrameHeader, RecordRef, Shaper};
use wire::halt::HaltReason;
use wire::ids::{Epoch, LaneId, Position, Sequence, Slot};
use wire::limits::{RECORD_BYTES_MAX, RUN_BYTES_MAX, frame_charge};

pub use packing::Packing;
pub use topic_meter::TopicBytes;

use crate::source::{Assignment, Event, LaneReader, PartitionFault};

/// Time that positions without records may wait for records to travel with.
const POSITIONS_WAIT: Duration = Duration::from_secs(1);

/// Frame that is ready for the transport.
#[derive(Debug)]
pub struct OutFrame {
    pub bytes: Bytes,
    /// Bytes of keys, values and headers that were sent by their shape.
    pub shaped_bytes: u64,
    pub records: usize,
    /// Uncompressed size in bytes.
    pub raw_bytes: u64,
    /// Granted credit that the frame does not need.
    pub surplus: u64,
    pub sequence: Sequence,
    /// First record of the frame; `None` for a frame of positions.
    pub first_record: Option<FirstRecord>,
    /// Bytes of each topic in the frame.
    pub topics: Vec<TopicBytes>,
}

/// First record of a frame, which waits the longest.
#[derive(Debug, Clone, Copy)]
pub struct FirstRecord {
    pub packed_at: Instant,
    /// Timestamp of the record in ms since the Unix epoch; −1 for none.
    pub timestamp: i64,
}

/// Resources that an ack freed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Freed {
    pub credit: u64,
    pub raw_bytes: u64,
    /// Positions up to which partitions are known to be committed, for reports only: a sender never resumes from acks.
    pub positions: Vec<(Slot, Position)>,
}

/// Reasons why a lane did not take a message of the receiver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The source's reader failed: the whole sender must start over.
    #[error(transparent)]
    Source(#[from] KafkaError),
    /// The receiver broke the protocol: the session must end.
    #[error(transparent)]
    Peer(#[from] PeerMisbehaved),
}

/// Lane of a link at the sender.
pub struct Lane<R> {
    id: LaneId,
    reader: R,
    packing: Packing,
    /// Codec of the next frame.
    codec: Codec,
    shaper: Shaper,
    /// Raw bytes that the current rate has room for, even if a session allows fewer.
    rate_bytes: u64,
    /// Raw bytes at which a frame is full: the lesser of both.
    frame_bytes: u64,
    open: Option<Open>,
    /// Halts by this end, each with the first sequence that is sent after its records.
    halts: VecDeque<(Sequence, Control)>,
}

struct Open {
    epoch: Epoch,
    builder: FrameBuilder,
    reading: HashMap<Slot, Reading>,
    /// Topics of the slots that are read, and of those that the open frame still has.
    topics: HashMap<Slot, Arc<str>>,
    sequence: Sequence,
    in_flight: VecDeque<InFlight>,
    credit: CreditState,
    first_record: Option<FirstRecord>,
    /// Time at which the oldest bare position in the open frame was packed.
    first_position: Option<Instant>,
    /// True once the next event has no room in the open frame.
    full: bool,
    /// True once the lane drains and reads no further records.
    draining: bool,
}

struct OpenLane<'l, R> {
    id: LaneId,
    reader: &'l mut R,
    open: &'l mut Open,
    halts: &'l mut VecDeque<(Sequence, Control)>,
    shaper: &'l mut Shaper,
    limits: Limits,
}

#[derive(Clone, Copy)]
struct Limits {
    frame_bytes: u64,
    credit_max: u64,
}

/// Progress of reading a partition.
struct Reading {
    next: Position,
    /// Leader epoch of the last record; −1 if unknown.
    leader_epoch: i32,
}

/// Place for a record.
enum Fit {
    /// The open frame has room.
    Now,
    /// The open frame must leave first.
    NextFrame,
    /// The record is larger than a frame and travels alone, on this much credit.
    AloneWith(u64),
    /// The record needs this much credit, which is never granted.
    TooLarge(u64),
}

/// Reason to stop packing.
enum Stop {
    /// The frame is full, or nothing is there to be read.
    Wait,
    /// The open frame needs another amount of credit; this much is given back.
    Surplus(u64),
    /// A partition cannot continue, with values for the operator.
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
    /// The lane needs this much, and has not requested it yet.
    Needed(u64),
    Requested,
    /// This much is granted for the open frame.
    Granted(u64),
}

impl<R: LaneReader> Lane<R> {
    pub fn new(id: LaneId, reader: R, packing: Packing) -> Self {
        Self {
            id,
            reader,
            packing,
            codec: packing.codec,
            shaper: Shaper::new(Library::new().0),
            rate_bytes: u64::MAX,
            frame_bytes: packing.frame_bytes,
            open: None,
            halts: VecDeque::new(),
        }
    }

    /// Uses the templates of a library, from which another thread learns.
    #[must_use]
    pub fn with_library(self, library: Arc<Library>) -> Self {
        Self { shaper: Shaper::new(library), ..self }
    }

    /// Opens the lane, as the receiver did. Everything of an earlier epoch is forgotten.
    pub fn open(&mut self, epoch: Epoch, packing: Packing) -> Result<(), KafkaError> {
        self.close()?;
        self.packing = packing;
        self.codec = packing.codec;
        self.shaper.begin(packing.state);
        self.set_frame_bytes(self.rate_bytes);
        self.open = Some(Open {
            epoch,
            builder: FrameBuilder::new(),
            reading: HashMap::new(),
            topics: HashMap::new(),
            sequence: Sequence(0),
            in_flight: VecDeque::new(),
            credit: CreditState::Needed(self.frame_bytes),
            first_record: None,
            first_position: None,
            full: false,
            draining: false,
        });
        Ok(())
    }

    /// Sets the raw bytes at which frames are full; a session may require fewer. Records in the open frame stay in it.
    pub fn set_frame_bytes(&mut self, bytes: u64) {
        self.rate_bytes = bytes;
        self.frame_bytes = bytes.min(self.packing.frame_bytes);
    }

    /// Sets the codec of the next frames, as far as the receiver knows it.
    pub fn set_codec(&mut self, codec: Codec) {
        self.codec = Packing { codec, ..self.packing }.agreed(self.packing.features).codec;
    }

    /// Forgets the epoch and stops reading its partitions.
    pub fn close(&mut self) -> Result<(), KafkaError> {
        self.halts.clear();
        self.shaper.clear();
        let Some(open) = self.open.take() else { return Ok(()) };
        let slots: Vec<_> = open.reading.into_keys().collect();
        self.reader.unassign(&slots)
    }

    /// Reads partitions from the positions that the receiver has stated.
    pub fn handle_partitions(&mut self, epoch: Epoch, assignments: &[Assignment]) -> Result<(), LaneError> {
        let Some(lane) = self.at(epoch) else { return Ok(()) };
        for assignment in assignments {
            let reading = Reading { next: assignment.position, leader_epoch: assignment.leader_epoch };
            if lane.open.reading.insert(assignment.slot, reading).is_some() {
                return Err(PeerMisbehaved::SlotOpen(assignment.slot).into());
            }
            lane.open.topics.insert(assignment.slot, Arc::clone(&assignment.topic));
            lane.shaper.join(assignment.slot, &assignment.topic);
        }
        Ok(lane.reader.assign(assignments)?)
    }

    /// Stops reading a partition that the receiver has halted. A halt that this end was about to report for the same
    /// slot is outdated: the partition may resume under another slot.
    pub fn handle_halted(&mut self, epoch: Epoch, slot: Slot) -> Result<(), KafkaError> {
        let Some(lane) = self.at(epoch) else { return Ok(()) };
        let is_of_slot =
            |halt: &Control| matches!(halt, Control::PartitionHalted { slot: halted, .. } if *halted == slot);
        lane.halts.retain(|(_, halt)| !is_of_slot(halt));
        match lane.open.reading.remove(&slot) {
            Some(_) => {
                lane.shaper.leave(slot);
                lane.reader.unassign(&[slot])
            }
            None => Ok(()),
        }
    }

    /// Halts a partition for a reason that was not found by reading it.
    pub fn handle_fault(
        &mut self,
        epoch: Epoch,
        slot: Slot,
        why: HaltReason,
        detail: String,
    ) -> Result<(), KafkaError> {
        self.at(epoch).map_or(Ok(()), |mut lane| lane.halt(slot, why, detail))
    }

    /// Handles that frames up to `sequence` are committed. Acks of another epoch free nothing.
    pub fn handle_ack(&mut self, epoch: Epoch, sequence: Sequence) -> Result<Freed, PeerMisbehaved> {
        let mut freed = Freed::default();
        let Some(lane) = self.at(epoch) else { return Ok(freed) };
        let next = lane.open.sequence;
        if sequence >= next {
            return Err(PeerMisbehaved::AckOfUnsent { next, found: sequence });
        }
        let acked = lane.open.in_flight.partition_point(|frame| frame.sequence <= sequence);
        for frame in lane.open.in_flight.drain(..acked) {
            freed.credit += frame.charge;
            freed.raw_bytes += frame.raw_bytes;
            freed.positions.extend(frame.positions);
        }
        Ok(freed)
    }

    /// Returns the credit that the caller must request now, once.
    pub fn poll_credit_request(&mut self) -> Option<u64> {
        let open = self.open.as_mut()?;
        let CreditState::Needed(bytes) = open.credit else { return None };
        open.credit = CreditState::Requested;
        Some(bytes)
    }

    pub fn handle_granted(&mut self, bytes: u64) {
        if let Some(open) = &mut self.open {
            open.credit = CreditState::Granted(bytes);
        }
    }

    /// Stops reading; packed records still leave.
    pub fn drain(&mut self) {
        if let Some(open) = &mut self.open {
            open.draining = true;
        }
    }

    /// Returns whether everything read was sent and acked.
    pub fn is_drained(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.builder.is_empty() && open.in_flight.is_empty())
    }

    /// Packs records that are there, as far as frame and credit reach. Returns the credit that the caller must free.
    pub fn fill(&mut self, now: Instant) -> Result<u64, KafkaError> {
        let Some(mut lane) = self.current().filter(|lane| !lane.open.draining) else { return Ok(0) };
        loop {
            match lane.pack(now) {
                Stop::Wait => return Ok(0),
                Stop::Surplus(bytes) => return Ok(bytes),
                // The others continue: the reader does not ring again for what it has shown already.
                Stop::Halt(slot, reason, detail) => lane.halt(slot, reason, detail)?,
            }
        }
    }

    /// Returns the open frame, if it is due. The transport must have room.
    pub fn poll_frame(&mut self, now: Instant) -> Option<OutFrame> {
        let due = self.next_timeout()?;
        let open = self.open.as_mut().filter(|_| now >= due)?;
        let CreditState::Granted(granted) = open.credit else { return None };
        let sequence = open.sequence;
        let head = FrameHead { lane: self.id, epoch: open.epoch, sequence };
        let positions = open.builder.positions().collect();
        let records = open.builder.record_count();
        let raw_bytes = open.builder.raw_len() as u64;
        self.shaper.allow_excess(granted.saturating_sub(raw_bytes));
        let bytes = open.builder.finish_with(head, self.codec, &mut self.shaper);
        let header = bytes.first_chunk().and_then(|header| FrameHeader::peek(header).ok());
        let topics = topic_meter::by_topic(open.builder.finished(), &open.topics);
        if open.topics.len() > open.reading.len() {
            open.topics.retain(|slot, _| open.reading.contains_key(slot));
        }
        let is_shaped = header.is_some_and(|header| matches!(header.codec_id, id::SHAPE | id::STATE));
        let charge = frame_charge(bytes.len());
        assert!(charge <= granted, "a frame of {charge} on credit of {granted}");
        open.in_flight.push_back(InFlight { sequence, charge, raw_bytes, positions });
        open.sequence = sequence.next();
        open.credit = CreditState::Needed(self.frame_bytes);
        open.first_position = None;
        open.full = false;
        let first_record = open.first_record.take();
        Some(OutFrame {
            bytes,
            shaped_bytes: if is_shaped { self.shaper.shaped_bytes() } else { 0 },
            records,
            raw_bytes,
            surplus: granted - charge,
            sequence,
            first_record,
            topics,
        })
    }

    /// Returns the time at which to call [`Lane::poll_frame`] again even if nothing else happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        let open = self.open.as_ref().filter(|open| !open.builder.is_empty())?;
        let record = open.first_record.map(|first| first.packed_at);
        let first = record.or(open.first_position)?;
        // A frame counts as full at three quarters: a record is rarely larger than the rest.
        if open.full || open.draining || open.builder.raw_len() as u64 >= self.frame_bytes / 4 * 3 {
            return Some(first);
        }
        let by_record = record.map(|first| first + self.packing.linger);
        let by_position = open.first_position.map(|first| first + POSITIONS_WAIT);
        by_record.into_iter().chain(by_position).min()
    }

    /// Returns the next halt by this end, once all records read before it are acked: such messages overtake frames, and
    /// the receiver drops uncommitted records of a halted partition.
    pub fn poll_halt(&mut self) -> Option<Control> {
        let open = self.open.as_ref()?;
        let unacked = open.in_flight.front().map_or(open.sequence, |frame| frame.sequence);
        self.halts.front().filter(|(after, _)| *after <= unacked)?;
        self.halts.pop_front().map(|(_, halt)| halt)
    }

    pub fn epoch(&self) -> Option<Epoch> {
        self.open.as_ref().map(|open| open.epoch)
    }

    /// The size of the open frame before compression.
    pub fn open_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.builder.raw_len() as u64)
    }

    pub fn lacks_credit(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !matches!(open.credit, CreditState::Granted(_)))
    }

    /// The credit of the frames in flight, without that of the open frame.
    pub fn in_flight_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.in_flight.iter().map(|frame| frame.charge).sum())
    }

    fn at(&mut self, epoch: Epoch) -> Option<OpenLane<'_, R>> {
        self.current().filter(|lane| lane.open.epoch == epoch)
    }

    fn current(&mut self) -> Option<OpenLane<'_, R>> {
        let limits = Limits { frame_bytes: self.frame_bytes, credit_max: self.packing.credit_max };
        let Self { id, reader, open, halts, shaper, .. } = self;
        open.as_mut().map(|open| OpenLane { id: *id, reader, open, halts, shaper, limits })
    }
}

impl<R: LaneReader> OpenLane<'_, R> {
    fn pack(&mut self, now: Instant) -> Stop {
        let CreditState::Granted(granted) = self.open.credit else { return Stop::Wait };
        while let Some(event) = self.reader.peek() {
            let packed = match event {
                Event::Record { slot, leader_epoch, record } => {
                    self.open.pack_record(slot, leader_epoch, &record, self.limits, now)
                }
                Event::End { slot, position } => self.open.pack_position(slot, position, granted, now),
                Event::Fault { slot, fault } => {
                    self.reader.advance();
                    return Stop::Halt(slot, halt_reason(&fault), fault.to_string());
                }
            };
            match packed {
                ControlFlow::Continue(()) => self.reader.advance(),
                ControlFlow::Break(stop) => return stop,
            }
        }
        if self.open.builder.is_empty() && granted > self.limits.frame_bytes {
            // The large record is gone, or frames are smaller by now. An idle lane keeps credit for one frame only.
            self.open.credit = CreditState::Granted(self.limits.frame_bytes);
            return Stop::Surplus(granted - self.limits.frame_bytes);
        }
        Stop::Wait
    }

    fn halt(&mut self, slot: Slot, reason: HaltReason, detail: String) -> Result<(), KafkaError> {
        if self.open.reading.remove(&slot).is_none() {
            return Ok(());
        }
        let after = if self.open.builder.is_empty() { self.open.sequence } else { self.open.sequence.next() };
        let halt = Control::PartitionHalted {
            lane: self.id,
            epoch: self.open.epoch,
            slot,
            position: Position(-1),
            reason: reason.word().to_owned(),
            detail,
        };
        self.halts.push_back((after, halt));
        self.shaper.leave(slot);
        self.reader.unassign(&[slot])
    }
}

impl Open {
    fn pack_record(
        &mut self,
        slot: Slot,
        leader_epoch: i32,
        record: &RecordRef<'_>,
        limits: Limits,
        now: Instant,
    ) -> ControlFlow<Stop> {
        let fit = self.fit(record.raw_len(), limits);
        let Some(reading) = self.reading.get_mut(&slot) else { return ControlFlow::Continue(()) };
        let at = Position(record.offset.0);
        if (0..reading.leader_epoch).contains(&leader_epoch) {
            let before = reading.leader_epoch;
            let detail = format!(
                "record at offset {at} has leader epoch {leader_epoch}, one before it {before}: it is another log"
            );
            return ControlFlow::Break(Stop::Halt(slot, HaltReason::TopicRecreated, detail));
        }
        match fit {
            Fit::Now if at >= reading.next => {
                self.builder.push(slot, reading.next, leader_epoch, record);
                reading.next = Position::after(record.offset);
                reading.leader_epoch = reading.leader_epoch.max(leader_epoch);
                self.first_record.get_or_insert(FirstRecord { packed_at: now, timestamp: record.timestamp });
            }
            Fit::Now => {}
            Fit::NextFrame => {
                self.full = true;
                return ControlFlow::Break(Stop::Wait);
            }
            Fit::AloneWith(needed) => {
                let surplus = std::mem::replace(&mut self.credit, CreditState::Needed(needed));
                let CreditState::Granted(surplus) = surplus else { return ControlFlow::Break(Stop::Wait) };
                return ControlFlow::Break(Stop::Surplus(surplus));
            }
            Fit::TooLarge(needed) => {
                if at > reading.next {
                    // So that the stored position is the record's, and skipping one skips it.
                    self.builder.advance(slot, reading.next, at);
                    self.first_position.get_or_insert(now);
                }
                let limit = limits.credit_max.min(RECORD_BYTES_MAX as u64);
                let detail = format!(
                    "record at offset {at} needs {needed} bytes of credit, the limit is {limit}: raise `memory` at the end where it is lower"
                );
                return ControlFlow::Break(Stop::Halt(slot, HaltReason::RecordTooLarge, detail));
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns the place for a record of this size.
    fn fit(&self, record_bytes: usize, limits: Limits) -> Fit {
        let CreditState::Granted(granted) = self.credit else { return Fit::NextFrame };
        let needed = (self.builder.raw_len() + record_bytes) as u64;
        let is_alone = self.builder.is_empty();
        if needed <= granted && (is_alone || needed <= limits.frame_bytes) {
            Fit::Now
        } else if !is_alone {
            Fit::NextFrame
        } else if needed > limits.credit_max || record_bytes > RECORD_BYTES_MAX {
            Fit::TooLarge(needed)
        } else {
            Fit::AloneWith(needed)
        }
    }

    fn pack_position(&mut self, slot: Slot, position: Position, granted: u64, now: Instant) -> ControlFlow<Stop> {
        let Some(reading) = self.reading.get_mut(&slot).filter(|reading| position > reading.next) else {
            return ControlFlow::Continue(());
        };
        let needed = (self.builder.raw_len() + RUN_BYTES_MAX) as u64;
        if needed > granted && self.builder.positions().all(|(other, _)| other != slot) {
            self.full = true;
            return ControlFlow::Break(Stop::Wait);
        }
        self.builder.advance(slot, reading.next, position);
        reading.next = position;
        self.first_position.get_or_insert(now);
        ControlFlow::Continue(())
    }
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
