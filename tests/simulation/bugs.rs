//! Planted bugs: a target with one bug, between the product's lane and the simulated cluster. The product's code is
//! unchanged.

use std::time::Duration;

use bytes::Bytes;
use receiver::custody::WriterId;
use receiver::state::{self, LaneState, PartitionRecord};
use receiver::{Delivered, Extent, LaneTarget, StateEntry, TargetError, TargetPartition, Unwritable};
use wire::frame::{FIELDS, RecordRef};
use wire::ids::{Epoch, LaneId, Position};
use wire::partition::Partition;
use xxhash_rust::xxh3::Xxh3Default;

use crate::target::SimTarget;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Records are reported as committed, and so acked, before the commit.
    AckBeforeCommit,
    /// Stored positions are one too high.
    PositionTooHigh,
    /// The earlier owner of a lane is not fenced.
    NoFence,
    /// A reading that decides goes to the end that the broker shows, in place of through a record of the lane's own.
    ReadsToTheEnd,
    /// Frames of an older epoch count as frames of the current one.
    NoEpochCheck,
    /// Partitions are read before their first position is stored.
    InitialPositionNotStored,
    /// Frames in flight on a dead channel are not sent again.
    CopiesForgotten,
    /// Frames that arrived in part on a dead channel count as received in full.
    PartsStayCharged,
    /// A halt is sent to the sender and not stored.
    HaltNotStored,
    /// A lane takes a partition before the lane that had it has stored the hand-over.
    JoinsBeforeMoved,
    /// A hand-over is sent to the other lane and not stored.
    MoveNotStored,
}

/// Target of a lane, with one bug or none.
pub(crate) struct Bugged {
    inner: SimTarget,
    lane: LaneId,
    bug: Option<Bug>,
    process: u64,
    carries_records: bool,
    commit_owed: bool,
}

impl Bugged {
    /// Wraps a target; `process` is the number of the receiver process.
    pub(crate) fn new(inner: SimTarget, lane: LaneId, bug: Option<Bug>, process: u64) -> Self {
        Self { inner, lane, bug, process, carries_records: false, commit_owed: false }
    }

    /// Returns the id that is initialised in place of `writer`.
    fn renamed(&self, writer: &WriterId) -> WriterId {
        match self.bug {
            Some(Bug::NoFence) => WriterId::named(format!("{}.of.{}", writer.as_str(), self.process)),
            _ => writer.clone(),
        }
    }

    fn partition_record(&self, key: &[u8], value: Option<&[u8]>) -> Option<(Partition, PartitionRecord)> {
        let entry = StateEntry { key: key.to_vec(), value: value.map(<[u8]>::to_vec) };
        LaneState::fold(self.lane, "sim", "source", &[entry]).ok()?.partitions.into_iter().next()
    }

    fn is_moved_record(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        let entry = StateEntry { key: key.to_vec(), value: value.map(<[u8]>::to_vec) };
        LaneState::fold(self.lane, "sim", "source", &[entry]).is_ok_and(|state| !state.moved.is_empty())
    }
}

impl LaneTarget for Bugged {
    fn read_state(&mut self, extent: Extent) -> Result<Vec<StateEntry>, TargetError> {
        self.inner.read_state(if self.bug == Some(Bug::ReadsToTheEnd) { Extent::LastStable } else { extent })
    }

    fn fence(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        self.inner.fence(&self.renamed(writer), within)
    }

    fn expel(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        self.inner.expel(&self.renamed(writer), within)
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        if std::mem::take(&mut self.commit_owed) {
            self.inner.commit()?;
        }
        self.carries_records = false;
        self.inner.begin()
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, frame: &Bytes) -> Result<(), TargetError> {
        self.carries_records = true;
        self.inner.produce(to, record, frame)
    }

    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        let partition = self.bug.and_then(|_| self.partition_record(key, value));
        match (self.bug, partition) {
            (Some(Bug::PositionTooHigh), Some((_, record))) if record.delivered > 0 => {
                let record = PartitionRecord { position: Position(record.position.0 + 1), ..record };
                self.inner.write_state(key, Some(&state::encode(&record)))
            }
            (Some(Bug::HaltNotStored), Some((_, record))) => {
                let record = PartitionRecord { halt: None, ..record };
                self.inner.write_state(key, Some(&state::encode(&record)))
            }
            (Some(Bug::MoveNotStored), _) if self.is_moved_record(key, value) => Ok(()),
            (Some(Bug::InitialPositionNotStored), Some((_, record))) if record.delivered == 0 => Ok(()),
            _ => self.inner.write_state(key, value),
        }
    }

    fn drain(&mut self) -> Result<Delivered, TargetError> {
        self.inner.drain()
    }

    fn unwritable(&mut self, partitions: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        self.inner.unwritable(partitions)
    }

    fn commit(&mut self) -> Result<(), TargetError> {
        if self.bug == Some(Bug::AckBeforeCommit) && self.carries_records {
            self.commit_owed = true;
            return Ok(());
        }
        self.inner.commit()
    }

    fn discard(&mut self) {
        self.commit_owed = false;
        self.inner.discard();
    }
}

/// Returns the frame with another epoch.
pub(crate) fn relabelled(frame: &Bytes, epoch: Epoch) -> Bytes {
    let mut bytes = frame.to_vec();
    let at = |field: &str| FIELDS.iter().find(|(_, _, name)| *name == field).map(|&(at, len, _)| at..at + len).unwrap();
    bytes[at("epoch")].copy_from_slice(&epoch.0.to_le_bytes());
    let checksum = at("checksum");
    let mut hasher = Xxh3Default::new();
    hasher.update(&bytes[..checksum.start]);
    hasher.update(&bytes[checksum.end..]);
    bytes[checksum].copy_from_slice(&hasher.digest().to_le_bytes());
    bytes.into()
}
