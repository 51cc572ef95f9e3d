//! Queue of one lane: its partitions, the batch last taken from it, and its wake-up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka_sys as sys;
use service::bell::Bell;
use wire::frame::HeaderBlock;
use wire::ids::{Position, Slot};

use super::Instance;
use super::event::{Fault, LaneEvent, Start};
use super::message::{Message, Origin, Verdict};
use crate::client::{Queue, Topic, check};
use crate::error::KafkaError;
use crate::error_callback::{self, MissingPartition};
use crate::partitions::PartitionList;
use crate::text::c_string;

/// Messages taken in one call: enough to make the call's own cost negligible, few enough to hold little memory.
const BATCH: usize = 512;

/// Queue of the records of one lane, in order within each partition. Fields are dropped in order: the messages before
/// the queue, and all before the instance.
#[derive(Debug)]
pub struct LaneQueue {
    partitions: HashMap<Origin, Partition>,
    slots: HashMap<Slot, Origin>,
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
    consumer: Arc<Instance>,
}

#[derive(Debug)]
struct Partition {
    slot: Slot,
    name: CString,
    /// Keeps the handle alive, so that no other topic gets the address in `Origin`.
    _topic: Arc<Topic>,
    /// The lowest offset that may still arrive; a lower one would be a duplicate.
    next: i64,
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

/// Called by librdkafka, with the queue locked, each time the queue stops being empty. The woken thread must therefore
/// read until the queue is empty again.
extern "C" fn on_wake(_rk: *mut sys::rd_kafka_t, waker: *mut c_void) {
    // SAFETY: the lane owns the waker until it has removed the callback. It is removed under the queue's lock, which is
    // held here.
    let waker = unsafe { &*waker.cast::<Waker>() };
    waker.woken.store(true, Ordering::Release);
    waker.bell.ring();
}

impl LaneQueue {
    pub(super) fn new(consumer: Arc<Instance>, bell: Bell) -> Self {
        let queue = Queue::private(&consumer.client);
        let waker = Arc::new(Waker { woken: AtomicBool::new(true), bell });
        // SAFETY: the queue is live. The waker is ours until `Drop` has removed the callback.
        unsafe {
            let opaque = Arc::as_ptr(&waker).cast_mut().cast();
            sys::rd_kafka_queue_cb_event_enable(queue.raw(), Some(on_wake), opaque);
        }
        Self {
            partitions: HashMap::new(),
            slots: HashMap::new(),
            batch: VecDeque::with_capacity(BATCH),
            faults: VecDeque::new(),
            head: None,
            headers: HeaderBlock::default(),
            queue,
            waker,
            consumer,
        }
    }

    /// Starts to read more partitions.
    /// A slot or partition that is already assigned, or an invalid topic name, is an error, and nothing is assigned then.
    pub fn assign(&mut self, starts: &[Start]) -> Result<(), KafkaError> {
        const DOING: &str = "assignment of partitions";
        let list = PartitionList::new(starts.len());
        let mut topics: HashMap<&str, Arc<Topic>> = HashMap::new();
        let mut added: Vec<(Origin, Partition)> = Vec::with_capacity(starts.len());
        for start in starts {
            let name = c_string(&start.topic)?;
            let topic = match topics.get(&*start.topic) {
                Some(topic) => topic.clone(),
                None => Arc::new(Topic::open(&self.consumer.client, &start.topic, None)?),
            };
            topics.insert(&start.topic, topic.clone());
            let origin = (topic.address(), start.partition);
            if start.position.0 < 0 {
                // librdkafka reads negative numbers as "beginning", "end" or "stored".
                let reason = format!("position {} of {}-{} is negative", start.position, start.topic, start.partition);
                return Err(KafkaError::misused(DOING, reason));
            }
            if self.partitions.contains_key(&origin) || self.slots.contains_key(&start.slot) {
                let reason = format!("{}-{} or slot {} is assigned already", start.topic, start.partition, start.slot);
                return Err(KafkaError::misused(DOING, reason));
            }
            list.add(&name, start.partition, Some(start.position.0), start.leader_epoch);
            let next = start.position.0;
            added.push((origin, Partition { slot: start.slot, name, _topic: topic, next, flow: Flow::Open }));
        }
        // Forwarded before the assignment, or else its first records would go to the instance's own queue.
        self.forward(&added)?;
        // SAFETY: the instance and the list are live; the list is copied.
        unsafe { check(sys::rd_kafka_incremental_assign(self.consumer.client.raw(), list.raw())) }
            .map_err(|error| error.while_doing(DOING))?;
        // Forwarded again after it: an earlier unassignment may have removed the forwarding meanwhile. Assignments are
        // carried out in order, so that it has been done by now. Records fetched meanwhile wait in the partition's
        // queue, and move to the lane's queue.
        self.forward(&added)?;
        for (origin, partition) in added {
            self.slots.insert(partition.slot, origin);
            self.partitions.insert(origin, partition);
        }
        Ok(())
    }

    fn forward(&self, partitions: &[(Origin, Partition)]) -> Result<(), KafkaError> {
        for ((_, number), partition) in partitions {
            let source = Queue::partition(&self.consumer.client, &partition.name, *number)
                .ok_or_else(|| KafkaError::misused("forwarding of a partition", "it has no queue"))?;
            // SAFETY: both queues are live; librdkafka counts the reference it keeps.
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
        let list = PartitionList::new(gone.len());
        let removed: Vec<Partition> = gone
            .iter()
            .filter_map(|origin| {
                self.partitions.remove(origin).inspect(|partition| list.add(&partition.name, origin.1, None, -1))
            })
            .collect();
        // SAFETY: the instance and the list are live; the list is copied.
        let result = unsafe { check(sys::rd_kafka_incremental_unassign(self.consumer.client.raw(), list.raw())) };
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
        result.map_err(|error| error.while_doing("unassignment of partitions"))
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
                Some(match message.headers(headers) {
                    Ok(()) => Head::Record(self.slot, message.leader_epoch()),
                    Err(fault) => Head::Fault(self.slot, fault),
                })
            }
            Verdict::End => Some(Head::End(self.slot, Position(offset))),
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
