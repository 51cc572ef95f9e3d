//! A transactional producer that lanes share: one transaction has the parts of many lanes.
//!
//! Transactions follow each other, in the order in which they are asked for. One is of several lanes that their thread
//! drives together, a [`Group`], or of entries that lanes commit while they are opened or recovered on threads of their own.
//!
//! Rule: a lane writes through an instance of the producer only after it has read its custody through a record of that
//! instance. [`SharedLane::fence`] grants it the instance, and the lane reads then. A state partition has one grant at a
//! time: the lane of a link that was removed and added again takes that of its former self, which may still have frames.
//! A failure destroys the instance, and with it every grant: whichever lane comes next initialises another, and each lane
//! reads its custody again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka::{KafkaError, KafkaFault};
use service::lock::Lock;
use tokio::sync::{Mutex, OwnedMutexGuard};
use wire::frame::RecordRef;
use wire::ids::{LaneId, Offset};

use super::combined::{Combined, Request, Requests, Results};
use crate::target::custody::WriterId;
use crate::target::{
    Appended, Delivered, Extent, LaneTarget, Offsets, StateAccess, StateEntry, Target, TargetError, TargetPartition,
    TargetWriter, Unwritable, state,
};

/// Turn to write a transaction. Turns come in the order of the requests: tokio's mutex is fair, and the standard one is
/// not.
type Turn = OwnedMutexGuard<()>;

/// Producer of a process that lanes share.
pub struct SharedWriter<W> {
    ids: Vec<WriterId>,
    turns: Arc<Mutex<()>>,
    /// In use by the holder of the turn.
    producer: Lock<W>,
    instance: Lock<Instance>,
    combined: Lock<Combined>,
}

/// Present instance of the producer.
#[derive(Debug, Default)]
struct Instance {
    /// Id of the instance; `None` if there is none.
    live: Option<WriterId>,
    /// Grant that each state partition has, and the number of all that were ever given.
    grants: HashMap<TargetPartition, u64>,
    granted: u64,
    /// Place of the id that was initialised last among the writer's ids.
    preferred: usize,
    /// Initialisations of each id that failed since one succeeded.
    failures: HashMap<WriterId, u64>,
    begun: bool,
    /// Reports of the present transaction that no lane has taken yet.
    reports: HashMap<TargetPartition, Offsets>,
}

/// Turn of a thread's lanes to write a transaction together. Dropping it ends the turn.
pub struct Group<W> {
    writer: Arc<SharedWriter<W>>,
    _turn: Turn,
}

impl<W: TargetWriter> SharedWriter<W> {
    /// Makes a writer with these transactional ids, of which it uses one at a time.
    pub fn new(ids: Vec<WriterId>, producer: W) -> Arc<Self> {
        let producer = Lock::new(producer);
        Arc::new(Self { ids, turns: Arc::default(), producer, instance: Lock::default(), combined: Lock::default() })
    }

    /// Waits for the turn of the thread that drives the lanes.
    pub fn group(self: &Arc<Self>) -> Group<W> {
        Group { writer: Arc::clone(self), _turn: self.turn() }
    }

    /// Longest delay that a broker has announced within the last transaction, because the receiver exceeds a quota.
    pub fn delay(&self) -> Duration {
        self.producer.lock().delay()
    }

    /// Destroys the instance if it has outdated credentials, once its transaction is committed. The lane that writes next
    /// initialises another, and each reads its custody again.
    pub fn renew(&self) {
        let _turn = self.turn();
        let is_outdated = self.producer.lock().is_outdated();
        if is_outdated {
            self.destroy();
        }
    }

    fn turn(&self) -> Turn {
        Arc::clone(&self.turns).blocking_lock_owned()
    }

    /// Returns how many initialisations of an id have failed since the last one of any id succeeded.
    fn failures(&self, writer: &WriterId) -> u64 {
        self.instance.lock().failures.get(writer).copied().unwrap_or(0)
    }

    /// Makes an instance with this id the present one, unless it is. `failed` is the number of failures that the lane saw
    /// when it began to wait for its turn: if there was one more since, the id hangs, and each lane that waited would wait
    /// for it as long again.
    fn initialise(&self, writer: &WriterId, within: Duration, failed: u64) -> Result<(), TargetError> {
        let live = self.instance.lock().live.clone();
        match live {
            Some(live) if live == *writer => return Ok(()),
            // Another lane was faster. The next attempt asks for this one.
            Some(live) => return Err(other_is_live(writer, &live)),
            None if self.failures(writer) > failed => return Err(failed_for_another(writer)),
            None => {}
        }
        let fenced = self.producer.lock().fence(writer, within);
        let mut instance = self.instance.lock();
        if let Err(error) = fenced {
            *instance.failures.entry(writer.clone()).or_default() += 1;
            return Err(error);
        }
        instance.failures.clear();
        instance.live = Some(writer.clone());
        instance.preferred = self.ids.iter().position(|id| id == writer).unwrap_or(0);
        Ok(())
    }

    fn begin(&self) -> Result<(), TargetError> {
        let mut instance = self.instance.lock();
        if !instance.begun {
            instance.reports.clear();
            self.producer.lock().begin()?;
            instance.begun = true;
        }
        Ok(())
    }

    fn drain(&self) -> Result<(), TargetError> {
        let drained = self.producer.lock().drain()?;
        let reports = &mut self.instance.lock().reports;
        for Appended { partition, offsets } in drained {
            reports.entry(partition).or_default().extend(&offsets);
        }
        Ok(())
    }

    fn commit(&self) -> Result<(), TargetError> {
        self.producer.lock().commit()?;
        self.instance.lock().begun = false;
        Ok(())
    }

    /// Commits entries of a lane's state partition, together with those of other lanes that wait for a turn.
    fn commit_entries(&self, request: Request) -> Result<Offset, TargetError> {
        let ticket = self.combined.lock().add(request);
        let _turn = self.turn();
        let committed = self.combined.lock().take_result(ticket);
        if let Some(result) = committed {
            return result;
        }
        let requests = self.combined.lock().take_shared(ticket);
        let mut results = self.commit_requests(requests);
        let own = results.remove(&ticket);
        self.combined.lock().answer(results);
        own.expect("a request is taken with those that share its transaction")
    }

    /// Commits what these lanes ask for, if they may write. After a failure the outcome is unknown to all of them.
    fn commit_requests(&self, requests: Requests) -> Results {
        let may_write = |request: &Request| self.is_granted(&request.state, request.grant);
        let granted: Vec<_> = requests.values().filter(|request| may_write(request)).collect();
        let ends = self.write_together(&granted);
        let result = |request: &Request| match &ends {
            _ if !granted.iter().any(|granted| granted.state == request.state) => Err(gone(&request.state)),
            Ok(ends) => ends.get(&request.state).copied().ok_or_else(|| no_offset(&request.state)),
            Err(error) => Err(error.clone()),
        };
        let results = requests.iter().map(|(ticket, request)| (*ticket, result(request))).collect();
        if ends.is_err() {
            self.destroy();
        }
        results
    }

    /// Commits the entries of these requests in one transaction. Returns the offset of each lane's last entry.
    fn write_together(&self, requests: &[&Request]) -> Result<HashMap<TargetPartition, Offset>, TargetError> {
        if requests.is_empty() {
            return Ok(HashMap::new());
        }
        self.begin()?;
        for Request { state, entries, .. } in requests {
            for StateEntry { key, value, .. } in entries {
                self.producer.lock().write_state(state, key, value.as_deref())?;
            }
        }
        self.drain()?;
        let reports = std::mem::take(&mut self.instance.lock().reports);
        self.commit()?;
        Ok(reports.into_iter().map(|(state, end)| (state, end.last())).filter(|(_, end)| *end >= Offset(0)).collect())
    }

    fn grant(&self, state: &TargetPartition) -> u64 {
        let mut instance = self.instance.lock();
        instance.granted += 1;
        let grant = instance.granted;
        instance.grants.insert(state.clone(), grant);
        grant
    }

    fn is_granted(&self, state: &TargetPartition, grant: Option<u64>) -> bool {
        grant.is_some() && self.instance.lock().grants.get(state).copied() == grant
    }

    /// Destroys the instance and every grant. Nothing ends its transaction but the next initialisation.
    fn destroy(&self) {
        let mut instance = self.instance.lock();
        self.producer.lock().discard();
        let Instance { granted, preferred, .. } = *instance;
        let failures = std::mem::take(&mut instance.failures);
        *instance = Instance { granted, preferred, failures, ..Instance::default() };
    }
}

impl<W: TargetWriter> Group<W> {
    /// Commits the parts of all lanes.
    pub fn commit(&self) -> Result<(), TargetError> {
        self.writer.commit()
    }
}

/// A lane's part of a shared writer, and its state partition.
pub struct SharedLane<T: Target> {
    writer: Arc<SharedWriter<T::Writer>>,
    states: T::States,
    state: TargetPartition,
    /// Partition of the map topic that has the lane's blocks.
    map: TargetPartition,
    /// Grant of the present instance, with which the lane may write.
    grant: Option<u64>,
    /// The last commit of entries failed.
    is_doubted: bool,
    /// Has a part in the present transaction of the thread's group.
    takes_part: bool,
    /// Data partitions that the lane has written in the present transaction, and the last of them.
    written: BTreeSet<TargetPartition>,
    last: Option<TargetPartition>,
}

impl<T: Target> SharedLane<T> {
    /// Makes the target of a lane.
    pub fn new(writer: &Arc<SharedWriter<T::Writer>>, states: T::States, link: &str, lane: LaneId) -> Self {
        Self {
            writer: Arc::clone(writer),
            states,
            state: state::partition(link, lane),
            map: state::map_partition(link, lane),
            grant: None,
            is_doubted: false,
            takes_part: false,
            written: BTreeSet::new(),
            last: None,
        }
    }

    /// Returns whether the lane may write: it has read its custody since the present instance was initialised.
    pub fn is_granted(&self) -> bool {
        self.writer.is_granted(&self.state, self.grant)
    }

    /// Continues with another writer. The lane's last transaction must be decided, or else its instance destroyed; and the
    /// lane must read its custody again, which makes it bid for another through the new writer.
    pub fn move_to(&mut self, writer: &Arc<SharedWriter<T::Writer>>) {
        self.discard();
        self.writer = Arc::clone(writer);
    }

    /// Returns the writer, if the lane has a part in a transaction. While its turn lasts, the instance stays the one that
    /// the lane was granted when it began, or is destroyed.
    fn open(&self) -> Result<&SharedWriter<T::Writer>, TargetError> {
        if self.takes_part {
            return Ok(&self.writer);
        }
        Err(KafkaError::misused(format!("write of {}", self.state), "no transaction has begun").into())
    }
}

impl<T: Target> LaneTarget for SharedLane<T> {
    fn read_state(&mut self, extent: Extent) -> Result<Vec<StateEntry>, TargetError> {
        self.states.read(&self.state, extent)
    }

    fn ids(&self) -> Vec<WriterId> {
        let instance = self.writer.instance.lock();
        if let Some(live) = &instance.live {
            return vec![live.clone()];
        }
        let mut ids = self.writer.ids.clone();
        ids.rotate_left(instance.preferred);
        ids
    }

    fn fence(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        self.discard();
        let failed = self.writer.failures(writer);
        let _turn = self.writer.turn();
        self.writer.initialise(writer, within, failed)?;
        self.grant = Some(self.writer.grant(&self.state));
        Ok(())
    }

    fn expel(&mut self, writer: &WriterId, within: Duration) -> Result<(), TargetError> {
        self.states.expel(writer, within)
    }

    fn begin(&mut self) -> Result<(), TargetError> {
        self.takes_part = true;
        self.written.clear();
        self.last = None;
        if self.is_granted() { self.writer.begin() } else { Err(gone(&self.state)) }
    }

    fn produce(&mut self, to: &TargetPartition, record: &RecordRef<'_>, frame: &Bytes) -> Result<(), TargetError> {
        if self.last.as_ref() != Some(to) {
            self.last = Some(to.clone());
            self.written.insert(to.clone());
        }
        self.open()?.producer.lock().produce(to, record, frame)
    }

    fn write_state(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), TargetError> {
        self.open()?.producer.lock().write_state(&self.state, key, value)
    }

    fn write_block(&mut self, key: &[u8], value: &[u8]) -> Result<(), TargetError> {
        self.open()?.producer.lock().write_state(&self.map, key, Some(value))
    }

    fn drain(&mut self) -> Result<Delivered, TargetError> {
        let writer = self.open()?;
        writer.drain()?;
        let reports = &mut writer.instance.lock().reports;
        let state_end = reports.remove(&self.state).map(|offsets| offsets.last());
        let blocks = reports.remove(&self.map).unwrap_or_default();
        let own = reports.extract_if(|partition, _| self.written.contains(partition));
        let appended = own.map(|(partition, offsets)| Appended { partition, offsets }).collect();
        Ok(Delivered { appended, state_end, blocks })
    }

    fn commit_entries(&mut self, entries: Vec<StateEntry>) -> Result<Offset, TargetError> {
        let Self { grant, is_doubted, .. } = *self;
        let request = Request { state: self.state.clone(), grant, entries, is_alone: is_doubted };
        let committed = self.writer.commit_entries(request);
        self.is_doubted = committed.is_err();
        committed
    }

    fn unwritable(&mut self, partitions: &[TargetPartition]) -> Result<Vec<Unwritable>, TargetError> {
        self.states.unwritable(partitions)
    }

    fn is_slow(&self) -> bool {
        self.writer.producer.lock().is_slow()
    }

    fn delay(&self) -> Duration {
        self.writer.delay()
    }

    fn discard(&mut self) {
        // Once for all parts of a transaction: its turn lasts, so that no other instance can be initialised before.
        if self.takes_part && self.is_granted() {
            self.writer.destroy();
        }
        self.grant = None;
        self.end_part();
    }
}

impl<T: Target> SharedLane<T> {
    /// Ends the lane's part of a transaction that is over.
    pub fn end_part(&mut self) {
        self.takes_part = false;
    }
}

impl<T: Target> Drop for SharedLane<T> {
    /// Leaves no transaction half written to the lanes that come next.
    fn drop(&mut self) {
        self.discard();
    }
}

fn gone(state: &TargetPartition) -> TargetError {
    let reason = "the producer that the lane shares failed".to_owned();
    KafkaError { doing: format!("write of {state}"), reason, fault: KafkaFault::Unavailable }.into()
}

fn failed_for_another(id: &WriterId) -> TargetError {
    let reason = "it has just failed for another lane".to_owned();
    KafkaError { doing: format!("initialisation of {}", id.as_str()), reason, fault: KafkaFault::Unavailable }.into()
}

fn no_offset(state: &TargetPartition) -> TargetError {
    let reason = "the target did not report the offset of the entry that the reading must reach".to_owned();
    KafkaError { doing: format!("write of {state}"), reason, fault: KafkaFault::Unavailable }.into()
}

fn other_is_live(wanted: &WriterId, live: &WriterId) -> TargetError {
    let reason = format!("the process writes through {} now", live.as_str());
    let doing = format!("initialisation of {}", wanted.as_str());
    KafkaError { doing, reason, fault: KafkaFault::Unavailable }.into()
}

#[cfg(test)]
mod tests;
