//! Progress of a lane, for status and metrics: its thread writes it, reports read it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use service::lock::Lock;
use service::log_limit::LogLimit;
use service::status::{HaltedPartition, Tally};
use wire::compress::Codec;
use wire::control::{Control, LaneClosedReason};
use wire::halt::HaltReason;
use wire::ids::{Epoch, Position, Sequence, Slot};
use wire::partition::Partition;

use crate::lane::topic_meter::{Taken, TopicMeter};
use crate::lane::{Freed, OutFrame};
use crate::source::Assignment;

/// Counters and positions of one lane.
#[derive(Debug, Default)]
pub struct Progress(Lock<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Start of the present wait for an ack, while frames are in flight.
    waits_since: Option<Instant>,
    partitions: HashMap<Slot, (Partition, Position)>,
    drained: bool,
    meter: TopicMeter,
    /// Lane as shown, without open slots. Partitions that are not read still lag.
    shown: Snapshot,
    /// Limit on the log lines about halts, which the receiver states.
    lines: LogLimit,
}

/// Counters of a lane since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Frames handed to the transport.
    pub frames: u64,
    /// Records in the frames.
    pub records: u64,
    /// Uncompressed size of the frames in bytes.
    pub raw_bytes: u64,
    /// Size of the frames in bytes as sent, without QUIC's overhead.
    pub frame_bytes: u64,
    /// Bytes of keys, values and headers that were sent by their shape.
    #[serde(default)]
    pub shaped_bytes: u64,
    /// Processor time for making the frames, compression included, in microseconds.
    #[serde(default)]
    pub compression_micros: u64,
    /// Uncompressed size in bytes of the frames that the target has committed.
    pub committed_bytes: u64,
}

service::add_fields!(Totals {
    frames,
    records,
    raw_bytes,
    frame_bytes,
    shaped_bytes,
    compression_micros,
    committed_bytes
});

/// Closing of a lane by the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Reason: `target-failed`, `superseded` (another receiver opened the lane), `refused` or `session-ended`.
    pub reason: String,
    /// Explanation of the receiver.
    pub detail: String,
}

/// Lane at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Epoch of the lane, while it is open.
    pub epoch: Option<Epoch>,
    /// Strongest compression that both ends know; `None` before the first session.
    pub codec: Option<Codec>,
    /// Counters since the process started.
    pub totals: Totals,
    /// Credit of the frames that are not acked.
    pub in_flight_bytes: u64,
    /// Time since the last ack, or since the first of these frames was sent if that was later; `None` with none in flight.
    pub unacked: Option<Duration>,
    pub partitions: usize,
    /// Position up to which each partition that was ever read is known to be committed.
    pub committed: HashMap<Partition, Position>,
    /// Closing by the receiver, until the lane is open again.
    pub closed: Option<Closed>,
    pub closes: Tally,
    pub halted: Vec<HaltedPartition>,
}

impl Progress {
    pub fn handle_open(&self, epoch: Epoch, codec: Codec) {
        let mut inner = self.0.lock();
        inner.shown.epoch = Some(epoch);
        inner.shown.codec = Some(codec);
        inner.close_slots();
        inner.shown.halted.clear();
        inner.shown.closed = None;
        inner.shown.in_flight_bytes = 0;
        inner.waits_since = None;
    }

    pub fn handle_close(&self) {
        let mut inner = self.0.lock();
        inner.shown.epoch = None;
        inner.close_slots();
        inner.shown.in_flight_bytes = 0;
        inner.waits_since = None;
    }

    /// Records that the receiver closed the lane, until it is open again.
    pub fn record_closed(&self, reason: LaneClosedReason, detail: &str) {
        let reason = reason.word();
        let mut inner = self.0.lock();
        inner.shown.closes.add(reason);
        inner.shown.closed = Some(Closed { reason: reason.to_owned(), detail: detail.to_owned() });
    }

    pub fn handle_partitions(&self, assignments: &[Assignment]) {
        let mut inner = self.0.lock();
        for assignment in assignments {
            let partition = Partition { topic: Arc::clone(&assignment.topic), partition: assignment.partition };
            inner.partitions.insert(assignment.slot, (partition, assignment.position));
        }
    }

    /// Handles that the receiver opened a partition: it is no longer halted.
    pub fn handle_lifted(&self, partition: &Partition) {
        self.0.lock().shown.halted.retain(|halted| !halted.is_of(partition));
    }

    /// Handles that a frame is made, which took `cpu` of processor time.
    pub fn handle_frame(&self, frame: &OutFrame, cpu: Duration, in_flight_bytes: u64) {
        let mut inner = self.0.lock();
        inner.shown.totals.frames += 1;
        inner.shown.totals.records += frame.records as u64;
        inner.shown.totals.raw_bytes += frame.raw_bytes;
        inner.shown.totals.frame_bytes += frame.bytes.len() as u64;
        inner.shown.totals.shaped_bytes += frame.shaped_bytes;
        inner.shown.totals.compression_micros += u64::try_from(cpu.as_micros()).unwrap_or_default();
        inner.shown.in_flight_bytes = in_flight_bytes;
        inner.waits_since.get_or_insert_with(Instant::now);
        inner.meter.handle_frame(frame.sequence, frame.bytes.len() as u64, &frame.topics);
    }

    /// Handles that frames up to `sequence` are committed.
    pub fn handle_ack(&self, epoch: Epoch, sequence: Sequence, freed: &Freed, in_flight_bytes: u64) {
        let mut inner = self.0.lock();
        if inner.shown.epoch != Some(epoch) {
            return;
        }
        inner.shown.in_flight_bytes = in_flight_bytes;
        inner.waits_since = (in_flight_bytes > 0).then(Instant::now);
        inner.shown.totals.committed_bytes += freed.raw_bytes;
        inner.meter.handle_ack(sequence);
        for (slot, position) in &freed.positions {
            if let Some((_, committed)) = inner.partitions.get_mut(slot) {
                *committed = (*committed).max(*position);
            }
        }
    }

    /// Handles that this end halted a partition; the receiver will state its position.
    pub fn handle_halt(&self, halt: &Control) {
        let Control::PartitionHalted { slot, position, reason, detail, .. } = halt else { return };
        let partition = self.0.lock().partitions.get(slot).map(|(partition, _)| partition.clone());
        if let Some(partition) = partition {
            self.record_halt(&partition, *slot, *position, reason, detail);
        }
    }

    /// Handles that topics no longer exist at the source: their halts end with them.
    pub fn handle_gone(&self, topics: &HashSet<Arc<str>>) {
        let mut inner = self.0.lock();
        inner.shown.halted.retain(|halted| !topics.contains(halted.topic.as_str()));
        inner.shown.committed.retain(|at, _| !topics.contains(&at.topic));
    }

    /// Records that a partition was halted under a slot. It is logged once and shown until the partition resumes. One
    /// that the source does not know is not shown: it is offered again, or its topic is shown as deleted.
    pub fn record_halt(&self, partition: &Partition, slot: Slot, position: Position, reason: &str, detail: &str) {
        let mut inner = self.0.lock();
        if HaltReason::of(reason) == Some(HaltReason::SourceGone) {
            inner.partitions.remove(&slot);
            inner.shown.committed.remove(partition);
            let Partition { topic, partition } = partition;
            tracing::debug!(%topic, partition, detail, "the source does not know the partition");
            return;
        }
        if let Some((partition, at)) = inner.partitions.remove(&slot) {
            // A partition that is not read still lags.
            inner.shown.committed.insert(partition, at.max(position));
        } else if position.0 >= 0 {
            inner.shown.committed.insert(partition.clone(), position);
        }
        let known = inner.shown.halted.iter().any(|halted| halted.is_of(partition) && halted.reason == reason);
        inner.shown.halted.retain(|halted| !halted.is_of(partition));
        inner.shown.halted.push(HaltedPartition {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            position: position.0,
            reason: reason.to_owned(),
            detail: detail.to_owned(),
        });
        let line = if known { None } else { inner.lines.poll(Instant::now()) };
        drop(inner);
        // The status shows all of them.
        let Some(left_out) = line else { return };
        let Partition { topic, partition } = partition;
        let halt = HaltReason::of(reason);
        if halt.is_some_and(HaltReason::waits) {
            tracing::warn!(%topic, partition, reason, detail, left_out, "partition waits for the target; the others continue");
        } else if halt == Some(HaltReason::SwitchedOver) {
            tracing::info!(%topic, partition, detail, left_out, "partition is switched over, and not carried any more");
        } else {
            let remedy = halt.map_or("see the documentation of the receiver's version", HaltReason::sentence);
            tracing::error!(%topic, partition, reason, detail, remedy, left_out, "partition halted; the others continue");
        }
    }

    /// Handles whether everything the lane has read was sent and acked.
    pub fn handle_drained(&self, drained: bool) {
        self.0.lock().drained = drained;
    }

    /// Returns whether everything the lane has read was sent and acked.
    pub fn is_drained(&self) -> bool {
        self.0.lock().drained
    }

    /// Takes the bytes of each topic that were done since the last time.
    pub(crate) fn take_bytes(&self) -> Taken {
        self.0.lock().meter.take()
    }

    /// Returns the counters alone.
    pub fn totals(&self) -> Totals {
        self.0.lock().shown.totals
    }

    /// Returns the current state of the lane.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.0.lock();
        let mut snapshot = inner.shown.clone();
        snapshot.unacked = inner.waits_since.map(|since| since.elapsed());
        snapshot.partitions = inner.partitions.len();
        snapshot.committed.extend(inner.partitions.values().cloned());
        snapshot
    }
}

impl Inner {
    fn close_slots(&mut self) {
        let Self { partitions, shown, meter, .. } = self;
        meter.end_epoch();
        shown.committed.extend(partitions.drain().map(|(_, at)| at));
    }
}
