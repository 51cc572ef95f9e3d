//! The target of a process: producers and state partitions. Every call may fail before or after its effect, a commit may
//! take effect after its error, and the process may die or pause at any call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka::{KafkaError, KafkaFault, Refusal};
use receiver::custody::WriterId;
use receiver::state::LaneState;
use receiver::{
    Appended, Extent, Offsets, Rejection, Rejections, StateAccess, StateEntry, Target, TargetError, TargetPartition,
    TargetWriter, Unwritable,
};
use wire::frame::RecordRef;
use wire::ids::{LaneId, Offset};
use wire::origin::is_map_topic;

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

/// Clients of one process.
#[derive(Clone)]
pub(crate) struct SimTarget {
    cluster: SharedCluster,
    process: SharedProcess,
    dice: Dice,
}

/// Producer of a process.
pub(crate) struct SimWriter {
    clients: SimTarget,
    /// Id of the present producer.
    transactional_id: String,
    producer: Option<Instance>,
    /// Number of the credentials that the producer was made with.
    credentials: u64,
    begun: bool,
    /// Entries of the present transaction were appended, and some of them have no report.
    appended: bool,
    unreported: bool,
    ends: BTreeMap<TargetPartition, Offsets>,
    /// Source offsets of records without a delivery report yet. The target rejects a batch as a whole.
    batches: BTreeMap<TargetPartition, Batch>,
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
    pub(crate) fn new(cluster: SharedCluster, process: SharedProcess, dice: Dice) -> Self {
        Self { cluster, process, dice }
    }

    fn credentials(&self) -> u64 {
        self.process.lock().unwrap().credentials
    }

    /// Has producers made again between two transactions.
    pub(crate) fn change_credentials(&self) {
        self.process.lock().unwrap().credentials += 1;
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
        &self,
        doing: &str,
        effect: impl FnOnce(&mut Cluster) -> Result<R, TargetError>,
    ) -> Result<R, TargetError> {
        let fate = self.fate(doing)?;
        if fate == Fate::FailsBefore {
            self.trace(|| format!("{doing} fails before"));
            return Err(unavailable(doing).into());
        }
        let result = effect(&mut self.cluster.lock().unwrap());
        let shown = result.as_ref().map(drop);
        let after = if fate == Fate::FailsAfter { ", and fails after" } else { "" };
        self.trace(|| format!("{doing}: {shown:?}{after}"));
        let result = result?;
        if fate == Fate::FailsAfter { Err(unavailable(doing).into()) } else { Ok(result) }
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if let Some(process) = self.process.lock().unwrap().traced {
            eprintln!("    process {process}: {}", line());
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

    /// Returns whether something unusual happens that this many of a thousand calls suffer, where calls fail at all.
    fn happens(&self, chance: u64) -> bool {
        self.process.lock().unwrap().failing > 0 && self.dice.chance(chance)
    }

    /// Initialises an id, and waits a while if its last transaction has not ended.
    fn initialise(&self, writer: &WriterId) -> Result<Instance, TargetError> {
        let mut waits = self.dice.below(4);
        loop {
            let late = self.happens(LATE);
            let initialise = |cluster: &mut Cluster| {
                if late {
                    cluster.init_producer_later(writer.as_str());
                    return Err(timed_out("initialisation").into());
                }
                Ok(cluster.init_producer(writer.as_str(), &self.dice)?)
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

    /// Reads the state without waiting for open transactions, which count as aborted.
    pub(crate) fn read_decided(&mut self, state: &TargetPartition) -> Result<Vec<StateEntry>, TargetError> {
        self.call("read state", |cluster| {
            let place = place_of(state);
            Ok(fold(cluster.logs.committed(&place, 0, cluster.logs.high_watermark(&place))))
        })
    }
}

impl Target for SimTarget {
    type Writer = SimWriter;
    type States = Self;

    fn writer(&self) -> Result<SimWriter, KafkaError> {
        Ok(SimWriter {
            clients: self.clone(),
            transactional_id: String::new(),
            producer: None,
            credentials: 0,
            begun: false,
            appended: false,
            unreported: false,
            ends: BTreeMap::new(),
            batches: BTreeMap::new(),
        })
    }

    fn states(&self) -> Result<Self, KafkaError> {
        Ok(self.clone())
    }
}

impl StateAccess for SimTarget {
    fn read(&mut self, state: &TargetPartition, extent: Extent) -> Result<Vec<StateEntry>, TargetError> {
        self.call(&format!("read of {state}"), |cluster| {
            let place = place_of(state);
            if cluster.logs.is_troubled(&place) && self.dice.chance(500) {
                return Err(unavailable("read of a partition without a leader").into());
            }
            if extent != Extent::LastStable {
                cluster.send_markers_to(&place);
            }
            let stable = cluster.logs.shown_to_readers(&place, &self.dice);
            let stable = match extent {
                Extent::Through(Offset(wanted)) if stable as i64 <= wanted => {
                    return Err(unavailable("read through an offset").into());
                }
                // It may end anywhere behind the offset, within a later transaction too.
                Extent::Through(Offset(wanted)) => self.dice.within(wanted as u64 + 1, stable as u64) as usize,
                Extent::LastStable => stable,
            };
            let entries = fold(cluster.logs.committed(&place, 0, stable));
            self.trace(|| {
                let state = LaneState::fold(lane_of(state), "sim", "source", &entries);
                format!("reading {extent:?} to {stable}: {:?}", state.map(|state| (state.epoch(), state.custody)))
            });
            Ok(entries)
        })
    }

    fn expel(&mut self, writer: &WriterId, _within: Duration) -> Result<(), TargetError> {
        self.initialise(writer).map(drop)
    }

    fn unwritable(&mut self, _: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        Ok(Vec::new())
    }
}

impl SimWriter {
    fn instance(&self) -> Result<Instance, KafkaError> {
        self.producer.ok_or_else(|| unavailable("no producer"))
    }

    /// Appends an entry in the present transaction. Without a report its offset stays unknown.
    fn append(
        &mut self,
        cluster: &mut Cluster,
        to: &TargetPartition,
        place: &Place,
        entry: Entry,
    ) -> Result<(), TargetError> {
        let instance = self.instance()?;
        if !self.begun {
            return Err(unavailable("append outside of a transaction").into());
        }
        self.appended = true;
        let name = &self.transactional_id;
        let SimTarget { dice, .. } = &self.clients;
        if self.clients.happens(LATE) {
            cluster.append_later(name, instance, place, entry)?;
            return Err(unavailable("append").into());
        }
        let Some(offset) = cluster.append(name, instance, place, entry, dice)? else {
            self.unreported = true;
            return Ok(());
        };
        self.ends.entry(to.clone()).or_default().add(Offset(offset as i64));
        Ok(())
    }
}

impl TargetWriter for SimWriter {
    fn fence(&mut self, writer: &WriterId, _within: Duration) -> Result<(), TargetError> {
        self.discard();
        self.credentials = self.clients.credentials();
        self.producer = Some(self.clients.initialise(writer)?);
        self.transactional_id = writer.as_str().to_owned();
        Ok(())
    }

    fn is_outdated(&self) -> bool {
        self.producer.is_some() && self.credentials < self.clients.credentials()
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        let clients = self.clients.clone();
        // Only the client knows it: the coordinator learns of a transaction with its first partition.
        clients.call("begin", |_| {
            self.instance()?;
            if std::mem::replace(&mut self.begun, true) {
                return Err(unavailable("begin within a transaction").into());
            }
            (self.appended, self.unreported) = (false, false);
            Ok(())
        })
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, _frame: &Bytes) -> Result<(), TargetError> {
        let clients = self.clients.clone();
        clients.call(&format!("produce as {}", self.transactional_id), |cluster| {
            let dice = &clients.dice;
            let batch = self.batches.entry(to.clone()).or_default();
            if !batch.poisoned && dice.chance(CUT) {
                batch.offsets.clear();
            }
            if record.value == Some(POISON) {
                batch.poisoned = true;
                batch.poisons.push(record.offset);
                if dice.chance(NAMED) {
                    batch.offsets.clear();
                }
                batch.offsets.push(record.offset.0);
                return Ok(());
            }
            if !batch.poisoned || dice.chance(CUT) {
                batch.offsets.push(record.offset.0);
            }
            let place = Place::Data(Arc::clone(&to.topic), to.partition);
            self.append(cluster, to, &place, Entry::Record(Arc::new(Payload::of(record))))
        })
    }

    fn write_state(&mut self, state: &TargetPartition, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        let clients = self.clients.clone();
        let entry = StateEntry::new(key.to_vec(), value.map(<[u8]>::to_vec));
        clients.trace(|| format!("entry {:?}", LaneState::fold(lane_of(state), "sim", "source", &[entry])));
        clients.call(&format!("write of {state} as {}", self.transactional_id), |cluster| {
            self.append(cluster, state, &place_of(state), Entry::State(key.into(), value.map(Into::into)))
        })
    }

    fn drain(&mut self) -> Result<Vec<Appended>, TargetError> {
        let clients = self.clients.clone();
        clients.call("drain", |_| {
            let batches = std::mem::take(&mut self.batches);
            let rejection = |(partition, batch): (_, Batch)| Rejection {
                partition,
                refusal: Refusal::Record,
                first: Offset(batch.offsets[0]),
                last: Offset(batch.offsets[batch.offsets.len() - 1]),
                named: if clients.dice.chance(NAMED) { batch.poisons } else { Vec::new() },
                reason: "poison".to_owned(),
            };
            let mut rejections = batches.into_iter().filter(|(_, batch)| batch.poisoned).map(rejection);
            if let Some(first) = rejections.next() {
                let others = rejections.filter(|rejection| !rejection.named.is_empty()).collect();
                return Err(TargetError::Rejected(Rejections { first, others }));
            }
            if self.unreported {
                return Err(timed_out("drain").into());
            }
            let ends = std::mem::take(&mut self.ends).into_iter();
            Ok(ends.map(|(partition, offsets)| Appended { partition, offsets }).collect())
        })
    }

    fn commit(&mut self) -> Result<(), TargetError> {
        let clients = self.clients.clone();
        let later = clients.happens(15);
        clients.call(&format!("commit as {}", self.transactional_id), |cluster| {
            let instance = self.instance()?;
            if !std::mem::take(&mut self.begun) {
                return Err(unavailable("commit outside of a transaction").into());
            }
            // The coordinator knows nothing of a transaction without entries.
            if !self.appended {
                return Ok(());
            }
            if later {
                cluster.commit_later(&self.transactional_id, instance)?;
                return Err(unavailable("commit").into());
            }
            Ok(cluster.commit(&self.transactional_id, instance, &clients.dice)?)
        })
    }

    fn discard(&mut self) {
        self.producer = None;
        self.begun = false;
        self.ends.clear();
        self.batches.clear();
    }
}

fn lane_of(state: &TargetPartition) -> LaneId {
    LaneId(state.partition as u16)
}

fn place_of(state: &TargetPartition) -> Place {
    let lane = state.partition as u16;
    if is_map_topic(&state.topic) { Place::Map(lane) } else { Place::State(lane) }
}

/// Folds state entries: the last one of each key, in the order of the log, without tombstones.
pub(crate) fn fold<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<StateEntry> {
    let mut last = BTreeMap::new();
    for (at, entry) in entries.enumerate() {
        match entry {
            Entry::State(key, Some(value)) => drop(last.insert(key.to_vec(), (at, value.to_vec()))),
            Entry::State(key, None) => drop(last.remove(&**key)),
            Entry::Record(_) | Entry::Marker | Entry::Foreign => {}
        }
    }
    let ordered: BTreeMap<_, _> = last.into_iter().map(|(key, (at, value))| (at, (key, value))).collect();
    ordered.into_values().map(|(key, value)| StateEntry::new(key, Some(value))).collect()
}
