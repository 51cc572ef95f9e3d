//! Queue of one lane: its partitions, the batch last taken from it, and its wake-up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use rdkafka_sys as sys;
use service::bell::Bell;
use wire::frame::HeaderBlock;
use wire::ids::{Position, Slot};

use super::event::{Fault, LaneEvent, Start};
use super::instances::{Instances, Seat};
use super::message::{Message, Origin, Verdict};
use crate::client::{Client, Queue, Topic, check};
use crate::error::KafkaError;
use crate::error_callback::{self, MissingPartition};
use crate::live_properties::{Follower, Renewing, retire};
use crate::partitions::PartitionList;
use crate::text::c_string;

/// Messages taken in one call: enough to make the call's own cost negligible, few enough to hold little memory.
const BATCH: usize = 512;

/// Queue of the records of one lane, in order within each partition. Fields are dropped in order: the messages before
/// the queue, and all before the instances.
#[derive(Debug)]
pub struct LaneQueue {
    partitions: HashMap<Origin, Partition>,
    slots: HashMap<Slot, Origin>,
    /// Names and numbers of the partitions. The same one has another origin in another instance.
    names: HashSet<(CString, i32)>,
    /// Messages taken from the queue; [`LaneQueue::peek`] shows the first.
    batch: VecDeque<Message>,
    /// Faults from the error callback, shown after the messages that came before them.
    faults: VecDeque<(Slot, Fault)>,
    /// The event to show: the first message of `batch`, or a fault from the error callback.
    head: Option<Head>,
    headers: HeaderBlock,
    queue: Queue,
    /// State of the callback. Not a `Box`, which must be the only way to its memory.
    waker: Arc<Waker>,
    instances: Arc<Instances>,
    /// Generation of the properties that the instances were made of.
    generation: u64,
    consumer: Arc<Renewing<Instances>>,
}

#[derive(Debug)]
struct Partition {
    slot: Slot,
    /// Place in the instance that reads it.
    seat: Seat,
    name: CString,
    /// Keeps the handle alive, so that no other topic gets the address in `Origin`.
    _topic: Arc<Topic>,
    /// The lowest offset that may still arrive; a lower one would be a duplicate.
    next: i64,
    /// The way to continue in other instances: from behind the last event, and with the epoch of its leader.
    resume: Start,
    flow: Flow,
}

/// State of a partition's delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    /// The fault waits until the events before it have been shown.
    Ending,
    /// The fault has been shown; no further event is shown.
    Stopped,
}

#[derive(Debug)]
enum Head {
    Record(Slot, i32),
    End(Slot, Position),
    Fault(Slot, Fault),
    /// A fault from the error callback: no message belongs to it.
    WithoutMessage(Slot, Fault),
}

/// State for librdkafka's wake-up callback, which must neither wait nor call librdkafka.
#[derive(Debug)]
struct Waker {
    /// The callback has run since the queue was last found empty.
    woken: AtomicBool,
    bell: Bell,
}

impl Follower for Waker {
    /// Has the lane look for other instances, even if no record arrives any more.
    fn handle_change(&self) {
        self.woken.store(true, Ordering::Release);
        self.bell.ring();
    }
}

/// Called by librdkafka, with the queue locked, each time the queue stops being empty. The woken thread must therefore
/// read until the queue is empty again.
extern "C" fn on_wake(_rk: *mut sys::rd_kafka_t, waker: *mut c_void) {
    // SAFETY: the lane owns the waker until it has removed the callback. It is removed under the queue's lock, which is
    // held here.
    let waker = unsafe { &*waker.cast::<Waker>() };
    waker.handle_change();
}

impl LaneQueue {
    pub(super) fn new(consumer: Arc<Renewing<Instances>>, bell: Bell) -> Self {
        let waker = Arc::new(Waker { woken: AtomicBool::new(true), bell });
        // Before the instances are taken, so that no change is missed.
        let follower: Weak<Waker> = Arc::downgrade(&waker);
        consumer.properties().follow(follower);
        let (generation, instances) = consumer.numbered();
        let queue = Queue::private(&instances.first().client);
        // SAFETY: the queue is live. The waker is ours until `Drop` has removed the callback.
        unsafe {
            let opaque = Arc::as_ptr(&waker).cast_mut().cast();
            sys::rd_kafka_queue_cb_event_enable(queue.raw(), Some(on_wake), opaque);
        }
        Self {
            partitions: HashMap::new(),
            slots: HashMap::new(),
            names: HashSet::new(),
            batch: VecDeque::with_capacity(BATCH),
            faults: VecDeque::new(),
            head: None,
            headers: HeaderBlock::default(),
            queue,
            waker,
            instances,
            generation,
            consumer,
        }
    }

    /// Starts to read more partitions.
    /// A slot or partition that is already assigned, or an invalid topic name, is an error, and nothing is assigned then.
    pub fn assign(&mut self, starts: &[Start]) -> Result<(), KafkaError> {
        const DOING: &str = "assignment of partitions";
        if self.is_outdated() && self.partitions.is_empty() {
            self.renew();
        }
        let mut lists = ByInstance::default();
        let mut topics: HashMap<(*const Client, &str), Arc<Topic>> = HashMap::new();
        let mut added: Vec<(Origin, Partition)> = Vec::with_capacity(starts.len());
        for start in starts {
            let name = c_string(&start.topic)?;
            let seat = self.instances.seat(start.is_late)?;
            let key = (Arc::as_ptr(seat.client()), &*start.topic);
            let topic = match topics.get(&key) {
                Some(topic) => topic.clone(),
                None => Arc::new(Topic::open(seat.client(), &start.topic, None)?),
            };
            topics.insert(key, topic.clone());
            let origin = (topic.address(), start.partition);
            if start.position.0 < 0 {
                // librdkafka reads negative numbers as "beginning", "end" or "stored".
                let reason = format!("position {} of {}-{} is negative", start.position, start.topic, start.partition);
                return Err(KafkaError::misused(DOING, reason));
            }
            if self.names.contains(&(name.clone(), start.partition)) || self.slots.contains_key(&start.slot) {
                let reason = format!("{}-{} or slot {} is assigned already", start.topic, start.partition, start.slot);
                return Err(KafkaError::misused(DOING, reason));
            }
            lists.of(seat.client()).add(&name, start.partition, Some(start.position.0), start.leader_epoch);
            let partition = Partition {
                slot: start.slot,
                seat,
                name,
                _topic: topic,
                next: start.position.0,
                resume: start.clone(),
                flow: Flow::Open,
            };
            added.push((origin, partition));
        }
        // Forwarded before the assignment, or else its first records would go to the instance's own queue.
        self.forward(&added)?;
        lists.assign(DOING)?;
        // Forwarded again after it: an earlier unassignment may have removed the forwarding meanwhile. Assignments are
        // carried out in order, so that it has been done by now. Records fetched meanwhile wait in the partition's
        // queue, and move to the lane's queue.
        self.forward(&added)?;
        for (origin, partition) in added {
            self.slots.insert(partition.slot, origin);
            self.names.insert((partition.name.clone(), origin.1));
            self.partitions.insert(origin, partition);
        }
        Ok(())
    }

    fn forward(&self, partitions: &[(Origin, Partition)]) -> Result<(), KafkaError> {
        for ((_, number), partition) in partitions {
            let source = Queue::partition(partition.seat.client(), &partition.name, *number)
                .ok_or_else(|| KafkaError::misused("forwarding of a partition", "it has no queue"))?;
            // SAFETY: both queues are live; librdkafka counts the reference it keeps. The lane's queue may be of another
            // instance, which is only asked for its callbacks when the queue is read; the lane holds all instances.
            unsafe { sys::rd_kafka_queue_forward(source.raw(), self.queue.raw()) };
        }
        Ok(())
    }

    /// Stops reading these slots. None of their events is shown after this returns. Slots that are not assigned are
    /// ignored.
    /// An error is the client's; the slots are unassigned in any case.
    pub fn unassign(&mut self, slots: &[Slot]) -> Result<(), KafkaError> {
        let gone: Vec<Origin> = slots.iter().filter_map(|slot| self.slots.remove(slot)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut lists = ByInstance::default();
        let mut removed: Vec<Partition> = Vec::with_capacity(gone.len());
        for origin in &gone {
            let Some(partition) = self.partitions.remove(origin) else { continue };
            lists.of(partition.seat.client()).add(&partition.name, origin.1, None, -1);
            self.names.remove(&(partition.name.clone(), origin.1));
            removed.push(partition);
        }
        let result = unassign(&lists.0);
        // Messages in the queue carry an older version: librdkafka discards them. Messages already taken do not.
        let gone: HashSet<Origin> = gone.into_iter().collect();
        let shown_is_gone = self.batch.front().is_some_and(|shown| gone.contains(&shown.origin()));
        if shown_is_gone && !matches!(self.head, Some(Head::WithoutMessage(..))) {
            self.head = None;
        }
        self.batch.retain(|message| !gone.contains(&message.origin()));
        self.faults.retain(|(slot, _)| !slots.contains(slot));
        if matches!(&self.head, Some(Head::WithoutMessage(slot, _)) if slots.contains(slot)) {
            self.head = None;
        }
        drop(removed);
        result
    }

    /// Returns the next event without waiting; the same one until [`LaneQueue::advance`].
    pub fn peek(&mut self) -> Option<LaneEvent<'_>> {
        while self.head.is_none() {
            if !self.batch.is_empty() {
                self.judge();
            } else if let Some((slot, fault)) = self.faults.pop_front() {
                self.end(slot, fault);
            } else if !self.take_batch() {
                return None;
            }
        }
        Some(match self.head.as_ref()? {
            Head::Record(slot, leader_epoch) => {
                let record = self.batch.front()?.record(&self.headers);
                LaneEvent::Record { slot: *slot, leader_epoch: *leader_epoch, record }
            }
            Head::End(slot, position) => LaneEvent::End { slot: *slot, position: *position },
            Head::Fault(slot, fault) | Head::WithoutMessage(slot, fault) => {
                LaneEvent::Fault { slot: *slot, fault: fault.clone() }
            }
        })
    }

    /// Drops the event that [`LaneQueue::peek`] returned last.
    pub fn advance(&mut self) {
        if !matches!(self.head.take(), None | Some(Head::WithoutMessage(..))) {
            self.batch.pop_front();
        }
    }

    /// Returns whether the consumer has other instances now, and nothing that these have delivered is still to be shown.
    fn is_outdated(&self) -> bool {
        let is_shown = self.head.is_none() && self.batch.is_empty() && self.faults.is_empty();
        is_shown && self.generation < self.consumer.properties().generation()
    }

    /// Continues with the consumer's present instances, behind what was shown. What the former ones have fetched is
    /// fetched again.
    fn renew(&mut self) {
        let mut renewed = Self::new(Arc::clone(&self.consumer), self.waker.bell.clone());
        if renewed.generation == self.generation {
            return;
        }
        let open = self.partitions.values().filter(|partition| partition.flow == Flow::Open);
        let starts: Vec<Start> = open.map(|partition| partition.resume.clone()).collect();
        match renewed.assign(&starts) {
            Ok(()) => retire(std::mem::replace(self, renewed)),
            Err(error) => {
                tracing::error!(%error, "cannot read with the changed credentials; continuing with the former");
                self.generation = renewed.generation;
            }
        }
    }

    /// Makes the first message the head, or drops it if it needs no event.
    fn judge(&mut self) {
        let Some(message) = self.batch.front() else { return };
        self.head = self.partitions.get_mut(&message.origin()).and_then(|partition| {
            let head = partition.judge(message, &mut self.headers);
            if matches!(head, Some(Head::Fault(..))) {
                partition.flow = Flow::Stopped;
            }
            head
        });
        if self.head.is_none() {
            self.batch.pop_front();
        }
    }

    /// Takes up to one batch from the queue; returns whether there was anything.
    fn take_batch(&mut self) -> bool {
        if self.is_outdated() {
            self.renew();
        }
        if !self.waker.woken.swap(false, Ordering::AcqRel) {
            return false;
        }
        let mut taken = [ptr::null_mut(); BATCH];
        let queue = self.queue.raw();
        let (count, errors) = error_callback::collect(|| {
            // SAFETY: the queue is live, and the array as long as stated; we own the messages.
            unsafe { sys::rd_kafka_consume_batch_queue(queue, 0, taken.as_mut_ptr(), BATCH) }
        });
        let count = usize::try_from(count).unwrap_or(0);
        // SAFETY: librdkafka filled that many with messages that we now own.
        self.batch.extend(taken[..count].iter().filter_map(|&raw| unsafe { Message::adopt(raw) }));
        // The callback runs only for a queue that was empty, so one that may have more must be read again.
        if count > 0 {
            self.waker.woken.store(true, Ordering::Release);
        }
        for missing in errors.iter().filter_map(|error| error.missing()) {
            self.end_missing(missing);
        }
        count > 0 || !self.faults.is_empty()
    }

    /// Shows a fault from the error callback, unless the partition's fault has been shown already.
    fn end(&mut self, slot: Slot, fault: Fault) {
        let partition = self.slots.get(&slot).and_then(|origin| self.partitions.get_mut(origin));
        if let Some(partition) = partition.filter(|partition| partition.flow != Flow::Stopped) {
            partition.flow = Flow::Stopped;
            self.head = Some(Head::WithoutMessage(slot, fault));
        }
    }

    fn end_missing(&mut self, missing: MissingPartition) {
        let found = self.partitions.iter_mut().find(|((_, number), partition)| {
            *number == missing.partition && partition.name.as_bytes() == missing.topic.as_bytes()
        });
        if let Some((_, partition)) = found.filter(|(_, partition)| partition.flow == Flow::Open) {
            partition.flow = Flow::Ending;
            self.faults.push_back((partition.slot, Fault::Gone(missing.reason)));
        }
    }
}

/// Partitions by the instance that reads them.
#[derive(Default)]
struct ByInstance(Vec<(Arc<Client>, PartitionList)>);

impl ByInstance {
    fn of(&mut self, client: &Arc<Client>) -> &PartitionList {
        let known = self.0.iter().position(|(known, _)| Arc::ptr_eq(known, client));
        let index = known.unwrap_or(self.0.len());
        if known.is_none() {
            self.0.push((Arc::clone(client), PartitionList::new(0)));
        }
        &self.0[index].1
    }

    /// Assigns all partitions, or none.
    fn assign(&self, doing: &str) -> Result<(), KafkaError> {
        for (done, (client, list)) in self.0.iter().enumerate() {
            // SAFETY: the instance and the list are live; the list is copied.
            let assigned = unsafe { check(sys::rd_kafka_incremental_assign(client.raw(), list.raw())) };
            if let Err(error) = assigned {
                let _ = unassign(&self.0[..done]);
                return Err(error.while_doing(doing));
            }
        }
        Ok(())
    }
}

/// Unassigns the partitions of all lists. An error is the last one of an instance.
fn unassign(lists: &[(Arc<Client>, PartitionList)]) -> Result<(), KafkaError> {
    let mut result = Ok(());
    for (client, list) in lists {
        // SAFETY: the instance and the list are live; the list is copied.
        if let Err(error) = unsafe { check(sys::rd_kafka_incremental_unassign(client.raw(), list.raw())) } {
            result = Err(error.while_doing("unassignment of partitions"));
        }
    }
    result
}

impl Partition {
    fn judge(&mut self, message: &Message, headers: &mut HeaderBlock) -> Option<Head> {
        if self.flow == Flow::Stopped {
            return None;
        }
        let offset = message.offset();
        match message.verdict() {
            Verdict::Record if offset < self.next => {
                let reason = format!("the client delivered offset {offset} after offset {}", self.next - 1);
                let fault = Fault::Other(reason);
                Some(Head::Fault(self.slot, fault))
            }
            Verdict::Record => {
                self.next = offset + 1;
                self.resume.position = Position(self.next);
                self.resume.leader_epoch = message.leader_epoch();
                Some(match message.headers(headers) {
                    Ok(()) => Head::Record(self.slot, message.leader_epoch()),
                    Err(fault) => Head::Fault(self.slot, fault),
                })
            }
            Verdict::End => {
                // Behind markers of transactions, which may be deleted.
                self.resume.position = self.resume.position.max(Position(offset));
                Some(Head::End(self.slot, Position(offset)))
            }
            Verdict::Fault(fault) => Some(Head::Fault(self.slot, fault)),
            Verdict::Temporary => {
                tracing::debug!(partition = message.origin().1, topic = ?self.name, "temporary error: {}", message.reason());
                None
            }
        }
    }
}

impl Drop for LaneQueue {
    fn drop(&mut self) {
        let slots: Vec<Slot> = self.slots.keys().copied().collect();
        if let Err(error) = self.unassign(&slots) {
            tracing::debug!("unassignment of a dropped lane: {error}");
        }
        // SAFETY: the queue is live. Its lock is held while the callback runs, also for records that are forwarded to it:
        // once this returns, the callback cannot reach the waker, which is dropped after it.
        unsafe { sys::rd_kafka_queue_cb_event_enable(self.queue.raw(), None, ptr::null_mut()) };
    }
}
