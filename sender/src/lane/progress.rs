//! What a lane has done, for `status` and metrics: written by the lane's thread, read by the admin port.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use wire::control::{Control, LaneClosedReason};
use wire::halt::HaltReason;
use wire::ids::{Epoch, Position, Slot};

use crate::lane::{Freed, OutFrame};
use crate::source::Assignment;
use wire::partition::Partition;

/// One lane's counters and positions.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    epoch: Option<Epoch>,
    partitions: HashMap<Slot, (Partition, Position)>,
    /// Where partitions stood when their slots were closed: what is dark is still behind.
    before: HashMap<Partition, Position>,
    totals: Totals,
    in_flight_bytes: u64,
    drained: bool,
    closed: Option<Closed>,
    closes: BTreeMap<&'static str, u64>,
    halted: Vec<Halted>,
}

/// Counters since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Frames handed to the transport.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Their uncompressed size in bytes.
    pub raw_bytes: u64,
    /// Their size in bytes as sent, without QUIC's own.
    pub frame_bytes: u64,
    /// The uncompressed size of those that the target has committed, in bytes.
    pub committed_bytes: u64,
}

/// A partition that an error stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// Source topic.
    pub topic: String,
    /// Source partition.
    pub partition: i32,
    /// Where it stands; −1 while no position is stored, or known here.
    #[serde(default)]
    pub position: i64,
    /// A stable word; `docs/troubleshoot.md` lists them.
    pub reason: String,
    /// The values and the limit.
    pub detail: String,
}

/// Why the receiver closed a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// `target-failed`, `superseded` (another receiver opened the lane), `refused` or `session-ended`.
    pub reason: String,
    /// The receiver's words.
    pub detail: String,
}

/// One lane at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The epoch, while open.
    pub epoch: Option<Epoch>,
    /// Counters.
    pub totals: Totals,
    /// Credit in use by frames that are not acked.
    pub in_flight_bytes: u64,
    /// How many partitions are being read.
    pub partitions: usize,
    /// Every partition that was ever read, and up to where it is known to be committed.
    pub committed: HashMap<Partition, Position>,
    /// Why the receiver closed it, until it is open again.
    pub closed: Option<Closed>,
    /// How often it did, by reason.
    pub closes: BTreeMap<&'static str, u64>,
    /// Partitions that an error stopped.
    pub halted: Vec<Halted>,
}

impl Progress {
    /// The lane was opened.
    pub fn handle_open(&self, epoch: Epoch) {
        let mut inner = self.lock();
        inner.epoch = Some(epoch);
        inner.close_slots();
        inner.halted.clear();
        inner.closed = None;
        inner.in_flight_bytes = 0;
    }

    /// The lane was closed.
    pub fn handle_close(&self) {
        let mut inner = self.lock();
        inner.epoch = None;
        inner.close_slots();
        inner.in_flight_bytes = 0;
    }

    /// The receiver closed the lane; shown until it is open again.
    pub fn record_closed(&self, reason: LaneClosedReason, detail: &str) {
        let reason = match reason {
            LaneClosedReason::TargetFailed => "target-failed",
            LaneClosedReason::Superseded => "superseded",
            LaneClosedReason::Refused => "refused",
            LaneClosedReason::SessionEnded => "session-ended",
        };
        let mut inner = self.lock();
        *inner.closes.entry(reason).or_default() += 1;
        inner.closed = Some(Closed { reason: reason.to_owned(), detail: detail.to_owned() });
    }

    /// Partitions are read from their committed positions on.
    pub fn handle_partitions(&self, assignments: &[Assignment]) {
        let mut inner = self.lock();
        for assignment in assignments {
            let partition = Partition { topic: Arc::clone(&assignment.topic), partition: assignment.partition };
            inner.halted.retain(|halted| !halted.is_of(&partition));
            inner.partitions.insert(assignment.slot, (partition, assignment.position));
        }
    }

    /// A frame is on its way.
    pub fn handle_frame(&self, frame: &OutFrame, in_flight_bytes: u64) {
        let mut inner = self.lock();
        inner.totals.frames += 1;
        inner.totals.records += frame.records as u64;
        inner.totals.raw_bytes += frame.raw_bytes;
        inner.totals.frame_bytes += frame.bytes.len() as u64;
        inner.in_flight_bytes = in_flight_bytes;
    }

    /// Frames are committed.
    pub fn handle_ack(&self, epoch: Epoch, freed: &Freed, in_flight_bytes: u64) {
        let mut inner = self.lock();
        if inner.epoch != Some(epoch) {
            return;
        }
        inner.in_flight_bytes = in_flight_bytes;
        inner.totals.committed_bytes += freed.raw_bytes;
        for (slot, position) in &freed.positions {
            if let Some((_, committed)) = inner.partitions.get_mut(slot) {
                *committed = (*committed).max(*position);
            }
        }
    }

    /// This end halted a partition that it reads; the receiver will say where it stands.
    pub fn handle_halt(&self, halt: &Control) {
        let Control::PartitionHalted { slot, position, reason, detail, .. } = halt else { return };
        let partition = self.lock().partitions.get(slot).map(|(partition, _)| partition.clone());
        if let Some(partition) = partition {
            self.record_halt(&partition, *slot, *position, reason, detail);
        }
    }

    /// A partition was halted under a slot; logged once, shown until it goes on.
    pub fn record_halt(&self, partition: &Partition, slot: Slot, position: Position, reason: &str, detail: &str) {
        let (topic, number) = (&partition.topic, partition.partition);
        let mut inner = self.lock();
        if let Some((partition, at)) = inner.partitions.remove(&slot) {
            // What is dark is still behind.
            inner.before.insert(partition, at.max(position));
        } else if position.0 >= 0 {
            inner.before.insert(partition.clone(), position);
        }
        let known = inner.halted.iter().any(|halted| halted.is_of(partition) && halted.reason == reason);
        inner.halted.retain(|halted| !halted.is_of(partition));
        inner.halted.push(Halted {
            topic: topic.to_string(),
            partition: number,
            position: position.0,
            reason: reason.to_owned(),
            detail: detail.to_owned(),
        });
        drop(inner);
        if !known {
            let remedy =
                HaltReason::of(reason).map_or("see the documents of the receiver's version", HaltReason::sentence);
            tracing::error!(%topic, partition = number, reason, detail, remedy, "partition halted; the others go on");
        }
    }

    /// Whether everything the lane has read was sent and acked.
    pub fn handle_drained(&self, drained: bool) {
        self.lock().drained = drained;
    }

    /// See [`Progress::handle_drained`].
    pub fn is_drained(&self) -> bool {
        self.lock().drained
    }

    /// The lane as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.lock();
        let mut committed = inner.before.clone();
        committed.extend(inner.partitions.values().cloned());
        Snapshot {
            epoch: inner.epoch,
            totals: inner.totals,
            in_flight_bytes: inner.in_flight_bytes,
            partitions: inner.partitions.len(),
            committed,
            closed: inner.closed.clone(),
            closes: inner.closes.clone(),
            halted: inner.halted.clone(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Halted {
    /// Whether it is this partition.
    pub fn is_of(&self, at: &Partition) -> bool {
        self.partition == at.partition && *self.topic == *at.topic
    }
}

impl Inner {
    fn close_slots(&mut self) {
        let Self { partitions, before, .. } = self;
        before.extend(partitions.drain().map(|(_, at)| at));
    }
}
