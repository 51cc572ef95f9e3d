//! The target of a lane. Every call may fail before or after its effect, a commit may take effect after its error, and
//! the process may die at any call.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kafka::{KafkaError, Refusal};
use receiver::custody::WriterId;
use receiver::{
    Appended, Delivered, Extent, LaneTarget, Rejection, StateEntry, TargetError, TargetPartition, Unwritable,
};
use wire::frame::RecordRef;
use wire::ids::{LaneId, Offset};

use crate::cluster::{Cluster, Entry, Place, SharedCluster, unavailable};
use crate::dice::Dice;
use crate::payload::{POISON, Payload};

/// State of a receiver process, which may die at one of its next calls to the target.
#[derive(Debug, Default)]
pub(crate) struct Process {
    pub(crate) dies_in: Option<u64>,
    pub(crate) dead: bool,
    /// Calls per thousand that fail.
    pub(crate) failing: u64,
    pub(crate) calls: u64,
}

pub(crate) type SharedProcess = Arc<Mutex<Process>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    FailsBefore,
    FailsAfter,
}

/// Target of one lane.
pub(crate) struct SimTarget {
    lane: LaneId,
    cluster: SharedCluster,
    process: SharedProcess,
    dice: Dice,
    /// Id of the present producer.
    transactional_id: String,
    producer: Option<u32>,
    ends: BTreeMap<(Arc<str>, i32), (i64, i64)>,
    state_end: Option<Offset>,
    /// Source offsets of records without a delivery report yet. The target rejects a batch as a whole.
    batches: BTreeMap<(Arc<str>, i32), Batch>,
}

#[derive(Default)]
struct Batch {
    offsets: Vec<i64>,
    poisoned: bool,
}

/// Probability, per thousand, that the target names the rejected record of a batch.
const NAMED: u64 = 300;

/// Probability, per thousand, that a batch ends after a record.
const CUT: u64 = 200;

impl SimTarget {
    pub(crate) fn new(lane: LaneId, cluster: SharedCluster, process: SharedProcess, dice: Dice) -> Self {
        Self {
            lane,
            cluster,
            process,
            dice,
            transactional_id: String::new(),
            producer: None,
            ends: BTreeMap::new(),
            state_end: None,
            batches: BTreeMap::new(),
        }
    }

    fn fate(&self, doing: &str) -> Result<Fate, KafkaError> {
        let mut process = self.process.lock().unwrap();
        if process.dead {
            return Err(unavailable(doing));
        }
        process.calls += 1;
        let dies = process.dies_in == Some(0);
        process.dies_in = process.dies_in.map(|calls| calls.saturating_sub(1));
        process.dead = dies;
        if dies || self.dice.chance(process.failing) {
            return Ok(if self.dice.chance(500) { Fate::FailsBefore } else { Fate::FailsAfter });
        }
        Ok(Fate::Fine)
    }

    fn call<R>(
        &mut self,
        doing: &str,
        effect: impl FnOnce(&mut Self, &mut Cluster) -> Result<R, TargetError>,
    ) -> Result<R, TargetError> {
        let fate = self.fate(doing)?;
        if fate == Fate::FailsBefore {
            return Err(unavailable(doing).into());
        }
        let cluster = Arc::clone(&self.cluster);
        let result = effect(self, &mut cluster.lock().unwrap())?;
        if fate == Fate::FailsAfter { Err(unavailable(doing).into()) } else { Ok(result) }
    }

    fn epoch(&self) -> Result<u32, KafkaError> {
        self.producer.ok_or_else(|| unavailable("no producer"))
    }

    fn state(&self) -> Place {
        Place::State(self.lane.0)
    }
}

impl LaneTarget for SimTarget {
    fn read_state(&mut self, extent: Extent) -> Result<Vec<StateEntry>, TargetError> {
        self.call("read state", |this, cluster| {
            let place = this.state();
            let stable = cluster.shown_to_readers(&place, &this.dice);
            if matches!(extent, Extent::Through(Offset(wanted)) if stable as i64 <= wanted) {
                return Err(unavailable("read through an offset").into());
            }
            let mut last = BTreeMap::new();
            for (at, entry) in cluster.committed(&place, 0, stable).enumerate() {
                match entry {
                    Entry::State(key, Some(value)) => drop(last.insert(key.to_vec(), (at, value.to_vec()))),
                    Entry::State(key, None) => drop(last.remove(&**key)),
                    Entry::Record(_) | Entry::Marker => {}
                }
            }
            let ordered: BTreeMap<_, _> = last.into_iter().map(|(key, (at, value))| (at, (key, value))).collect();
            Ok(ordered.into_values().map(|(key, value)| StateEntry { key, value: Some(value) }).collect())
        })
    }

    fn fence(&mut self, writer: &WriterId, _within: Duration) -> Result<(), TargetError> {
        self.discard();
        self.call("fence", |this, cluster| {
            this.transactional_id = writer.as_str().to_owned();
            this.producer = Some(cluster.init_producer(writer.as_str(), &this.dice));
            Ok(())
        })
    }

    fn expel(&mut self, writer: &WriterId, _within: Duration) -> Result<(), TargetError> {
        self.call("expel", |this, cluster| {
            cluster.init_producer(writer.as_str(), &this.dice);
            Ok(())
        })
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        self.call("begin", |this, cluster| Ok(cluster.begin(&this.transactional_id, this.epoch()?)?))
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, _frame: &Bytes) -> Result<(), TargetError> {
        self.call("produce", |this, cluster| {
            let batch = this.batches.entry((Arc::clone(&to.topic), to.partition)).or_default();
            if !batch.poisoned && this.dice.chance(CUT) {
                batch.offsets.clear();
            }
            if record.value == Some(POISON) {
                batch.poisoned = true;
                if this.dice.chance(NAMED) {
                    batch.offsets.clear();
                }
                batch.offsets.push(record.offset.0);
                return Ok(());
            }
            if !batch.poisoned || this.dice.chance(CUT) {
                batch.offsets.push(record.offset.0);
            }
            let place = Place::Data(Arc::clone(&to.topic), to.partition);
            let entry = Entry::Record(Arc::new(Payload::of(record)));
            let offset = cluster.append(&this.transactional_id, this.epoch()?, &place, entry)? as i64;
            let ends = this.ends.entry((Arc::clone(&to.topic), to.partition)).or_insert((offset, offset));
            ends.1 = offset;
            Ok(())
        })
    }

    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        self.call("write state", |this, cluster| {
            let entry = Entry::State(key.into(), value.map(Into::into));
            let place = this.state();
            let offset = cluster.append(&this.transactional_id, this.epoch()?, &place, entry)?;
            this.state_end = Some(Offset(offset as i64));
            Ok(())
        })
    }

    fn drain(&mut self) -> Result<Delivered, TargetError> {
        self.call("drain", |this, _| {
            let batches = std::mem::take(&mut this.batches);
            if let Some(((topic, partition), batch)) = batches.into_iter().find(|(_, batch)| batch.poisoned) {
                return Err(TargetError::Rejected(Rejection {
                    partition: TargetPartition { topic, partition },
                    refusal: Refusal::Record,
                    first: Offset(batch.offsets[0]),
                    last: Offset(batch.offsets[batch.offsets.len() - 1]),
                    reason: "poison".to_owned(),
                }));
            }
            let ends = std::mem::take(&mut this.ends).into_iter();
            let appended = ends.map(|((topic, partition), (first, last))| Appended {
                partition: TargetPartition { topic, partition },
                first: Offset(first),
                last: Offset(last),
            });
            let state_end = this.state_end.take();
            Ok(Delivered { appended: appended.collect(), state_end, timestamps_altered: 0 })
        })
    }

    fn unwritable(&mut self, _: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        Ok(Vec::new())
    }

    fn commit(&mut self) -> Result<(), TargetError> {
        let later = self.process.lock().unwrap().failing > 0 && self.dice.chance(15);
        self.call("commit", |this, cluster| {
            let epoch = this.epoch()?;
            if later {
                cluster.commit_later(&this.transactional_id, epoch)?;
                return Err(unavailable("commit").into());
            }
            Ok(cluster.commit(&this.transactional_id, epoch)?)
        })
    }

    fn discard(&mut self) {
        self.producer = None;
        self.ends.clear();
        self.state_end = None;
        self.batches.clear();
    }
}
