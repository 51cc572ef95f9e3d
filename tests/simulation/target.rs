//! The target of a lane. Every call may fail before or after its effect, a commit may take effect after its error, and
//! the process may die or pause at any call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka::{KafkaError, KafkaFault, Refusal};
use receiver::custody::WriterId;
use receiver::state::LaneState;
use receiver::{
    Appended, Delivered, Extent, LaneTarget, Rejection, Rejections, StateEntry, TargetError, TargetPartition,
    Unwritable,
};
use wire::frame::RecordRef;
use wire::ids::{LaneId, Offset};

use crate::cluster::{Cluster, SharedCluster, timed_out, unavailable};
use crate::dice::Dice;
use crate::logs::{Entry, Place};
use crate::payload::{POISON, Payload};
use crate::process::SharedProcess;
use crate::transactional_id::Instance;

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
    producer: Option<Instance>,
    begun: bool,
    /// Entries of the present transaction were appended, and some of them have no report.
    appended: bool,
    unreported: bool,
    ends: BTreeMap<(Arc<str>, i32), (i64, i64)>,
    state_end: Option<Offset>,
    /// Source offsets of records without a delivery report yet. The target rejects a batch as a whole.
    batches: BTreeMap<(Arc<str>, i32), Batch>,
}

#[derive(Default)]
struct Batch {
    offsets: Vec<i64>,
    poisoned: bool,
    /// Offsets of the rejected records.
    poisons: Vec<Offset>,
}

/// Probability, per thousand, that the target names the rejected records of a batch.
const NAMED: u64 = 300;

/// Probability, per thousand, that a batch ends after a record.
const CUT: u64 = 200;

/// Probability, per thousand, that a process that may pause does so at a call.
const PAUSES: u64 = 100;

/// Probability, per thousand, that an append fails and arrives later, where calls fail at all.
const LATE: u64 = 5;

impl SimTarget {
    pub(crate) fn new(lane: LaneId, cluster: SharedCluster, process: SharedProcess, dice: Dice) -> Self {
        Self {
            lane,
            cluster,
            process,
            dice,
            transactional_id: String::new(),
            producer: None,
            begun: false,
            appended: false,
            unreported: false,
            ends: BTreeMap::new(),
            state_end: None,
            batches: BTreeMap::new(),
        }
    }

    fn fate(&self, doing: &str) -> Result<Fate, KafkaError> {
        if self.dice.chance(PAUSES) {
            self.pause();
        }
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
            self.trace(|| format!("{doing} fails before"));
            return Err(unavailable(doing).into());
        }
        let cluster = Arc::clone(&self.cluster);
        let result = effect(self, &mut cluster.lock().unwrap());
        let shown = result.as_ref().map(drop);
        self.trace(|| {
            format!(
                "{doing} as {}: {shown:?}{}",
                self.transactional_id,
                if fate == Fate::FailsAfter { ", and fails after" } else { "" }
            )
        });
        let result = result?;
        if fate == Fate::FailsAfter { Err(unavailable(doing).into()) } else { Ok(result) }
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if let Some(process) = self.process.lock().unwrap().traced {
            eprintln!("    process {process} lane {}: {}", self.lane, line());
        }
    }

    /// Pauses the process, if it may pause, and lets the others continue.
    fn pause(&self) -> bool {
        let pausing = self.process.lock().unwrap().pausing.take();
        let Some(pausing) = pausing else { return false };
        pausing.pause();
        self.process.lock().unwrap().pausing = Some(pausing);
        true
    }

    fn instance(&self) -> Result<Instance, KafkaError> {
        self.producer.ok_or_else(|| unavailable("no producer"))
    }

    /// Initialises an id, and waits a while if its last transaction has not ended.
    fn initialise(&mut self, writer: &WriterId) -> Result<Instance, TargetError> {
        let mut waits = self.dice.below(4);
        loop {
            let late = self.process.lock().unwrap().failing > 0 && self.dice.chance(LATE);
            let initialise = |this: &mut Self, cluster: &mut Cluster| {
                if late {
                    cluster.init_producer_later(writer.as_str());
                    return Err(timed_out("initialisation").into());
                }
                Ok(cluster.init_producer(writer.as_str(), &this.dice)?)
            };
            match self.call(&format!("initialisation of {}", writer.as_str()), initialise) {
                Err(TargetError::Kafka(KafkaError { fault: KafkaFault::TimedOut(_), .. }))
                    if waits > 0 && self.pause() =>
                {
                    waits -= 1;
                }
                result => return result,
            }
        }
    }

    /// Appends an entry in the present transaction and returns its offset; `None` if there is no report.
    fn append(&mut self, cluster: &mut Cluster, place: &Place, entry: Entry) -> Result<Option<i64>, TargetError> {
        let instance = self.instance()?;
        if !self.begun {
            return Err(unavailable("append outside of a transaction").into());
        }
        self.appended = true;
        let name = &self.transactional_id;
        if self.process.lock().unwrap().failing > 0 && self.dice.chance(LATE) {
            cluster.append_later(name, instance, place, entry)?;
            return Err(unavailable("append").into());
        }
        let offset = cluster.append(name, instance, place, entry, &self.dice)?;
        self.unreported |= offset.is_none();
        Ok(offset.map(|offset| offset as i64))
    }

    fn state(&self) -> Place {
        Place::State(self.lane.0)
    }
}

impl SimTarget {
    /// Reads the state without waiting for open transactions, which count as aborted.
    pub(crate) fn read_decided(&mut self) -> Result<Vec<StateEntry>, TargetError> {
        self.call("read state", |this, cluster| {
            let place = this.state();
            Ok(fold(cluster.logs.committed(&place, 0, cluster.logs.high_watermark(&place))))
        })
    }
}

impl LaneTarget for SimTarget {
    fn read_state(&mut self, extent: Extent) -> Result<Vec<StateEntry>, TargetError> {
        self.call("read state", |this, cluster| {
            let place = this.state();
            if cluster.logs.is_troubled(&place) && this.dice.chance(500) {
                return Err(unavailable("read of a partition without a leader").into());
            }
            if extent != Extent::LastStable {
                cluster.send_markers_to(&place);
            }
            let stable = cluster.logs.shown_to_readers(&place, &this.dice);
            let stable = match extent {
                Extent::Through(Offset(wanted)) if stable as i64 <= wanted => {
                    return Err(unavailable("read through an offset").into());
                }
                // It may end anywhere behind the offset, within a later transaction too.
                Extent::Through(Offset(wanted)) => this.dice.within(wanted as u64 + 1, stable as u64) as usize,
                Extent::LastStable => stable,
            };
            let state = fold(cluster.logs.committed(&place, 0, stable));
            this.trace(|| {
                format!(
                    "reading {extent:?} to {stable}: {:?}",
                    LaneState::fold(this.lane, "sim", "source", &state).map(|state| (state.epoch(), state.custody))
                )
            });
            Ok(state)
        })
    }

    fn fence(&mut self, writer: &WriterId, _within: Duration) -> Result<(), TargetError> {
        self.discard();
        self.producer = Some(self.initialise(writer)?);
        self.transactional_id = writer.as_str().to_owned();
        Ok(())
    }

    fn expel(&mut self, writer: &WriterId, _within: Duration) -> Result<(), TargetError> {
        self.initialise(writer).map(drop)
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        // Only the client knows it: the coordinator learns of a transaction with its first partition.
        self.call("begin", |this, _| {
            this.instance()?;
            if std::mem::replace(&mut this.begun, true) {
                return Err(unavailable("begin within a transaction").into());
            }
            (this.appended, this.unreported) = (false, false);
            Ok(())
        })
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, _frame: &Bytes) -> Result<(), TargetError> {
        self.call("produce", |this, cluster| {
            let batch = this.batches.entry((Arc::clone(&to.topic), to.partition)).or_default();
            if !batch.poisoned && this.dice.chance(CUT) {
                batch.offsets.clear();
            }
            if record.value == Some(POISON) {
                batch.poisoned = true;
                batch.poisons.push(record.offset);
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
            let Some(offset) = this.append(cluster, &place, entry)? else { return Ok(()) };
            let ends = this.ends.entry((Arc::clone(&to.topic), to.partition)).or_insert((offset, offset));
            ends.1 = offset;
            Ok(())
        })
    }

    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        let entry = StateEntry { key: key.to_vec(), value: value.map(<[u8]>::to_vec) };
        self.trace(|| format!("entry {:?}", LaneState::fold(self.lane, "sim", "source", &[entry])));
        self.call("write state", |this, cluster| {
            let entry = Entry::State(key.into(), value.map(Into::into));
            let place = this.state();
            let offset = this.append(cluster, &place, entry)?;
            this.state_end = offset.map(Offset).or(this.state_end);
            Ok(())
        })
    }

    fn drain(&mut self) -> Result<Delivered, TargetError> {
        self.call("drain", |this, _| {
            let batches = std::mem::take(&mut this.batches);
            let rejection = |((topic, partition), batch): (_, Batch)| Rejection {
                partition: TargetPartition { topic, partition },
                refusal: Refusal::Record,
                first: Offset(batch.offsets[0]),
                last: Offset(batch.offsets[batch.offsets.len() - 1]),
                named: if this.dice.chance(NAMED) { batch.poisons } else { Vec::new() },
                reason: "poison".to_owned(),
            };
            let mut rejections = batches.into_iter().filter(|(_, batch)| batch.poisoned).map(rejection);
            if let Some(first) = rejections.next() {
                let others = rejections.filter(|rejection| !rejection.named.is_empty()).collect();
                return Err(TargetError::Rejected(Rejections { first, others }));
            }
            if this.unreported {
                return Err(timed_out("drain").into());
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
            let instance = this.instance()?;
            if !std::mem::take(&mut this.begun) {
                return Err(unavailable("commit outside of a transaction").into());
            }
            // The coordinator knows nothing of a transaction without entries.
            if !this.appended {
                return Ok(());
            }
            if later {
                cluster.commit_later(&this.transactional_id, instance)?;
                return Err(unavailable("commit").into());
            }
            Ok(cluster.commit(&this.transactional_id, instance, &this.dice)?)
        })
    }

    fn discard(&mut self) {
        self.producer = None;
        self.begun = false;
        self.ends.clear();
        self.state_end = None;
        self.batches.clear();
    }
}

/// Folds state entries: the last one of each key, in the order of the log, without tombstones.
fn fold<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<StateEntry> {
    let mut last = BTreeMap::new();
    for (at, entry) in entries.enumerate() {
        match entry {
            Entry::State(key, Some(value)) => drop(last.insert(key.to_vec(), (at, value.to_vec()))),
            Entry::State(key, None) => drop(last.remove(&**key)),
            Entry::Record(_) | Entry::Marker => {}
        }
    }
    let ordered: BTreeMap<_, _> = last.into_iter().map(|(key, (at, value))| (at, (key, value))).collect();
    ordered.into_values().map(|(key, value)| StateEntry { key, value: Some(value) }).collect()
}
